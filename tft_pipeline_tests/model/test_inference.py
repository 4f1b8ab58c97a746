"""Predictions against one window at a time, and what they may not see."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model import inference
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict
from tft_pipeline_tests.oracles.model_panels import TRAINING, random_panel, small_fit


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedFold:
    return small_fit(panel)


def _one_window_after_another(fitted: FittedFold, panel: Panel, span: Span) -> dict[str, np.ndarray]:
    """Every window alone through the whole network; rows of zeros that are not observed before the panel starts."""
    network, T = fitted.build(), fitted.training.lookback
    scaled = np.nan_to_num(fitted.scaler.transform(panel.values), nan=0.0)
    scaled[~panel.observed] = 0.0
    S, V = scaled.shape[0], scaled.shape[2]
    front = np.zeros((S, T, V), dtype=np.float32)
    padded = np.concatenate((front, scaled), axis=1)
    seen = np.concatenate((np.zeros((S, T), dtype=bool), panel.observed), axis=1)
    columns = {name: np.full((S, span.n_bars), np.nan) for name in ("position", "mean", "scale", "probability")}
    weights = []
    for s in range(S):
        for bar in range(*span):
            if not panel.observed[s, bar]:
                continue
            window = slice(bar + 1, bar + 1 + T)
            values, observed = torch.from_numpy(padded[s, window]), torch.from_numpy(seen[s, window])
            with torch.no_grad():
                forecast = network(values[None], observed[None])
                weights.append(network.select(values, observed)[1][-1].numpy())
            at = (s, bar - span.start)
            mean, scale = forecast.mean[0, -1].item(), forecast.log_scale[0, -1].exp().item()
            columns["position"][at], columns["mean"][at], columns["scale"][at] = forecast.position[0, -1], mean, scale
            columns["probability"][at] = stats.norm.cdf(mean / scale)
    return columns | {"weights": np.mean(weights, axis=0)}


@pytest.mark.parametrize("span", [Span(108, 138), Span(0, 9), Span(66, 78)])
def test_predictions_equal_one_window_after_another(fitted: FittedFold, panel: Panel, span: Span) -> None:
    actual, expected = predict(fitted, panel, span), _one_window_after_another(fitted, panel, span)
    np.testing.assert_allclose(actual.raw_position, expected["position"], atol=2e-6)
    np.testing.assert_allclose(actual.mean, expected["mean"], atol=2e-6)
    np.testing.assert_allclose(actual.scale, expected["scale"], atol=2e-6)
    np.testing.assert_allclose(actual.probability, expected["probability"], atol=2e-6)
    np.testing.assert_allclose(actual.vsn_weights, expected["weights"], atol=1e-6)
    assert actual.raw_position.dtype == np.float64


def test_predictions_are_missing_exactly_where_a_symbol_is_not_observed(fitted: FittedFold, panel: Panel) -> None:
    predictions = predict(fitted, panel, Span(20, 80))
    absent = ~panel.observed[:, 20:80]
    assert absent.any()
    for name in ("raw_position", "mean", "scale", "probability"):
        assert np.array_equal(np.isnan(getattr(predictions, name)), absent)


@pytest.mark.parametrize("cut", [110, 121, 136])
def test_later_bars_change_no_bit_of_earlier_predictions(fitted: FittedFold, panel: Panel, cut: int) -> None:
    random = np.random.default_rng(cut)
    values = panel.values.copy()
    values[:, cut + 1 :] = random.normal(0, 3, values[:, cut + 1 :].shape)
    observed = panel.observed.copy()
    observed[0, cut + 1 :] = False
    before, after = (
        predict(fitted, p, Span(108, 138)) for p in (panel, replace(panel, values=values, observed=observed))
    )
    kept = cut + 1 - 108
    assert np.array_equal(before.raw_position[:, :kept], after.raw_position[:, :kept])
    assert np.array_equal(before.mean[:, :kept], after.mean[:, :kept])
    assert not np.array_equal(before.raw_position[:, kept:], after.raw_position[:, kept:])


def test_outcomes_are_not_read(fitted: FittedFold, panel: Panel) -> None:
    unknown = np.full(panel.label.shape, np.nan)
    blind = replace(panel, next_return=unknown, volatility=unknown, label=unknown)
    one, other = predict(fitted, panel, Span(108, 138)), predict(fitted, blind, Span(108, 138))
    assert np.array_equal(one.raw_position, other.raw_position)


def test_a_bar_older_than_the_lookback_changes_nothing(fitted: FittedFold, panel: Panel) -> None:
    values = panel.values.copy()
    values[:, : 120 - TRAINING.lookback + 1] += 1.0
    one, other = (predict(fitted, p, Span(120, 130)) for p in (panel, replace(panel, values=values)))
    assert np.array_equal(one.raw_position, other.raw_position)


def test_chunks_change_only_rounding(fitted: FittedFold, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict(fitted, panel, Span(108, 138))
    monkeypatch.setattr(inference, "TOKENS_A_CHUNK", 150)
    parts = predict(fitted, panel, Span(108, 138))
    np.testing.assert_allclose(whole.raw_position, parts.raw_position, atol=1e-6)


def test_features_are_taken_by_name(fitted: FittedFold, panel: Panel) -> None:
    shuffled = panel.with_features(panel.features[::-1])
    one, other = predict(fitted, panel, Span(108, 138)), predict(fitted, shuffled, Span(108, 138))
    assert np.array_equal(one.raw_position, other.raw_position)
    with pytest.raises(ValueError, match="f3"):
        predict(fitted, panel.with_features(["f0", "f1", "f2"]), Span(108, 138))


def test_weights_sum_to_one(fitted: FittedFold, panel: Panel) -> None:
    weights = predict(fitted, panel, Span(108, 138)).vsn_weights
    assert weights.shape == (4,)
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("mode", ["sharpe", "bce"])
def test_what_a_loss_does_not_train_is_missing(panel: Panel, mode: str) -> None:
    fitted = small_fit(panel, training=TRAINING.model_copy(update={"loss_mode": mode}), epochs=1)
    predictions = predict(fitted, panel, Span(108, 138))
    assert np.isnan(predictions.mean).all()
    assert np.isnan(predictions.scale).all()
    assert np.isnan(predictions.probability).all() == (mode == "sharpe")
    if mode == "bce":
        np.testing.assert_allclose(predictions.raw_position, 2 * predictions.probability - 1, atol=1e-6)


def test_a_span_without_an_observed_bar_is_refused(fitted: FittedFold, panel: Panel) -> None:
    nothing = replace(panel, observed=np.zeros_like(panel.observed))
    with pytest.raises(ValueError, match="no symbol is observed"):
        predict(fitted, nothing, Span(108, 138))
