"""A small release that reads candles of two coins, hours or days. Not here: tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tft_pipeline.domain.bar_calendar import calendar_of
from tft_pipeline.domain.features import resolve_features
from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval
from tft_pipeline.domain.signature import Signature
from tft_pipeline.model.fit import FittedFold
from tft_pipeline_tests.live_models import release, signature_of
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit

SYMBOLS = ("BTC", "ETH")
FEATURES = ("ret_1", "ret_5", "z_21", "mom_rsi_14")


def fitted_on_candles() -> FittedFold:
    """Fitted on noise under the names of features that candles give."""
    panel = replace(random_panel(n_symbols=2), symbols=SYMBOLS, features=FEATURES)
    return small_fit(panel, network=NETWORK, training=TRAINING, epochs=1)


def candle_signature(fitted: FittedFold, interval: Interval = "1h") -> Signature:
    """Around the clock, stamped with closes; days close at 00:00 UTC."""
    length = BAR_LENGTHS[interval]
    closes = pl.Series([datetime(2024, 1, 1, tzinfo=UTC) + k * length for k in range(400)])
    found = resolve_features(("close",), groups=(), names=list(FEATURES), has_market=False).features
    return signature_of(
        fitted,
        SYMBOLS,
        {
            "feature_versions": {feature.name: feature.version for feature in found},
            "user_columns": (),
            "interval": interval,
            "calendar": calendar_of(closes, length, timezone=None),
            "max_lookback": max(feature.lookback for feature in found),
            "bars_per_year": timedelta(days=365) / length,
        },
    )


def candle_release(models: Path, interval: Interval = "1h") -> Path:
    """Its folder."""
    fitted = fitted_on_candles()
    return release(models, "hours" if interval == "1h" else interval, fitted, candle_signature(fitted, interval))
