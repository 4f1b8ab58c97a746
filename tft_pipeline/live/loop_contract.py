"""What the live loop runs on: where bars come from, who decides on them, and the settings. Not here: the loop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tft_pipeline.live.moment import Moment
from tft_pipeline.live.triggers import Limits


class EndOfBarsError(Exception):
    """A recording is over."""


class Source(Protocol):
    """Where bars come from, each once. What they are is between it and the decider; the loop only hands them on."""

    def seek(self, after: datetime | None) -> None:
        """Begin with the first bars that close after a moment; None is the beginning."""

    def next(self, timeout_s: float) -> Any | None:
        """The bars of the next moment; None when none came in time.

        Raises:
            EndOfBarsError: there will be none.
        """

    def market_time(self, now: Moment) -> datetime:
        """The time it is in the market: where bars come as they happen `now.wall` itself, else that of the recording."""


@runtime_checkable
class Remembering(Protocol):
    """What a source also is that brings after a restart what it would have brought without one."""

    def waiting(self) -> bool:
        """Whether newer bars are there already: the one at hand is of the past then."""

    def leave_out(self) -> None:
        """The bars that were brought last were refused: they are no part of the past."""

    def kept(self) -> dict[str, Any]:
        """JSON-ready: what it must know for that."""

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on with that; before anything else is asked of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the decider made of a bar.

    Attributes:
        bar: its close.
        due: when the next one is expected. until: when this decision counts no more. In the market's time.
        weights: fraction of capital by symbol.
        closes: by symbol.
    """

    bar: datetime
    due: datetime
    until: datetime
    weights: Mapping[str, float]
    closes: Mapping[str, float]
    model_id: str


class Decider(Protocol):
    """Takes bars, gives weights. An error leaves it as it was before the bar."""

    def take(self, bars: Any) -> Decision | None:
        """Decide on the bars of one moment; None where they are only read beside those of others.

        Raises:
            RefusedBarError: they must not be decided on.
        """

    def to_bytes(self) -> bytes:
        """What it needs to go on."""

    def restore(self, data: bytes | None, last_bar: datetime | None) -> None:
        """Go on from there; without data, begin."""

    def weights_sha256(self) -> str | None:
        """The model's, whose drift counts; None takes all reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a loop runs.

    Attributes:
        step_s: seconds from bar to bar, in the market's time.
        validity_s: seconds after which targets that nobody renewed read as flat.
        idle_s: longest wait for a bar before the loop looks around.
        watchdog_deadline_s: silence of the watchdog after which the loop halts itself; None runs without one.
        drift_folder: nightly reports; None leaves the trigger out.
    """

    step_s: float
    validity_s: float = 60.0
    idle_s: float = 1.0
    watchdog_deadline_s: float | None = 30.0
    drift_folder: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.step_s > 0.0 or not 0.0 < self.idle_s < self.validity_s / 3.0:
            raise ValueError(
                f"step {self.step_s} s, idle {self.idle_s} s, validity {self.validity_s} s: need a step above 0, and idle "
                "below a third of the validity, or targets would run out between two looks"
            )
