"""Ridge regression and the positions of forecasts, against numpy and loops."""

from dataclasses import replace

import numpy as np
import pytest
import threadpoolctl

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model import baselines
from tft_pipeline.model.baselines import (
    PENALTIES,
    FittedRidge,
    boosting_positions,
    fit_ridge,
    forecast_positions,
    ridge_forecast,
    ridge_positions,
)
from tft_pipeline.model.boosting import boosting_probability, fit_boosting
from tft_pipeline_tests.oracles.model_panels import random_panel

FOLD = Fold(key="f", train=Span(20, 300), validation=Span(305, 395), test=Span(400, 499))


def train_scaler(panel: Panel) -> Scaler:
    train = panel.between(*FOLD.train)
    return Scaler.fit(train.values, panel.features, observed=train.observed)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel(n_symbols=5, n_bars=500, n_features=6, edge=0.3)


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedRidge:
    return fit_ridge(panel, FOLD, train_scaler(panel))


def rows(panel: Panel, span: Span) -> tuple[np.ndarray, np.ndarray]:
    """Scored bars one by one: standardised features with a leading 1, missing ones 0, and labels."""
    train, x, y = panel.between(*FOLD.train), [], []
    mean = np.array([np.nanmean(train.values[train.observed][:, v], dtype=np.float64) for v in range(6)])
    std = np.array([np.nanstd(train.values[train.observed][:, v], dtype=np.float64) for v in range(6)])
    for s in range(5):
        for b in range(*span):
            label = panel.label[s, b]
            if panel.observed[s, b] and np.isfinite([label, panel.volatility[s, b], panel.next_return[s, b]]).all():
                z = (panel.values[s, b].astype(np.float64) - mean) / std
                x.append([1.0, *np.where(np.isnan(z), 0.0, z)])
                y.append(label)
    return np.array(x), np.array(y)


def test_each_penalty_is_scored_as_the_normal_equations_say_and_the_best_is_kept(
    panel: Panel, fitted: FittedRidge
) -> None:
    x, y = rows(panel, FOLD.train)
    validation_x, validation_y = rows(panel, FOLD.validation)
    errors = {}
    for penalty in PENALTIES:
        pull = penalty * len(y) * np.diag([0.0, *np.ones(6)])  # the intercept is free
        weights = np.linalg.solve(x.T @ x + pull, x.T @ y)
        errors[penalty] = np.mean((validation_y - validation_x @ weights) ** 2)
        if penalty == fitted.penalty:
            np.testing.assert_allclose([fitted.intercept, *fitted.coefficients], weights, atol=1e-6)
    assert fitted.validation_errors == pytest.approx(errors, rel=1e-6)
    assert fitted.penalty == min(errors, key=lambda penalty: errors[penalty])


def test_the_planted_feature_carries_the_forecast(fitted: FittedRidge) -> None:
    assert np.abs(fitted.coefficients).argmax() == 0
    assert fitted.coefficients[0] == pytest.approx(0.3, abs=0.1)


def test_features_without_meaning_are_penalised_more(panel: Panel, fitted: FittedRidge) -> None:
    noise = replace(panel, label=np.random.default_rng(5).permutation(panel.label, axis=1))
    assert fit_ridge(noise, FOLD, train_scaler(noise)).penalty > fitted.penalty


def test_the_forecast_is_the_weighted_sum_and_missing_where_not_observed(panel: Panel, fitted: FittedRidge) -> None:
    span = Span(90, 300)
    forecast = ridge_forecast(fitted, panel, span)
    observed = panel.observed[:, slice(*span)]
    assert (~observed).any()
    assert np.array_equal(np.isnan(forecast), ~observed)
    x, _ = rows(panel, span)
    expected = x @ np.array([fitted.intercept, *fitted.coefficients])
    np.testing.assert_allclose(forecast[panel.between(*span).scored], expected, atol=1e-5)


def test_positions_are_the_forecast_in_units_of_its_training_size_and_cut(panel: Panel, fitted: FittedRidge) -> None:
    x, _ = rows(panel, FOLD.train)
    weights = np.array([fitted.intercept, *fitted.coefficients])
    size = np.sqrt(np.mean((x @ weights) ** 2))
    expected = np.clip(ridge_forecast(fitted, panel, FOLD.test) / size, -1.0, 1.0)
    found = ridge_positions(fitted, panel, FOLD)
    assert found.shape == (5, 99)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    known = found[np.isfinite(found)]
    assert 0.05 < (np.abs(known) == 1.0).mean() < 0.6


