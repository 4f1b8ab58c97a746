"""Two workers on "machines" of their own compute the folds of one experiment; one is killed in the middle of a fold.

Real servers of this machine: PostgreSQL, Redis, an S3 server, Dagster's code server and daemon, two Celery workers.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from tft_pipeline.pipeline.commands import run_experiment
from tft_pipeline.pipeline.partitions import DATA_VERSION_TAG
from tft_pipeline.pipeline.reaping import SENSOR
from tft_pipeline.pipeline.runs import open_instance
from tft_pipeline.storage.artifacts import Artifact, read_artifact
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout
from tft_pipeline_tests.conftest import Workbench, small_experiment

sys.path.append(str(PROJECT_ROOT / "benchmarks"))
import loopback
from loopback import DEPLOY, Loopback, MissingError, launch, wait_for

FOLD, AGGREGATE = dg.AssetKey(["small", "production_fold"]), dg.AssetKey(["small", "oos_portfolio"])
IMPATIENT = {
    "run_launcher": {"config": {"silence_seconds": 4}},
    "run_monitoring": {"poll_interval_seconds": 2},
    "run_coordinator": {"config": {"dequeue_interval_seconds": 1}},
}
"""A test does not wait for a minute's silence."""

pytestmark = pytest.mark.slow


@dataclass
class Story:
    """What happened.

    Attributes:
        at_work: fold -> worker, at the moment before the kill: steps that had begun and not ended.
        lost: run that the killed worker executed.
        runs: of the folds, oldest first.
    """

    machines: Loopback
    instance: dg.DagsterInstance
    folds: list[str]
    at_work: dict[str, str]
    lost: dg.DagsterRun
    runs: list[dg.DagsterRun]

    def version(self, key: dg.AssetKey, partition: str | None = None) -> str | None:
        """Data version of what was computed last."""
        return data_version(self.instance, key, partition)


def data_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    """Data version of what was computed last; None where nothing was."""
    asked = dg.AssetRecordsFilter(asset_key=key, asset_partitions=None if partition is None else [partition])
    records = instance.fetch_materializations(asked, limit=1).records
    if not records or records[0].asset_materialization is None:
        return None
    return (records[0].asset_materialization.tags or {})[DATA_VERSION_TAG]


@contextmanager
def on(machine: dict[str, str]) -> Iterator[None]:
    """This process has the variables of a machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in machine.items():
            patch.setenv(name, value)
        yield


def begun(instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun]:
    """Fold -> run whose step has begun and not ended."""
    started = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
    found = {}
    for run in started:
        said = [event.dagster_event_type for event in instance.all_logs(run.run_id, of_type=kinds)]
        if said == [dg.DagsterEventType.STEP_START]:
            found[run.tags["dagster/partition"]] = run
    return found


def switch_off(instance: dg.DagsterInstance, sensor: str) -> None:
    """The reaper sees that a process of this host is gone; other machines are other hosts, where it sees nothing."""
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(DEPLOY / "workspace.yaml")])) as workspace:
        location = workspace.create_request_context().get_code_location("tft_pipeline")
        one = location.get_repository("__repository__").get_sensor(sensor)
        instance.stop_sensor(one.get_remote_origin_id(), one.selector_id, one)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Folds on two workers; one is killed; the other computes everything that is left."""
    folder = tmp_path_factory.mktemp("machines")
    machines = Loopback(folder, small_experiment(folder / "files"), settings=IMPATIENT)
    try:
        loopback.postgresql_binaries(), loopback.redis_binary()
    except MissingError as error:
        pytest.skip(str(error))
    with machines.serving():
        machines.start_control()
        one = machines.start_worker("one")
        machines.start_worker("two")
        control = machines.environment("control")
        with on(control):
            answer = run_experiment(machines.experiment, resume=False, until="production_plan", report=print)
            assert not answer["failed"], answer
            machines.workers_ready("one", "two")
            with open_instance(Layout(Path(control["TFT_HOME"]))) as instance:
                switch_off(instance, SENSOR)
                folds = sorted(instance.get_dynamic_partitions("small_production_folds"))
                launch(instance, "small", "production_fold", folds)
                busy = wait_for("two folds at once", lambda: len(found := begun(instance)) == 2 and found)
                at_work = {fold: _celery_worker(instance, run) for fold, run in busy.items()}
                lost = next(busy[fold] for fold, worker in at_work.items() if worker.startswith("one@"))
                journals = Layout(Path(machines.environment("one")["TFT_HOME"])).tracking("small")
                wait_for("an epoch on machine one", lambda: list(journals.glob("*.jsonl")), pause=0.05)
                one.dies()
                wait_for("all folds", lambda: all(data_version(instance, FOLD, fold) for fold in folds), seconds=300)
                launch(instance, "small", "oos_portfolio", [None])
                wait_for("the aggregate", lambda: data_version(instance, AGGREGATE, None))
                runs = [run for run in instance.get_runs() if run.tags.get("dagster/partition") in folds]
                yield Story(machines, instance, folds, at_work, lost, runs[::-1])


