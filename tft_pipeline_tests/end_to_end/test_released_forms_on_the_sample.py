"""Exported forms and eager torch on the embedded daily sample: 20 stocks, every bar and symbol of a scored year."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.folds import FoldPlan, plan_folds
from tft_pipeline.domain.panel import build_panel
from tft_pipeline.domain.sections import NetworkSection, TrainingSection
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.live.onnx_predictor import OnnxPredictor
from tft_pipeline.model.inference import predict
from tft_pipeline_tests.made_bundles import made_bundle
from tft_pipeline_tests.oracles.model_panels import small_fit

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "us_equities_daily.parquet"
FEATURES = (
    "ret_1",
    "ret_21",
    "macd_8_24",
    "mom_rsi_14",
    "vol_21",
    "vol_ratio_5_63",
    "z_21",
    "mkt_ret_1",
    "beta_63",
    "dd_252",
)


@pytest.mark.slow
def test_every_bar_of_a_year_of_the_sample_is_decided_as_in_eager_torch(tmp_path: Path) -> None:
    bars = pl.read_parquet(SAMPLE).sort("symbol", "timestamp")
    chosen = resolve_features(bars.columns, groups=(), names=FEATURES, has_market=True)
    features = build_features(bars, chosen, market_symbol="SP500", bars_per_year=252.0)
    targets = build_targets(bars, horizon=1, volatility_span=60, bars_per_year=252.0, untraded=("SP500",))
    panel = build_panel(features, targets, names=chosen.names, min_history=chosen.max_lookback)
    plan = FoldPlan(train=500, validation=100, test=252, step=252, window="sliding", purge=5, horizon=1)
    first = int(np.flatnonzero(panel.observed.all(axis=0))[0])
    (fold,) = plan_folds(panel.calendar, plan, first_bar=first, stop_bar=panel.n_bars - 1, intraday=False, max_folds=1)
    fitted = small_fit(
        panel,
        fold=fold,
        network=NetworkSection(hidden=16, heads=4, variable_hidden=8, static_symbol=True),
        training=TrainingSection(lookback=63, warmup_bars=21),
        epochs=1,
    )
    bundle = made_bundle(tmp_path / "versions", fitted)
    expected, lookback = predict(fitted, panel, fold.test), fitted.training.lookback
    window, stream = (OnnxPredictor.load(bundle, form) for form in ("onnx_window", "onnx_stream"))
    n, largest = 0, 0.0
    for s, symbol in enumerate(panel.symbols):
        cache = stream.start()
        for t in range(fold.test.start - lookback + 1, fold.test.stop):
            seen = bool(panel.observed[s, t])
            bar, cache = stream.step(cache, panel.values[s, t] if seen else None, symbol=symbol)
            k = t - fold.test.start
            if k < 0 or bar is None:
                continue
            span = slice(t - lookback + 1, t + 1)
            whole = window.window(panel.values[s, span], panel.observed[s, span], symbol=symbol)
            for said in (bar, whole):
                for name in ("raw_position", "mean", "scale", "probability"):
                    largest = max(largest, abs(getattr(said, name) - getattr(expected, name)[s, k]))
            n += 1
    assert n == int(panel.observed[:, slice(*fold.test)].sum()) > 252 * 19
    assert largest <= 1e-5
