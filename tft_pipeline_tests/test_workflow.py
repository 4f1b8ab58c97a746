"""The example workflow names what is there: commands and their options, make targets, files, pinned actions."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tft_pipeline.__main__ import app
from tft_pipeline.pipeline.driver import STEPS
from tft_pipeline.storage.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "model-checks.yml"
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@(v\d+|[0-9a-f]{40})$")
Steps = list[dict[str, Any]]


def steps_of(text: str) -> Steps:
    """Every step of every job."""
    return [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]


def commands_of(steps: Steps) -> list[list[str]]:
    """Words of every simple command that a step runs."""
    lines = [line for step in steps if "run" in step for line in str(step["run"]).splitlines()]
    return [shlex.split(part) for line in lines for part in re.split(r"\|\||&&|;", line) if part.strip()]


def problems(text: str) -> list[str]:
    """What the workflow names and is not there, or is not pinned."""
    steps = steps_of(text)
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    found = [f"{step['uses']} is not pinned" for step in steps if "uses" in step and not PINNED.match(step["uses"])]
    for words in commands_of(steps):
        program = words[0].rpartition("/")[2]
        if program == "tft":
            command = group.commands.get(words[1])
            options = {name for one in (command.params if command else ()) for name in one.opts}
            unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
            found += [f"no command {words[1]}"] if command is None else [f"{words[1]} has no {one}" for one in unknown]
            try:
                if command is not None and not unknown:
                    command.make_context(words[1], words[2:])
            except Exception as error:
                found.append(f"{' '.join(words)}: {error}")
        elif program == "make":
            found += [f"no target {word}" for word in words[1:] if word not in targets]
        elif program == "python":
            paths = [word for word in words if word.endswith(".py")]
            found += [f"no file {path}" for path in paths if not (ROOT / path).is_file()]
        elif program != "test":
            found.append(f"{program} is no command of ours")
    return found


def test_everything_the_workflow_names_is_there() -> None:
    assert problems(WORKFLOW.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("--warmup 20", "--warm-up 20", "bench has no --warm-up"),
        ("--n 200", "--n many", "bench --experiment demo --warmup 20 --n many"),
        ("tft drift", "tft drifts", "no command drifts"),
        ("make setup", "make install", "no target install"),
        ("test_drift.py", "test_drifts.py", "no file tft_pipeline_tests/domain/test_drifts.py"),
        ("actions/checkout@v4", "actions/checkout@main", "actions/checkout@main is not pinned"),
        ("make demo", "curl example.org", "curl is no command of ours"),
    ],
)
def test_the_check_finds_what_it_is_for(old: str, new: str, words: str) -> None:
    text = WORKFLOW.read_text()
    assert old in text
    assert any(words in problem for problem in problems(text.replace(old, new)))


def test_it_measures_latency_and_drift_by_the_guides_flags() -> None:
    commands = [" ".join(words[1:]) for words in commands_of(steps_of(WORKFLOW.read_text())) if "tft" in words[0]]
    assert any(line.startswith("bench") and "--warmup" in line and "--n" in line for line in commands)
    assert any(line.startswith("drift") and "--snapshot" in line and "--recent-days" in line for line in commands)


def test_it_reads_results_where_the_demonstration_leaves_them() -> None:
    text = WORKFLOW.read_text()
    named = set(re.findall(r"data/experiments/(\w+)/(\w+)", text))
    layout = Layout(Path("data"))
    assert {name for name, _ in named} == {"demo"}
    assert {asset for _, asset in named} <= {*STEPS, layout.models("demo").name}


def test_it_needs_no_secret_and_may_only_read() -> None:
    text = WORKFLOW.read_text()
    assert "secrets" not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
