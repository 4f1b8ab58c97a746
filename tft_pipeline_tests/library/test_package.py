"""`import tft_pipeline`: light, every public name there, and no name or argument changed without the page saying so."""

import ast
import json
import re
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import tft_pipeline
from tft_pipeline_tests.library.signatures import public_signatures, signature

ROOT = Path(tft_pipeline.__file__).parents[1]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
LIMIT_S = 0.05
HEAVY = (
    "torch",
    "polars",
    "numpy",
    "scipy",
    "dagster",
    "pydantic",
    "lightning",
    "mlflow",
    "lightgbm",
    "tft_pipeline.domain",
)


def fresh(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_and_takes_no_time() -> None:
    code = (
        "import time, sys; began = time.process_time()\n"
        "import tft_pipeline\n"
        f"took = time.process_time() - began\n"
        f"import json; print(json.dumps([took, [name for name in {HEAVY} if name in sys.modules], dir(tft_pipeline)]))"
    )
    runs = [json.loads(fresh(code)) for _ in range(3)]
    assert statistics.median(took for took, _, _ in runs) < LIMIT_S
    assert [loaded for _, loaded, _ in runs] == [[]] * 3
    assert set(runs[0][2]) >= set(tft_pipeline.__all__)


def test_a_sharpe_ratio_needs_neither_torch_nor_dagster() -> None:
    code = (
        "import json, sys\nfrom tft_pipeline import honest_sharpe, plan_folds, new_experiment\n"
        "honest_sharpe([0.01, -0.02] * 9, bars_per_year=252, trials=2)\n"
        "print(json.dumps([name for name in ('torch', 'dagster', 'lightning', 'mlflow') if name in sys.modules]))"
    )
    assert json.loads(fresh(code)) == []


def test_every_public_name_is_there_and_known_to_type_checkers() -> None:
    tree = ast.parse(Path(tft_pipeline.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    places = {name: f"tft_pipeline.{place}" for name, place in vars(tft_pipeline)["_PLACES"].items()}
    assert places == typed
    assert set(typed) | {"__version__"} == set(tft_pipeline.__all__)
    assert tft_pipeline.__all__ == sorted(tft_pipeline.__all__)
    for name in typed:
        assert getattr(tft_pipeline, name).__name__ == name
    assert tft_pipeline.__version__ == version("tft-pipeline")


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'walk_backward'; it has BarsError, .*walk_forward"):
        getattr(tft_pipeline, "walk_backward")  # noqa: B009, a type checker would say so first
    with pytest.raises(ImportError):
        exec("from tft_pipeline import walk_backward")


def test_the_page_lists_every_name_with_its_arguments() -> None:
    (listed,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)
    assert listed.splitlines() == public_signatures(), (
        "the API changed: if on purpose, change docs/library.md, and say so in CHANGELOG.md"
    )


def test_a_changed_argument_changes_its_line() -> None:
    def one(a: int, *, b: "str | None" = None) -> "list[int]":
        return [a]

    assert signature(one) == "(a: int, *, b: str | None=None) -> list[int]"  # type: ignore[arg-type]


def test_every_public_function_documents_arguments_errors_and_an_example() -> None:
    functions = [
        tft_pipeline.honest_sharpe,
        tft_pipeline.load_bundle,
        tft_pipeline.new_experiment,
        tft_pipeline.walk_forward,
    ]
    for function in functions:
        text = function.__doc__ or ""
        assert all(part in text for part in ("Args:", "Raises:", "Example:", "Source:")), function.__name__


def test_the_marker_of_types_is_packaged() -> None:
    assert (ROOT / "tft_pipeline" / "py.typed").is_file()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
