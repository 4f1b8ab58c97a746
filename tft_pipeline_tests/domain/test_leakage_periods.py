"""Guards over periods: dates are counted again, the choice is made again, and each way to reach production is named."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.leakage_periods import Research, purge_problems, research_ends_before_production
from tft_pipeline.domain.planning import production_folds, research_folds
from tft_pipeline.domain.prefilter import prefilter
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FoldPlanReport,
    FoldSpec,
    PrefilteredFeatures,
    SelectedFeatures,
    TrialRow,
    TunedHyperparameters,
)
from tft_pipeline_tests.builders import FEATURES, MIN_HISTORY, planned, small, toy_features, toy_panel
from tft_pipeline_tests.conftest import random_bars

WEIGHTS = dict(zip(FEATURES, (0.5, 0.3, 0.2), strict=True))


def plan_again(experiment: Experiment, bars: pl.DataFrame) -> Sequence[FoldSpec]:
    panel = toy_panel(bars, experiment)
    return planned(panel, experiment, research_folds(panel, experiment, experiment.exploration.folds))


def exploration_fold(spec: FoldSpec, weights: dict[str, float]) -> ExplorationFold:
    return ExplorationFold(
        key=spec.key,
        spec_sha256=spec.content_sha256(),
        weights=weights,
        shadow_weights={"shadow_0": 0.01, "shadow_1": 0.02},
        weights_by_seed=(),
        best_epochs=(),
        validation_losses=(),
        test_sharpes_annual=(),
        missing={},
        seconds=0.0,
    )


def trial(number: int, sharpe: float | None, rate: float, state: str = "complete") -> TrialRow:
    params = {"training.learning_rate": rate}
    return TrialRow(number=number, state=state, params=params, sharpe_annual=sharpe, fold_sharpes=(), returns=())


TRIALS = (trial(0, 0.4, 0.002), trial(1, 0.9, 0.004), trial(2, None, 0.003, "pruned"))


def rows_up_to(last: datetime) -> pl.DataFrame:
    """Of symbols with enough history, sorted by symbol and bar."""
    history = pl.int_range(1, pl.len() + 1).over("symbol")
    return toy_features(random_bars()).filter((history >= MIN_HISTORY) & (pl.col("timestamp") <= last))


def research(changes: dict[str, Any] | None = None) -> Research:
    experiment = small(changes)
    panel = toy_panel(random_bars(), experiment)
    explored = plan_again(experiment, random_bars())
    tuning = research_folds(panel, experiment, experiment.tuning.folds)
    network, training, position = experiment.with_overrides(TRIALS[1].params)
    production = tuple(
        spec.model_copy(update={"training": training})
        for spec in planned(panel, experiment, production_folds(panel, experiment), production=True)
    )
    ends = [datetime.fromisoformat(spec.dates["train"]["last"]) for spec in explored]
    ends += [panel.calendar[fold.train.stop - 1] for fold in tuning]
    judged = rows_up_to(min(ends))
    return Research(
        experiment=experiment,
        calendar=panel.calendar,
        prefiltered=PrefilteredFeatures(
            kept=FEATURES,
            dropped=(),
            first=min(judged["timestamp"].to_list()).isoformat(),
            last=min(ends).isoformat(),
            n_rows=judged.height,
        ),
        judged=judged,
        train_ends=ends,
        exploration_plan=FoldPlanReport(phase="exploration", snapshot_id="", purge=5, specs=tuple(explored)),
        folds={spec.key: exploration_fold(spec, WEIGHTS) for spec in explored},
        selected=SelectedFeatures(
            features=FEATURES,
            rows=(),
            groups=(),
            thresholds={spec.key: 0.02 for spec in explored},
            nogueira=None,
            kendall_w=None,
        ),
        tuned=TunedHyperparameters(
            network=network,
            training=training,
            position=position,
            best_trial=1,
            best_sharpe_annual=0.9,
            study="",
            n_trials_started=3,
            n_pruned=1,
            fold_keys=tuple(fold.key for fold in tuning),
            trials=TRIALS,
            seconds=0.0,
        ),
        production_plan=FoldPlanReport(phase="production", snapshot_id="", purge=5, specs=production),
    )


def examined(case: Research) -> Any:
    return research_ends_before_production(case, lambda bars: plan_again(case.experiment, bars), random_bars())


@pytest.mark.parametrize("changes", [{}, {"target.horizon": 4}, {"periods.purge": 12}], ids=str)
def test_research_that_ends_before_production_is_no_leak(changes: dict[str, Any]) -> None:
    found = examined(research(changes))
    assert found.passed, found
    assert "research folds" in found.tried


def test_a_research_period_that_goes_on_by_one_bar_is_named() -> None:
    """The last bar that research may score is one purge and one bar before production's first."""
    case = research()
    start = case.production_start
    last = case.exploration_plan.specs[-1]
    for bars, leak in ((6, False), (5, True)):
        stamp = case.calendar[start - bars].isoformat()
        moved = last.model_copy(
            update={"dates": {**last.dates, "test": {**last.dates["test"], "last": stamp}}, "last": stamp}
        )
        plan = case.exploration_plan.model_copy(update={"specs": (*case.exploration_plan.specs[:-1], moved)})
        folds = {**case.folds, moved.key: exploration_fold(moved, WEIGHTS)}
        again = lambda bars, plan=plan: plan.specs  # noqa: E731
        changed = replace(case, exploration_plan=plan, folds=folds)
        found = research_ends_before_production(changed, again, random_bars())
        assert ("goes to" in found.detail) is leak
        assert found.passed is not leak


