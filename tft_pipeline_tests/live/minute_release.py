"""A release of made-up weights that reads minute bars, and bars for it: no training run is needed. Not here: tests."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from tft_pipeline.domain.features import resolve_features
from tft_pipeline.domain.minute_generator import generate_minute_bars
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.fit import FittedFold
from tft_pipeline_tests.live_models import release, signature_of
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit

SYMBOLS = ("AAA", "BBB", "CCC")
NAMES = ("ret_1", "z_21", "sma_20_gap", "mom_rsi_14")
COLUMNS = ("timestamp", "symbol", "open", "high", "low", "close", "volume")


def minute_bars(minutes: int, seed: int = 5) -> pl.DataFrame:
    """Minutes of three symbols, gaps and all."""
    bars = generate_minute_bars(SYMBOLS, start=date(2025, 1, 6), days=1 + minutes // 1440, seed=seed)
    return bars.sort("timestamp", "symbol").filter(pl.col("timestamp").rank("dense") <= minutes)


def minute_fit(seed: int) -> FittedFold:
    """A network of four features of the catalogue, fitted on noise: its answers are what matters, not their worth."""
    fitted = small_fit(random_panel(), epochs=1, seed=seed)
    n = len(NAMES)
    scaler = Scaler(
        names=NAMES, mean=np.array([0.0, 0.0, 0.0, 50.0]), std=np.array([6e-4, 1.0, 2e-3, 10.0]), n=np.full(n, 100)
    )
    return replace(fitted, scaler=scaler)


def release_minutes(
    models: Path, release_id: str, fitted: FittedFold, names: tuple[str, ...] = NAMES, *, market: str | None = None
) -> None:
    """Make it live in a folder of releases, as a reader of these features and this market."""
    fitted = replace(fitted, scaler=replace(fitted.scaler, names=names))
    features = resolve_features(COLUMNS, groups=(), names=names, has_market=market is not None).features
    changes = {
        "feature_versions": {feature.name: feature.version for feature in features},
        "user_columns": (),
        "raw_columns": ("close",),
        "max_lookback": max(feature.lookback for feature in features),
        "interval": "1m",
        "calendar": {"kind": "regular", "step_s": 60.0, "words": "a bar a minute"},
        "volatility_span": 30,
        "bars_per_year": 525_600.0,
        "position_smooth": 0.6,
        "untraded": () if market is None else (market,),
        "market_symbol": market,
    }
    release(models, release_id, fitted, signature_of(fitted, SYMBOLS, changes))
