"""The job of the UI, and what starts by itself."""

from pathlib import Path

import dagster as dg
import pytest

from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.runs import QUIET
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline_tests.conftest import Workbench


def sensor_requests(bench: Workbench, verdict: str) -> list[dg.RunRequest]:
    """What the drift sensor asks for when the drift report has some verdict."""
    root = bench.layout.artifact("small", "drift_report")
    record = DriftRecord.model_validate_json((root / "current" / REPORT_FILE).read_text())
    text = record.model_copy(update={"verdict": verdict}).model_dump_json()

    def fill(folder: Path) -> None:
        (folder / REPORT_FILE).write_text(text)

    write_artifact(root, fill)
    with bench.instance() as instance:
        context = dg.build_sensor_context(instance=instance, definitions=bench.definitions)
        sensor = bench.definitions.get_repository_def().get_sensor_def("small_retrain_on_drift")
        data = sensor.evaluate_tick(context)
    return list(data.run_requests or ())


def test_the_drift_sensor_asks_for_a_run_only_when_the_verdict_is_retrain(finished: Workbench) -> None:
    assert sensor_requests(finished, "stable") == []
    (request,) = sensor_requests(finished, "retrain")
    assert request.run_config == {"ops": {"small_drive": {"config": {"resume": True}}}}


def test_the_full_run_job_of_the_ui_nests_its_runs_below_itself_and_keeps_what_is_current(finished: Workbench) -> None:
    before = finished.materialisations()
    config = {"ops": {"small_drive": {"config": {"resume": True}}}, **QUIET}
    with finished.instance() as instance:
        job = finished.definitions.resolve_job_def("small_full_run")
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
    found = [*(definitions.schedules or ()), *(definitions.sensors or ())]
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
