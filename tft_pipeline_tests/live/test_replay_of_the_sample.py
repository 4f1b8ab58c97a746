"""The daily sample replayed live: 20 stocks, two folds of a small tft, from raw bars, in torch and ONNX."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.domain.signature import Signature
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.engine import Form
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.model.fit import FittedFold, fit_fold
from tft_pipeline.model.inference import predict
from tft_pipeline_tests.live_models import bar_of, held_in_a_backtest, predictor_of, signature_of

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "us_equities_daily.parquet"
INDEX = "SP500"
NAMES = ("ret_1", "ret_21", "macd_16_48", "z_63", "sma_50_gap", "corr_63", "rs_21", "xs_ret_5")
FOLDS = (
    Fold(key="a", train=Span(300, 1812), validation=Span(1817, 2069), test=Span(2074, 2274)),
    Fold(key="b", train=Span(500, 2012), validation=Span(2017, 2269), test=Span(2274, 2474)),
)
COMPARED = 40
"""Bars whose features are computed from raw bars."""

pytestmark = pytest.mark.slow
Sample = tuple[pl.DataFrame, Panel, list[FittedFold], list[Signature]]


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    before = torch.get_num_threads()
    bars = normalise_bars(pl.read_parquet(SAMPLE), timezone=None, symbols=None, start=None, end=None, min_bars=100)
    chosen = resolve_features(bars.columns, groups=(), names=NAMES, has_market=True)
    features = build_features(bars, chosen, market_symbol=INDEX, bars_per_year=252.0)
    targets = build_targets(bars, horizon=1, volatility_span=60, bars_per_year=252.0, untraded=(INDEX,))
    panel = build_panel(features, targets, names=chosen.names, min_history=chosen.max_lookback)
    fits = [
        fit_fold(
            panel,
            fold,
            network=NetworkSection(hidden=16, heads=2, variable_hidden=8, static_symbol=True),
            training=TrainingSection(lookback=63, warmup_bars=21, batch_blocks=8, loss_mode="joint_mle"),
            position=PositionSection(position_smooth=0.5),
            target_volatility=0.15,
            horizon=1,
            bars_per_year=252.0,
            epochs=1,
            seed=7,
        )
        for fold in FOLDS
    ]
    stated = {
        "feature_versions": {feature.name: feature.version for feature in chosen.features},
        "user_columns": (),
        "max_lookback": chosen.max_lookback,
        "market_symbol": INDEX,
        "untraded": (INDEX,),
        "volatility_span": 60,
        "calendar": {"kind": "observed", "step_s": 86400},
    }
    yield bars, panel, fits, [signature_of(fit, panel.symbols, stated) for fit in fits]
    torch.set_num_threads(before)


@pytest.mark.parametrize(("form", "tolerance"), [("torch", 1e-6), ("onnx_window", 1e-5), ("onnx_stream", 1e-5)])
def test_every_test_bar_is_held_as_in_the_backtest(sample: Sample, form: Form, tolerance: float) -> None:
    _, panel, fits, signatures = sample
    raw = np.concatenate(
        [predict(fit, panel, fold.test).raw_position for fit, fold in zip(fits, FOLDS, strict=True)], 1
    )
    state, held = None, []
    for fit, fold, signature in zip(fits, FOLDS, signatures, strict=True):
        predictor = predictor_of(fit, signature, form=form, model_id=fold.key)
        if state is None:
            first = range(fold.test.start - 62, fold.test.start)
            state = predictor.warm(predictor.start(), (bar_of(panel, bar) for bar in first))
        state = predictor.adopt(state)
        for bar in range(*fold.test):
            signals, state = predictor.step(state, bar_of(panel, bar))
            held.append([signal.target_position for signal in signals])
            if bar % 50 == 0:
                state = PredictorState.from_bytes(state.to_bytes())
    expected = held_in_a_backtest(raw, signatures[0])
    np.testing.assert_allclose(np.array(held).T, expected, rtol=0, atol=tolerance)
    assert np.abs(expected).max() > 1e-3


def test_raw_bars_fed_one_by_one_give_the_stored_features(sample: Sample) -> None:
    bars, panel, _, signatures = sample
    first = FOLDS[0].test.start
    history = BarHistory(signatures[0], bars.filter(pl.col("timestamp") <= panel.calendar[first - 1]))
    for bar in range(first, first + COMPARED):
        history.append(bars.filter(pl.col("timestamp") == panel.calendar[bar]))
        found, stored = history.features_at(panel.calendar[bar]), bar_of(panel, bar)
        assert set(found.values) == set(stored.values)
        for symbol, row in stored.values.items():
            np.testing.assert_array_equal(found.values[symbol], row)