def _celery_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    launcher: Any = instance.run_launcher
    return str(launcher.celery.backend.get_task_meta(run.tags["dagster-celery/task_id"])["result"]["hostname"])


def test_two_machines_compute_folds_at_the_same_time(story: Story) -> None:
    assert len(story.at_work) == 2
    assert {worker.split("@")[0] for worker in story.at_work.values()} == {"one", "two"}
    for machine in ("one", "two"):  # each worked in a folder of its own, with bars that it fetched from the store
        assert (story.machines.folder / machine / "experiments" / "small" / "features" / "current").is_symlink()


@pytest.mark.fault("broker_worker_killed")
def test_the_fold_of_a_killed_machine_is_computed_by_the_other(story: Story) -> None:
    fold = story.lost.tags["dagster/partition"]
    first, second = (run for run in story.runs if run.tags["dagster/partition"] == fold)
    assert first.run_id == story.lost.run_id
    assert first.status is dg.DagsterRunStatus.FAILURE
    said = [event.message for event in story.instance.all_logs(first.run_id)]
    assert any("worker one@" in line and "its process or its machine is gone" in line for line in said), said
    assert second.status is dg.DagsterRunStatus.SUCCESS
    assert second.tags["dagster/parent_run_id"] == first.run_id
    assert not (story.machines.folder / "one" / "experiments" / "small" / "production_fold" / fold / "current").exists()


@pytest.mark.fault("broker_worker_killed")
def test_every_other_fold_is_computed_once(story: Story) -> None:
    fold = story.lost.tags["dagster/partition"]
    others = [run.tags["dagster/partition"] for run in story.runs if run.tags["dagster/partition"] != fold]
    assert sorted(others) == [one for one in story.folds if one != fold]


@pytest.mark.fault("broker_worker_killed")
def test_the_result_is_that_of_one_machine_without_a_fault(story: Story, finished: Workbench, tmp_path: Path) -> None:
    assert story.folds == finished.folds()
    with finished.instance() as alone:
        for fold in story.folds:
            assert story.version(FOLD, fold) == data_version(alone, FOLD, fold)
        assert story.version(AGGREGATE) == data_version(alone, AGGREGATE, None)
    expected = read_artifact(finished.layout.artifact("small", "oos_portfolio"))
    home = tmp_path / "third"  # a machine that took no part finds it in the store
    with on({**story.machines.environment("third"), "TFT_HOME": str(home)}):
        found: Artifact = read_artifact(Layout(home).artifact("small", "oos_portfolio"))
    assert found.files == expected.files
    assert found.folder.is_relative_to(home)


def test_no_password_or_address_is_in_what_the_broker_was_given(story: Story) -> None:
    ref = story.instance.get_ref()
    assert story.machines.shared["TFT_BROKER"] not in str(ref)
    assert story.machines.shared["TFT_DAGSTER_STORAGE"] not in str(ref)


def test_a_run_asked_for_while_the_broker_is_down_fails_with_the_reason(story: Story) -> None:
    story.machines.processes["redis"].dies()
    with on(story.machines.environment("control")):
        run = launch(story.instance, "small", "oos_portfolio", [None])[None]

    def status() -> Any:
        found = story.instance.get_run_by_id(run)
        return found is not None and found.is_finished and found

    assert wait_for("the end of the run", status).status is dg.DagsterRunStatus.FAILURE
    engine = story.instance.all_logs(run, of_type=dg.DagsterEventType.ENGINE_EVENT)
    errors = [str(entry.get_dagster_event().engine_event_data.error) for entry in engine]
    assert any("Connection refused" in error for error in errors), errors
