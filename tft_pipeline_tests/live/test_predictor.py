"""A predictor fed bar by bar against the backtest's predictions and held positions on the same bars."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.engine import Form
from tft_pipeline.live.onnx_forms import probability
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.live.refusals import NaiveTimeError, NoForecastError, OtherStateError, WrongShapeError
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.heads import QUANTILES, Forecast
from tft_pipeline.model.inference import Predictions, predict
from tft_pipeline_tests.live_models import (
    bar_of,
    bars_of,
    held_in_a_backtest,
    predictor_of,
    ragged_panel,
    release,
    signature_of,
    stepped,
    unscaled,
)
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, small_fit, small_fold

TEST = Span(108, 138)
TORCH, EXPORTED = 1e-6, 1e-5
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[Form, ...]]] = {
    "static tft": ({"static_symbol": True}, {}, ("torch", "onnx_window", "onnx_stream")),
    "tft of quantiles": ({"lstm_layers": 2}, {"loss_mode": "joint_quantile"}, ("torch", "onnx_window", "onnx_stream")),
    "lstm of directions": ({"family": "lstm", "lstm_layers": 2}, {"loss_mode": "bce"}, ("torch", "onnx_window")),
    "context set": ({"n_context": 3, "context_bars": 6, "static_symbol": True}, {}, ("torch",)),
    "reference": ({"family": "pytorch_forecasting"}, {"loss_mode": "sharpe"}, ("torch",)),
}


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Loading sets torch to one thread for good; other tests are not to know."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return ragged_panel()


@pytest.fixture(scope="module")
def fits(panel: Panel) -> dict[str, tuple[FittedFold, Predictions]]:
    found = {}
    for name, (network, training, _) in KINDS.items():
        fitted = small_fit(
            panel,
            network=NETWORK.model_copy(update=network),
            training=TRAINING.model_copy(update=training),
            epochs=1,
        )
        found[name] = fitted, predict(fitted, panel, TEST)
    return found


@pytest.fixture(scope="module")
def fitted(fits: dict[str, tuple[FittedFold, Predictions]]) -> FittedFold:
    return fits["static tft"][0]


SLOW = {
    ("tft of quantiles", "onnx_window"),
    ("tft of quantiles", "onnx_stream"),
    ("static tft", "onnx_window"),
}
"""Exporting takes seconds; the stream form of the static tft stands for the others."""
CASES = [
    pytest.param(name, form, marks=[pytest.mark.slow] if (name, form) in SLOW else [])
    for name, (_, _, forms) in KINDS.items()
    for form in forms
]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_bar_by_bar_it_holds_what_the_backtest_holds(
    name: str, form: Form, fits: dict[str, tuple[FittedFold, Predictions]], panel: Panel
) -> None:
    """With a late listing, a delisting, a pause, a lone gap, a bar of nobody, and smoothing."""
    fitted, predicted = fits[name]
    predictor = _predictor(fitted, panel, form)
    assert predictor.signature.position_smooth > 0.0
    expected = held_in_a_backtest(predicted.raw_position, predictor.signature)
    said: dict[str, list[list[float]]] = {"mu": [], "sigma": [], "probability": []}
    state, held = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start))), []
    for bar in bars_of(panel, range(*TEST)):
        signals, state = predictor.step(state, bar)
        held.append([signal.target_position for signal in signals] or [0.0] * len(panel.symbols))
        for column, rows in said.items():
            values = [getattr(signal, column) for signal in signals] or [None] * len(panel.symbols)
            rows.append([np.nan if value is None else value for value in values])
    tolerance = TORCH if form == "torch" else EXPORTED
    np.testing.assert_allclose(np.array(held).T, expected, rtol=0, atol=tolerance)
    assert np.abs(expected).max() > 1e-3
    for column, backtested in (("mu", "mean"), ("sigma", "scale"), ("probability", "probability")):
        np.testing.assert_allclose(np.array(said[column]).T, getattr(predicted, backtested), rtol=0, atol=tolerance)


def test_without_smoothing_the_same_bars_are_held_otherwise(fitted: FittedFold, panel: Panel) -> None:
    """The replay above would not see a predictor that forgets p, were p of no weight."""
    changed = [{"position_smooth": 0.0}, {"max_position": 0.01}]
    predictors = [_predictor(fitted, panel), *(_predictor(fitted, panel, "torch", change) for change in changed)]
    held = []
    for predictor in predictors:
        state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
        held.append(stepped(predictor, state, bars_of(panel, range(*TEST)))[0])
    assert np.abs(held[0] - held[1]).max() > 1e-3
    assert np.abs(held[2]).max() <= 0.01


@pytest.mark.parametrize("form", ["torch", "onnx_window", "onnx_stream"])
def test_the_first_bars_of_all_are_padded_as_the_backtest_pads(form: Form, fitted: FittedFold, panel: Panel) -> None:
    predictor = _predictor(fitted, panel, form)
    predicted = predict(fitted, panel, Span(0, 20))
    held, state = stepped(predictor, predictor.start(), bars_of(panel, range(20)))
    expected = held_in_a_backtest(predicted.raw_position, predictor.signature)
    np.testing.assert_allclose(held, expected, rtol=0, atol=EXPORTED)
    assert not state.wanting.any()


@pytest.mark.parametrize("name", ["static tft", "lstm of directions"])
def test_models_swapped_at_a_fold_border_hold_what_the_backtest_of_both_folds_holds(name: str, panel: Panel) -> None:
    network, training, _ = KINDS[name]
    folds = [
        replace(small_fold(), test=Span(108, 122)),
        Fold(key="g", train=Span(12, 94), validation=Span(96, 118), test=Span(122, 138)),
    ]
    sections = NETWORK.model_copy(update=network), TRAINING.model_copy(update=training)
    fits = [small_fit(panel, fold=fold, network=sections[0], training=sections[1], epochs=1) for fold in folds]
    raw = np.concatenate(
        [predict(fit, panel, fold.test).raw_position for fit, fold in zip(fits, folds, strict=True)], 1
    )
    held, state = [], None
    for k, (fit, fold) in enumerate(zip(fits, folds, strict=True)):
        predictor = predictor_of(fit, signature_of(fit, panel.symbols), model_id=f"model {k}")
        state = (
            predictor.warm(predictor.start(), bars_of(panel, range(fold.test.start)))
            if state is None
            else predictor.adopt(state)
        )
        assert not state.wanting.any()
        part, state = stepped(predictor, state, bars_of(panel, range(*fold.test)))
        held.append(part)
    expected = held_in_a_backtest(raw, signature_of(fits[0], panel.symbols))
    np.testing.assert_allclose(np.concatenate(held, 1), expected, rtol=0, atol=TORCH)


@pytest.mark.parametrize(
    ("name", "form"), [("static tft", "torch"), ("static tft", "onnx_stream"), ("context set", "torch")]
)
def test_a_state_read_back_in_any_bar_goes_on_to_the_bit(
    name: str, form: Form, fits: dict[str, tuple[FittedFold, Predictions]], panel: Panel
) -> None:
    predictor = _predictor(fits[name][0], panel, form)
    state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
    restarted = state
    for bar in bars_of(panel, range(*TEST)):
        again = _predictor(fits[name][0], panel, form) if bar.timestamp.day % 9 == 0 else predictor
        expected, state = predictor.step(state, bar)
        actual, restarted = again.step(PredictorState.from_bytes(restarted.to_bytes()), bar)
        assert actual == expected
        assert restarted.to_bytes() == state.to_bytes()


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.storage.release_bundle import current_bundle
from tft_pipeline.live.bar_features import BarFeatures
import json, numpy as np, datetime
folder = Path(sys.argv[1])
predictor = Predictor.load(current_bundle(folder / "models"))
state = PredictorState.from_bytes((folder / "state").read_bytes())
for at, rows in json.loads((folder / "bars.json").read_text()):
    values = {name: np.array(row, dtype=float) for name, row in rows.items()}
    signals, state = predictor.step(state, BarFeatures(timestamp=datetime.datetime.fromisoformat(at), values=values))
(folder / "after").write_bytes(state.to_bytes())
"""


