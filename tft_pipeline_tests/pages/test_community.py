"""What GitHub and pre-commit read is valid by their schemas and names what is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tft_pipeline_tests.test_docs import README, ROOT

BIN = Path(sys.executable).parent
GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def checked(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Files held against a schema that comes with check-jsonschema: no network."""
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", schema, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fields(form: Path) -> list[dict[str, Any]]:
    """Questions of a form."""
    body: list[dict[str, Any]] = yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
    return [one for one in body if one["type"] != "markdown"]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.github-workflows", sorted((GITHUB / "workflows").glob("*.yml"))),
    ],
)
def test_what_github_reads_is_valid(schema: str, files: list[Path]) -> None:
    assert files
    done = checked(schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_form_that_is_not_valid_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "bug.yml"
    broken.write_text(FORMS[0].read_text(encoding="utf-8").replace("type: textarea", "type: essay"))
    assert checked("vendor.github-issue-forms", broken).returncode != 0


def test_forms_ask_for_what_helps_and_there_is_one_for_a_number() -> None:
    assert {form.stem for form in FORMS} == {"bug", "feature", "number"}
    for form in FORMS:
        assert any(one.get("validations", {}).get("required") for one in fields(form))
        assert all(one["attributes"].get("label") for one in fields(form))


def test_the_hooks_are_the_projects_own_tools_and_fetch_nothing() -> None:
    hooks = [hook for repo in HOOKS["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in HOOKS["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    for hook in hooks:
        program, *words = hook["entry"].split()
        assert (BIN / Path(program).name).is_file()
        assert program.startswith(".venv/bin/")
        assert [word for word in words if word.startswith("tft_pipeline_tests") and not (ROOT / word).exists()] == []


def test_pre_commit_reads_the_hooks_and_runs_them(tmp_path: Path) -> None:
    """In a repository of its own, with the tools of this environment: style passes on a good file and fails on a bad one."""
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(ROOT / ".pre-commit-config.yaml", clone)
    shutil.copy(ROOT / "pyproject.toml", clone)
    (clone / ".venv").symlink_to(BIN.parent)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(clone)]
    (clone / "good.py").write_text('"""A module."""\n')
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "good.py", "pyproject.toml", ".pre-commit-config.yaml"], check=True)

    def style() -> int:
        command = [str(BIN / "pre-commit"), "run", "ruff-check", "--all-files"]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "cache")}
        return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False).returncode

    assert style() == 0
    (clone / "bad.py").write_text("import os\n")
    subprocess.run([*git, "add", "bad.py"], check=True)
    assert style() != 0


def test_the_readme_is_short_and_leads_to_every_way_in() -> None:
    assert len(README.splitlines()) < 250
    targets = set(re.findall(r"\]\(([^)#]+)", README))
    ways = ("ui", "cli", "tutorial", "library", "faq", "index", "method", "settings", "reference/experiment")
    assert {f"docs/{name}.md" for name in ways} <= targets
    assert {"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTEXT.md", "LICENSE"} <= targets
    for words in ("make dev", "tft doctor", "tft init", "from tft_pipeline import"):
        assert words in README


def test_everybody_is_asked_to_write_in_private_where_it_matters() -> None:
    """No address, no person: the repository's own private report."""
    for name in ("CODE_OF_CONDUCT.md", "SECURITY.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "Report a vulnerability" in text
        assert "@" not in text
