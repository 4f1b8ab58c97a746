"""Standardise features with the mean and deviation of the rows a fold may know. Not here: which rows those are
(`folds`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

ROUNDING = 1e-12
"""A deviation below this share of |mean| is rounding of a constant."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """z = (x - mean) / std, cut to +-clip. Fitted once, written beside the model, never refitted at prediction.

    Attributes:
        names: (F,) features in the order of the last axis.
        mean: (F,) float64.
        std: (F,) float64, population (ddof 0), positive.
        n: (F,) values each was measured on.
        clip: Largest |z|; one bad tick must not own a gradient.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    n: np.ndarray
    clip: float = 10.0

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
        flat = np.flatnonzero(~(self.std > ROUNDING * np.abs(self.mean)))
        if flat.size:
            named = ", ".join(self.names[i] for i in flat[:5])
            raise ValueError(
                f"{flat.size} feature(s) have zero standard deviation ({named}): division would give infinities; "
                "drop constant features (prefilter) before scaling"
            )

    @classmethod
    def fit(cls, values: np.ndarray, names: Sequence[str], *, clip: float = 10.0) -> Self:
        """Mean and deviation of every feature over all axes but the last, NaN left out.

        Args:
            values: (..., F), NaN where missing.
            names: (F,).
        Raises:
            ValueError: an infinite value, a feature without a value or without variance, each by name.
        """
        x = np.asarray(values)
        if x.ndim < 2 or x.shape[-1] != len(names):
            raise ValueError(f"values have shape {x.shape}: the last axis must hold the {len(names)} features")
        rows = x.reshape(-1, len(names))
        mean, std = np.zeros(len(names)), np.zeros(len(names))
        n = np.zeros(len(names), dtype=np.int64)
        for i, name in enumerate(names):
            column = rows[:, i].astype(np.float64)
            column = column[~np.isnan(column)]
            if column.size == 0:
                raise ValueError(f"feature {name} has no value in the fitting rows: drop it (prefilter) before scaling")
            if np.isinf(column).any():
                raise ValueError(f"feature {name} holds an infinite value: its mean would be lost; drop it (prefilter)")
            n[i], mean[i] = column.size, column.mean()
            std[i] = column.std() if column.min() != column.max() else 0.0
        return cls(names=tuple(names), mean=mean, std=std, n=n, clip=clip)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """(..., F) -> (..., F) float32; NaN stays NaN, infinities become +-clip.

        Raises:
            ValueError: a last axis that is not F long.
        """
        x = np.asarray(values, dtype=np.float64)
        if x.ndim == 0 or x.shape[-1] != len(self.names):
            raise ValueError(
                f"values have shape {x.shape}: the last axis must hold the {len(self.names)} fitted features"
            )
        z = np.clip((x - self.mean) / self.std, -self.clip, self.clip)
        return np.asarray(z, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives back the same bits."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "n": self.n.tolist(),
            "clip": self.clip,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(
            names=tuple(record["names"]),
            mean=np.array(record["mean"], dtype=np.float64),
            std=np.array(record["std"], dtype=np.float64),
            n=np.array(record["n"], dtype=np.int64),
            clip=float(record["clip"]),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaler) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.names, self.mean.tobytes(), self.std.tobytes(), self.clip))