def test_another_process_goes_on_to_the_bit(fitted: FittedFold, panel: Panel, tmp_path: Path) -> None:
    import json

    from tft_pipeline.storage.release_bundle import current_bundle

    release(tmp_path / "models", "one", fitted, signature_of(fitted, panel.symbols))
    predictor = Predictor.load(current_bundle(tmp_path / "models"))
    state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
    _, state = stepped(predictor, state, bars_of(panel, range(108, 119)))
    (tmp_path / "state").write_bytes(state.to_bytes())
    bars = bars_of(panel, range(119, 124))
    told = [(bar.timestamp.isoformat(), {name: row.tolist() for name, row in bar.values.items()}) for bar in bars]
    (tmp_path / "bars.json").write_text(json.dumps(told))
    subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path)], check=True, timeout=120)
    _, state = stepped(predictor, state, bars)
    assert (tmp_path / "after").read_bytes() == state.to_bytes()


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_window_by_itself_is_forecast_as_in_the_backtest(
    name: str, form: Form, fits: dict[str, tuple[FittedFold, Predictions]], panel: Panel
) -> None:
    fitted, predicted = fits[name]
    predictor, tolerance = _predictor(fitted, panel, form), TORCH if form == "torch" else EXPORTED
    for s, bar in [(0, 108), (2, 119), (3, 118), (4, 119), (1, 137)]:
        values, seen = unscaled(panel, s, bar + 1, fitted.training.lookback)
        said = predictor.window(values, seen, panel.symbols[s], panel.calendar[bar])
        for column in ("raw_position", "mean", "scale", "probability"):
            expected = getattr(predicted, column)[s, bar - TEST.start]
            assert (said[column] is None) == bool(np.isnan(expected))
            if said[column] is not None:
                assert said[column] == pytest.approx(expected, rel=0, abs=tolerance)
        assert said["model_id"] == "one"


