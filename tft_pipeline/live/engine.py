"""A network in one form as a predictor asks it: unscaled bars in, raw forecasts out, no memory of its own.

Not here: the forms (`torch_predictor`, `onnx_forms`), states, held positions (`predictor`).

Axes: n windows, T lookback, V features, K values of a bar that a form keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, get_args

import numpy as np

from tft_pipeline.domain.scaling import Scaler

Form = Literal["torch", "onnx_window", "onnx_stream"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What a network says of n windows; arrays (n,) float64, NaN where its loss trains none.

    Attributes:
        raw_position: signed share of the risk budget, before clip and smoothing.
        mean, scale: of the label, in units of expected risk. probability: of a label above 0.
    """

    raw_position: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    probability: np.ndarray


class Engine(Protocol):
    """A network in one form. Its methods change nothing and may run in many threads at once.

    Attributes:
        width: K.
        reads_time: whether `step` answers otherwise at another time.
    """

    width: int
    reads_time: bool

    def rows(self, values: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """What is kept (n, K) of n observed bars' unscaled features (n, V), each of one of `symbols`."""
        ...

    def step(
        self, values: np.ndarray, kept: np.ndarray, seen: np.ndarray, symbols: Sequence[str], at: datetime
    ) -> tuple[Outputs, np.ndarray]:
        """New bars (n, V), all observed, behind kept rows (n, T - 1, K) and seen (n, T - 1): outputs, and rows (n, K)."""
        ...


def scaled(scaler: Scaler, values: np.ndarray) -> np.ndarray:
    """(n, V) unscaled -> (n, V) float32 as windows hold them: missing values at the training mean."""
    found: np.ndarray = np.nan_to_num(scaler.transform(values), nan=0.0, copy=False)
    return found


def behind(kept: np.ndarray, seen: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Observed new rows (n, K) behind kept (n, T - 1, K) and seen (n, T - 1): whole windows (n, T, K), (n, T)."""
    whole = np.concatenate((kept, new[:, None]), axis=1)
    return whole, np.concatenate((seen, np.ones((len(new), 1), dtype=bool)), axis=1)
