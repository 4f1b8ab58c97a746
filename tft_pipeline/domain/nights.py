"""Which days the nightly watch over drift asks for, and when it asks for a retrain. Pure: facts in, requests and sentences out.

A day is complete when it is over and either a bar of a later day is there or three hours have passed, so that its last bars
had time to arrive. It is evaluated once. Not here: where the facts come from and who asks (`pipeline.drift_watch`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

STRICT_AFTER = timedelta(hours=3)
"""After the end of a day: the hour of the nightly schedule. From then on nobody waits for later bars."""
STARTS_WITHIN = timedelta(minutes=10)
"""A day that was asked for and has no run after this long is asked for again."""
RETRY_AFTER = timedelta(minutes=30)
MOST_ATTEMPTS = 3
MOST_A_TICK = 5
"""Days asked for, or under way, at once: after a long downtime the oldest come first."""
COUNTS, NEUTRAL = "retrain", "insufficient_data"
"""The verdict that makes a night count, and the one that neither counts nor ends a streak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One evaluated day.

    Attributes:
        model: hash of the weights it was judged against.
        fold: the model's fold.
    """

    day: date
    verdict: str
    model: str
    fold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run that evaluates, or evaluated, a day.

    Attributes:
        at: when it was created; when it ended, once it has.
    """

    day: date
    state: Literal["under way", "failed", "done"]
    at: datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRequest:
    """A day to evaluate, and which attempt it is, from 1."""

    day: date
    attempt: int

    @property
    def run_key(self) -> str:
        """Equal for equal requests, so that Dagster starts a second one of it never."""
        return f"drift/{self.day}/{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPlan:
    """What to ask for.

    Attributes:
        first: first day of the watch; None while there is no complete day.
        sentences: why, with dates and numbers.
    """

    requests: tuple[DayRequest, ...]
    first: date | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A retrain that was asked for: against which model, and the last night it was asked for because of."""

    model: str
    until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPlan:
    """Whether to ask for a retrain, and why; `nights` are those of the streak, oldest first."""

    wanted: bool
    nights: tuple[date, ...]
    sentence: str


def end_of(day: date) -> datetime:
    """The first instant after a UTC day."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def complete_days(calendar: Sequence[date], now: datetime) -> tuple[date, ...]:
    """Those of `calendar` (sorted days with bars, UTC) of which no more bars are expected."""
    return tuple(
        day for day in calendar if now >= end_of(day) and (day < calendar[-1] or now >= end_of(day) + STRICT_AFTER)
    )


def plan_days(
    *,
    now: datetime,
    calendar: Sequence[date],
    evaluated: Collection[date],
    attempts: Sequence[Attempt],
    asked: Mapping[date, datetime],
    first: date | None,
    most: int = MOST_A_TICK,
) -> DayPlan:
    """The days to ask for now, oldest first.

    A day is left alone while it has a result, a run under way, or was asked for less than ten minutes ago; after a failure it
    waits half an hour, and after three of them it is left to a person.

    Args:
        calendar: sorted days with bars of traded symbols.
        evaluated: days with a stored result.
        attempts: known runs.
        asked: day -> when it was last asked for, as the asker remembers.
        first: first day of the watch; None starts it at the newest complete day, and leaves history alone.
    """
    complete = complete_days(calendar, now)
    if not complete:
        newest = f"the newest bar is of {calendar[-1]}" if calendar else "the source has no bar of a traded symbol"
        return DayPlan(requests=(), first=first, sentences=(f"No day is complete: {newest}.",))
    first = complete[-1] if first is None else first
    pending = [day for day in complete if day >= first and day not in evaluated]
    sentences = [f"{len(pending)} of {sum(day >= first for day in complete)} complete days since {first} wait"
                 f" (newest {complete[-1]}); {_unfinished(calendar, complete)}."]  # fmt: skip
    under_way, requests = 0, []
    for day in pending:
        runs = sorted((run for run in attempts if run.day == day), key=lambda run: run.at)
        ended = [run for run in runs if run.state != "under way"]
        since = asked.get(day)
        if len(ended) < len(runs):
            under_way += 1
            sentences.append(f"{day} is under way in run {_short(runs[-1].run_id)}.")
        elif since is not None and now - since < STARTS_WITHIN and (not runs or runs[-1].at < since):
            under_way += 1
            sentences.append(f"{day} was requested at {since:%H:%M} and has not started.")
        elif len(ended) >= MOST_ATTEMPTS:
            sentences.append(
                f"{day} failed {len(ended)} times, last in run {_short(ended[-1].run_id)}, and is left out: look at that run, "
                f"mend what it says and materialise drift_night of {day} by hand."
            )
        elif ended and now - ended[-1].at < RETRY_AFTER:
            under_way += 1
            sentences.append(f"{day} failed in run {_short(ended[-1].run_id)}; it is tried again after 30 minutes.")
        else:
            requests.append(DayRequest(day=day, attempt=len(runs) + 1))
    chosen = requests[: max(0, most - under_way)]
    if chosen:
        named = ", ".join(str(one.day) + (f" (attempt {one.attempt})" if one.attempt > 1 else "") for one in chosen)
        later = f"; {len(requests) - len(chosen)} more follow" if len(requests) > len(chosen) else ""
        sentences.append(f"Requested: {named}{later}.")
    elif requests:
        sentences.append(f"{len(requests)} days wait until fewer than {most} are under way.")
    return DayPlan(requests=tuple(chosen), first=first, sentences=tuple(sentences))


def plan_retrain(nights: Sequence[Night], *, model: str, fold: str, asked: Sequence[Asked], need: int) -> RetrainPlan:
    """Whether the newest nights in a row ask for a retrain of the current model.

    A streak holds the newest nights judged against `model` with verdict retrain. Nights without enough data neither count
    nor end it; any other verdict ends it, and so does a night against another model. It is asked for once a streak.

    Args:
        nights: in any order.
        model, fold: the newest fold's model.
        need: nights that make it.
    """
    streak: list[date] = []
    unsaid = 0
    for night in sorted(nights, key=lambda one: one.day, reverse=True):
        if night.model != model:
            break
        if night.verdict == NEUTRAL:
            unsaid += 1
        elif night.verdict == COUNTS:
            streak.append(night.day)
        else:
            break
    streak.reverse()
    against = f"against fold {fold} (model {model[:12]})"
    more = f"; {unsaid} without enough data do not count" if unsaid else ""
    if not streak:
        judged = any(night.model == model and night.verdict != NEUTRAL for night in nights)
        why = "the newest one does not say retrain" if judged else "there is none with enough data yet"
        return RetrainPlan(wanted=False, nights=(), sentence=f"No streak of nights {against}: {why}{more}.")
    said = f"{len(streak)} of {need} nights in a row say retrain {against}: {streak[0]} to {streak[-1]}{more}"
    before = [one for one in asked if one.model == model and streak[0] <= one.until <= streak[-1]]
    if before:
        return RetrainPlan(
            wanted=False,
            nights=tuple(streak),
            sentence=f"{said}. A retrain was requested after {before[0].until}; one streak asks once.",
        )
    wanted = len(streak) >= need
    return RetrainPlan(
        wanted=wanted, nights=tuple(streak), sentence=f"{said}{'. A retrain is requested' if wanted else ''}."
    )


def _unfinished(calendar: Sequence[date], complete: Sequence[date]) -> str:
    waiting = [day for day in calendar if day > complete[-1]]
    return f"{waiting[0]} is not over yet" if waiting else "no later bar is there"


def _short(run_id: str) -> str:
    return run_id[:8]
