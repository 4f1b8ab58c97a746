"""The job that runs failed folds again: these, what follows from them, and nothing else."""

import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable

import dagster as dg
import pytest

from tft_pipeline.pipeline.assets import production
from tft_pipeline.pipeline.driver import FOLDS, PARTITION_TAG, steps_of
from tft_pipeline.pipeline.failed_folds import failed_attempt
from tft_pipeline.pipeline.run_process import HOST, OF_RUN, PID, STARTED
from tft_pipeline.pipeline.runs import QUIET, failure_of
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.reruns import FOLD, aggregates, another_fit, materialise_alone, ran_since

NOTHING = "no fold failed, is missing or is of an older spec: there is nothing to run again"


def rerun(bench: Workbench) -> tuple[dg.ExecuteInProcessResult, int]:
    """Launch the job here; its result and how many runs it nested."""
    with bench.instance() as instance:
        job = bench.definitions.resolve_job_def("small_rerun_failed_folds")
        result = job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
        nested = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/parent_run_id": result.run_id}))
    return result, len(nested)


def said(bench: Workbench) -> list[str]:
    """What the jobs of this home said in their logs, oldest first."""
    with bench.instance() as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(job_name="small_rerun_failed_folds"))
        entries = [entry for run in reversed(runs) for entry in instance.all_logs(run.run_id)]
    return [entry.user_message for entry in entries if not entry.is_dagster_event]


def test_a_fold_that_failed_and_one_that_is_lost_run_again_alone_where_they_come_out_as_before(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise ValueError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(production, "_fit", no_memory)
        (failed,) = materialise_alone(finished, "production_fold", FOLD)["failed"]
    lost = finished.folds("exploration")[0]
    shutil.rmtree(finished.layout.artifact("small", "exploration_fold", lost))
    before = finished.materialisations()
    result, nested = rerun(finished)
    assert result.success
    assert ran_since(finished, before) == {("exploration_fold", lost), ("production_fold", FOLD)}
    assert nested == 2
    lines = said(finished)
    assert f"production_fold [{FOLD}]: runs, for its latest run, {failed['run_id'][:8]}, failed" in lines
    assert any(line.startswith(f"exploration_fold [{lost}]: runs, for its files are gone") for line in lines)
    assert "snapshot" not in " ".join(lines)

    before = finished.materialisations()
    result, nested = rerun(finished)
    assert (result.success, nested, said(finished)[-1]) == (True, 0, NOTHING)
    assert finished.materialisations() == before


def attempt(bench: Workbench, status: dg.DagsterRunStatus, *, pid: int | None = None) -> str:
    """A run of the fold that is recorded with a status, began now and stored nothing; in a process, where one is given."""
    run_id = str(uuid.uuid4())
    process = {} if pid is None else {HOST: socket.gethostname(), PID: str(pid), STARTED: "long ago", OF_RUN: run_id}
    run = dg.DagsterRun(
        job_name="x",
        run_id=run_id,
        status=status,
        tags={PARTITION_TAG: FOLD, **process},
        asset_selection=frozenset({bench.graph.key("production_fold")}),
    )
    with bench.instance() as instance:
        instance.add_run(run)
    return run_id[:8]


def reason(bench: Workbench) -> str | None:
    """Why the fold would run again."""
    with bench.instance() as instance:
        return failed_attempt(bench.graph, instance, "production_fold", FOLD)


def test_a_fold_that_is_under_way_is_waited_for_whatever_an_older_run_did(finished: Workbench) -> None:
    attempt(finished, dg.DagsterRunStatus.FAILURE)
    now = attempt(finished, dg.DagsterRunStatus.STARTED)
    before = finished.materialisations()
    result, nested = rerun(finished)
    assert (result.success, nested) == (False, 0)
    why = failure_of(result, "")[1]
    assert f"production_fold [{FOLD}] is under way in run {now}" in why
    assert "launch this again when that run has ended" in why
    assert finished.materialisations() == before


def test_a_fold_whose_run_was_killed_runs_again(finished: Workbench) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    killed = attempt(finished, dg.DagsterRunStatus.STARTED, pid=gone.pid)
    assert (reason(finished) or "").startswith(f"its latest run, {killed}, was killed: process {gone.pid} ")


def test_a_fold_that_another_run_stored_after_the_failed_one_began_is_current(finished: Workbench) -> None:
    failed = attempt(finished, dg.DagsterRunStatus.FAILURE)
    assert reason(finished) == f"its latest run, {failed}, failed"
    with finished.instance() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(finished.graph.key("production_fold"), partition=FOLD)
        )
    assert reason(finished) is None


@pytest.mark.slow
def test_what_follows_from_a_fold_that_comes_out_otherwise_is_computed_too(finished: Workbench) -> None:
    shutil.rmtree(finished.layout.artifact("small", "production_fold", FOLD))
    before = finished.materialisations()
    with another_fit():
        result, _ = rerun(finished)
    assert result.success
    assert ran_since(finished, before) == {("production_fold", FOLD)} | aggregates()


def test_an_experiment_that_was_never_planned_has_no_failed_fold(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    result, nested = rerun(bench)
    assert (result.success, nested, said(bench)) == (True, 0, [NOTHING])


def test_a_plan_that_cannot_be_read_is_a_failure_that_names_the_remedy(finished: Workbench) -> None:
    (finished.artifact("production_plan") / "report.json").write_text("{")
    result, nested = rerun(finished)
    assert (result.success, nested) == (False, 0)
    why = failure_of(result, "")[1]
    assert "production_plan cannot be read" in why
    assert "a run of everything with resume makes it again" in why


def test_every_step_after_a_fold_follows_from_it(workbench: Callable[..., Workbench]) -> None:
    graph, definitions = workbench().graph, workbench().definitions
    assets = definitions.resolve_asset_graph()
    steps = steps_of(graph)
    for fold in FOLDS:
        follows = dg.AssetSelection.assets(graph.key(fold)).downstream(include_self=False).resolve(assets)
        assert {graph.key(name) for name in steps[steps.index(fold) + 1 :]} <= follows
