"""Which days the nightly watch over drift asks for, and when it asks for a retrain. Pure: facts in, requests and sentences out.

A day is complete when it is over and either a bar of a later day is there or three hours have passed, so that its last bars
had time to arrive. It is evaluated once. Not here: where the facts come from and who asks (`pipeline.drift_watch`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
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
"""The verdict that makes a night count, and the one that neither counts nor, so few at a time, ends a streak."""
MOST_NEUTRAL = 2
"""Nights without enough data in a row that a streak goes on over."""


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
    """One run that evaluates, or evaluated, a day, or that retrains after it.

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
        days: complete days of the watch that a model can judge, sorted.
        under_way: days that have a run, are about to have one, or are tried again soon.
        sentences: why, with dates and numbers.
    """

    requests: tuple[DayRequest, ...]
    first: date | None
    days: tuple[date, ...] = ()
    under_way: int = 0
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPlan:
    """Whether to ask for a retrain, which attempt that is, and why; `nights` are those of the streak, oldest first."""

    wanted: bool
    nights: tuple[date, ...]
    sentence: str
    attempt: int = 1


def end_of(day: date) -> datetime:
    """The first instant after a UTC day."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def day_of(close: datetime, *, dated: bool) -> date:
    """The UTC day of a bar that closed at `close`: one that closed at midnight is the last bar of the day before.

    Args:
        dated: daily bars stamped with their date alone, at 00:00 of that date, which are bars of that date.
    """
    return (close if dated else close - timedelta(microseconds=1)).astimezone(UTC).date()


def fold_for(day: date, tests: Sequence[date]) -> int | None:
    """The newest fold whose test began on or before a day; None where none had: a later one was stopped on later bars.

    Args:
        tests: first test day of each fold, sorted.
    """
    began = [place for place, first in enumerate(tests) if first <= day]
    return began[-1] if began else None


