"""`tft plan` says what `tft run --resume` then does, held against the event log; and changes nothing by saying it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.driver import STEPS
from tft_pipeline.pipeline.rerun_plan import MAY_RUN, RUNS, PlannedFold, PlannedStep, RerunPlan, plan_run
from tft_pipeline.pipeline.rerun_words import plan_in_words
from tft_pipeline.storage.artifacts import sha256_file, write_artifact
from tft_pipeline.storage.locks import run_lock
from tft_pipeline_tests.conftest import Workbench, random_bars, write_experiment
from tft_pipeline_tests.reruns import FOLD, LOOKED_AT, aggregates, another_fit, materialise_alone, ran_since

Names = set[tuple[str, str | None]]


def said(plan: RerunPlan, state: str) -> Names:
    """Assets and folds of a state, as the event log names them."""
    found: Names = set()
    for step in plan.steps:
        if step.folds is not None:
            found |= {(step.asset, fold.partition) for fold in step.folds if fold.state == state}
        elif step.state == state:
            found.add((step.asset, None))
    return found


def hold_against_a_run(bench: Workbench) -> tuple[RerunPlan, Names]:
    """What the plan said, and what `tft run --resume` did: all that runs, some that may, nothing else."""
    plan, before = plan_run(bench.file), bench.materialisations()
    assert not bench.run(resume=True)["failed"]
    ran = ran_since(bench, before)
    unknown = {step.asset for step in plan.steps if step.state == MAY_RUN}
    assert said(plan, RUNS) <= ran
    assert {name for name in ran - said(plan, RUNS) if name[0] not in unknown} == set()
    return plan, ran


def steps(plan: RerunPlan) -> dict[str, Any]:
    return {step.asset: step for step in plan.steps}


def files(home: Path) -> dict[str, str]:
    """Every file and link of a home but SQLite's side files, which come and go with any reader."""
    return {
        str(path.relative_to(home)): str(path.readlink()) if path.is_symlink() else sha256_file(path)
        for path in sorted(home.rglob("*"))
        if (path.is_file() or path.is_symlink()) and not path.name.endswith(("-wal", "-shm"))
    }


def test_nothing_changed_so_only_the_outside_is_looked_at(finished: Workbench) -> None:
    plan = plan_run(finished.file)
    assert said(plan, RUNS) == {LOOKED_AT}
    assert said(plan, MAY_RUN) == set()
    assert "reads bars from outside" in str(steps(plan)["snapshot"].why)
    assert "same bars" in str(plan.sources)


def test_asking_changes_nothing(finished: Workbench) -> None:
    write_experiment(finished.folder, {"production.epochs": 1})
    shutil.rmtree(finished.layout.artifact("small", "production_fold", FOLD))
    with finished.instance():
        pass  # links dagster.yaml into the copied home
    before = files(finished.layout.home)
    done = CliRunner().invoke(app, ["plan", str(finished.file)])
    assert done.exit_code == 0, done.output
    assert files(finished.layout.home) == before


