"""When the kill switch should trip: decisions over explicit facts, each with its limits. Pure; standard library only.

| trigger | fact | REDUCING | HALTED |
|---|---|---|---|
| drawdown | equity against its highest so far, 1 - E / max E | `reduce_at` | `halt_at` |
| stale_data | intervals since the newest bar | `reduce_after` | `halt_after` |
| drift | nights in a row whose verdict is one of `verdicts`; no report of late | `nights` | never |
| error_rate | share of refused and failed bars among the last `bars` | `reduce_share` | `halt_share` |

A fact that is unknown (not finite) is the worst. Manual is a trigger too: `tft kill-switch trip`. Not here: where the facts
come from (`loop`), the latch (`kill_switch`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING, STATES

DRAWDOWN, STALE_DATA, DRIFT, ERROR_RATE = "drawdown", "stale_data", "drift", "error_rate"
NEUTRAL_VERDICTS = ("insufficient_data",)
UNREADABLE = "unreadable"
"""Verdict of a night whose report cannot be read; it counts as a bad one."""
MISSING = "missing"
"""In place of the newest night where there is none, or none of late: nobody knows, which counts as bad nights enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawdownLimit:
    """Shares of the highest equity so far, 0 < reduce_at <= halt_at < 1."""

    reduce_at: float = 0.05
    halt_at: float = 0.10

    def __post_init__(self) -> None:
        if not 0.0 < self.reduce_at <= self.halt_at < 1.0:
            raise ValueError(f"drawdown limits {self.reduce_at}, {self.halt_at}: need 0 < reduce_at <= halt_at < 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleDataLimit:
    """Intervals without a new bar, 1 < reduce_after <= halt_after."""

    reduce_after: float = 3.0
    halt_after: float = 15.0

    def __post_init__(self) -> None:
        if not 1.0 < self.reduce_after <= self.halt_after < math.inf:
            raise ValueError(
                f"stale data limits {self.reduce_after}, {self.halt_after}: need 1 < reduce_after <= halt_after; a bar is one "
                "interval old just before the next one comes"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimit:
    """Nights in a row, and the verdicts that make one count."""

    nights: int = 3
    verdicts: tuple[str, ...] = ("retrain", UNREADABLE)

    def __post_init__(self) -> None:
        if self.nights < 1 or not self.verdicts:
            raise ValueError(f"drift limit of {self.nights} nights of {self.verdicts}: need one night and one verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLimit:
    """Bars looked back on, and shares of them, 0 < reduce_share <= halt_share <= 1.

    Before `bars` bars have come the share is of `bars` all the same: the first refused bar is no rate of 100 %.
    """

    bars: int = 60
    reduce_share: float = 0.25
    halt_share: float = 0.5

    def __post_init__(self) -> None:
        if self.bars < 1 or not 0.0 < self.reduce_share <= self.halt_share <= 1.0:
            raise ValueError(
                f"error limits {self.bars} bars, {self.reduce_share}, {self.halt_share}: need a bar, and "
                "0 < reduce_share <= halt_share <= 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits of one loop."""

    drawdown: DrawdownLimit = field(default_factory=DrawdownLimit)
    stale_data: StaleDataLimit = field(default_factory=StaleDataLimit)
    drift: DriftLimit = field(default_factory=DriftLimit)
    error_rate: ErrorLimit = field(default_factory=ErrorLimit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at one moment.

    Attributes:
        equity, high_water_mark: realised, in the same unit; the mark counts as at least the equity.
        bar_age: intervals since the newest bar's close; 0 where none is expected now.
        nights: verdicts of the nightly drift, oldest first.
        errors: True for each refused or failed bar, oldest first.
    """

    equity: float
    high_water_mark: float
    bar_age: float
    nights: tuple[str, ...] = ()
    errors: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one trigger says."""

    trigger: str
    state: str
    why: str


def judge_drawdown(limit: DrawdownLimit, *, equity: float, high_water_mark: float) -> Finding:
    """Drawdown d = 1 - equity / max(high_water_mark, equity)."""
    mark = max(high_water_mark, equity)
    known = math.isfinite(equity) and math.isfinite(high_water_mark) and mark > 0.0
    drawdown = 1.0 - equity / mark if known else math.inf
    why = f"drawdown {drawdown:.2%} from the high-water mark {mark:.6g} (limits {limit.reduce_at:.2%}, {limit.halt_at:.2%})"
    return _graded(DRAWDOWN, drawdown, limit.reduce_at, limit.halt_at, why)


def judge_stale_data(limit: StaleDataLimit, *, bar_age: float) -> Finding:
    """Age of the newest bar in intervals."""
    age = math.inf if math.isnan(bar_age) else bar_age
    why = f"no new bar for {age:.1f} intervals (limits {limit.reduce_after:g}, {limit.halt_after:g})"
    return _graded(STALE_DATA, age, limit.reduce_after, limit.halt_after, why)


def judge_drift(limit: DriftLimit, *, nights: Sequence[str]) -> Finding:
    """Length of the newest streak of nights that count; a night without enough data neither counts nor ends it."""
    if nights and nights[-1] == MISSING:
        why = "no drift report of late: nobody knows whether the model still fits; make one (tft drift)"
        return Finding(trigger=DRIFT, state=REDUCING, why=why)
    streak = 0
    for verdict in reversed(nights):
        if verdict in limit.verdicts:
            streak += 1
        elif verdict not in NEUTRAL_VERDICTS:
            break
    why = f"{streak} nights in a row with a verdict of {', '.join(limit.verdicts)} (limit {limit.nights})"
    return _graded(DRIFT, streak, limit.nights, math.inf, why)


def judge_error_rate(limit: ErrorLimit, *, errors: Sequence[bool]) -> Finding:
    """Refused and failed bars among the last `limit.bars`, as a share of `limit.bars`."""
    failed = sum(errors[-limit.bars :])
    share = failed / limit.bars
    why = f"{failed} of the last {limit.bars} bars refused or failed (limits {limit.reduce_share:.0%}, {limit.halt_share:.0%})"
    return _graded(ERROR_RATE, share, limit.reduce_share, limit.halt_share, why)


def judge(limits: Limits, facts: Facts) -> tuple[Finding, ...]:
    """What every trigger says, those that say ACTIVE left out, strictest first."""
    found = (
        judge_drawdown(limits.drawdown, equity=facts.equity, high_water_mark=facts.high_water_mark),
        judge_stale_data(limits.stale_data, bar_age=facts.bar_age),
        judge_drift(limits.drift, nights=facts.nights),
        judge_error_rate(limits.error_rate, errors=facts.errors),
    )
    tripped = [finding for finding in found if finding.state != ACTIVE]
    return tuple(sorted(tripped, key=lambda finding: -STATES.index(finding.state)))


def _graded(trigger: str, value: float, reduce_at: float, halt_at: float, why: str) -> Finding:
    # inf >= inf: an unknown value halts where halting is a limit at all
    state = HALTED if value >= halt_at and trigger != DRIFT else REDUCING if value >= reduce_at else ACTIVE
    return Finding(trigger=trigger, state=state, why=why)
