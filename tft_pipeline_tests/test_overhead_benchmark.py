"""The benchmark of overhead runs, and the tables of docs/scaling.md are those of its stored figures. No time is asserted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
STORED: dict[str, Any] = {
    "machine": {"cpu": "C", "cores": 2, "python": "3.11"},
    "load": {"median": 2.0, "max": 3.0, "n": 3, "cpu_s": 2.5},
    "graph": {
        "folds": 80,
        "workers": 2,
        "seconds": 160.0,
        "cpu_s": 200.0,
        "training_s": 20.0,
        "one_shot": {"median": 1.5, "max": 2.5, "n": 78},
        "stages_s": {"snapshot": 10.0, "production_fold": 100.0},
    },
    "fresh": {"median": 11.0, "max": 12.0, "n": 3, "cpu_s": 10.0},
    "workers": [
        {
            "workers": 1,
            "folds": 4,
            "stage_s": 30.0,
            "until_first_fold_s": 10.0,
            "training_s": 20.0,
            "folds_an_hour": 480.0,
        }
    ],
}


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("overhead")


def run(*words: str) -> dict[str, Any]:
    """The JSON that the script prints."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "overhead.py"), *words, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_table_sets_each_figure_beside_its_aim(overhead: ModuleType) -> None:
    lines = overhead.table(STORED).splitlines()
    assert "| a fold in the one-shot run, wall time less training | 1.50 s | 2.50 s |  | 3 s |" in lines
    assert "| a fold as a run of its own: `tft materialize` | 11.0 s | 12.0 s | 10.0 s | 15 s |" in lines
    assert "| loading `definitions` in a fresh process | 2.0 s | 3.0 s | 2.5 s | 4 s |" in lines
    graph = "| a whole graph with 80 folds and 2 workers, 20 s of training in it | 160 s |  | 200 s | 300 s |"
    assert graph in lines
    assert "| 1 | 4 | 30 s | 10 s | 20 s | 480 |" in lines


def test_the_model_adds_the_serial_part_to_the_rounds_of_folds(overhead: ModuleType) -> None:
    assert overhead.model(STORED) == (60.0, 5.0, 1.5)  # 160 - 100; 10 - 20 / 4
    lines = overhead.table(STORED).splitlines()
    one, eighty = 65 + 80 * 601.5, 65 + 601.5
    assert f"| 1 | {one / 3600:.1f} h | {3600 * 80 / one:.0f} | {48000 / one:.0%} |" in lines
    assert f"| 80 | {eighty / 3600:.1f} h | {3600 * 80 / eighty:.0f} | {600 / eighty:.0%} |" in lines


def test_progress_lines_tell_the_folds_and_their_seconds(overhead: ModuleType) -> None:
    lines = [
        (1.0, "production_fold [f1, f2]: runs, for it was never computed"),
        (2.0, "production_fold [f2] (1/2): done, 1.5 s"),
        (3.0, "production_fold [f1] (2/2): done, 0.5 s"),
        (4.0, ""),
    ]
    assert overhead.fold_lines(lines) == {"f2": 1.5, "f1": 0.5}


def test_the_tables_of_the_page_on_scaling_are_those_of_the_stored_figures(overhead: ModuleType) -> None:
    results = FOLDER / "overhead.json"
    block = overhead.table(json.loads(results.read_text())) if results.is_file() else "Not measured yet."
    assert overhead.inserted(PAGE, block) == PAGE


@pytest.mark.slow
def test_a_small_graph_is_measured_and_its_folds_told_apart_from_their_training() -> None:
    found = run("--only", "load", "graph", "--folds", "2", "--workers", "1", "--repeats", "1")
    assert found["load"].keys() == {"median", "max", "n", "cpu_s"}
    graph = found["graph"]
    assert (graph["folds"], graph["workers"], graph["one_shot"]["n"]) == (2, 1, 1)
    assert 0.0 < graph["training_s"] < graph["seconds"]
    assert graph["stages_s"]["production_fold"] > 0.0
    assert sum(graph["stages_s"].values()) < graph["seconds"]
