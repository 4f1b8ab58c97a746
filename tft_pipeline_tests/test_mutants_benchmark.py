"""benchmarks/mutants.py with mutmut itself, on a package of one function. Not here: the page (`test_quality_page`)."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = '''"""One function."""


def refusal_of_dates(day: int) -> bool:
    return day < 2


def asked_by_nobody(day: int) -> int:
    return day + 1
'''
TEST = """from tft_pipeline.domain.dates import refusal_of_dates


def test_days() -> None:
    assert refusal_of_dates(1) and not refusal_of_dates(7)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with the settings of this one; its only test says nothing of the days 2 to 6."""
    for name in ("tft_pipeline/domain", "tft_pipeline_tests/domain", "experiments", "data/sample", "docs"):
        (tmp_path / name).mkdir(parents=True)
    for package in ("tft_pipeline", "tft_pipeline/domain"):
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "tft_pipeline/domain/dates.py").write_text(CODE)
    (tmp_path / "tft_pipeline_tests/domain/test_dates.py").write_text(TEST)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "docs/quality.md").write_text("<!-- measured --><!-- /measured -->")
    return tmp_path


@pytest.fixture
def mutants(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("mutants")
    monkeypatch.setattr(module, "ROOT", project)
    for name in ("STORED", "PAGE"):
        monkeypatch.setattr(module.quality, name, project / "docs" / getattr(module.quality, name).name)
    return module


@pytest.mark.slow
def test_what_a_test_notices_is_caught_and_what_none_does_is_named(
    mutants: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "argv", ["mutants.py", "--workers", "1", "--folder", str(project / "work")])
    mutants.main()
    stored = json.loads((project / "docs/quality.json").read_text())["mutants"]
    became = {tuple(change["after"]): stored["outcomes"][name] for name, change in stored["changes"].items()}
    assert became.pop(("return day <= 2",)) == "survived"
    assert became.pop(("return day < 3",)) == "survived"
    assert set(became.values()) == {"no tests"}
    assert stored["population"] == len(stored["outcomes"])
    page = (project / "docs/quality.md").read_text()
    assert "| `dates.refusal_of_dates` | `` return day < 2 `` | `` return day <= 2 `` | not caught |" in page
