"""Guards over fits, with a fit of a few numbers in the place of a network; real ones are tried by `end_to_end`."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.leakage import (
    SmallFits,
    other_outcomes,
    scaler_knows_training_bars_only,
    scrambled,
    small_fits,
    small_fold,
    weights_learn_from_training_dates_only,
)
from tft_pipeline_tests.builders import MIN_HISTORY, planned, ragged_bars, small, toy_features, toy_panel

FOLD = Fold(key="f", train=Span(40, 160), validation=Span(165, 195), test=Span(200, 240))


@pytest.fixture(scope="module")
def panel() -> Panel:
    return toy_panel(ragged_bars(), small())


@dataclass(frozen=True)
class Learned:
    """What the guards read of a fit."""

    scaler: Scaler
    state: dict[str, torch.Tensor]


def moments(panel: Panel, fold: Fold, *, scale_to: int = 0, learn_to: int = 0, symbols: slice = slice(None)) -> Any:
    """Scale by train rows, learn the mean label; bars of rows behind train to take in, of some symbols."""
    rows = panel.between(fold.train.start, fold.train.stop + scale_to)
    scaler = Scaler.fit(rows.values, panel.features, observed=rows.observed)
    learned = panel.between(fold.train.start, fold.train.stop + learn_to)
    z = np.nan_to_num(scaler.transform(learned.values[symbols]))
    weight = np.nansum(z * learned.label[symbols][..., None], axis=(0, 1))
    return Learned(scaler, {"weight": torch.from_numpy(weight)})


def test_scrambled_rows_start_at_the_bar_and_missing_stays_missing(panel: Panel) -> None:
    noisy = scrambled(panel, 100)
    for name in ("values", "next_return", "volatility", "label", "close"):
        before, after = getattr(panel, name), getattr(noisy, name)
        assert np.array_equal(before[:, :100], after[:, :100], equal_nan=True), name
        assert np.array_equal(np.isnan(before), np.isnan(after)), name
        there = ~np.isnan(before[:, 100:])
        assert (before[:, 100:][there] != after[:, 100:][there]).all(), name
    assert np.nanmin(noisy.volatility) > 0.0
    assert np.array_equal(panel.observed, noisy.observed)


def test_what_is_known_at_a_bar_keeps_labels_that_had_ended(panel: Panel) -> None:
    noisy = scrambled(panel, 100, known_after=3)
    for name, kept in (("values", 100), ("volatility", 100), ("close", 100), ("next_return", 99), ("label", 97)):
        before, after = getattr(panel, name), getattr(noisy, name)
        assert np.array_equal(before[:, :kept], after[:, :kept], equal_nan=True), name
        there = ~np.isnan(before[:, kept])
        assert there.any()
        assert (before[:, kept][there] != after[:, kept][there]).all(), name


def test_only_outcomes_of_some_bars_and_symbols_are_replaced(panel: Panel) -> None:
    noisy = other_outcomes(panel, Span(100, 150), slice(1, 2))
    for name in ("next_return", "label"):
        before, after = getattr(panel, name), getattr(noisy, name)
        there = ~np.isnan(before[1, 100:150])
        assert there.any()
        assert (before[1, 100:150][there] != after[1, 100:150][there]).all()
        kept = np.ones(before.shape, dtype=bool)
        kept[1, 100:150] = False
        assert np.array_equal(before[kept], after[kept], equal_nan=True)
    for name in ("values", "volatility", "close"):
        assert getattr(panel, name) is getattr(noisy, name)


def test_a_small_fold_is_the_end_of_train_with_the_same_purge_and_test(panel: Panel) -> None:
    cut, fold = small_fold(panel, FOLD, lookback=8)
    assert cut.calendar[fold.train.stop - 1] == panel.calendar[FOLD.train.stop - 1]
    assert cut.calendar[fold.validation.start] == panel.calendar[FOLD.validation.start]
    assert cut.calendar[fold.test.start] == panel.calendar[FOLD.test.start]
    assert cut.n_bars == fold.test.stop
    assert fold.test.n_bars == FOLD.test.n_bars
    assert fold.train.n_bars == 32
    assert fold.validation.n_bars == 16


def plan(panel: Panel) -> FoldPlanReport:
    experiment = small()
    specs = planned(panel, experiment, production_folds(panel, experiment), production=True)
    return FoldPlanReport(phase="production", snapshot_id="", purge=5, specs=specs)


def scalers(panel: Panel, plan: FoldPlanReport, *, further: int = 0) -> dict[str, Scaler]:
    stamps = list(panel.calendar)
    found = {}
    for spec in plan.specs:
        first, last = (stamps.index(datetime.fromisoformat(spec.dates["train"][part])) for part in ("first", "last"))
        rows = panel.between(first, last + 1 + further)
        found[spec.key] = Scaler.fit(rows.values, panel.features, observed=rows.observed)
    return found


def examined_scaler(panel: Panel, stored: dict[str, Scaler], fit: Any = moments) -> Any:
    features = toy_features(ragged_bars()).lazy()
    return scaler_knows_training_bars_only(
        small_fits(fit, panel, FOLD),
        scalers=stored,
        plan=plan(panel),
        features=features.sort("timestamp", descending=True),
    )


def test_scalers_of_train_rows_are_no_leak(panel: Panel) -> None:
    assert plan(panel).specs[0].min_history == MIN_HISTORY
    found = examined_scaler(panel, scalers(panel, plan(panel)))
    assert found.passed, found


def test_a_stored_scaler_that_knows_one_more_bar_is_named(panel: Panel) -> None:
    found = examined_scaler(panel, scalers(panel, plan(panel), further=1))
    assert found.passed is False
    assert f"fold {plan(panel).specs[0].key} scales past_return" in found.detail


def test_a_stored_scaler_of_other_values_is_named(panel: Panel) -> None:
    stored = scalers(panel, plan(panel))
    key = next(iter(stored))
    for changes in ({"mean": stored[key].mean + 1e-5 * stored[key].std}, {"std": stored[key].std * 1.00001}):
        found = examined_scaler(panel, {**stored, key: replace(stored[key], **changes)})
        assert found.passed is False


def test_flat_features_are_compared_by_their_constant(panel: Panel) -> None:
    features = toy_features(ragged_bars()).with_columns(mean_5=pl.lit(0.25, pl.Float32))
    flat = replace(panel, values=np.where(np.arange(3) == 1, np.float32(0.25), panel.values))
    stored = scalers(flat, plan(panel))
    assert all(scaler.flat == ("mean_5",) for scaler in stored.values())
    for value, passed in ((0.25, True), (0.26, False)):
        changed = {
            key: replace(scaler, mean=np.where(np.arange(3) == 1, value, scaler.mean)) for key, scaler in stored.items()
        }
        found = scaler_knows_training_bars_only(
            small_fits(moments, panel, FOLD), scalers=changed, plan=plan(panel), features=features.lazy()
        )
        assert found.passed is passed, found


def test_a_refit_that_scales_by_later_bars_is_named(panel: Panel) -> None:
    leaky = lambda some, fold: moments(some, fold, scale_to=5)  # noqa: E731
    found = examined_scaler(panel, scalers(panel, plan(panel)), leaky)
    assert found.passed is False
    assert "a refit scales 3 features otherwise" in found.detail


def loss(panel: Panel, fold: Fold, *, bars: Span = FOLD.validation, symbols: slice = slice(None)) -> float:
    """What a position of fixed weights earns on some bars and symbols."""
    rows = panel.between(*bars)
    return float(np.nansum(rows.next_return[symbols] * np.nan_to_num(rows.values[symbols, :, 0])))


def examined_weights(panel: Panel, fit: Any = moments, *, problems: Any = (), loss: Any = loss) -> Any:
    fits: SmallFits = small_fits(fit, panel, FOLD)
    return weights_learn_from_training_dates_only(fits, loss, problems=list(problems))


def test_weights_of_train_rows_are_no_leak(panel: Panel) -> None:
    found = examined_weights(panel, problems=())
    assert found.passed, found
    assert "features, labels, returns and volatility" in found.tried


@pytest.mark.parametrize("symbols", [slice(None), slice(0, 1)], ids=["all", "first"])
def test_weights_that_learn_from_one_later_bar_are_named(panel: Panel, symbols: slice) -> None:
    leaky = lambda some, fold: moments(some, fold, learn_to=1, symbols=symbols)  # noqa: E731
    found = examined_weights(panel, leaky, problems=())
    assert found.passed is False
    assert "1 of 1 weight tensors differ" in found.detail


def test_a_leak_of_the_scaler_is_left_to_its_own_guard(panel: Panel) -> None:
    leaky = lambda some, fold: moments(some, fold, scale_to=5)  # noqa: E731
    found = examined_weights(panel, leaky, problems=())
    assert found.passed, found
    both = lambda some, fold: moments(some, fold, scale_to=5, learn_to=1)  # noqa: E731
    assert examined_weights(panel, both, problems=()).passed is False


def test_problems_of_the_plans_are_told_with_the_weights(panel: Panel) -> None:
    found = examined_weights(panel, problems=["fold f1: labels of train end"])
    assert found.passed is False
    assert found.detail == "fold f1: labels of train end"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            {"bars": Span(130, 160)},
            ("moves with returns and labels of bars", "does not move with returns and labels of AAA, BBB"),
        ),
        ({"bars": Span(150, 195)}, ("moves with returns and labels of bars",)),
        ({"bars": Span(165, 205)}, ("moves with returns and labels of bars",)),
        ({"symbols": slice(-1, None)}, ("does not move with returns and labels of AAA, BBB, CCC on",)),
        ({"symbols": slice(0, -1)}, ("does not move with returns and labels of DDD on",)),
        (
            {"bars": Span(130, 160), "symbols": slice(-1, None)},
            ("of bars that are not validation's", "AAA, BBB, CCC, DDD on"),
        ),
    ],
    ids=[
        "last bars of train",
        "train too",
        "test too",
        "last symbol",
        "all but the last",
        "last symbol on train dates",
    ],
)
def test_a_validation_of_other_dates_or_of_some_symbols_is_named(
    panel: Panel, how: dict[str, Any], told: tuple[str, ...]
) -> None:
    found = examined_weights(panel, loss=lambda some, fold: loss(some, fold, **how))
    assert found.state == "leak"
    for part in told:
        assert part in found.detail, found.detail