def test_what_a_symbol_says_does_not_depend_on_who_else_is_there(fitted: FittedFold, panel: Panel) -> None:
    predictor = _predictor(fitted, panel)
    state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
    whole = bar_of(panel, 108)
    for symbol in whole.values:
        alone = BarFeatures(timestamp=whole.timestamp, values={symbol: whole.values[symbol]})
        place = predictor.signature.symbols.index(symbol)
        one, all_of_them = (predictor.step(state, bar)[0][place] for bar in (alone, whole))
        assert one.target_position == pytest.approx(all_of_them.target_position, abs=1e-6)


def test_a_bar_of_nobody_keeps_p_and_one_of_others_makes_flat(fitted: FittedFold, panel: Panel) -> None:
    predictor = _predictor(fitted, panel)
    state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
    _, state = predictor.step(state, bar_of(panel, 108))
    nobody = BarFeatures(timestamp=panel.calendar[109], values={})
    signals, after = predictor.step(state, nobody)
    assert not signals
    assert after.positions == state.positions
    assert after.last == panel.calendar[109]
    alone = BarFeatures(timestamp=panel.calendar[109], values={"S2": panel.values[2, 109]})
    signals, after = predictor.step(state, alone)
    assert [signal.target_position == 0.0 for signal in signals] == [True, True, False, True, True]
    assert [signal.mu is None for signal in signals] == [True, True, False, True, True]


