"""The documents say what is there: links, tree, commands, the picture of the graph, the sample's checksum; no machine's
own paths and hosts.
"""

import hashlib
import importlib.util
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
import typer
import yaml
from skfolio.datasets import load_sp500_dataset, load_sp500_index

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import Experiment, parse_experiment
from tft_pipeline.domain.folds import plan_folds
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.pipeline.guards import GUARDS
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "data" / "README.md", SAMPLE / "README.md", *(ROOT / "docs").rglob("*.md")])
EXPECTED = {"README.md", "ARCHITECTURE.md", "CONTEXT.md", "CONTRIBUTING.md", "CHANGELOG.md"}
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
README = TEXT[ROOT / "README.md"]

# The bracketed letters keep these patterns from finding themselves.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:hom[e]|User[s]|roo[t]|wor[k]|mn[t]|medi[a])/\w")
REGISTRY = re.compile(r"index[-_]ur[l]|find-link[s]|pythonhoste[d]|pypi\.or[g]|/simpl[e]/|artifactor[y]|devp[i]", re.I)


def named(page: Path) -> str:
    """Path of a page inside the checkout."""
    return str(page.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^[ ]*```{language}\n(.*?)^[ ]*```", text, re.M | re.S)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^[ ]*```.*?^[ ]*```", "", text, flags=re.M | re.S)


