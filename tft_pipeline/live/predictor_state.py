"""What a predictor carries from one bar to the next: held positions and the bars that windows still need. Immutable.

Stored as safetensors with the SHA-256 of its own content; no pickle. Not here: the predictor, the file it is kept in.

Axes: S symbols of the signature, T lookback, V features, K values of a bar that a form keeps (tokens, or scaled features).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np

from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.refusals import OtherStateError

SCHEMA_VERSION = 1
ABOUT, DIGEST = "about", "sha256"
KINDS: Mapping[str, type[np.generic]] = {
    "held": np.float64,
    "raw": np.float32,
    "rows": np.float32,
    "seen": np.bool_,
    "taken": np.int64,
    "behind": np.bool_,
}
"""The arrays, with the type each is kept in."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictorState:
    """After one bar, before the next; arrays are read only.

    Attributes:
        model_id, form: the predictor it belongs to.
        symbols: (S,) names. features: (V,) names. versions: (V,) version of each formula, "" of a user's column.
        last: timestamp of the newest bar; None before the first.
        held: (S,) position p after it.
        raw: (S, T - 1, V) newest bars' features, unscaled; NaN where missing or not observed.
        rows: (S, T - 1, K) what the form made of them; 0 where not observed.
        seen: (S, T - 1) at which of these bars the symbol was observed.
        taken: (S,) bars that the window knows of.
        behind: (S,) whether there were bars before those, which the window cannot know of; else nothing was before them and
            the window is padded as the backtest pads.
    """

    model_id: str
    form: str
    symbols: tuple[str, ...]
    features: tuple[str, ...]
    versions: tuple[str, ...]
    last: datetime | None
    held: np.ndarray
    raw: np.ndarray
    rows: np.ndarray
    seen: np.ndarray
    taken: np.ndarray
    behind: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, signature: Signature, *, model_id: str, form: str, width: int) -> Self:
        """Flat, before the first bar there ever was.

        Args:
            width: K.
        """
        S, T, V = len(signature.symbols), signature.lookback, len(signature.features)
        return cls(
            model_id=model_id,
            form=form,
            symbols=signature.symbols,
            features=signature.features,
            versions=formula_versions(signature),
            last=None,
            held=np.zeros(S),
            raw=np.full((S, T - 1, V), np.nan),
            rows=np.zeros((S, T - 1, width)),
            seen=np.zeros((S, T - 1)),
            taken=np.zeros(S),
            behind=np.zeros(S),
        )

    @property
    def wanting(self) -> np.ndarray:
        """(S,) bars that have to be taken before the window is one that the backtest could have seen; 0: it is."""
        return np.where(self.behind, np.maximum(0, self.seen.shape[1] - self.taken), 0)

    @property
    def positions(self) -> dict[str, float]:
        """Held position by symbol."""
        return {name: float(p) for name, p in zip(self.symbols, self.held, strict=True)}

    def to_bytes(self) -> bytes:
        """All of it; `from_bytes` gives the same bits."""
        from safetensors.numpy import save

        about = {
            "schema_version": SCHEMA_VERSION,
            "model_id": self.model_id,
            "form": self.form,
            "symbols": self.symbols,
            "features": self.features,
            "versions": self.versions,
            "last": None if self.last is None else self.last.isoformat(),
        }
        arrays = {name: getattr(self, name) for name in KINDS}
        arrays[ABOUT] = np.frombuffer(json.dumps(about, sort_keys=True).encode(), dtype=np.uint8)
        return save(arrays | {DIGEST: _digest(arrays)})

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """The state that `to_bytes` wrote.

        Raises:
            OtherStateError: it is damaged, or written by another version of this code.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(stored)
            stated = arrays.pop(DIGEST)
            if set(arrays) != {*KINDS, ABOUT} or not np.array_equal(stated, _digest(arrays)):
                raise ValueError("its content has another hash than it states")
            about: dict[str, Any] = json.loads(arrays.pop(ABOUT).tobytes())
            if about.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError(f"it was written by other code, this reads version {SCHEMA_VERSION}")
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise OtherStateError(
                f"stored predictor state of {len(stored)} bytes cannot be used ({error}): positions would be made up; restore "
                "it, or start again and warm up with the newest bars"
            ) from error
        last = about["last"]
        return cls(
            model_id=about["model_id"],
            form=about["form"],
            symbols=tuple(about["symbols"]),
            features=tuple(about["features"]),
            versions=tuple(about["versions"]),
            last=None if last is None else datetime.fromisoformat(last),
            held=arrays["held"],
            raw=arrays["raw"],
            rows=arrays["rows"],
            seen=arrays["seen"],
            taken=arrays["taken"],
            behind=arrays["behind"],
        )


def formula_versions(signature: Signature) -> tuple[str, ...]:
    """(V,) version of each feature's formula; empty text for a user's own column."""
    return tuple(signature.feature_versions.get(name, "") for name in signature.features)


def _digest(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(32,) SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)