def test_a_prefilter_and_a_tuning_fold_that_reach_production_are_named() -> None:
    case = research()
    late = case.calendar[case.production_start].isoformat()
    found = examined(replace(case, prefiltered=case.prefiltered.model_copy(update={"last": late})))
    assert found.detail.startswith("the prefilter goes to")
    key = case.production_plan.specs[0].key
    found = examined(replace(case, tuned=case.tuned.model_copy(update={"fold_keys": (key,)})))
    assert found.detail.startswith(f"tuning fold {key} goes to")


def test_a_plan_of_other_bars_is_refused() -> None:
    case = research()
    stale = replace(case, tuned=case.tuned.model_copy(update={"fold_keys": ("f1999-01-04",)}))
    with pytest.raises(ValueError, match="f1999-01-04 is in the stored plans and not among the stored bars"):
        examined(stale)


def test_production_that_starts_too_early_is_named() -> None:
    case = research()
    first = case.production_plan.specs[0]
    early = {
        **first.dates,
        "test": {**first.dates["test"], "first": case.calendar[case.production_start - 1].isoformat()},
    }
    plan = case.production_plan.model_copy(update={"specs": (first.model_copy(update={"dates": early}),)})
    assert "production scores" in examined(replace(case, production_plan=plan)).detail


def test_features_that_the_folds_do_not_choose_are_named() -> None:
    case = research()
    other = {spec.key: exploration_fold(spec, {**WEIGHTS, "past_return": 0.0}) for spec in case.exploration_plan.specs}
    changed = replace(
        case,
        folds=other,
        experiment=small({"pruning.min_features": 1}),
    )
    assert "production uses others" in examined(changed).detail
    fewer = replace(case, folds=dict(list(case.folds.items())[1:]))
    assert "made of another plan" in examined(fewer).detail


def test_a_plan_that_reads_production_bars_is_named() -> None:
    case = research()

    def peeking(bars: pl.DataFrame) -> Sequence[FoldSpec]:
        tilted = bars.with_columns(pl.col("close") * pl.col("close").last().over("symbol"))
        return plan_again(case.experiment, tilted)

    found = research_ends_before_production(case, peeking, random_bars())
    assert found.passed is False
    assert "the stored exploration plan is another one" in found.detail


def test_a_stored_plan_of_other_contents_is_named() -> None:
    """What the pipeline plans today is clean; what it stored then is not."""
    case = research()
    first, *others = case.exploration_plan.specs
    plan = case.exploration_plan.model_copy(
        update={"specs": (first.model_copy(update={"data_sha256": "f" * 64}), *others)}
    )
    folds = {spec.key: exploration_fold(spec, WEIGHTS) for spec in plan.specs}
    found = examined(replace(case, exploration_plan=plan, folds=folds))
    assert found.passed is False
    assert found.detail.startswith("the stored exploration plan is another one")


