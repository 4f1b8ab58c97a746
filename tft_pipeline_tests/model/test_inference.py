"""Predictions against whole windows, and what they may not see."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model import inference
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.context import WindowContext, symbol_keys, time_keys
from tft_pipeline.model.context_pool import context_pool
from tft_pipeline.model.families import build_network
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.heads import QUANTILES
from tft_pipeline.model.inference import by_token, predict, selection_weights
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit

COLUMNS = ("raw_position", "mean", "scale", "probability")
KINDS: dict[str, dict[str, Any]] = {
    "tft": {},
    "static tft": {"static_symbol": True},
    "lstm": {"family": "lstm", "lstm_layers": 2},
    "reference": {"family": "pytorch_forecasting"},
}


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedFold:
    return small_fit(panel)


@pytest.fixture(scope="module", params=KINDS)
def of_any_family(request: pytest.FixtureRequest, panel: Panel) -> FittedFold:
    return small_fit(panel, network=NETWORK.model_copy(update=KINDS[request.param]), epochs=1)


def _from_whole_windows(fitted: FittedFold, panel: Panel, span: Span) -> dict[str, np.ndarray]:
    """Every window cut by itself, all its bars forecast; rows of zeros that are not observed before the panel starts."""
    network, T = fitted.build(), fitted.training.lookback
    scaled = np.nan_to_num(fitted.scaler.transform(panel.values), nan=0.0)
    scaled[~panel.observed] = 0.0
    S, V = scaled.shape[0], scaled.shape[2]
    front = np.zeros((S, T, V), dtype=np.float32)
    padded = np.concatenate((front, scaled), axis=1)
    seen = np.concatenate((np.zeros((S, T), dtype=bool), panel.observed), axis=1)
    at = [(s, bar - span.start) for s in range(S) for bar in range(*span) if panel.observed[s, bar]]
    cuts = [(s, slice(span.start + place + 1, span.start + place + 1 + T)) for s, place in at]
    levels = [fitted.symbols.index(name) + 1 if name in fitted.symbols else 0 for name in panel.symbols]
    windows = WindowBatch(
        values=torch.from_numpy(np.stack([padded[cut] for cut in cuts])),
        observed=torch.from_numpy(np.stack([seen[cut] for cut in cuts])),
        symbol=torch.tensor([levels[s] for s, _ in at]) if fitted.network.static_symbol else None,
    )
    with torch.no_grad():
        every, shares = network.forecast(windows), network.interpret(windows).weights
    columns = {name: np.full((S, span.n_bars), np.nan) for name in COLUMNS}
    quantiles = np.full((S, span.n_bars, len(QUANTILES)), np.nan)
    for w, place in enumerate(at):
        forecast = every.each(lambda part, w=w: part[w, -1])
        columns["raw_position"][place] = forecast.position
        if forecast.mean is not None:
            columns["mean"][place], columns["scale"][place] = forecast.mean, forecast.log_scale.exp()
            columns["probability"][place] = stats.norm.cdf(columns["mean"][place] / columns["scale"][place])
        if forecast.logit is not None:
            columns["probability"][place] = 1.0 / (1.0 + np.exp(-forecast.logit.item()))
        if forecast.quantiles is not None:
            quantiles[place] = forecast.quantiles
            columns["probability"][place] = 1.0 - np.interp(0.0, quantiles[place], QUANTILES)
    weights = np.full(V, np.nan) if shares is None else shares[:, -1].numpy().mean(0)
    return columns | {"quantiles": quantiles, "weights": weights}


@pytest.mark.parametrize("span", [Span(108, 138), Span(0, 9), Span(66, 78)])
def test_predictions_equal_the_last_bar_of_whole_windows(of_any_family: FittedFold, panel: Panel, span: Span) -> None:
    fitted = of_any_family
    actual, expected = predict(fitted, panel, span), _from_whole_windows(fitted, panel, span)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(actual, name), expected[name], atol=2e-6)
    np.testing.assert_allclose(actual.vsn_weights, expected["weights"], atol=1e-6)
    assert np.isnan(actual.vsn_weights).all() == (fitted.network.family == "lstm")
    assert actual.quantiles is None
    assert actual.raw_position.dtype == np.float64


@pytest.mark.parametrize("until", [108, 109, 120, 125, 138])
def test_forecasts_that_are_not_wanted_are_left_out_and_the_others_are_the_same_to_the_bit(
    of_any_family: FittedFold, panel: Panel, until: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    span = Span(108, 138)
    step = 5  # bars a chunk
    monkeypatch.setattr(
        inference, "TOKENS_A_CHUNK", step * of_any_family.training.lookback * len(panel.between(*span).symbols)
    )
    every, some = predict(of_any_family, panel, span), predict(of_any_family, panel, span, until=until)
    done = max(step, -(-(until - span.start) // step) * step)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(some, name)[:, :done], getattr(every, name)[:, :done])
        assert np.isnan(getattr(some, name)[:, done:]).all()
    np.testing.assert_array_equal(some.vsn_weights, every.vsn_weights)


@pytest.mark.parametrize("span", [Span(108, 138), Span(0, 9)])
def test_selection_weights_are_those_of_the_predictions_to_the_bit_and_only_a_tft_has_them(
    of_any_family: FittedFold, panel: Panel, span: Span
) -> None:
    if of_any_family.network.family == "tft":
        expected = predict(of_any_family, panel, span).vsn_weights
        np.testing.assert_array_equal(selection_weights(of_any_family, panel, span), expected)
    else:
        with pytest.raises(ValueError, match="has no variable selection of its own"):
            selection_weights(of_any_family, panel, span)


@pytest.mark.parametrize("family", ["tft", "lstm"])
@pytest.mark.parametrize("mode", ["bce", "joint_quantile", "sharpe"])
def test_those_of_other_losses_too_equal_whole_windows(panel: Panel, family: str, mode: str) -> None:
    network = NETWORK.model_copy(update={"family": family})
    fitted = small_fit(panel, network=network, training=TRAINING.model_copy(update={"loss_mode": mode}), epochs=1)
    span = Span(66, 78)
    actual, expected = predict(fitted, panel, span), _from_whole_windows(fitted, panel, span)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(actual, name), expected[name], atol=4e-6)
    assert (actual.quantiles is not None) == (mode == "joint_quantile")
    if actual.quantiles is not None:
        np.testing.assert_allclose(actual.quantiles, expected["quantiles"], atol=4e-6)
        assert np.array_equal(np.isnan(actual.quantiles).any(-1), ~panel.observed[:, slice(*span)])


def test_a_symbol_the_fold_was_not_trained_on_is_predicted_as_nobody(panel: Panel) -> None:
    fitted = small_fit(panel, network=NETWORK.model_copy(update={"static_symbol": True}), epochs=1)
    span = Span(108, 138)
    known = predict(fitted, panel, span).raw_position
    strange = replace(panel, symbols=("S0", "NEW", "S2"))
    unknown = predict(fitted, strange, span).raw_position
    np.testing.assert_allclose(unknown, _from_whole_windows(fitted, strange, span)["raw_position"], atol=2e-6)
    assert np.array_equal(known[[0, 2]], unknown[[0, 2]], equal_nan=True)
    assert not np.allclose(known[1], unknown[1], equal_nan=True)


def test_symbols_keep_their_levels_in_another_order(panel: Panel) -> None:
    fitted = small_fit(panel, network=NETWORK.model_copy(update={"static_symbol": True}), epochs=1)
    turned = replace(
        panel,
        symbols=panel.symbols[::-1],
        **{
            name: getattr(panel, name)[::-1]
            for name in ("values", "observed", "next_return", "volatility", "label", "close")
        },
    )
    one, other = (predict(fitted, p, Span(108, 138)).raw_position for p in (panel, turned))
    np.testing.assert_allclose(one, other[::-1], atol=1e-6)


def test_predictions_are_missing_exactly_where_a_symbol_is_not_observed(fitted: FittedFold, panel: Panel) -> None:
    predictions = predict(fitted, panel, Span(20, 80))
    absent = ~panel.observed[:, 20:80]
    assert absent.any()
    for name in COLUMNS:
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


def test_chunks_change_only_rounding(of_any_family: FittedFold, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = of_any_family
    whole = predict(fitted, panel, Span(108, 138))
    monkeypatch.setattr(inference, "TOKENS_A_CHUNK", 150)
    monkeypatch.setattr(inference, "TOKENS_A_SELECTION", 31)
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


@pytest.mark.parametrize("tokens_a_chunk", [65_536, 150])
def test_each_window_reads_its_own_context_sequences(
    panel: Panel, tokens_a_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "TOKENS_A_CHUNK", tokens_a_chunk)
    span, T, C = Span(60, 90), TRAINING.lookback, 3
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    tensors = panel_tensors(panel, scaler, start=span.start - T + 1, stop=span.stop, target_volatility=0.15)
    pool = context_pool(
        panel_tensors(panel, scaler, start=0, stop=80, target_volatility=0.15),
        Span(0, 80),
        symbols=panel.symbols,
        levels=torch.tensor([1, 2, 3]),
        calendar=panel.calendar,
        horizon=1,
        n_context=C,
        context_bars=6,
        choice="random",
        seed=2,
    )
    context = WindowContext(pool, panel.symbols, panel.calendar, C).of(np.arange(*span))
    assert context.members.shape == (3 * span.n_bars, C)
    section = NETWORK.model_copy(update={"n_context": C, "static_symbol": True})
    torch.manual_seed(0)
    network = build_network(4, section, "joint_mle", n_symbols=3, lookback=T).eval()
    assert isinstance(network, Tft)
    levels = torch.tensor([1, 2, 3])
    batch = WindowBatch(values=tensors.values, observed=tensors.observed, symbol=levels, context=context)
    with torch.no_grad():
        columns, _ = by_token(network, batch, T)
        for s in range(3):
            for bar in range(span.n_bars):
                key = symbol_keys([panel.symbols[s]]), time_keys([panel.calendar[span.start + bar]])
                window = WindowBatch(
                    values=tensors.values[None, s, bar : bar + T],
                    observed=tensors.observed[None, s, bar : bar + T],
                    symbol=levels[s : s + 1],
                    context=pool.context_set(pool.choose(*key, C)),
                )
                forecast = network.forecast_last(window)
                assert columns["mean"][s, bar] == pytest.approx(forecast.mean.item(), abs=1e-5)
    with pytest.raises(ValueError, match="carry none"):
        by_token(network, replace(batch, context=None), T)
