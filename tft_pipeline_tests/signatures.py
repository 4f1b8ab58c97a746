"""Signatures of made-up releases. Not here: tests."""

from typing import Any

import numpy as np

from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.signature import Signature


def made_signature(features: tuple[str, ...] = ("ret_1", "own"), **changes: Any) -> Signature:
    """A signature that can be; `changes` replaces attributes."""
    values = np.random.default_rng(0).normal(size=(20, len(features)))
    stated: dict[str, Any] = {
        "experiment": "small",
        "features": features,
        "feature_versions": {name: "1" for name in features if name != "own"},
        "user_columns": tuple(name for name in features if name == "own"),
        "max_lookback": 6,
        "lookback": 16,
        "horizon": 1,
        "interval": "1d",
        "timezone": None,
        "calendar": {
            "kind": "observed",
            "step_s": 86_400,
            "words": "days of trading",
            "zone": "UTC",
            "dated": False,
            "pauses": [{"weekday": 4, "time": None, "gap_s": 3 * 86_400}],
        },
        "symbols": ("AAA", "BBB", "CCC", "DDD"),
        "loss_mode": "joint_mle",
        "outputs": ("position",),
        "forms": {},
        "left_out": {"onnx_window": "not asked", "onnx_stream": "not asked"},
        "form": "eager",
        "scaler": Scaler.fit(values, features),
        "max_position": 1.0,
        "position_smooth": 0.0,
        "target_volatility": 0.15,
        "volatility_span": 20,
        "max_weight": 10.0,
        "bars_per_year": 252.0,
        "weights_sha256": "a" * 64,
        "production_start": "2021-01-15",
    }
    return Signature(**(stated | changes))
