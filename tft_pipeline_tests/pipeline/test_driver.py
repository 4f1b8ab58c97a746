"""Workers of a run: which experiment they compute, and what becomes of them when the run is interrupted."""

import multiprocessing
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.pipeline import driver
from tft_pipeline.pipeline.driver import Driver
from tft_pipeline.pipeline.runs import RunOutcome
from tft_pipeline_tests.conftest import Workbench

SLEEP_SECONDS = 30.0


def outcome(key: list[str], partition: str, _parent: str | None) -> RunOutcome:
    """Of a fold that takes no time; one that is named by a path takes long and leaves a note there."""
    if partition.startswith("/"):
        time.sleep(SLEEP_SECONDS)
        Path(partition).touch()
    return RunOutcome("run", True, "/".join(key), partition, "", 0.0)


def set_up(_file: object, _home: str) -> None:
    """Nothing to load."""


def test_workers_compute_the_experiment_that_the_run_read_whatever_its_file_says_by_now(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pool(_workers: int, setup: Callable[..., None], arguments: tuple[Any, ...]) -> ThreadPoolExecutor:
        setup, arguments = pickle.loads(pickle.dumps((setup, arguments)))
        return ThreadPoolExecutor(1, initializer=setup, initargs=arguments)

    loaded: list[Any] = []
    monkeypatch.setattr(driver, "n_workers", lambda _: 2)
    monkeypatch.setattr(driver, "process_pool", pool)
    monkeypatch.setattr(driver, "_run_fold", outcome)
    monkeypatch.setattr(driver, "open_instance", lambda _: None)
    monkeypatch.setattr("tft_pipeline.pipeline.factory.build_definitions", lambda files, _layout: loaded.extend(files))
    with finished.instance() as instance:
        run = Driver(graph=finished.graph, definitions=finished.definitions, instance=instance, report=str)
        asked = run.graph.file
        finished.file.write_text(finished.file.read_text().replace("seed: ", "seed: 9"))
        outcomes = run._in_processes(run.graph.key("production_fold"), ["a", "b"])
    assert all(one.ok for one in outcomes)
    assert loaded == [asked]


def test_an_interrupted_run_does_not_wait_for_the_folds_in_training(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(_line: str) -> None:
        raise KeyboardInterrupt

    note = tmp_path / "waited"
    monkeypatch.setattr(driver, "n_workers", lambda _: 2)
    monkeypatch.setattr(driver, "_run_fold", outcome)
    monkeypatch.setattr(driver, "_load_worker", set_up)
    with finished.instance() as instance:
        run = Driver(graph=finished.graph, definitions=finished.definitions, instance=instance, report=interrupted)
        with pytest.raises(KeyboardInterrupt):
            run._in_processes(dg.AssetKey(["small", "production_fold"]), ["a", str(note)])
    assert not note.exists()
    assert not multiprocessing.active_children()
