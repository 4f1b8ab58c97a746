"""Runs whose process is gone are recorded as failed; others are left alone. What the daemon then tries again."""

import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import cast

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.workspace.context import BaseWorkspaceRequestContext
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import should_retry
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from tft_pipeline.pipeline.reaping import SENSOR, reap, reaper
from tft_pipeline.pipeline.run_process import (
    HOST,
    OF_RUN,
    PID,
    STARTED,
    nested_tags,
    process_is_gone,
    process_tags,
    started,
)
from tft_pipeline.pipeline.run_queue import QUEUED
from tft_pipeline.pipeline.runs import QUIET, materialise, open_instance
from tft_pipeline.storage.layout import Layout

pytestmark = pytest.mark.fault("stale_run")
RUN = "11111111-1111-1111-1111-111111111111"


@dg.asset
def fails() -> None:
    raise ValueError("bad bars")


@dg.asset
def works() -> None:
    """Nothing."""


DEFINITIONS = dg.Definitions(assets=[fails, works])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance with the project's settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        with open_instance(Layout(tmp_path_factory.mktemp("reaping"))) as made:
            yield made


@pytest.fixture
def instance(home: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """Without the run that the test makes, afterwards."""
    yield home
    if home.has_run(RUN):
        home.delete_run(RUN)


def _unfinished(instance: dg.DagsterInstance, tags: dict[str, str], status: str = "STARTED") -> str:
    job = DEFINITIONS.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, run_id=RUN, tags=tags, status=dg.DagsterRunStatus(status))
    return run.run_id


def _status(instance: dg.DagsterInstance) -> str:
    run = instance.get_run_by_id(RUN)
    assert run is not None
    return run.status.value


