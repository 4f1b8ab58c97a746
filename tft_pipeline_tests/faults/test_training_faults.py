"""Folds that go wrong while they train, in the real graph: a poisoned batch, no memory, an MLflow that never answers."""

import dataclasses
import resource
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
import torch

from tft_pipeline.model import fit as fitting
from tft_pipeline.model.lightning import TftModule
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.tracking import mirror_waiting
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.fold_bundles import read_fold_bundle, weights_sha256
from tft_pipeline.storage.releases import release_ids
from tft_pipeline_tests.conftest import DOWNSTREAM, Workbench

HANGING_SECONDS = 300.0
"""Nothing here takes as long on any machine; what never answers would."""
pytestmark = pytest.mark.slow


def weights(bench: Workbench, key: str) -> str:
    artifact = read_artifact(bench.layout.artifact("small", "production_fold", key))
    return weights_sha256(read_fold_bundle(artifact).fitted)


def materialise(bench: Workbench, key: str) -> dict[str, Any]:
    return materialise_asset(bench.file, "production_fold", partition=key, downstream=False, report=bench.lines.append)


def in_fold(monkeypatch: pytest.MonkeyPatch, key: str, spoil: Callable[[TftModule, Any], Any]) -> None:
    """Every window of the training batches of one fold passes through `spoil(module, windows)`."""
    fit_fold, windows_of = fitting.fit_fold, TftModule.windows_of
    now: list[str] = []

    def fit(panel: Any, fold: Any, **given: Any) -> Any:
        now.append(fold.key)
        try:
            return fit_fold(panel, fold, **given)
        finally:
            now.pop()

    def windows(module: TftModule, bars: torch.Tensor) -> Any:
        made = windows_of(module, bars)
        return spoil(module, made) if now == [key] and module.training else made

    monkeypatch.setattr(fitting, "fit_fold", fit)
    monkeypatch.setattr(TftModule, "windows_of", windows)


def status_of_last_run(bench: Workbench) -> dg.DagsterRunStatus:
    with bench.instance() as instance:
        return instance.get_runs(limit=1)[0].status


@pytest.mark.fault("nan_loss", "failed_fold")
def test_a_fold_with_a_poisoned_batch_fails_alone_and_nothing_is_released(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = finished.folds()
    poisoned, before = keys[1], {key: weights(finished, key) for key in keys}
    for key in keys:
        shutil.rmtree(finished.layout.artifact("small", "production_fold", key))
    models, counts = finished.layout.models("small"), finished.materialisations()
    released = release_ids(models), linked_release(models)
    n_batches: list[int] = []

    def poison(module: TftModule, made: Any) -> Any:
        n_batches.append(1)
        # the second batch of the second epoch, so that an epoch is behind it
        if module.epoch == 1 and len(n_batches) % 2 == 0:
            return dataclasses.replace(made, values=torch.full_like(made.values, torch.inf))
        return made

    with monkeypatch.context() as patch:
        in_fold(patch, poisoned, poison)
        result = finished.run(resume=True)
    ((failed),) = result["failed"]
    assert (failed["asset"], failed["partition"]) == ("small/production_fold", poisoned)
    assert "loss is nan at epoch 1" in failed["reason"]
    assert result["resume"].endswith("--resume")
    grown = {name for name, count in finished.materialisations().items() if count > counts.get(name, 0)}
    assert {("production_fold", key) for key in keys if key != poisoned} <= grown
    assert not {name for name, _ in grown} & DOWNSTREAM
    assert ("production_fold", poisoned) not in grown
    assert {key: weights(finished, key) for key in keys if key != poisoned} == {
        key: sha for key, sha in before.items() if key != poisoned
    }
    assert (release_ids(models), linked_release(models)) == released

    assert not finished.run(resume=True)["failed"]
    assert {key: weights(finished, key) for key in keys} == before


@pytest.mark.fault("out_of_memory", "resume_equals")
def test_a_fold_that_runs_out_of_memory_is_a_failure_and_goes_on_from_its_last_epoch_to_the_same_bits(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = finished.folds()[1]
    before = weights(finished, key)
    state = finished.layout.training_state("small", "production", key)

    def exhaust(module: TftModule, made: Any) -> Any:
        if module.epoch == 1:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), hard))
            try:
                torch.empty(1 << 30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        return made

    with monkeypatch.context() as patch:
        in_fold(patch, key, exhaust)
        result = materialise(finished, key)
    (failed,) = result["failed"]
    assert "can't allocate memory" in failed["reason"]
    assert status_of_last_run(finished) == dg.DagsterRunStatus.FAILURE
    assert state.is_file(), "the state of the epoch before is kept"

    with caplog.at_level("INFO", "tft_pipeline"):
        assert not materialise(finished, key)["failed"]
    assert "goes on after epoch 0" in caplog.text
    assert weights(finished, key) == before
    assert not state.exists()


@pytest.mark.fault("mlflow_down")
def test_an_mlflow_that_never_answers_does_not_hang_a_fold_and_is_told_later(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = finished.folds()[1]
    before, tracking = weights(finished, key), finished.layout.tracking("small")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        done: Future[dict[str, Any]] = Future()
        Thread(target=lambda: done.set_result(materialise(finished, key)), daemon=True).start()
        assert not done.result(HANGING_SECONDS)["failed"]
    assert weights(finished, key) == before
    (waiting,) = tracking.glob("*.jsonl")

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert mirror_waiting(finished.layout, "small") is None
    assert not waiting.exists()
    assert waiting.with_suffix(".mirrored").is_file()