def test_states_and_predictors_do_not_change(fitted: FittedFold, panel: Panel) -> None:
    predictor = _predictor(fitted, panel)
    state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
    before = state.to_bytes()
    first, _ = predictor.step(state, bar_of(panel, 108))
    predictor.step(state, bar_of(panel, 112))
    again, _ = predictor.step(state, bar_of(panel, 108))
    assert first == again
    assert state.to_bytes() == before
    with pytest.raises(ValueError, match="read-only"):
        state.held[0] = 1.0
    with pytest.raises(AttributeError):
        predictor.model_id = "other"  # type: ignore[misc]


def test_other_features_leave_windows_empty_and_flat_until_they_are_full(fitted: FittedFold, panel: Panel) -> None:
    """Positions carry over; what the new model could not have said in the backtest it does not say."""
    predictor = _predictor(fitted, panel)
    state = predictor.warm(predictor.start(), bars_of(panel, range(TEST.start)))
    _, state = predictor.step(state, bar_of(panel, 108))
    few = panel.with_features(("f2", "f0", "f3"))
    renewed = panel.with_features(panel.features)
    renewed = replace(renewed, features=("f0", "f1", "f2", "g3"))
    T = fitted.training.lookback
    for other, reusable in ((few, True), (renewed, False)):
        new = predictor_of(fit := small_fit(other, epochs=1), signature_of(fit, panel.symbols), model_id="two")
        adopted = new.adopt(state)
        assert adopted.positions == state.positions
        assert (adopted.wanting == (0 if reusable else T - 1)).all()
        if reusable:
            warmed = new.warm(new.start(), bars_of(other, range(109)))
            np.testing.assert_allclose(adopted.rows, warmed.rows, atol=1e-6)
            np.testing.assert_array_equal(adopted.seen, warmed.seen)
            continue
        signals, after = new.step(adopted, bar_of(other, 109))
        assert all(signal.target_position == 0.0 and signal.mu is None for signal in signals)
        after = new.warm(after, bars_of(other, range(110, 109 + T - 1)))
        assert not after.wanting.any()
        signals, _ = new.step(after, bar_of(other, 109 + T - 1))
        assert any(signal.target_position != 0.0 for signal in signals)


def test_another_formula_of_the_same_name_is_another_feature(fitted: FittedFold, panel: Panel) -> None:
    versions = dict.fromkeys(panel.features, "1")
    old = _predictor(fitted, panel, "torch", {"feature_versions": versions, "user_columns": ()})
    new = replace(old, model_id="two", signature=replace(old.signature, feature_versions=versions | {"f1": "2"}))
    state = old.warm(old.start(), bars_of(panel, range(20)))
    assert (new.adopt(state).wanting == fitted.training.lookback - 1).all()
    assert not replace(old, model_id="two").adopt(state).wanting.any()


def test_a_symbol_the_model_before_did_not_have_waits_for_its_window(fitted: FittedFold, panel: Panel) -> None:
    fewer = _predictor(fitted, panel, "torch", {"symbols": panel.symbols[:3]})
    bars = [
        BarFeatures(timestamp=bar.timestamp, values={name: bar.values[name] for name in bar.values if name < "S3"})
        for bar in bars_of(panel, range(108))
    ]
    state = fewer.warm(fewer.start(), bars)
    more = replace(_predictor(fitted, panel), model_id="two")
    assert more.adopt(state).wanting.tolist() == [0, 0, 0, 15, 15]


def test_a_state_of_another_model_is_refused_until_it_is_adopted(fitted: FittedFold, panel: Panel) -> None:
    predictor = _predictor(fitted, panel)
    other = replace(predictor, model_id="two")
    with pytest.raises(OtherStateError, match=r"adopt\(\)"):
        other.step(predictor.start(), bar_of(panel, 0))
    with pytest.raises(OtherStateError):
        _predictor(fitted, panel, "onnx_window").step(predictor.start(), bar_of(panel, 0))
    other.step(other.adopt(predictor.start()), bar_of(panel, 0))


