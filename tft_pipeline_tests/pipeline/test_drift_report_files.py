"""The report file of a whole run on a day that a night was judged: the night's record, or the run's own where it is damaged."""

import json
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.pipeline.assets.drift import write_reported
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.conftest import small_experiment
from tft_pipeline_tests.object_stores import writer

DAY = date(2021, 8, 10)
RECORD = DriftRecord.model_validate(
    {
        "fold": "f",
        "verdict": "stable",
        "n_reference": 9,
        "n_recent": 2,
        "rows": ({"feature": "a", "psi": 0.1},),
        "recent": {"last": f"{DAY}T00:00:00+00:00"},
        "detail": {},
    }
)


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentGraph:
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFT_STORE", raising=False)
    return ExperimentGraph(read_experiment(small_experiment(tmp_path)), Layout(tmp_path / "home"))


def night(graph: ExperimentGraph, content: str) -> Path:
    root = graph.layout.artifact("small", "drift_night", str(DAY))
    return write_artifact(root, writer({REPORT_FILE: content.encode()})).path(REPORT_FILE)


def verdict(graph: ExperimentGraph, *, judged: date | None = None) -> str:
    """What the file says after a record was reported."""
    path = write_reported(graph, RECORD, night=judged, log=dg.build_asset_context().log)
    assert path.name == f"drift_{DAY}.json"
    return str(json.loads(path.read_text())["verdict"])


def test_a_night_without_its_file_on_this_machine_gets_one_and_it_stays(graph: ExperimentGraph) -> None:
    night(graph, RECORD.model_copy(update={"verdict": "retrain"}).model_dump_json())
    assert verdict(graph) == "retrain"
    night(graph, RECORD.model_copy(update={"verdict": "investigate"}).model_dump_json())
    assert verdict(graph) == "retrain"
    assert verdict(graph, judged=DAY) == "stable"


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("damage", ["of another shape", "flipped", "gone"])
def test_a_night_that_cannot_be_read_gives_way_to_the_runs_own_record(graph: ExperimentGraph, damage: str) -> None:
    path = night(graph, "{}" if damage == "of another shape" else RECORD.model_dump_json())
    if damage == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    elif damage == "gone":
        path.unlink()
    assert verdict(graph) == "stable"