def test_a_prefilter_that_other_rows_decided_is_named() -> None:
    """The record names the bars of research; what it keeps is what later bars say."""
    case = research({"prefilter.max_correlation": 0.2})
    names = case.judged.columns[2:]
    kept = prefilter(case.judged.select(names).to_numpy(), names, max_missing=0.5, max_correlation=0.2).kept
    record = case.prefiltered.model_copy(update={"kept": kept})
    dropped = tuple({"feature": name, "reason": "collinear"} for name in names if name not in kept)
    honest = replace(case, prefiltered=record.model_copy(update={"dropped": dropped}))
    assert dropped
    assert "prefilter" not in examined(honest).detail
    assert examined(case).detail.startswith("the prefilter keeps 3 features by")
    more = record.model_copy(update={"dropped": dropped, "n_rows": case.judged.height + 1})
    assert examined(replace(case, prefiltered=more)).detail.startswith("the prefilter keeps")
    early = [*case.train_ends, case.train_ends[0] - timedelta(days=1)]
    assert "behind" in examined(replace(honest, train_ends=early)).detail


def test_production_settings_that_the_tuning_did_not_choose_are_named() -> None:
    case = research()
    specs = list(case.production_plan.specs)
    for section, change in (
        ("training", {"learning_rate": 0.5}),
        ("network", {"hidden": 8}),
        ("position", {"max_weight": 0.5}),
    ):
        changed = specs[1].model_copy(update={section: getattr(specs[1], section).model_copy(update=change)})
        plan = case.production_plan.model_copy(update={"specs": (specs[0], changed, *specs[2:])})
        found = examined(replace(case, production_plan=plan))
        assert found.detail.startswith(f"1 production folds ({changed.key} first) have settings"), section


@pytest.mark.parametrize(
    "changes",
    [
        {"best_trial": 0},
        {"best_trial": 0, "best_sharpe_annual": 0.4},
        {"best_trial": 2},
        {"best_sharpe_annual": 1.5},
        {"trials": (*TRIALS, trial(3, 1.1, 0.005))},
        {"trials": (TRIALS[2],)},
    ],
    ids=str,
)
def test_another_trial_than_the_best_is_named(changes: dict[str, Any]) -> None:
    case = research()
    found = examined(replace(case, tuned=case.tuned.model_copy(update=changes)))
    assert "something else than the study chose" in found.detail


def test_settings_that_are_not_those_of_the_best_trial_are_named() -> None:
    case = research()
    other = (TRIALS[0], trial(1, 0.9, 0.008), TRIALS[2])
    found = examined(replace(case, tuned=case.tuned.model_copy(update={"trials": other})))
    assert "the chosen settings are not those of trial 1" in found.detail


def test_an_allowed_overlap_is_named_first() -> None:
    case = research({"periods.overlap": "allowed"})
    found = examined(case)
    assert found.passed is False
    assert found.detail.startswith("periods.overlap is allowed")


def test_spans_are_purged_when_the_last_label_ends_on_the_first_scored_bar_or_before() -> None:
    plan = research().production_plan
    assert purge_problems(plan) == []
    spec = plan.specs[0]
    train, validation = spec.spans["train"], spec.spans["validation"]
    for gap, leak in ((0, False), (-1, True)):  # with horizon 1 the label of train's last bar ends on the next bar
        spans = {**spec.spans, "validation": (train[1] + gap, validation[1])}
        changed = plan.model_copy(update={"specs": (spec.model_copy(update={"spans": spans}),)})
        assert bool(purge_problems(changed)) is leak
    far = plan.model_copy(update={"specs": (spec.model_copy(update={"horizon": 7}),)})
    assert [line.split(":")[1] for line in purge_problems(far)] == [
        f" labels of train end behind {spec.dates['validation']['first']}, where validation starts".split(":")[0],
        f" labels of validation end behind {spec.dates['test']['first']}, where test starts".split(":")[0],
    ]
