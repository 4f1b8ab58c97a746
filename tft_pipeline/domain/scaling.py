"""Standardise features with the mean and deviation of the rows a fold may know. Not here: which rows those are
(`folds`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

ROUNDING = 1e-12
"""A deviation below this share of |mean| is rounding of a constant."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """z = (x - mean) / std, cut to +-clip. Fitted once, written beside the model, never refitted at prediction.

    A feature that is constant or missing throughout the fitting rows has no scale, so no model fitted on them can have
    learned what another value means. It is `flat`: z = 0 wherever it has a value, later ones too. It carries nothing in
    this fold, and may well carry something in one whose rows it moves in.

    Attributes:
        names: (F,) features in the order of the last axis.
        mean: (F,) float64; of a flat feature its constant, 0.0 without a value.
        std: (F,) float64, population (ddof 0), positive; 1.0 of a flat feature.
        n: (F,) values each was measured on.
        clip: Largest |z|; one bad tick must not own a gradient.
        flat: Names of the features without variance in the fitting rows, in the order of `names`.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    n: np.ndarray
    clip: float = 10.0
    flat: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not self.names:
            raise ValueError(
                f"{len(self.names)} feature names, {len(set(self.names))} of them different: need unique names"
            )
        if not self.clip > 0.0:
            raise ValueError(f"clip {self.clip} is not positive: every value would be cut to one point")
        for field, kind in (("mean", np.float64), ("std", np.float64), ("n", np.int64)):
            value = np.array(getattr(self, field), dtype=kind)
            if value.shape != (len(self.names),) or not np.isfinite(value).all():
                raise ValueError(f"{field} has shape {value.shape}: expected {len(self.names)} finite values")
            value.setflags(write=False)
            object.__setattr__(self, field, value)
        unknown = [name for name in self.flat if name not in self.names]
        if unknown:
            raise ValueError(f"flat names {unknown}, which are not among the {len(self.names)} features")
        still = [
            name
            for name, mean, std in zip(self.names, self.mean, self.std, strict=True)
            if name not in self.flat and not std > ROUNDING * abs(mean)
        ]
        if still:
            raise ValueError(
                f"{len(still)} feature(s) have zero standard deviation ({', '.join(still[:5])}): division would give "
                "infinities; name them in flat, with std 1.0"
            )

    @classmethod
    def fit(
        cls, values: np.ndarray, names: Sequence[str], *, observed: np.ndarray | None = None, clip: float = 10.0
    ) -> Self:
        """Mean and deviation of every feature over all axes but the last, NaN left out, in one pass over blocks of rows.

        A feature's values are counted from its first one, p, which keeps their digits where |mean| >> std. A block has n_b
        values of mean m_b and squares about it q_b; the blocks together have

            m = sum_b n_b m_b / n        mean = p + m        std^2 = sum_b (q_b + n_b (m_b - m)^2) / n

        Not prefix sums of x and x^2: their difference loses all digits of a variance below 1e-16 mean^2, and one float64
        a value and moment would take four times the memory of the values.

        Args:
            values: (..., F), NaN where missing; not copied.
            names: (F,).
            observed: (...) bool, rows to fit on; None takes all. The result is that of `values[observed]`, to the bit.
        Returns:
            A scaler whose `flat` names the features without a value, and those whose deviation is 0 or rounding.
        Raises:
            ValueError: no rows, rows marked in another shape, or an infinite value, by name.
        Source: Chan, Golub and LeVeque (1983), The American Statistician 37(3), for joining blocks.
        """
        x = np.asarray(values)
        if x.ndim < 2 or x.shape[-1] != len(names):
            raise ValueError(f"values have shape {x.shape}: the last axis must hold the {len(names)} features")
        if observed is not None and observed.shape != x.shape[:-1]:
            raise ValueError(
                f"observed has shape {observed.shape}, values {x.shape}: need one mark a row; other rows would be fitted on"
            )
        first = np.full(len(names), np.nan)
        blocks = [_moments(block, first, names) for block in _observed_blocks(x, observed)]
        if not blocks:
            raise ValueError(
                f"values have shape {x.shape} and no row to fit on: without a row no feature has a mean; give rows"
            )
        # (F, blocks), so that numpy sums each feature's blocks pairwise
        counts, means, squares = (np.stack(part, axis=1) for part in zip(*blocks, strict=True))
        n = counts.sum(axis=1)
        measured = n > 0
        mean, std = np.zeros(len(names)), np.ones(len(names))
        offset = (counts * means).sum(axis=1)[measured] / n[measured]
        about = squares[measured] + counts[measured] * (means[measured] - offset[:, None]) ** 2
        mean[measured] = first[measured] + offset
        deviation = np.zeros(len(names))
        deviation[measured] = np.sqrt(about.sum(axis=1) / n[measured])
        moves = deviation > ROUNDING * np.abs(mean)
        std[moves] = deviation[moves]
        flat = tuple(name for name, moving in zip(names, moves, strict=True) if not moving)
        return cls(names=tuple(names), mean=mean, std=std, n=n, clip=clip, flat=flat)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """(..., F) -> (..., F) float32; NaN stays NaN, infinities become +-clip, any number of a flat feature 0.

        Works in float64, twice the size of float32 values: give large arrays in blocks of `rows_a_block`.

        Raises:
            ValueError: a last axis that is not F long.
        """
        x = np.asarray(values)
        if x.ndim == 0 or x.shape[-1] != len(self.names):
            raise ValueError(
                f"values have shape {x.shape}: the last axis must hold the {len(self.names)} fitted features"
            )
        z = x.astype(np.float64)
        z -= self.mean
        z /= self.std
        np.clip(z, -self.clip, self.clip, out=z)
        if self.flat:
            flat = [self.names.index(name) for name in self.flat]
            z[..., flat] = np.where(np.isnan(z[..., flat]), np.nan, 0.0)
        return z.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives back the same bits."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "n": self.n.tolist(),
            "clip": self.clip,
            "flat": list(self.flat),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; a record without `flat` has no flat feature."""
        return cls(
            names=tuple(record["names"]),
            mean=np.array(record["mean"], dtype=np.float64),
            std=np.array(record["std"], dtype=np.float64),
            n=np.array(record["n"], dtype=np.int64),
            clip=float(record["clip"]),
            flat=tuple(record.get("flat", ())),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaler) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.names, self.mean.tobytes(), self.std.tobytes(), self.clip, self.flat))


def _observed_blocks(x: np.ndarray, observed: np.ndarray | None) -> Iterator[np.ndarray]:
    """Copies of the rows of x (..., F) that are observed, in order, `rows_a_block` at a time."""
    # not at the top: a process that only decides scales as well, and has neither panels nor polars
    from tft_pipeline.domain.panel import rows_a_block

    shape, step = x.shape[:-1], rows_a_block(x.shape[-1])
    n_rows = math.prod(shape)
    marked = None if observed is None else np.flatnonzero(observed)
    for first in range(0, n_rows if marked is None else len(marked), step):
        rows = np.arange(first, min(first + step, n_rows)) if marked is None else marked[first : first + step]
        yield x[np.unravel_index(rows, shape)]


def _moments(block: np.ndarray, first: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and sum of squares about that mean of every column's values less `first`; block (R, F).

    Sets `first` (F,) where it is NaN, to the column's first value.
    """
    infinite = np.isinf(block)
    if infinite.any():
        name = names[int(infinite.any(axis=0).argmax())]
        raise ValueError(f"feature {name} holds an infinite value: its mean would be lost; drop it (prefilter)")
    y = block.astype(np.float64)
    absent = np.isnan(y)
    for f in np.flatnonzero(np.isnan(first)):
        first[f] = y[(~absent[:, f]).argmax(), f]  # stays NaN in a block without a value
    y -= first
    np.copyto(y, 0.0, where=absent)
    n = len(y) - np.count_nonzero(absent, axis=0)
    mean = y.sum(axis=0) / np.maximum(n, 1)
    y -= mean
    np.copyto(y, 0.0, where=absent)
    np.square(y, out=y)
    return n, mean, y.sum(axis=0)