def test_boosted_trees_are_mapped_the_same_way_around_one_half(panel: Panel) -> None:
    text = fit_boosting(panel, FOLD, rounds=20, leaves=4, seed=3)
    train = boosting_probability(text, panel, FOLD.train)
    edges = [
        train[s, b] - 0.5 for s in range(5) for b in range(FOLD.train.n_bars) if panel.between(*FOLD.train).scored[s, b]
    ]
    size = np.sqrt(np.mean(np.square(edges)))
    expected = np.clip((boosting_probability(text, panel, FOLD.test) - 0.5) / size, -1.0, 1.0)
    np.testing.assert_allclose(boosting_positions(text, panel, FOLD), expected, rtol=1e-12)


def test_nothing_after_validation_is_read_and_no_later_bar_by_an_earlier_position(panel: Panel) -> None:
    def positions(some: Panel) -> list[np.ndarray]:
        text = fit_boosting(some, FOLD, rounds=5, leaves=4, seed=3)
        return [
            ridge_positions(fit_ridge(some, FOLD, train_scaler(some)), some, FOLD),
            boosting_positions(text, some, FOLD),
        ]

    values, label, close = panel.values.copy(), panel.label.copy(), panel.close.copy()
    label[:, FOLD.validation.stop :] = 9.0  # of test bars too: a position knows no label after validation
    values[:, 450:], close[:, 450:] = 3.0, 5.0
    changed = replace(panel, values=values, label=label, close=close)
    for before, after in zip(positions(panel), positions(changed), strict=True):
        assert np.array_equal(before[:, :50], after[:, :50], equal_nan=True)
        assert not np.array_equal(before[:, 50:], after[:, 50:], equal_nan=True)


def test_one_thread_solves_it(panel: Panel, fitted: FittedRidge, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Watched(baselines.Ridge):  # type: ignore[misc]
        def fit(self, x: np.ndarray, y: np.ndarray) -> "Watched":
            seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas")
            super().fit(x, y)
            return self

    monkeypatch.setattr(baselines, "Ridge", Watched)
    with threadpoolctl.threadpool_limits(limits=2):
        again = fit_ridge(panel, FOLD, train_scaler(panel))
    assert set(seen) == {1}
    assert np.array_equal(again.coefficients, fitted.coefficients)


def test_features_are_taken_by_name(panel: Panel, fitted: FittedRidge) -> None:
    shuffled = panel.with_features(panel.features[::-1])
    one, other = (ridge_forecast(fitted, p, FOLD.test) for p in (panel, shuffled))
    assert np.array_equal(one, other, equal_nan=True)
    lacking = panel.with_features(panel.features[1:])
    with pytest.raises(ValueError, match="not in the panel"):
        ridge_forecast(fitted, lacking, FOLD.test)


def test_a_span_without_a_label_is_refused(panel: Panel) -> None:
    for span, name in ((FOLD.train, "train"), (FOLD.validation, "validation")):
        label = panel.label.copy()
        label[:, slice(*span)] = np.nan
        with pytest.raises(ValueError, match=f"{name} has no scored label"):
            fit_ridge(replace(panel, label=label), FOLD, train_scaler(panel))


def test_an_infinite_feature_is_refused_by_name(panel: Panel, fitted: FittedRidge) -> None:
    values = panel.values.copy()
    values[2, 450, 1] = np.inf
    with pytest.raises(ValueError, match="f1"):
        ridge_forecast(fitted, replace(panel, values=values), FOLD.test)


def test_a_forecast_without_a_size_takes_no_position() -> None:
    found = forecast_positions(np.array([0.0, np.nan]), np.zeros(4))
    assert np.array_equal(found, [0.0, np.nan], equal_nan=True)
    with pytest.raises(ValueError, match="no size"):
        forecast_positions(np.array([0.1]), np.zeros(4))
    for train in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="training forecasts"):
            forecast_positions(np.array([0.1]), train)
