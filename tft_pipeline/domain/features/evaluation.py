"""Formulas to single-precision values: those of one symbol strip by strip, those over all symbols as compact as they are.

Not here: frames, and which rows of them a value belongs to (`blocks`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import CrossSection, History
from tft_pipeline.domain.features.sharing import sharing
from tft_pipeline.domain.features.windows import Array

Float32Array = NDArray[np.float32]

STRIP_ROWS = 16_384
"""Rows of a symbol that are computed at a time where older ones do not matter: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class OutsideValues:
    """A feature that looks beyond one symbol, before it is spread over the rows of the result.

    Attributes:
        calendar: what a value belongs to: "rows" of the result, bars of all traded symbols ("traded"), of the market
            index ("market"), or of a symbol that is not traded ("symbol ...").
    """

    calendar: str
    values: Float32Array


def own_values(out: Float32Array, features: Sequence[Feature], history: History) -> None:
    """Fill one symbol's rows of a block, NaN where there is no value: recursive features in one go, the others in strips.

    A feature that is not recursive is a function of its last `lookback` bars to the bit, so each strip is given as many
    bars before it as the longest lookback asks for.

    Args:
        out: (features, bars), written to.
        features: Those that look at one symbol alone.
        history: Its bars.
    """
    n = len(history.close)
    apart = [(row, feature) for row, feature in enumerate(features) if not feature.recursive]
    before = max((feature.lookback for _, feature in apart), default=1) - 1
    if n <= STRIP_ROWS + before:
        _evaluate(out, list(enumerate(features)), history, 0)
        return
    _evaluate(out, [(row, feature) for row, feature in enumerate(features) if feature.recursive], history, 0)
    for start in range(0, n, STRIP_ROWS):
        first, stop = max(start - before, 0), min(start + STRIP_ROWS, n)
        _evaluate(out[:, start:stop], apart, history.between(first, stop), start - first)


def _evaluate(out: Float32Array, features: Iterable[tuple[int, Feature]], history: History, skipped: int) -> None:
    with sharing():
        for row, feature in features:
            assert isinstance(feature.source, PerSymbol)
            out[row] = as_float32(feature.name, feature.source.formula(history))[skipped:]


def spread_values(name: str, section: CrossSection, matrix: Array) -> OutsideValues:
    """One value a row; one a calendar bar where the formula gave all symbols the same."""
    if matrix.shape[1] > 1 and matrix.strides[1] == 0:
        return OutsideValues("traded", as_float32(name, matrix[:, 0]))
    return OutsideValues("rows", as_float32(name, section.flatten(matrix)))


def as_float32(name: str, values: Array) -> Float32Array:
    """The same in single precision.

    Raises:
        ValueError: a value that has none.
    """
    with np.errstate(under="ignore", over="ignore"):
        out: Float32Array = values.astype(np.float32)
    if np.isinf(out).any():
        largest = np.max(np.abs(values), initial=0.0, where=~np.isnan(values))
        raise ValueError(f"feature {name!r} reaches {largest:.3g}: Float32 would make it infinite, rescale its inputs")
    return out
