"""The job of the UI, the switch, and what a night may not run beside."""

import dagster as dg
import pytest

from tft_pipeline.pipeline.reaping import SENSOR
from tft_pipeline.pipeline.runs import QUIET
from tft_pipeline.pipeline.schedules import beside_no_whole_run
from tft_pipeline.storage.locks import RunLockedError, run_lock
from tft_pipeline_tests.conftest import Workbench


def test_a_night_never_runs_inside_a_whole_run_nor_a_whole_run_beside_it(finished: Workbench) -> None:
    executor = beside_no_whole_run(finished.graph).executor_creation_fn(None)  # type: ignore[misc, arg-type]
    lock = finished.layout.run_lock("small")
    with run_lock(lock), pytest.raises(RunLockedError):
        next(iter(executor.execute(None, None)))  # type: ignore[arg-type]
    (job,) = [one for one in finished.definitions.jobs or () if one.name == "small_judge_night"]
    assert job.executor_def is not None
    assert job.executor_def.name == "beside_no_whole_run"


def test_the_job_run_everything_nests_its_runs_below_itself_and_keeps_what_is_current(finished: Workbench) -> None:
    before = finished.materialisations()
    config = {"ops": {"small_drive": {"config": {"resume": True}}}, **QUIET}
    with finished.instance() as instance:
        job = finished.definitions.resolve_job_def("small_run_everything")
        result = job.execute_in_process(instance=instance, run_config=config)
        assert result.success
        nested = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/parent_run_id": result.run_id}))
    assert len(nested) == 1
    after = finished.materialisations()
    assert {name for name in after if after[name] != before[name]} == {("snapshot", None)}


@pytest.mark.parametrize(("switch", "status"), [("on", "RUNNING"), ("off", "STOPPED")])
def test_one_switch_starts_every_schedule_and_sensor(
    switch: str, status: str, finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_AUTOMATION", switch)
    definitions = finished.definitions
    found = [one for one in (*(definitions.schedules or ()), *(definitions.sensors or ())) if one.name != SENSOR]
    assert len(found) == 3
    assert {one.default_status.value for one in found} == {status}


@pytest.mark.slow
def test_folds_run_in_two_processes_and_find_the_same_as_in_one(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [finished.artifact("production_fold", fold) / "predictions.parquet" for fold in finished.folds()]
    expected = [path.read_bytes() for path in files]
    before = finished.materialisations()
    monkeypatch.setenv("TFT_WORKERS", "2")
    assert not finished.run()["failed"]
    assert all(
        finished.materialisations()["production_fold", f] == before["production_fold", f] + 1 for f in finished.folds()
    )
    again = [finished.artifact("production_fold", fold) / "predictions.parquet" for fold in finished.folds()]
    assert [path.read_bytes() for path in again] == expected