def test_windows_of_another_shape_and_broken_weights_are_refused(fitted: FittedFold, panel: Panel) -> None:
    predictor = _predictor(fitted, panel)
    T, V = fitted.training.lookback, len(panel.features)
    unseen = np.ones(T, dtype=bool)
    unseen[-1] = False
    for values, seen in ((np.zeros((T + 1, V)), None), (np.zeros((T, V - 1)), None), (np.zeros((T, V)), unseen)):
        with pytest.raises(WrongShapeError):
            predictor.window(values, seen, "S0", panel.calendar[0])
    broken = {name: torch.full_like(value, torch.nan) for name, value in fitted.state.items()}
    ruined = _predictor(replace(fitted, state=broken), panel)
    with pytest.raises(NoForecastError, match="roll it back"):
        ruined.step(ruined.start(), bar_of(panel, 40))


@pytest.mark.parametrize("form", ["torch", "onnx_window", "onnx_stream"])
def test_a_release_is_loaded_in_the_form_the_gate_judged_or_another(
    form: Form, fitted: FittedFold, panel: Panel, tmp_path: Path
) -> None:
    from tft_pipeline.storage.release_bundle import current_bundle

    judged = "compiled" if form == "torch" else form
    release(tmp_path, "one", fitted, signature_of(fitted, panel.symbols, {"form": judged}), forms=True)
    bundle = current_bundle(tmp_path)
    predictor = Predictor.load(bundle)
    assert (predictor.form, predictor.model_id) == (form, "one")
    assert Predictor.load(bundle, "torch").form == "torch"
    with pytest.raises(ValueError, match="none of torch, onnx_window, onnx_stream"):
        Predictor.load(bundle, "eager")  # type: ignore[arg-type]
    release(tmp_path, "two", fitted, signature_of(fitted, panel.symbols))
    with pytest.raises(ValueError, match=r"two has no form onnx_stream \(not exported here\)"):
        Predictor.load(current_bundle(tmp_path), "onnx_stream")


def test_probabilities_of_an_exported_form_are_those_of_torch() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        quantiles = np.sort(random.normal(random.normal(0, 2), 1.0, len(QUANTILES))).astype(np.float32)
        quantiles[3] = quantiles[4]
        mean, log_scale, logit = (float(np.float32(x)) for x in random.normal(0, 1, 3))
        forecasts = {
            "quantiles": {"quantiles": torch.from_numpy(quantiles)[None]},
            "mean": {"mean": torch.tensor([mean]), "log_scale": torch.tensor([log_scale])},
            "logit": {"logit": torch.tensor([logit])},
        }
        for parts in forecasts.values():
            expected = Forecast(torch.zeros(1), **parts).probability()
            actual = probability({f"forecast_{name}": part.numpy() for name, part in parts.items()}, QUANTILES)
            assert expected is not None
            assert actual == pytest.approx(expected.item(), abs=1e-6)
    assert np.isnan(probability({"forecast_position": np.zeros(1)}, ()))


def _predictor(
    fitted: FittedFold, panel: Panel, form: Form = "torch", changes: dict[str, Any] | None = None
) -> Predictor:
    return predictor_of(fitted, signature_of(fitted, panel.symbols, changes), form=form)


def test_a_window_of_a_model_with_a_context_set_needs_its_time(
    fits: dict[str, tuple[FittedFold, Predictions]], panel: Panel
) -> None:
    """By default a context that was resolved after the window could be chosen."""
    predictor = _predictor(fits["context set"][0], panel)
    values, seen = unscaled(panel, 0, 60, predictor.signature.lookback)
    with pytest.raises(NaiveTimeError, match="give the close of its last bar"):
        predictor.window(values, seen, "S0")
    said = {predictor.window(values, seen, "S0", panel.calendar[bar])["raw_position"] for bar in (59, 137)}
    assert len(said) == 2
    plain = _predictor(fits["static tft"][0], panel)
    assert plain.window(values, seen, "S0") == plain.window(values, seen, "S0", panel.calendar[59])
