"""Workers of a run: which experiment they compute, and what becomes of them when the run is interrupted or one of them dies."""

import multiprocessing
import os
import pickle
import signal
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.interrupts import capture_interrupts

from tft_pipeline.pipeline import driver
from tft_pipeline.pipeline.driver import Driver, PipelineFailedError
from tft_pipeline.pipeline.interrupts import StoppedError, stopping_on_signals
from tft_pipeline.pipeline.run_process import STARTED, process_tags
from tft_pipeline.pipeline.runs import RunOutcome
from tft_pipeline.storage.locks import run_holder
from tft_pipeline_tests.conftest import Workbench

SLEEP_SECONDS = 30.0
INTERRUPTED = "dagster._core.errors.DagsterExecutionInterruptedError"


def outcome(key: list[str], partition: str, _parent: str | None) -> RunOutcome:
    """Of a fold that takes no time; one that is named by a path takes long and leaves a note there; `z` kills its process, and
    `y` ends as one whose process alone got SIGTERM."""
    if partition == "z":
        os.kill(os.getpid(), signal.SIGKILL)
    if partition == "y":
        return RunOutcome("run", False, "/".join(key), partition, INTERRUPTED, 0.0)
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
    assert loaded == [asked, asked]


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


@pytest.mark.fault("kill_fold_worker")
def test_the_death_of_a_worker_fails_its_fold_alone_and_another_worker_takes_its_place(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(driver, "n_workers", lambda _: 2)
    monkeypatch.setattr(driver, "_run_fold", outcome)
    monkeypatch.setattr(driver, "_load_worker", set_up)
    key = dg.AssetKey(["small", "production_fold"])
    with finished.instance() as instance:
        runs = {partition: run_of_a_dead_process(instance, key, partition) for partition in ("a", "z")}
        run = Driver(graph=finished.graph, definitions=finished.definitions, instance=instance, report=said.append)
        outcomes = run._in_processes(key, ["a", "b", "y", "z"])
    assert sorted((one.partition, one.ok) for one in outcomes) == [("a", True), ("b", True), ("y", False), ("z", False)]
    assert {one.run_id for one in outcomes if one.partition == "z"} == {runs["z"]}
    died, asked = sorted((line for line in said if "FAILED" in line), reverse=True)
    assert "[z]" in died
    assert "its worker process died" in died
    assert "its worker process alone was asked to stop (SIGTERM)" in asked
    assert "Interrupted" not in asked
    assert "(4/4)" in said[-1]
    assert not multiprocessing.active_children()


def run_of_a_dead_process(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> str:
    """A run of a fold that a killed process has left open."""
    run_id = str(uuid.uuid4())
    tags = process_tags(run_id) | {STARTED: "1@another", "dagster/partition": partition}
    run = dg.DagsterRun("job", run_id, status=dg.DagsterRunStatus.STARTED, tags=tags, asset_selection={key})
    return instance.add_run(run).run_id


class DiesIdle(ThreadPoolExecutor):
    """A pool whose worker dies behind its first task, while it has nothing to do."""

    tasks = 0

    def submit(self, *arguments: Any) -> Any:  # type: ignore[override]
        self.tasks += 1
        if self.tasks > 1:
            raise BrokenProcessPool
        return super().submit(*arguments)


@pytest.mark.fault("kill_fold_worker")
def test_a_worker_that_dies_between_two_folds_is_replaced(finished: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "n_workers", lambda _: 2)
    monkeypatch.setattr(driver, "process_pool", lambda *_: DiesIdle(1))
    monkeypatch.setattr(driver, "_run_fold", outcome)
    with finished.instance() as instance:
        run = Driver(graph=finished.graph, definitions=finished.definitions, instance=instance, report=str)
        outcomes = run._in_processes(dg.AssetKey(["small", "production_fold"]), ["a", "b", "c", "d"])
    assert sorted((one.partition, one.ok) for one in outcomes) == [(name, True) for name in "abcd"]


def test_a_failure_names_its_run_where_it_had_one() -> None:
    begun = RunOutcome("0123456789", False, "small/production_fold", "f1", "it broke", 0.0)
    lines = str(PipelineFailedError([begun, replace(begun, run_id="")], "go on")).splitlines()
    assert lines[:2] == ["small/production_fold [f1]: it broke (run 01234567)", "small/production_fold [f1]: it broke"]


@pytest.mark.parametrize("interrupted_in", ["a step", "a moment that Dagster forgets"])
@pytest.mark.fault("sigterm")
def test_a_run_that_is_asked_to_stop_starts_no_further_step(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, interrupted_in: str
) -> None:
    started: list[str] = []

    def step(_definitions: object, _instance: object, keys: list[dg.AssetKey], **_: object) -> RunOutcome:
        started.append(keys[0].path[-1])
        if len(started) < 2:
            return RunOutcome("run", True, keys[0].to_user_string(), None, "", 0.0)
        if interrupted_in == "a step":
            return RunOutcome("run", False, keys[0].to_user_string(), None, "DagsterExecutionInterruptedError", 0.0)
        with capture_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
        return RunOutcome("run", True, keys[0].to_user_string(), None, "", 0.0)

    monkeypatch.setattr(driver, "materialise", step)
    with finished.instance() as instance:
        run = Driver(graph=finished.graph, definitions=finished.definitions, instance=instance, report=str)
        with pytest.raises(StoppedError), stopping_on_signals():
            run.run()
    assert started == ["snapshot", "feature_catalogue"]
    assert run_holder(finished.layout.run_lock("small")) is None


@pytest.mark.fault("two_writers")
def test_a_run_whose_lock_is_lost_starts_nothing_more_and_says_how_to_go_on(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def step(_definitions: object, _instance: object, keys: list[dg.AssetKey], **_: object) -> RunOutcome:
        started.append(keys[0].path[-1])
        finished.layout.run_lock("small").unlink()
        return RunOutcome("run", True, keys[0].to_user_string(), None, "", 0.0)

    monkeypatch.setattr(driver, "materialise", step)
    answer = finished.run()
    assert started == ["snapshot"]
    (failed,) = answer["failed"]
    assert failed["asset"] == "small/feature_catalogue"
    assert "not started: the lock's file" in failed["reason"]
    assert answer["resume"] == f"tft run {finished.file} --resume"


def test_a_run_that_goes_on_says_why_it_computes_each_step(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = {("targets", None): "its files are gone", ("production_fold", "f2021-03-12"): "its spec is another one"}
    monkeypatch.setattr(driver.Staleness, "why", lambda _self, asset, fold=None: reasons.get((asset, fold)))
    monkeypatch.setattr(
        driver,
        "materialise",
        lambda _definitions, _instance, keys, partition=None, **_: RunOutcome(
            "run", True, keys[0].to_user_string(), partition, "", 0.0
        ),
    )
    said: list[str] = []
    with finished.instance() as instance:
        Driver(
            graph=finished.graph, definitions=finished.definitions, instance=instance, report=said.append, resume=True
        ).run()
    assert [line for line in said if "runs, for" in line] == [
        "targets: runs, for its files are gone",
        "production_fold [f2021-03-12]: runs, for its spec is another one",
    ]
    assert "production_fold: 2 of 3 folds are current" in said
    assert said.count("features: current") == 1