def code(text: str) -> list[str]:
    """Every command line and inline code span of a page."""
    lines = [line.split("  #")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
    return [*lines, *re.findall(r"`([^`\n]+)`", prose(text))]


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    broken = []
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


def unknown_commands(text: str) -> list[str]:
    """Commands `make ...` and `tft ...` of a page that the Makefile or the command line does not know."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    variables = set(re.findall(r"^([A-Z]+) \?=", (ROOT / "Makefile").read_text(), re.M))
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    unknown = []
    for line in code(text):
        words = line.split()
        if words[:1] == ["make"]:
            known = [word in targets or word.partition("=")[0] in variables for word in words[1:]]
            unknown += [] if all(known) else [line]
        elif words and words[0].split("/")[-1] == "tft" and len(words) > 1 and words[1:] != ["--help"]:
            command = group.commands.get(words[1])
            if isinstance(command, typer.core.TyperGroup):
                command = command.commands.get(words[2]) if len(words) > 2 else None
            options = {name for one in (command.params if command else ()) for name in one.opts}
            fine = command is not None and all(w in options for w in words if w.startswith("--"))
            unknown += [] if fine else [line]
    return unknown


def tree(text: str) -> list[str]:
    """Paths of an indented tree: two blanks a level, then the name, then two blanks and a remark."""
    found: list[str] = []
    folders: list[str] = []
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = re.split(r" {2,}", line.strip())[0]
        folders[depth:] = [name.rstrip("/")]
        found.append("/".join(folders))
    return found


def arrows(text: str) -> set[tuple[str, str]]:
    """Edges of a Mermaid flowchart; `a --> b --> c` is two."""
    chains = [re.split(r"\s*-->\s*", line.strip()) for line in text.splitlines() if "-->" in line]
    return {pair for chain in chains for pair in pairwise(chain)}


def tracked_text() -> dict[str, str]:
    """Text files that are, or would be, committed."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    texts = {}
    for name in sorted(filter(None, done.stdout.decode().split("\0"))):
        path = ROOT / name
        if path.is_file():
            content = path.read_bytes()
            if b"\0" not in content:
                texts[name] = content.decode("utf-8")
    return texts


@pytest.fixture(scope="module")
def demo() -> Experiment:
    """The shipped demonstration."""
    return read_experiment(ROOT / "experiments" / "demo.yaml").experiment


def test_the_pages_are_there() -> None:
    assert {named(page) for page in PAGES} >= EXPECTED | {"data/README.md", "data/sample/README.md"}
    assert len([page for page in PAGES if page.parent.name == "adr"]) >= 6


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, TEXT[page]) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist(page: Path) -> None:
    assert unknown_commands(TEXT[page]) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_paths_in_prose_exist(page: Path) -> None:
    spans = [span for span in code(TEXT[page]) if re.match(r"(tft_pipeline|tft_pipeline_tests|docs)/[\w./]+$", span)]
    assert [span for span in spans if not (ROOT / span).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_variables_of_the_environment_are_read_somewhere(page: Path) -> None:
    sources = [*(ROOT / "tft_pipeline").rglob("*.py"), *(ROOT / "deploy").glob("*.yaml"), ROOT / "Makefile"]
    known = set(re.findall(r"\b(?:TFT|MLFLOW)_[A-Z_]+\b", "\n".join(path.read_text() for path in sources)))
    assert set(re.findall(r"\b(?:TFT|MLFLOW)_[A-Z_]+\b", TEXT[page])) <= known


def test_decisions_are_numbered_without_gaps() -> None:
    pages = [page for page in PAGES if page.parent.name == "adr"]
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert [int(TEXT[page].split()[1].rstrip(".")) for page in pages] == list(range(1, len(pages) + 1))


def test_the_quick_start_is_two_commands() -> None:
    first = blocks(README, "sh")[0].splitlines()
    assert [line.split("#")[0].split() for line in first] == [["make", "demo"], ["make", "test"]]


def test_the_tree_in_the_readme_names_what_is_there() -> None:
    (text,) = blocks(README, "text")
    paths = tree(text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    layers = {path.name for path in (ROOT / "tft_pipeline").iterdir() if (path / "__init__.py").is_file()}
    assert layers <= {path.split("/")[1] for path in paths if path.startswith("tft_pipeline/")}


def test_the_picture_in_the_readme_is_the_graph(tmp_path: Path) -> None:
    (text,) = blocks(README, "mermaid")
    file = read_experiment(ROOT / "experiments" / "demo.yaml")
    graph = build_definitions([file], Layout(tmp_path)).resolve_asset_graph()
    nodes = list(graph.asset_nodes)
    drawn = arrows(text)
    assert {name for pair in drawn for name in pair} == {node.key.path[-1] for node in nodes}
    assert drawn <= {(parent.path[-1], node.key.path[-1]) for node in nodes for parent in node.parent_keys}


def test_the_page_on_honesty_lists_every_guard_and_every_limit_of_go(demo: Experiment) -> None:
    spans = set(code(TEXT[ROOT / "docs" / "honesty.md"]))
    assert {guard.name for guard in GUARDS} <= spans
    limits = {f"evaluation.{name}" for name in type(demo.evaluation).model_fields} - {"evaluation.momentum_lookback"}
    assert limits <= spans


def test_the_architecture_names_every_asset(demo: Experiment, tmp_path: Path) -> None:
    file = read_experiment(ROOT / "experiments" / "demo.yaml")
    graph = build_definitions([file], Layout(tmp_path)).resolve_asset_graph()
    spans = set(code(TEXT[ROOT / "ARCHITECTURE.md"]))
    assert {node.key.path[-1] for node in graph.asset_nodes} <= spans


def test_the_folds_named_in_commands_are_folds_of_the_demonstration(demo: Experiment) -> None:
    calendar = pl.read_parquet(SAMPLE / "us_equities_daily.parquet")["timestamp"].unique().sort().to_list()
    start = next(bar for bar, stamp in enumerate(calendar) if stamp.date() >= demo.periods.production_start)
    plan = demo.production.folds.plan(purge=demo.periods.purge, horizon=demo.target.horizon)
    folds = plan_folds(calendar, plan, first_bar=0, stop_bar=len(calendar), first_test=start, intraday=False)
    said = set(re.findall(r"\bf\d{4}-\d\d-\d\d\b", README + TEXT[ROOT / "ARCHITECTURE.md"]))
    assert said
    assert said <= {fold.key for fold in folds}


def test_the_experiment_in_the_readme_is_valid() -> None:
    (text,) = blocks(README, "yaml")
    assert parse_experiment(yaml.safe_load(text), origin="README.md").name == "mine"


def test_the_checksum_of_the_sample_is_the_one_in_its_readme() -> None:
    (stated,) = re.findall(r"sha256\s+([0-9a-f]{64})", TEXT[SAMPLE / "README.md"])
    assert hashlib.sha256((SAMPLE / "us_equities_daily.parquet").read_bytes()).hexdigest() == stated


def test_the_sample_is_what_its_script_makes_of_the_package() -> None:
    spec = importlib.util.spec_from_file_location("make_sample", SAMPLE / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = pl.concat([script.long_format(load_sp500_dataset()), script.long_format(load_sp500_index())])
    stored = pl.read_parquet(SAMPLE / "us_equities_daily.parquet")
    assert stored.equals(made.sort("symbol", "timestamp"))
    said = TEXT[SAMPLE / "README.md"]
    for fact in (f"{stored.height:,} rows", f"{stored['symbol'].n_unique()} symbols", "8,313 bars"):
        assert fact in said
    assert set(stored.group_by("symbol").len()["len"]) == {8313}
    assert all(f"`{column}`" in said for column in stored.columns)


def test_nothing_tracked_names_a_machine_or_a_registry() -> None:
    texts = tracked_text()
    assert "README.md" in texts
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line) or REGISTRY.search(line)
    ]
    assert found == []


def test_the_checks_find_what_they_are_for() -> None:
    page = ROOT / "README.md"
    assert broken_links(page, "[a](nowhere.md) [b](CONTEXT.md#no-such-heading) [c](CONTEXT.md#time)") == [
        "nowhere.md",
        "CONTEXT.md#no-such-heading",
    ]
    assert unknown_commands("`make dev PORT=1` `make dance` `tft run x --resume` `tft run x --fast` `tft fly`") == [
        "make dance",
        "tft run x --fast",
        "tft fly",
    ]
    assert tree("a/\n  b/   remark\n    c.py\n  d.py\ne") == ["a", "a/b", "a/b/c.py", "a/d.py", "e"]
    assert arrows("flowchart TD\n  a --> b --> c\n  a --> c") == {("a", "b"), ("b", "c"), ("a", "c")}
    assert MACHINE_PATH.search("see /" + "home/someone/x")
    assert REGISTRY.search("--extra-index" + "-url x")
    assert not MACHINE_PATH.search("experiments/home/x and https://a.b/work.html")
