"""The predictor of whatever release is live: it follows the `current` link. Not here: deploying, the predictor itself."""

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tft_pipeline.domain.signal import Signal
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.engine import Form
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.storage.artifacts import CURRENT
from tft_pipeline.storage.release_bundle import VERSIONS, current_bundle

if TYPE_CHECKING:
    from tft_pipeline.live.bar_history import BarHistory

RETRY_S = 60.0
"""A version that did not load is tried again after so long: it may have been memory or a disk, not the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How the model that answers and the one that is live stand to each other.

    Attributes:
        model_id: that answers. linked: that the link names; None where there is no link.
        error: why the linked one does not answer; None where it does.
        n_swaps: models taken up since the first.
    """

    model_id: str
    linked: str | None
    error: str | None
    n_swaps: int

    @property
    def is_live(self) -> bool:
        """Whether the model that answers is the one that is live."""
        return self.error is None and self.model_id == self.linked


class CurrentPredictor:
    """A `Predictor` that becomes another when `current` moves.

    Whole objects are swapped: each answer is of one model and names it, whoever deploys meanwhile. A new version that does
    not load leaves the old one answering, and `following` says why. May be shared between threads: one of them loads, the
    others go on with the old model until it is done.
    """

    def __init__(self, models: Path, *, form: Form | None = None) -> None:
        """Load what is live.

        Args:
            models: folder of the experiment's releases. form: as `Predictor.load`.
        Raises:
            ArtifactMissingError: nothing is live. IntegrityError, ValueError: what is live cannot be used.
        """
        self._link, self._models, self._form = models / VERSIONS / CURRENT, models, form
        self._loading = threading.Lock()
        predictor = self._loaded()
        # one tuple, replaced whole: predictor, the link's name it was loaded for, error, number of swaps, when it failed
        self._now: tuple[Predictor, str | None, str | None, int, float] = (predictor, predictor.model_id, None, 0, 0.0)

    @property
    def following(self) -> Following:
        """Which model answers, and whether it is the live one."""
        predictor, _, error, swaps, _ = self._now
        linked = self._linked()
        if error is None and linked is None:
            error = f"{self._link} is missing: nothing is live any more; deploy or roll back"
        return Following(model_id=predictor.model_id, linked=linked, error=error, n_swaps=swaps)

    @property
    def predictor(self) -> Predictor:
        """The one that answers now, after a look at the link. Take it once a bar: it stays one model, whatever is deployed."""
        predictor, tried, error, _, failed = self._now
        linked = self._linked()
        wanted = linked is not None and (linked != tried or (error is not None and time.monotonic() - failed > RETRY_S))
        if not wanted or not self._loading.acquire(blocking=False):
            return predictor
        try:
            self._swap(linked)
        finally:
            self._loading.release()
        return self._now[0]

    @property
    def signature(self) -> Signature:
        """Of the model that answers."""
        return self.predictor.signature

    @property
    def model_id(self) -> str:
        """Of the model that answers."""
        return self.predictor.model_id

    def window(
        self, window: np.ndarray, observed: np.ndarray | None = None, symbol: str = "", at: datetime | None = None
    ) -> dict[str, Any]:
        """As `Predictor.window`."""
        return self.predictor.window(window, observed, symbol, at)

    def start(self) -> PredictorState:
        """As `Predictor.start`."""
        return self.predictor.start()

    def adopt(self, state: PredictorState, history: "BarHistory | None" = None) -> PredictorState:
        """As `Predictor.adopt`."""
        return self.predictor.adopt(state, history)

    def warm(self, state: PredictorState, bars: Iterable[BarFeatures]) -> PredictorState:
        """As `Predictor.warm`, also of a state of the model before."""
        predictor = self.predictor
        return predictor.warm(predictor.adopt(state), bars)

    def step(self, state: PredictorState, bar: BarFeatures) -> tuple[list[Signal], PredictorState]:
        """As `Predictor.step`, also of a state of the model before: held positions go on, windows as `Predictor.adopt` says.

        Raises:
            RefusedBarError: also where the bar has the features of the model before; compute those of `signature` and ask
                again: the state is as it was.
        """
        predictor = self.predictor
        return predictor.step(predictor.adopt(state), bar)

    def _linked(self) -> str | None:
        try:
            return os.readlink(self._link)
        except OSError:  # missing, or no link: there is nothing to follow, and `following` says so
            return None

    def _loaded(self) -> Predictor:
        return Predictor.load(current_bundle(self._models), self._form)

    def _swap(self, linked: str | None) -> None:
        before, _, _, swaps, _ = self._now
        if linked == before.model_id:  # it was rolled back before the new one ever loaded
            self._now = (before, linked, None, swaps, 0.0)
            return
        try:
            predictor = self._loaded()
        except Exception as broken:  # whatever is wrong with a new version, the old one goes on answering
            said = (str(broken).splitlines() or [type(broken).__name__])[0]
            why = f"{linked} is live and cannot be used ({said}): {before.model_id} goes on answering; roll back or repair it"
            self._now = (before, linked, why, swaps, time.monotonic())
            return
        moved = predictor.model_id != before.model_id
        self._now = (predictor, predictor.model_id, None, swaps + moved, 0.0)
