"""Predictors of small fitted folds, and replays of what a backtest stored. Not here: oracles."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.engine import Form
from tft_pipeline.live.onnx_forms import onnx_engine
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.live.torch_predictor import torch_engine
from tft_pipeline.model.export import lstm_onnx, streaming_onnx, window_onnx
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.folded import FoldedTft
from tft_pipeline.model.heads import QUANTILES
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256, write_fold_bundle
from tft_pipeline_tests.oracles.model_panels import random_panel

DAILY = {"kind": "regular", "step_s": 86400, "words": "a bar a day"}


def signature_of(fitted: FittedFold, symbols: Sequence[str], changes: dict[str, Any] | None = None) -> Signature:
    """What a release of a fold would state; features count as a user's own columns unless `changes` says otherwise."""
    of_quantiles = fitted.training.loss_mode == "joint_quantile"
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
        "outputs": ("forecast_position", "forecast_quantiles")[: 1 + of_quantiles],
        "quantile_levels": QUANTILES if of_quantiles else (),
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


_exported: dict[tuple[str, str], bytes] = {}


def exported(fitted: FittedFold, form: Form) -> bytes:
    """The form as it is released; made once a process, for exporting takes a second."""
    key = weights_sha256(fitted), form
    if key not in _exported:
        _exported[key] = _export(fitted, form)
    return _exported[key]


def _export(fitted: FittedFold, form: Form) -> bytes:
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


def ragged_panel() -> Panel:
    """`random_panel` whose test bars 108..137 hold a late listing, a delisting, a pause, a lone gap and a bar of nobody."""
    panel = random_panel(n_symbols=5)
    observed = panel.observed.copy()
    observed[2, 115:118] = False
    observed[3, :112] = False
    observed[4, 120:] = False
    observed[1, 109] = False
    observed[:, 125] = False
    return replace(panel, observed=observed)


def held_in_a_backtest(raw: np.ndarray, signature: Signature) -> np.ndarray:
    """(S, N) positions: as a backtest, whose calendar lacks bars that nobody has a forecast at; 0 there."""
    there = np.isfinite(raw).any(axis=0)
    held = np.zeros(raw.shape)
    held[:, there] = hold_positions(
        raw[:, there], max_position=signature.max_position, position_smooth=signature.position_smooth
    )
    return held


def stepped(
    predictor: Predictor, state: PredictorState, bars: Iterable[BarFeatures]
) -> tuple[np.ndarray, PredictorState]:
    """Positions (S, N) of bar after bar, 0 where no signal came, and the state behind the last."""
    columns = []
    for bar in bars:
        signals, state = predictor.step(state, bar)
        columns.append([signal.target_position for signal in signals] or [0.0] * len(predictor.signature.symbols))
    return np.array(columns).T, state


def release(models: Path, release_id: str, fitted: FittedFold, signature: Signature, *, forms: bool = False) -> Path:
    """A version that live code can read, made current; its folder."""
    weights = weights_sha256(fitted)
    exports: tuple[tuple[Form, str], ...] = (("onnx_window", "window.onnx"), ("onnx_stream", "stream.onnx"))
    names = {str(form): name for form, name in exports} if forms else {}
    left_out = {} if forms else dict.fromkeys(("onnx_window", "onnx_stream"), "not exported here")
    stated = replace(signature, weights_sha256=weights, forms=names, left_out=left_out)
    bundle = FoldBundle(
        key="f",
        spec_sha256="0",
        fitted=fitted,
        class_balance={},
        boosting="",
        predictions=pl.DataFrame({"raw_position": [0.0]}),
        seconds=0.0,
    )

    def fill(folder: Path) -> None:
        write_fold_bundle(bundle, folder)
        (folder / "signature.json").write_text(json.dumps(stated.to_dict()))
        for form, name in exports if forms else ():
            (folder / name).write_bytes(exported(fitted, form))

    return write_artifact(models / "versions", fill, version=release_id).folder


def unscaled(panel: Panel, s: int, stop: int, lookback: int) -> tuple[np.ndarray, np.ndarray]:
    """The window (T, V) of a symbol that ends before bar `stop`, and which of its bars are observed."""
    cut = slice(stop - lookback, stop)
    return panel.values[s, cut], panel.observed[s, cut]
