"""Predictors of small fitted folds, and replays of what a backtest stored. Not here: oracles."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.onnx_forms import onnx_engine
from tft_pipeline.live.predictor import Form, Predictor
from tft_pipeline.live.torch_predictor import torch_engine
from tft_pipeline.model.export import lstm_onnx, streaming_onnx, window_onnx
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.folded import FoldedTft
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft

DAILY = {"kind": "regular", "step_s": 86400, "words": "a bar a day"}


def signature_of(fitted: FittedFold, symbols: Sequence[str], changes: dict[str, Any] | None = None) -> Signature:
    """What a release of a fold would state; features count as a user's own columns unless `changes` says otherwise."""
    fields: dict[str, Any] = {
        "experiment": "small",
        "features": fitted.scaler.names,
        "feature_versions": {},
        "user_columns": fitted.scaler.names,
        "max_lookback": 1,
        "lookback": fitted.training.lookback,
        "horizon": fitted.horizon,
        "interval": "1d",
        "timezone": None,
        "calendar": DAILY,
        "symbols": tuple(symbols),
        "static_symbols": fitted.symbols,
        "loss_mode": fitted.training.loss_mode,
        "outputs": ("forecast_position",),
        "forms": {"onnx_window": "window.onnx", "onnx_stream": "stream.onnx"},
        "left_out": {},
        "form": "eager",
        "scaler": fitted.scaler,
        "max_position": fitted.position.max_position,
        "position_smooth": fitted.position.position_smooth,
        "target_volatility": fitted.target_volatility,
        "volatility_span": 20,
        "max_weight": fitted.position.max_weight,
        "bars_per_year": fitted.bars_per_year,
        "weights_sha256": "0" * 64,
        "production_start": "2020-01-01",
    }
    return Signature(**fields | (changes or {}))


def predictor_of(fitted: FittedFold, signature: Signature, *, form: Form = "torch", model_id: str = "one") -> Predictor:
    """The predictor of a fitted fold, without a release."""
    engine = torch_engine(fitted) if form == "torch" else onnx_engine(exported(fitted, form), form, signature)
    return Predictor(model_id=model_id, signature=signature, form=form, engine=engine)


def exported(fitted: FittedFold, form: Form) -> bytes:
    """The form as it is released."""
    network, lookback = fitted.build(), fitted.training.lookback
    if isinstance(network, LstmNetwork):
        assert form == "onnx_window"
        return lstm_onnx(network, lookback=lookback)
    assert isinstance(network, Tft)
    export = window_onnx if form == "onnx_window" else streaming_onnx
    return export(FoldedTft(network), lookback=lookback)


def bar_of(panel: Panel, bar: int) -> BarFeatures:
    """What is observed at a bar of a panel."""
    seen = np.flatnonzero(panel.observed[:, bar])
    values = {panel.symbols[s]: panel.values[s, bar] for s in seen}
    return BarFeatures(timestamp=panel.calendar[bar], values=values, features=panel.features)


def bars_of(panel: Panel, bars: Iterable[int]) -> list[BarFeatures]:
    """Several of them."""
    return [bar_of(panel, bar) for bar in bars]


def a_day_later(bar: BarFeatures, days: float = 1.0) -> BarFeatures:
    """The same values at another time."""
    return BarFeatures(timestamp=bar.timestamp + timedelta(days=days), values=bar.values, features=bar.features)
