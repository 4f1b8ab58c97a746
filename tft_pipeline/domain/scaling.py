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
    def fit(cls, values: np.ndarray, names: Sequence[str], *, clip: float = 10.0) -> Self:
        """Mean and deviation of every feature over all axes but the last, NaN left out.

        Args:
            values: (..., F), NaN where missing.
            names: (F,).
        Returns:
            A scaler whose `flat` names the features without a value, and those whose deviation is 0 or rounding.
        Raises:
            ValueError: no rows, or an infinite value, by name.
        """
        x = np.asarray(values)
        if x.ndim < 2 or x.shape[-1] != len(names):
            raise ValueError(f"values have shape {x.shape}: the last axis must hold the {len(names)} features")
        rows = x.reshape(-1, len(names))
        if not rows.shape[0]:
            raise ValueError(f"values have shape {x.shape}: without a row no feature has a mean; give rows to fit on")
        mean, std = np.zeros(len(names)), np.ones(len(names))
        n = np.zeros(len(names), dtype=np.int64)
        flat = []
        for i, name in enumerate(names):
            column = rows[:, i].astype(np.float64)
            column = column[~np.isnan(column)]
            if np.isinf(column).any():
                raise ValueError(f"feature {name} holds an infinite value: its mean would be lost; drop it (prefilter)")
            n[i] = column.size
            if column.size == 0 or column.min() == column.max():
                mean[i] = column[0] if column.size else 0.0
                flat.append(name)
                continue
            mean[i], deviation = column.mean(), column.std()
            if deviation > ROUNDING * abs(mean[i]):
                std[i] = deviation
            else:
                flat.append(name)
        return cls(names=tuple(names), mean=mean, std=std, n=n, clip=clip, flat=tuple(flat))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """(..., F) -> (..., F) float32; NaN stays NaN, infinities become +-clip, any number of a flat feature 0.

        Raises:
            ValueError: a last axis that is not F long.
        """
        x = np.asarray(values, dtype=np.float64)
        if x.ndim == 0 or x.shape[-1] != len(self.names):
            raise ValueError(
                f"values have shape {x.shape}: the last axis must hold the {len(self.names)} fitted features"
            )
        z = np.clip((x - self.mean) / self.std, -self.clip, self.clip)
        if self.flat:
            flat = [self.names.index(name) for name in self.flat]
            z[..., flat] = np.where(np.isnan(z[..., flat]), np.nan, 0.0)
        return np.asarray(z, dtype=np.float32)

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
