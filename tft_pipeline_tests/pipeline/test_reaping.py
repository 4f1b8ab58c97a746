"""Runs whose process is gone are recorded as failed; others are left alone. What the daemon then tries again."""

import os
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import should_retry

from tft_pipeline.pipeline.reaping import SENSOR, reap, reaper
from tft_pipeline.pipeline.run_process import HOST, OF_RUN, PID, STARTED, process_is_gone, process_tags, started
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
