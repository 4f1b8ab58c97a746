"""Phases 2 and 3, through real materialisation."""

from tft_pipeline.domain.reports import ExplorationFold, SelectedFeatures
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.stored import stored_report


def test_a_fee_of_a_symbol_that_is_not_there_is_refused(finished: Workbench) -> None:
    version = finished.versions()["exploration_plan"]
    write_experiment(finished.folder, {"position": {"symbol_cost_bps": {"AAA": 1.0, "aaa": 2.0, "EUR/USD": 0.5}}})
    done = materialise_asset(finished.file, "exploration_plan", partition=None, downstream=False, report=print)
    (failed,) = done["failed"]
    assert failed["reason"] == (
        "exploration plan: position.symbol_cost_bps names 'EUR/USD', 'aaa', not in the snapshot (it has AAA, BBB, CCC, DDD): "
        "the symbol that is meant would be charged position.cost_bps, 5 bps; correct the name or remove the line"
    )
    assert finished.versions()["exploration_plan"] == version


def test_more_features_wanted_than_phase_one_leaves_are_refused_before_any_fit(finished: Workbench) -> None:
    write_experiment(finished.folder, {"pruning.min_features": 7})
    done = materialise_asset(finished.file, "exploration_plan", partition=None, downstream=False, report=print)
    (failed,) = done["failed"]
    assert failed["reason"].startswith(
        "exploration plan: phase 1 leaves 6 features, fewer than pruning.min_features 7:"
    )
    assert "lower pruning.min_features to 6" in failed["reason"]


def materialised(bench: Workbench, asset: str, partition: str | None = None) -> bool:
    done = materialise_asset(bench.file, asset, partition=partition, downstream=False, report=print)
    return not done["failed"]


def test_folds_hold_importance_and_the_choice_says_what_it_rests_on(finished: Workbench) -> None:
    folds = [stored_report(finished, ExplorationFold, "exploration_fold", key) for key in finished.folds("exploration")]
    for fold in folds:
        assert set(fold.importance) == set(fold.weights)
        assert fold.n_permutations == 1
    selected = stored_report(finished, SelectedFeatures, "selected_features")
    assert selected.summary["initial"] == 6
    assert selected.summary["selected"] == len(selected.features)
    assert selected.shadow_level == 0.75  # 3 shadows
    assert selected.agreement is not None
    assert list(selected.agreement["by_fold"]) == [fold.key for fold in folds]
    with finished.instance() as instance:
        key = finished.graph.key("selected_features")
        event = instance.fetch_materializations(key, limit=1).records[0].asset_materialization
    assert event is not None
    assert {"summary", "features", "groups", "dropped_in_phase_1", "weights", "stability", "weights_by_fold"} <= set(
        event.metadata
    )
    assert float(str(event.metadata["seconds"].value)) < 10.0


def test_without_permutations_a_fold_holds_no_importance_and_the_choice_stays(finished: Workbench) -> None:
    before = stored_report(finished, SelectedFeatures, "selected_features")
    write_experiment(finished.folder, {"exploration.permutations": 0})
    key = finished.folds("exploration")[0]
    assert materialised(finished, "exploration_fold", key)
    assert stored_report(finished, ExplorationFold, "exploration_fold", key).importance == {}
    assert materialised(finished, "selected_features")
    after = stored_report(finished, SelectedFeatures, "selected_features")
    assert after.features == before.features
    assert after.agreement is None
    assert "exploration.permutations" in after.undefined["agreement"]
