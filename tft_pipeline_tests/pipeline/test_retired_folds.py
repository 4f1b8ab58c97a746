"""A changed plan retires folds: their files stay, and a key that comes back is judged by its spec."""

from pathlib import Path
from typing import Any

from tft_pipeline.pipeline.rerun_plan import plan_run
from tft_pipeline.pipeline.staleness import Staleness
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.reruns import FOLD, materialise_alone

OTHER_FOLDS: dict[str, Any] = {"production.folds.test": 50, "production.folds.step": 50}


def hashes(folder: Path) -> dict[Path, str]:
    return {path: sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def reasons(bench: Workbench) -> dict[str, str | None]:
    with bench.instance() as instance:
        staleness = Staleness(bench.graph, bench.definitions, instance)
        return {fold: staleness.why("production_fold", fold) for fold in bench.folds()}


def plan_with(bench: Workbench, changes: dict[str, Any]) -> None:
    write_experiment(bench.folder, changes)
    assert not materialise_alone(bench, "production_plan")["failed"]


def test_a_retired_fold_keeps_its_files_and_comes_back_current_with_its_spec_and_outdated_with_another(
    finished: Workbench,
) -> None:
    old = finished.folds()
    stored = hashes(finished.layout.artifact("small", "production_fold"))
    counts = finished.materialisations()

    plan_with(finished, OTHER_FOLDS)
    assert FOLD not in finished.folds()
    assert finished.folds()[0] == old[0], "a key of both plans"
    assert hashes(finished.layout.artifact("small", "production_fold")) == stored
    found = reasons(finished)
    assert "another spec" in str(found[old[0]])
    assert {found[fold] for fold in found if fold not in old} == {"it was never computed"}
    refused = materialise_alone(finished, "oos_portfolio")["failed"][0]["reason"]
    assert all(fold in refused for fold in found if fold not in old)

    plan_with(finished, {})
    assert reasons(finished) == dict.fromkeys(old)
    (step,) = [one for one in plan_run(finished.file).steps if one.asset == "production_fold"]
    assert step.state == "current"
    assert not materialise_alone(finished, "oos_portfolio")["failed"]

    plan_with(finished, OTHER_FOLDS)
    plan_with(finished, {"production.epochs": 1})
    assert finished.folds() == old
    assert all("another spec" in str(why) for why in reasons(finished).values())
    refused = materialise_alone(finished, "oos_portfolio")["failed"][0]["reason"]
    assert "older spec" in refused
    assert FOLD in refused
    assert hashes(finished.layout.artifact("small", "production_fold")) == stored
    now = finished.materialisations()
    assert {fold: now["production_fold", fold] for fold in old} == {
        fold: counts["production_fold", fold] for fold in old
    }


def test_a_fold_that_is_registered_and_not_in_the_plan_is_told_before_the_next_plan_lets_go_of_it(
    finished: Workbench,
) -> None:
    with finished.instance() as instance:
        instance.add_dynamic_partitions("small_production_folds", ["f2001-01-01"])
    (step,) = [one for one in plan_run(finished.file).steps if one.asset == "production_fold"]
    assert step.retired == ("f2001-01-01",)
    assert not materialise_alone(finished, "production_plan")["failed"]
    assert "f2001-01-01" not in finished.folds()