def _ended() -> dict[str, str]:
    """Tags of a process that has ended and that nobody waited for yet, then of one that is gone."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process_tags(RUN) | {PID: str(process.pid)}


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_run_whose_process_is_gone_is_recorded_as_ended_once(status: str, instance: dg.DagsterInstance) -> None:
    run_id = _unfinished(instance, _ended(), status)
    (line,) = reap(instance)
    assert run_id[:8] in line
    assert _status(instance) == ("CANCELED" if status == "CANCELING" else "FAILURE")
    said = [entry.message for entry in instance.all_logs(run_id)]
    assert any("is gone" in message and "--resume" in message for message in said)
    assert reap(instance) == []


@pytest.mark.parametrize(
    "tags",
    [
        process_tags(RUN),
        _ended() | {HOST: "another-machine"},
        _ended() | {OF_RUN: "the run before, whose tags were inherited"},
        {},
    ],
    ids=["it lives", "other machine", "inherited", "no tags"],
)
def test_every_other_run_is_left_alone(tags: dict[str, str], instance: dg.DagsterInstance) -> None:
    _unfinished(instance, tags)
    assert reap(instance) == []
    assert _status(instance) == "STARTED"


@pytest.fixture
def parent(instance: dg.DagsterInstance) -> Iterator[Callable[[str], str]]:
    """A run on another machine that another one may be part of."""
    made: list[str] = []

    def make(status: str) -> str:
        job = DEFINITIONS.resolve_implicit_global_asset_job_def()
        made.append(instance.create_run_for_job(job, status=dg.DagsterRunStatus(status)).run_id)
        return made[-1]

    yield make
    for run_id in made:
        instance.delete_run(run_id)


@pytest.mark.parametrize(("status", "after"), [("FAILURE", "FAILURE"), ("SUCCESS", "FAILURE"), ("STARTED", "STARTED")])
def test_a_run_on_another_machine_ends_with_the_run_it_is_part_of(
    status: str, after: str, instance: dg.DagsterInstance, parent: Callable[[str], str]
) -> None:
    _unfinished(instance, process_tags(RUN) | {HOST: "another-machine"} | nested_tags(RUN, parent(status)))
    assert len(reap(instance)) == (after == "FAILURE")
    assert _status(instance) == after


def test_a_part_that_this_machine_still_computes_goes_on_though_the_whole_was_recorded_as_ended(
    instance: dg.DagsterInstance, parent: Callable[[str], str]
) -> None:
    _unfinished(instance, process_tags(RUN) | nested_tags(RUN, parent("CANCELED")))
    assert reap(instance) == []
    assert _status(instance) == "STARTED"


def test_another_try_of_a_failed_run_is_no_part_of_it(
    instance: dg.DagsterInstance, parent: Callable[[str], str]
) -> None:
    inherited = nested_tags("the run before, whose tags were inherited", parent("FAILURE"))
    _unfinished(instance, process_tags(RUN) | {HOST: "another-machine"} | inherited)
    assert reap(instance) == []


@pytest.mark.parametrize(
    ("under_way", "launched"),
    [("nested", True), ("queued", False), ("dead", True)],
    ids=["runs that the queue did not launch", "runs that it did", "dead ones that were reaped"],
)
def test_the_queue_counts_the_living_runs_that_it_launched(
    under_way: str, launched: bool, instance: dg.DagsterInstance
) -> None:
    job = DEFINITIONS.resolve_implicit_global_asset_job_def()
    before = [
        instance.create_run_for_job(job, run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED) for _ in range(2)
    ]
    for one in before:
        tags = process_tags(one.run_id) if under_way != "dead" else _ended() | {OF_RUN: one.run_id}
        instance.add_run_tags(one.run_id, tags | ({} if under_way == "nested" else {QUEUED: "yes"}))
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "all"), "all")
    asked = instance.create_run_for_job(job, run_id=RUN, remote_job_origin=origin)
    try:
        coordinator = instance.run_coordinator
        assert coordinator is not None
        coordinator.submit_run(SubmitRunContext(asked, cast(BaseWorkspaceRequestContext, None)))
        waiting = instance.get_run_by_id(RUN)
        assert waiting is not None
        assert (waiting.status, waiting.tags[QUEUED]) == (dg.DagsterRunStatus.QUEUED, "yes")
        reap(instance)
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=5)
        daemon._logger = logging.getLogger(__name__)
        found = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), fixed_iteration_time=None)
        assert [run.run_id for run in found] == ([RUN] if launched else [])
    finally:
        for run in before:
            instance.delete_run(run.run_id)


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(instance: dg.DagsterInstance) -> None:
    _unfinished(instance, process_tags(RUN) | {STARTED: "1@another boot"})
    assert len(reap(instance)) == 1


def test_a_process_that_nobody_waited_for_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tags = process_tags(RUN) | {PID: str(process.pid), STARTED: started(process.pid) or ""}
    assert not process_is_gone(tags)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_is_gone(tags)  # a zombie until it is waited for
    process.communicate()
    assert process_is_gone(tags)


def test_a_run_of_the_command_line_says_which_process_executes_it(instance: dg.DagsterInstance) -> None:
    outcome = materialise(DEFINITIONS, instance, [dg.AssetKey("works")])
    run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert {name: run.tags[name] for name in process_tags(RUN)} == process_tags(outcome.run_id)


def test_the_sensor_is_on_and_tells_what_it_did(instance: dg.DagsterInstance) -> None:
    _unfinished(instance, _ended())
    sensor = reaper()
    assert (sensor.name, sensor.default_status) == (SENSOR, dg.DefaultSensorStatus.RUNNING)
    told = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(told, dg.SkipReason)
    assert RUN[:8] in (told.skip_message or "")
    assert _status(instance) == "FAILURE"


@pytest.mark.fault("transient_fault")
def test_the_daemon_tries_a_run_again_whose_process_died_and_no_run_with_a_failed_step(
    instance: dg.DagsterInstance,
) -> None:
    _unfinished(instance, _ended())
    reap(instance)
    job = DEFINITIONS.resolve_implicit_global_asset_job_def()
    failed = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("fails")], run_config=QUIET, raise_on_error=False
    )
    ended = materialise(DEFINITIONS, instance, [dg.AssetKey("fails")])
    again = {}
    for name, run_id in {"died": RUN, "failed": failed.run_id, "tft": ended.run_id}.items():
        run = instance.get_run_by_id(run_id)
        assert run is not None
        again[name] = should_retry(run, instance)
    assert again == {"died": True, "failed": False, "tft": False}