def test_a_home_where_nothing_was_run_is_asked_and_stays_empty(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    plan = plan_run(bench.file)
    assert not bench.layout.home.exists()
    states = {step.asset: step.state for step in plan.steps}
    assert {name for name, state in states.items() if state == MAY_RUN} == {"exploration_fold", "production_fold"}
    assert {state for state in states.values()} == {RUNS, MAY_RUN}
    assert {step.why for step in plan.steps if step.state == RUNS} == {"it was never computed"}
    assert "once production_plan has run" in steps(plan)["production_fold"].why
    assert list(states) == [name for name in STEPS if name != "research_paths"]


def test_a_fold_with_another_content_leads_to_exactly_what_is_downstream_of_it(finished: Workbench) -> None:
    with another_fit():
        materialise_alone(finished, "production_fold", FOLD)
    plan = plan_run(finished.file)
    assert said(plan, RUNS) | said(plan, MAY_RUN) == {LOOKED_AT} | aggregates()
    assert ("oos_portfolio", None) in said(plan, RUNS)
    assert FOLD in str(steps(plan)["oos_portfolio"].why)


@pytest.mark.fault("failed_fold")
def test_a_fold_without_a_result_is_named_and_the_plan_of_its_repair_is_what_the_repair_does(
    finished: Workbench,
) -> None:
    shutil.rmtree(finished.layout.artifact("small", "production_fold", FOLD))
    lines = "\n".join(plan_in_words(plan_run(finished.file)))
    assert f"1 fold: {FOLD}: its files are gone" in lines
    assert "2 folds current" in lines
    plan, ran = hold_against_a_run(finished)
    assert ("production_fold", FOLD) in said(plan, RUNS)
    assert ran == {LOOKED_AT, ("production_fold", FOLD)}, "the same content again moves nothing downstream"


@pytest.mark.slow
def test_another_plan_may_replace_folds_so_they_may_run_and_the_run_trains_those_it_has_then(
    finished: Workbench,
) -> None:
    write_experiment(finished.folder, {"production.epochs": 1})
    plan, ran = hold_against_a_run(finished)
    assert said(plan, RUNS) == {LOOKED_AT, ("production_plan", None), ("report", None)}
    assert steps(plan)["production_fold"].if_changed == ("production_plan",)
    folds = {("production_fold", fold) for fold in finished.folds()}
    assert ran == {LOOKED_AT, ("production_plan", None)} | folds | aggregates()


# key -> assets that read it, by what the assets compute; the report prints the whole file and follows every change
READERS: dict[str, tuple[Any, set[str]]] = {
    "prefilter.max_missing": (0.4, {"prefiltered_features", "model_card"}),
    "exploration.epochs": (2, {"exploration_plan", "leakage_audit"}),
    "pruning.min_stability": (0.4, {"selected_features", "leakage_audit"}),
    "tuning.n_trials": (4, {"tuned_hyperparameters"}),
    "network.hidden": (8, {"exploration_plan", "tuned_hyperparameters"}),
    "position.cost_bps": (2.0, {"exploration_plan", "tuned_hyperparameters", "oos_performance"}),
    "production.epochs": (1, {"production_plan"}),
    "evaluation.min_psr": (0.97, {"oos_performance", "model_card", "release"}),
    "drift.recent_bars": (12, {"drift_report", "model_card"}),
    "drift.fresh_within_hours": (48, set()),
    "ensemble.l2": (0.5, {"ensemble_weights"}),
}


@pytest.mark.slow
def test_a_changed_section_outdates_exactly_the_assets_that_read_it(finished: Workbench) -> None:
    found = {}
    for key, (value, _) in READERS.items():
        write_experiment(finished.folder, {key: value})
        plan = plan_run(finished.file)
        found[key] = {step.asset for step in plan.steps if step.state == RUNS} - {"snapshot", "report"}
        assert all("configuration changed" in str(steps(plan)[name].why) for name in found[key])
        assert "the whole experiment file" in str(steps(plan)["report"].why)
    assert found == {key: readers for key, (_, readers) in READERS.items()}


def test_bars_that_changed_outside_are_seen_before_anything_is_read(finished: Workbench) -> None:
    random_bars(460).write_parquet(finished.folder / "bars.parquet")
    plan = plan_run(finished.file)
    assert "bars may have changed" in str(plan.sources)
    assert said(plan, RUNS) == {LOOKED_AT}
    assert steps(plan)["feature_catalogue"].if_changed == ("snapshot",)
    (finished.folder / "bars.parquet").unlink()
    assert "would stop at snapshot" in str(plan_run(finished.file).sources)


def test_a_machine_reads_every_fold_and_a_person_eight_names(finished: Workbench) -> None:
    for fold in finished.folds():
        shutil.rmtree(finished.layout.artifact("small", "production_fold", fold))
    done = CliRunner().invoke(app, ["plan", str(finished.file), "--until", "production_fold", "--json"])
    answer = json.loads(done.stdout)
    assert answer["command"] == f"tft run {finished.file} --resume --until production_fold"
    assert answer["runs"] == ["snapshot", "production_fold"]
    (step,) = [one for one in answer["steps"] if one["asset"] == "production_fold"]
    assert [(one["partition"], one["state"]) for one in step["folds"]] == [(fold, RUNS) for fold in finished.folds()]
    folds = tuple(PlannedFold(f"f{n}", RUNS, "it was never computed") for n in range(30))
    many = PlannedStep("production_fold", RUNS, "missing or outdated: 30 of 30 folds", folds=folds)
    lines = plan_in_words(RerunPlan("small", finished.file, None, (many,), None, None))
    assert any("30 folds: f0, f1, f2, f3, f4, f5, f6, f7 and 22 more: it was never computed" in line for line in lines)


def another_shape(bench: Workbench, asset: str, name: str) -> None:
    """Store and log an asset as code that wrote a record of another shape would have."""
    root, key = bench.layout.artifact("small", asset), bench.graph.key(asset)

    def write(folder: Path) -> None:
        (folder / name).write_text("{}")

    version = write_artifact(root, write).version
    with bench.instance() as instance:
        event = instance.get_latest_materialization_event(key)
        assert event is not None
        made = event.asset_materialization
        assert made is not None
        metadata: dict[str, Any] = {**made.metadata, "version": version}
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata, tags=made.tags))


def test_a_plan_of_another_shape_is_made_again_and_its_folds_stay(finished: Workbench) -> None:
    another_shape(finished, "production_plan", "report.json")
    plan, ran = hold_against_a_run(finished)
    assert "another shape" in str(steps(plan)["production_plan"].why)
    assert ran == {LOOKED_AT, ("production_plan", None)}


def test_of_a_snapshot_of_another_shape_nothing_is_claimed(finished: Workbench) -> None:
    another_shape(finished, "snapshot", "snapshot.json")
    plan = plan_run(finished.file)
    assert "another shape" in str(plan.sources)
    assert said(plan, RUNS) == {LOOKED_AT}


def test_a_damaged_ledger_is_refused_in_a_sentence(finished: Workbench) -> None:
    ledger = finished.layout.looks_ledger
    ledger.write_bytes(ledger.read_bytes().replace(b"small", b"large"))
    for ask in (lambda: plan_run(finished.file), lambda: finished.run(resume=True)):
        with pytest.raises(ConfigurationError, match=r"what is current cannot be told: .*restore the ledger"):
            ask()


def test_what_cannot_be_run_cannot_be_planned(finished: Workbench) -> None:
    (finished.layout.experiment("small") / "owner.txt").write_text(f"{finished.file}\n")
    copy = finished.folder / "copy" / "small.yaml"
    copy.parent.mkdir()
    shutil.copy(finished.file, copy)
    refusals = {
        "carries the same name": [str(copy)],
        "no such experiment file": [str(finished.folder / "nothing.yaml")],
        "--until 'dessert' is not an asset": [str(finished.file), "--until", "dessert"],
    }
    for words, arguments in refusals.items():
        done = CliRunner().invoke(app, ["plan", *arguments])
        assert isinstance(done.exception, ConfigurationError)
        assert words in str(done.exception)


def test_a_run_that_is_under_way_is_said(finished: Workbench) -> None:
    with run_lock(finished.layout.run_lock("small")):
        lines = plan_in_words(plan_run(finished.file))
    assert lines[-1] == f"Process {os.getpid()} works on this experiment now: ask again when it has finished."