def bars_awaited(n_after: int, *, step: int, horizon: int) -> int:
    """Bars still to come until a walk forward has one fold more.

    Args:
        n_after: bars after the newest fold's last test bar.
        step, horizon: as in `folds.plan_folds`: a fold's last labels must be complete too.
    """
    return max(0, step + horizon - n_after)


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
    tests: Sequence[date] = (date.min,),
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
        tests: first test day of each fold of the plan, sorted: days before all of them have no model.
    """
    complete = complete_days(calendar, now)
    if not complete:
        newest = f"the newest bar is of {calendar[-1]}" if calendar else "the source has no bar of a traded symbol"
        return DayPlan(requests=(), first=first, sentences=(f"No day is complete: {newest}.",))
    first = complete[-1] if first is None else first
    watched = [day for day in complete if day >= first]
    days = tuple(day for day in watched if fold_for(day, tests) is not None)
    pending = [day for day in days if day not in evaluated]
    sentences = [f"{len(pending)} of {len(days)} complete days since {first} wait"
                 f" (newest {complete[-1]}); {_unfinished(calendar, complete)}."]  # fmt: skip
    if len(days) < len(watched):
        sentences.append(
            f"{len(watched) - len(days)} days before {tests[0] if tests else 'any test'} are left out: no fold had been tested "
            "yet, and a later one was stopped on later bars."
        )
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
    return DayPlan(requests=tuple(chosen), first=first, days=days, under_way=under_way, sentences=tuple(sentences))


def plan_retrain(
    nights: Sequence[Night],
    *,
    now: datetime,
    days: Sequence[date],
    model: str,
    fold: str,
    need: int,
    runs: Sequence[Attempt],
    asked: datetime | None,
    under_way: int,
    awaited: Callable[[], int],
) -> RetrainPlan:
    """Whether the newest nights in a row ask for a retrain of the current model.

    A streak holds the newest days judged against `model` with verdict retrain. Up to two nights in a row without enough data
    neither count nor end it. Any other verdict ends it, and so does a night against another model, or a day without a result.
    It is asked for once, only when it would bring another model, and while no night is under way. A retrain that left the model
    as it was (it failed, or changed nothing) may be asked for again after half an hour, three times in all.

    Args:
        nights: in any order.
        days: complete days of the watch, sorted.
        model, fold: the newest fold's model.
        need: nights that make it.
        runs: retrains of this model.
        asked: when one was last asked for, as the asker remembers.
        under_way: nights that are, or are asked for in the same moment.
        awaited: bars still to come until a retrain adds a fold; called only where it matters, for it reads bars.
    """
    streak, ends = _streak(nights, days, model)
    against = f"against fold {fold} (model {model[:12]})"
    if not streak:
        return RetrainPlan(wanted=False, nights=(), sentence=f"No streak of nights {against}: {ends}.")
    said = f"{len(streak)} of {need} nights in a row say retrain {against}: {streak[0]} to {streak[-1]}{ends}"
    why = _waits(now, runs, asked, under_way, awaited) if len(streak) >= need else ""
    wanted = len(streak) >= need and not why
    ending = ". A retrain is requested" if wanted else f". {why}" if why else ""
    return RetrainPlan(wanted=wanted, nights=streak, sentence=f"{said}{ending}.", attempt=len(runs) + 1)


def _streak(nights: Sequence[Night], days: Sequence[date], model: str) -> tuple[tuple[date, ...], str]:
    """Days of the streak, oldest first, and what belongs to it in words; without one, why."""
    by_day = {night.day: night for night in nights}
    streak: list[date] = []
    in_a_row = 0
    why = "there is no night yet"
    for day in reversed(days):
        night = by_day.get(day)
        if night is None or night.model != model:
            why = f"{day} has no result" if night is None else f"{day} was judged against another model"
            break
        in_a_row = in_a_row + 1 if night.verdict == NEUTRAL else 0
        if in_a_row > MOST_NEUTRAL:
            why = f"{in_a_row} nights up to {days[days.index(day) + in_a_row - 1]} have not enough data"
            break
        if night.verdict == NEUTRAL:
            why = f"{day} has not enough data"
        elif night.verdict == COUNTS:
            streak.append(day)
        else:
            why = f"{day} is {night.verdict}"
            break
    if not streak:
        return (), why
    # neutral nights older than the streak are no part of it
    inside = sum(by_day[day].verdict == NEUTRAL for day in days if day >= streak[-1] and day in by_day)
    return tuple(reversed(streak)), f"; {inside} without enough data do not count" if inside else ""


def _waits(
    now: datetime, runs: Sequence[Attempt], asked: datetime | None, under_way: int, awaited: Callable[[], int]
) -> str:
    """Why a streak that is long enough asks for nothing now; empty when it asks."""
    ordered = sorted(runs, key=lambda run: run.at)
    running = [run for run in ordered if run.state == "under way"]
    if running:
        return f"The retrain is under way in run {_short(running[-1].run_id)}"
    if asked is not None and now - asked < STARTS_WITHIN and (not ordered or ordered[-1].at < asked):
        return f"A retrain was requested at {asked:%H:%M} and has not started"
    if len(ordered) >= MOST_ATTEMPTS:
        return (
            f"{len(ordered)} retrains left the model as it was, last run {_short(ordered[-1].run_id)}: look at that run, mend "
            "what it says and retrain by hand with --resume"
        )
    if ordered and now - ordered[-1].at < RETRY_AFTER:
        left = "failed" if ordered[-1].state == "failed" else "left the model as it was"
        return f"The retrain of run {_short(ordered[-1].run_id)} {left}; it is tried again after 30 minutes"
    bars = awaited()
    if bars:
        return f"A retrain would add no fold yet: it waits for {bars} more bars"
    return f"A retrain waits for {under_way} nights to end" if under_way else ""


def _unfinished(calendar: Sequence[date], complete: Sequence[date]) -> str:
    waiting = [day for day in calendar if day > complete[-1]]
    return f"{waiting[0]} is not over yet" if waiting else "no later bar is there"


def _short(run_id: str) -> str:
    return run_id[:8]
