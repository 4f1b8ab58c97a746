"""On which days and at what times bars stand, found in the bars alone; what is missing and what stands alone among them.

A day without any bar is a holiday where the days around it have some, a gap where it is one of many in a row; a bar that one
symbol lacks and others have is missing in any case. Not here: the record a release keeps (`bar_calendar`), lengths of bars
(`intervals`), holes inside a day (`session_holes`), prices (`plausibility`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl

from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval
from tft_pipeline.domain.plausibility import Finding
from tft_pipeline.domain.session_holes import holes_inside_days

Week = Literal["every day", "Monday to Friday", "Sunday to Friday", "other days"]
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
USUAL = 0.5
"""Share of the weeks in which a weekday that is usual has a bar; share of the days in which a time of day that is usual has."""
LONGEST_HOLIDAY = 6
"""Usual days in a row without any bar that a feast may take: a lunar new year takes up to six."""
YEAR_DAYS = 365.25
ROUND_YEARS = (252.0, 260.0, 365.0)
"""Daily bars a year that are written as they are usually; a count within 1.5 % of one is taken for it."""
ALONE = 1.0 / 3.0
"""Share of the symbols under way that have a bar at a timestamp, up to which it counts as one where others have none."""
LONGEST_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDays:
    """When a market has bars.

    Attributes:
        week: on which days of the week.
        weekdays: the usual ones, from Monday as 0.
        zone: of days and times of day.
        session: (first, last) usual time of day of a close, HH:MM; None where bars are daily or stand around the clock.
        bars_a_day: median over days with bars; 1 for daily bars.
        holidays: usual days without a bar of any symbol, alone or a few in a row.
        gaps: longer runs of usual days without a bar: (first day, days).
        bars_per_year: for annualising; without the gaps, in which nothing was traded.
        years: from the first bar to the last.
    """

    week: Week
    weekdays: tuple[int, ...]
    zone: str
    session: tuple[str, str] | None
    bars_a_day: int
    holidays: int
    gaps: tuple[tuple[date, int], ...]
    bars_per_year: float
    years: float

    @property
    def words(self) -> str:
        """The same in one sentence."""
        days = (
            self.week
            if self.week != "other days"
            else f"other days ({' '.join(WEEKDAYS[day] for day in self.weekdays)})"
            if self.weekdays
            else "on no day of the week as a rule"
        )
        hours = "" if self.session is None else f", closes from {self.session[0]} to {self.session[1]} {self.zone}"
        clock = ", around the clock" if self.session is None and self.bars_a_day > 1 else ""
        closed = f", {self.holidays} holidays without a bar of any symbol" if self.holidays else ""
        return f"{days}{hours}{clock}{closed}"


def market_days(stamps: pl.Series, interval: Interval, *, timezone: str | None) -> MarketDays:
    """The calendar of the bars of all symbols together.

    Args:
        stamps: closes, UTC; any order, repeated or not; at least two different ones.
        timezone: in which days and times are counted; None is UTC.
    Raises:
        ValueError: fewer than two different timestamps.
    """
    zone = timezone or "UTC"
    times = stamps.unique().sort()
    if len(times) < 2:
        raise ValueError("all bars have one timestamp: a calendar needs two")
    # a bar that closes at midnight belongs to the day that ends then, unless bars are stamped with their dates
    shift = timedelta(0) if interval == "1d" else timedelta(microseconds=1)
    days = (times.dt.convert_time_zone(zone) - shift).dt.date()
    per_day = days.value_counts(name="bars").sort(days.name)
    dates: list[date] = per_day[days.name].to_list()
    weekdays = _usual_weekdays(dates)
    holidays, gaps = _without_bars(dates, weekdays)
    bars_a_day = int(np.median(per_day["bars"].to_numpy()))
    years = (times[-1] - times[0]) / timedelta(days=YEAR_DAYS)
    lost = sum(n for _, n in gaps) * 7 / max(1, len(weekdays)) / YEAR_DAYS
    return MarketDays(
        week=_week(weekdays),
        weekdays=weekdays,
        zone=zone,
        session=_session(times, zone, len(dates), interval),
        bars_a_day=max(1, bars_a_day),
        holidays=holidays,
        gaps=gaps,
        bars_per_year=_a_year(len(times), years - lost, interval, every_day=len(weekdays) == 7),
        years=years,
    )


def _usual_weekdays(dates: Sequence[date]) -> tuple[int, ...]:
    whole = np.arange(np.datetime64(dates[0]), np.datetime64(dates[-1]) + 1)
    # 1970-01-01 was a Thursday
    of_all = np.bincount((whole.astype(np.int64) + 3) % 7, minlength=7)
    there = np.bincount([day.weekday() for day in dates], minlength=7)
    return tuple(int(day) for day in np.flatnonzero((there > 0) & (there >= USUAL * of_all)))


def _week(weekdays: tuple[int, ...]) -> Week:
    known: dict[tuple[int, ...], Week] = {
        (0, 1, 2, 3, 4, 5, 6): "every day",
        (0, 1, 2, 3, 4): "Monday to Friday",
        (0, 1, 2, 3, 4, 6): "Sunday to Friday",
    }
    return known.get(weekdays, "other days")


def _without_bars(dates: Sequence[date], weekdays: tuple[int, ...]) -> tuple[int, tuple[tuple[date, int], ...]]:
    """Usual days without a bar: how many are holidays, and the runs that are too long for that.

    A market that is open every day has no holidays: each such day is a gap.
    """
    whole = np.arange(np.datetime64(dates[0]), np.datetime64(dates[-1]) + 1)
    usual = whole[np.isin((whole.astype(np.int64) + 3) % 7, weekdays)]
    absent = ~np.isin(usual, np.array(dates, dtype="datetime64[D]"))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], absent.astype(np.int8), [0]])))
    longest = 0 if len(weekdays) == 7 else LONGEST_HOLIDAY
    holidays, gaps = 0, []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - first <= longest:
            holidays += int(stop - first)
        else:
            gaps.append((usual[first].item(), int(stop - first)))
    return holidays, tuple(gaps)


def _session(times: pl.Series, zone: str, n_days: int, interval: Interval) -> tuple[str, str] | None:
    """First and last time of day at which usually a bar closes; None around the clock and for daily bars."""
    if interval == "1d":
        return None
    usual = times.dt.convert_time_zone(zone).dt.strftime("%H:%M").value_counts(name="n").rename({times.name: "at"})
    slots = usual.filter(pl.col("n") >= USUAL * n_days)["at"].sort().to_list()
    around = int(timedelta(days=1) / BAR_LENGTHS[interval])
    if not slots or len(slots) >= 0.95 * around:
        return None
    return slots[0], slots[-1]


def _a_year(n_bars: int, years: float, interval: Interval, *, every_day: bool) -> float:
    """Bars a year as counted; the usual number where it is close, that of a market that never closes where it is.

    Args:
        years: without the gaps.
    """
    counted = (n_bars - 1) / years
    if interval != "1d":
        full = timedelta(days=365) / BAR_LENGTHS[interval]
        return full if every_day and abs(counted / full - 1.0) < 0.05 else float(round(counted))
    near = [usual for usual in ROUND_YEARS if abs(counted / usual - 1.0) < 0.015]
    if near:
        return min(near, key=lambda usual: abs(counted - usual))
    return 365.0 if every_day and counted > 300.0 else float(max(1, round(counted)))


def missing_and_alone(bars: pl.DataFrame, days: MarketDays, interval: Interval) -> tuple[Finding, ...]:
    """What lacks in the calendar, and bars where nearly all others have none.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp.
        days: of all of them.
    """
    found: list[Finding] = []
    for first, n in days.gaps:
        found.append(
            Finding(
                "missing",
                None,
                None,
                n,
                f"no symbol has a bar on {n} {'day' if n == 1 else 'usual trading days'} from {first} on: "
                + ("a gap in a market that is open every day" if len(days.weekdays) == 7 else "longer than a holiday")
                + "; the next return spans it as if it were one bar; add the bars, or begin behind it with data.start",
            )
        )
    ticks = bars.group_by("timestamp").agg(n=pl.len()).sort("timestamp")
    spans = bars.group_by("symbol", maintain_order=True).agg(
        n=pl.len(), first=pl.col("timestamp").min(), last=pl.col("timestamp").max()
    )
    calendar = ticks["timestamp"].to_numpy()
    begun = np.searchsorted(spans["first"].sort().to_numpy(), calendar, side="right")
    ended = np.searchsorted(spans["last"].sort().to_numpy(), calendar, side="left")
    under_way = np.maximum(begun - ended, 1)
    lonely = (ticks["n"].to_numpy() <= ALONE * under_way) & (under_way >= 3)
    found += _missing_of_one(bars, spans, calendar[~lonely])
    if lonely.any():
        found += _alone(bars, ticks.filter(pl.Series(lonely)), interval)
    never_closes = len(days.weekdays) == 7 and days.session is None
    found += holes_inside_days(bars["timestamp"], interval, zone=days.zone, never_closes=never_closes)
    return tuple(found)


def _missing_of_one(bars: pl.DataFrame, spans: pl.DataFrame, calendar: np.ndarray) -> list[Finding]:
    """Bars that others have and a symbol, between its first and its last, has not."""
    found = []
    parts: Mapping[Any, pl.DataFrame] = bars.partition_by("symbol", as_dict=True)
    for row in spans.iter_rows(named=True):
        own = parts[(row["symbol"],)]["timestamp"].to_numpy()
        inside = calendar[(calendar >= own[0]) & (calendar <= own[-1])]
        absent = np.setdiff1d(inside, own, assume_unique=True)
        if absent.size:
            stamps = pl.Series(absent).cast(pl.Datetime("us")).to_list()
            shown = ", ".join(f"{stamp:%Y-%m-%d %H:%M}".removesuffix(" 00:00") for stamp in stamps[:LONGEST_LISTED])
            found.append(
                Finding(
                    "missing",
                    row["symbol"],
                    stamps[0],
                    int(absent.size),
                    f"{row['symbol']} lacks {absent.size} of {len(inside)} bars that other symbols have ({shown}"
                    f"{' ...' if absent.size > LONGEST_LISTED else ''}): labels that would reach into them are left out, "
                    "nothing is filled; fetch them again, or leave it so if the market was closed",
                )
            )
    return found


def _alone(bars: pl.DataFrame, ticks: pl.DataFrame, interval: Interval) -> list[Finding]:
    """Timestamps at which hardly any symbol has a bar."""
    there = bars.join(ticks.select("timestamp"), on="timestamp", how="semi")
    names = there["symbol"].unique().sort().to_list()
    stamps = ticks["timestamp"].to_list()
    form = "%a %Y-%m-%d" if interval == "1d" else "%Y-%m-%d %H:%M"
    shown = ", ".join(f"{stamp:{form}}" for stamp in stamps[:LONGEST_LISTED])
    shown += " ..." if len(stamps) > LONGEST_LISTED else ""
    return [
        Finding(
            "alone",
            names[0] if len(names) == 1 else None,
            stamps[0],
            there.height,
            f"at {len(stamps)} timestamp{'s' * (len(stamps) > 1)} ({shown}) only "
            f"{', '.join(names[:LONGEST_LISTED])}{' ...' if len(names) > LONGEST_LISTED else ''} has a bar: each is a bar of "
            "the common calendar, so the others lose the return into and out of it; a holiday, a weekend, or stamps of another "
            "time of day: correct or remove these rows",
        )
    ]
