"""A small release that reads hourly candles of two coins. Not here: tests."""

from dataclasses import replace
from pathlib import Path

from tft_pipeline.domain.features import resolve_features
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


def candle_signature(fitted: FittedFold) -> Signature:
    """Hours, around the clock."""
    found = resolve_features(("close",), groups=(), names=list(FEATURES), has_market=False).features
    return signature_of(
        fitted,
        SYMBOLS,
        {
            "feature_versions": {feature.name: feature.version for feature in found},
            "user_columns": (),
            "interval": "1h",
            "calendar": {"kind": "regular", "step_s": 3600, "words": "an hour"},
            "max_lookback": max(feature.lookback for feature in found),
            "bars_per_year": 24 * 365.0,
        },
    )


def candle_release(models: Path) -> Path:
    """Its folder."""
    fitted = fitted_on_candles()
    return release(models, "hours", fitted, candle_signature(fitted))
