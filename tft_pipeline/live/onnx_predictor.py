"""A release asked with numpy and onnxruntime alone: verify the bundle, load a form, decide; windows or bar after bar.

    bundle = current_bundle(models)
    predictor = OnnxPredictor.load(bundle, "onnx_stream")
    cache = predictor.start()
    forecast, cache = predictor.step(cache, bar, symbol="AAA")

One symbol at a time, raw positions. Not here: held positions, checks of a market's bars and torch (`predictor`).

Axes: T lookback, V variables, Q quantile levels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from tft_pipeline.domain.signature import QUANTILES, STORED_FORMS, Signature
from tft_pipeline.model.onnx_decision import POSITION, Feed, OnnxStream, OnnxWindow
from tft_pipeline.storage.release_bundle import ReleaseBundle

WEIGHTS = "weights"


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxForecast:
    """What the network says at a bar.

    Attributes:
        raw_position: signed share of the risk budget in [-1, 1], before clip, smoothing and volatility scaling.
        mean, scale: of the label, in units of expected risk; None unless loss_mode is joint_mle.
        probability: of a label above zero; None where loss_mode is sharpe.
        quantiles: (Q,) of the label at the signature's levels; None unless loss_mode is joint_quantile.
        weights: (V,) variable selection weights of the bar, which sum to 1; None for a network that has none.
    """

    raw_position: float
    mean: float | None
    scale: float | None
    probability: float | None
    quantiles: np.ndarray | None
    weights: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxPredictor:
    """One release in one exported form. No call changes it: threads may share it.

    Attributes:
        model_id: the release. signature: what it reads. network: the form.
    """

    model_id: str
    signature: Signature
    network: OnnxWindow | OnnxStream

    @classmethod
    def load(cls, bundle: ReleaseBundle, form: str = "onnx_window") -> Self:
        """The network of a verified bundle.

        Raises:
            ValueError: the bundle does not carry that form, or its outputs are not those of the signature.
            IntegrityError: the file changed since the bundle was read.
        """
        signature, model = bundle.signature, bundle.onnx(form)
        facts = decision_facts(signature)
        network: OnnxWindow | OnnxStream = (
            OnnxWindow(model, facts) if form == "onnx_window" else OnnxStream(model, facts)
        )
        absent = [name for name in (POSITION, *signature.outputs) if name not in network.outputs]
        if absent:
            raise ValueError(
                f"{bundle.model_id}: the form {form} answers {network.outputs}, and the signature promises {absent}: "
                "release again"
            )
        return cls(model_id=bundle.model_id, signature=signature, network=network)

    def window(self, window: np.ndarray, observed: np.ndarray | None = None, *, symbol: str = "") -> OnnxForecast:
        """Forecast at the last bar of a window (T, V) of unscaled features, NaN where missing.

        A stream reads the window bar by bar from an empty cache, which gives the same.

        Args:
            observed: (T,) bool; all by default. The last one must be.
        Raises:
            ValueError: another shape, an infinite value, or a last bar that is not observed.
        """
        if isinstance(self.network, OnnxWindow):
            return self._forecast(self.network.forecast(window, observed, symbol=symbol))
        window = np.asarray(window)
        lookback = self.signature.lookback
        shown = np.ones(lookback, dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
        if window.shape[:1] != (lookback,) or shown.shape != (lookback,):
            raise ValueError(
                f"window {window.shape} and observed {shown.shape}: the model reads {lookback} bars; bring them"
            )
        cache, forecast = self.start(), None
        for bar, seen in zip(window, shown, strict=True):
            forecast, cache = self.step(cache, bar if seen else None, symbol=symbol)
        if forecast is None:
            raise ValueError(
                "the window's last bar is not observed: there is no position; ask at a bar that the symbol has"
            )
        return forecast

    def start(self) -> Feed:
        """A cache of no observed bar.

        Raises:
            ValueError: the form reads whole windows.
        """
        return self._stream().start()

    def step(
        self, cache: Mapping[str, np.ndarray], bar: np.ndarray | None, *, symbol: str = ""
    ) -> tuple[OnnxForecast | None, Feed]:
        """Forecast at the bar after those of a symbol's cache, and the cache for the next one.

        Args:
            cache: `start`, or what the step before gave for the same symbol.
            bar: (V,) unscaled features, NaN where missing; None where the symbol has no bar, and then there is no forecast.
        Raises:
            ValueError: another shape, an infinite value, another network's cache, or a form that reads whole windows.
        """
        said, kept = self._stream().step(cache, bar, symbol=symbol)
        return None if said is None else self._forecast(said), kept

    def _stream(self) -> OnnxStream:
        if not isinstance(self.network, OnnxStream):
            raise ValueError(f"the loaded form reads whole windows; load {STORED_FORMS[1]} to go bar by bar")
        return self.network

    def _forecast(self, said: Feed) -> OnnxForecast:
        mean, log_scale, logit = (_number(said, f"forecast_{name}") for name in ("mean", "log_scale", "logit"))
        scale = None if log_scale is None else math.exp(log_scale)
        quantiles = said.get(QUANTILES)
        probability: float | None = None
        if logit is not None:
            probability = 1.0 / (1.0 + math.exp(-logit)) if logit >= 0.0 else 1.0 - 1.0 / (1.0 + math.exp(logit))
        elif quantiles is not None:
            probability = 1.0 - level_of_zero(quantiles, self.signature.quantile_levels)
        elif mean is not None and scale is not None:
            probability = 0.5 * math.erfc(-mean / (scale * math.sqrt(2.0)))
        position = float(said[POSITION])
        if not abs(position) <= 1.0 + 1e-6:
            raise ValueError(
                f"{self.model_id} answers the position {position}, outside [-1, 1]: it is none; verify the release, or go back"
            )
        return OnnxForecast(
            raw_position=position,
            mean=mean,
            scale=scale,
            probability=probability,
            quantiles=quantiles,
            weights=said.get(WEIGHTS),
        )


def decision_facts(signature: Signature) -> dict[str, object]:
    """What `model.onnx_decision` needs besides the exported bytes."""
    return {
        "scaler": signature.scaler.to_dict(),
        "lookback": signature.lookback,
        "symbols": list(signature.static_symbols),
    }


def level_of_zero(quantiles: np.ndarray, levels: tuple[float, ...]) -> float:
    """F(0) of quantiles (Q,) that do not fall, linear between the levels and never beyond them.

        F(0) = l_1 + sum_i (l_i+1 - l_i) * clip(-q_i / (q_i+1 - q_i), 0, 1)

    Two quantiles that rounding made equal are a jump of F, which lies below zero or not.
    """
    found = levels[0]
    q = [float(value) for value in quantiles]
    for i in range(len(q) - 1):
        step = q[i + 1] - q[i]
        share = min(1.0, max(0.0, -q[i] / step)) if step > 0.0 else float(q[i] <= 0.0)
        found += (levels[i + 1] - levels[i]) * share
    return found


def _number(said: Feed, name: str) -> float | None:
    return float(said[name]) if name in said else None
