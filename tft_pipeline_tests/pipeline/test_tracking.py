"""MLflow gets every fold when it answers, and costs nothing but a warning when it does not."""

import json
import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.tracking import mirror_waiting
from tft_pipeline.storage.releases import release_ids
from tft_pipeline_tests.conftest import Workbench

FOLD = "f2021-03-12"


def client(bench: Workbench) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{bench.layout.mlflow_database}")


def test_each_fold_is_a_run_with_its_parameters_epochs_and_hashes(finished: Workbench) -> None:
    store = client(finished)
    experiment = store.get_experiment_by_name("small")
    assert experiment is not None
    runs = {run.info.run_name: run for run in store.search_runs([experiment.experiment_id])}
    expected = [f"{phase} {fold}" for phase in ("exploration", "production") for fold in finished.folds(phase)]
    expected += [f"report {finished.artifact('snapshot').name}"]
    expected += [f"release {name}" for name in release_ids(finished.layout.models("small"))]
    assert sorted(runs) == sorted(expected)
    network = json.loads((finished.artifact("production_fold", FOLD) / "network.json").read_text())
    run = runs[f"production {FOLD}"]
    assert run.data.params["network.hidden"] == str(network["network"]["hidden"])
    losses = store.get_metric_history(run.info.run_id, "validation_loss")
    assert [m.value for m in losses] == pytest.approx([row["validation_loss"] for row in network["history"]])
    assert run.info.status == "FINISHED"


def test_nothing_is_written_to_the_working_directory(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    somewhere = finished.folder / "elsewhere"
    somewhere.mkdir()
    monkeypatch.chdir(somewhere)
    result = materialise_asset(finished.file, "production_fold", partition=FOLD, downstream=False, report=print)
    assert not result["failed"]
    assert list(somewhere.iterdir()) == []


@pytest.mark.fault("mlflow_down")
def test_a_dead_mlflow_leaves_the_fold_done_and_the_journal_waiting_until_it_is_back(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = materialise_asset(finished.file, "production_fold", partition=FOLD, downstream=False, report=print)
    assert not result["failed"]
    tracking = finished.layout.tracking("small")
    (waiting,) = tracking.glob("*.jsonl")
    rows = [json.loads(line) for line in waiting.read_text().splitlines()]
    assert [row["kind"] for row in rows][-1] == "fold"

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert mirror_waiting(finished.layout, "small") is None
    assert not list(tracking.glob("*.jsonl"))
    experiment = client(finished).get_experiment_by_name("small")
    assert experiment is not None
    names = [run.info.run_name for run in client(finished).search_runs([experiment.experiment_id])]
    assert names.count(f"production {FOLD}") == 2


@pytest.mark.fault("kill_run")
def test_the_journal_of_a_fold_that_died_is_not_mirrored_as_finished(finished: Workbench) -> None:
    path: Path = finished.layout.tracking("small") / "f2021-01-15-deadbeef.jsonl"
    path.write_text(json.dumps({"kind": "epoch", "at_ms": 1, "epoch": 0, "train_loss": 1.0}) + "\n")
    assert mirror_waiting(finished.layout, "small") is None
    assert path.exists()
