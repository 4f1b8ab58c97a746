"""A stranger's file of bars, read as a run would read it: what keeps it from being used, all at once, and what it holds.

Not here: the copy in another form (`conversion`), the experiment for it (`proposing`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time as clock
from datetime import timedelta
from pathlib import Path

import polars as pl

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import REQUIRED, BarsError, normalise_bars
from tft_pipeline.domain.date_and_time import date_and_time, doubt_of_hours
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.intervals import (
    BAR_LENGTHS,
    Interval,
    Stamp,
    common_spacing,
    refusal_of_openings,
    refusal_of_stamp,
)
from tft_pipeline.domain.market_days import MarketDays, market_days
from tft_pipeline.domain.number_text import number_form
from tft_pipeline.domain.source_columns import source_columns
from tft_pipeline.domain.time_text import OFFSET, time_form
from tft_pipeline.pipeline.converted_numbers import FIELDS
from tft_pipeline.storage.csv_text import ZONED
from tft_pipeline.storage.sources import read_source

KNOWN_INTERVALS = ", ".join(BAR_LENGTHS)
NO_ZONE = ", with a time zone, or say which with --timezone"
"""Behind the form of times that state none."""
DATES_ALONE = " (UTC suits daily bars that carry a date alone)"
MIDNIGHT = r"[\sT]0?0:00(:00(\.0+)?)?\s*$"


@dataclass(frozen=True, slots=True)
class ReadBars:
    """Bars of a file that can be used, and what they are.

    Attributes:
        placed: their times state no zone, and were placed in one that somebody said.
    """

    bars: pl.DataFrame
    interval: Interval
    days: MarketDays
    placed: bool


def read_bars(source: Path, *, timezone: str | None, stamp: Stamp) -> ReadBars:
    """Bars of a file, checked as a run checks them, with their interval and calendar.

    Raises:
        ConfigurationError: they cannot be used as they stand; all that is wrong with columns, times and numbers at once.
    """
    try:
        raw = read_source(source, key="DATA")
    except BarsError as error:
        raise ConfigurationError(_for_init(str(error), source)) from error
    wrong = wrong_as_it_stands(raw, timezone)
    if wrong:
        if _only_a_person_can_say(raw):
            raise ConfigurationError(_told(source, wrong))
        raise ConfigurationError(
            _told(source, wrong)
            + f"\nwrite it so, or let `{_conversion(source, raw, timezone)}` write a copy and list what it changed; the "
            "file stays as it is" + ZONED * ("--timezone ZONE" in _conversion(source, raw, timezone))
        )
    return usable_bars(raw, source, timezone=timezone, stamp=stamp)


def _only_a_person_can_say(raw: pl.DataFrame) -> bool:
    """Whether a copy would be refused for the same reason: it is not known which column or time is meant."""
    columns = source_columns(raw.schema)
    if (two := date_and_time(raw)) is not None:
        return columns.shape == "either" or doubt_of_hours(raw[two[1]]) is not None
    time = next((name for name in raw.columns if columns.renaming.get(name, name) == "timestamp"), None)
    if time is None or not (raw.schema[time] == pl.String or raw.schema[time].is_integer()):
        return columns.shape == "either"
    return columns.shape == "either" or time_form(raw[time]).form == "unreadable"


def _told(source: Path, wrong: Sequence[str]) -> str:
    return f"{source} cannot be used as it stands:\n" + "\n".join(f"  - {sentence}" for sentence in wrong)


def usable_bars(raw: pl.DataFrame, source: Path, *, timezone: str | None, stamp: Stamp) -> ReadBars:
    """The rows of a file as bars, checked as a run checks them.

    Raises:
        ConfigurationError: they cannot be used.
    """
    try:
        bars = normalise_bars(raw, timezone=timezone, symbols=None, start=None, end=None, min_bars=1)
        interval = _interval(bars)
        if stamp == "open":
            _refuse_openings(bars, interval)
            bars = bars.with_columns(pl.col("timestamp") + BAR_LENGTHS[interval])
        bars = publish_in_time(bars)
        days = market_days(bars["timestamp"], interval, timezone=timezone)
        return ReadBars(bars, interval, days, placed=_states_no_zone(raw["timestamp"]))
    except (BarsError, ValueError) as error:
        raise ConfigurationError(_for_init(f"{source}: {error}", source)) from error


def wrong_as_it_stands(raw: pl.DataFrame, timezone: str | None) -> list[str]:
    """What keeps a table from being read as bars: names and shape of columns, form of times, text in place of numbers."""
    if raw.is_empty():
        return [f"it has columns {', '.join(raw.columns)} and no rows: put the bars there"]
    columns = source_columns(raw.schema)
    named = {columns.renaming.get(name, name): name for name in raw.columns}
    absent = [name for name in REQUIRED if name not in raw.columns]
    wrong = []
    if absent:
        wrong.append(
            f"columns {', '.join(absent)} are missing among {', '.join(map(repr, raw.columns[:12]))}: "
            + (columns.sentence or "rename yours")
        )
    time = named.get("timestamp")
    if (two := date_and_time(raw)) is not None:
        wrong.append(f"{two[0]} and {two[1]} are two columns: join them into one time, such as 2023-01-02T09:30:00Z")
        wrong += [doubt for doubt in (doubt_of_hours(raw[two[1]]),) if doubt is not None]
    elif time is not None and (raw.schema[time] == pl.String or raw.schema[time].is_integer()):
        form = time_form(raw[time])
        if form.form != "aware" and not (form.form == "naive" and timezone is not None):
            zone = NO_ZONE + DATES_ALONE * _dates_alone(raw)
            zone = "" if timezone or form.form in ("naive", "epoch", "mixed", "unreadable") else zone
            wrong.append(form.sentence + zone)
    elif time is not None and getattr(raw.schema[time], "time_zone", None) is None and timezone is None:
        wrong.append(f"{time} has no time zone (first {raw[time][0]}): say which with --timezone")
    for name in raw.columns:
        wanted = columns.renaming.get(name, name) in FIELDS or name in columns.wide
        if raw.schema[name] == pl.String and name not in (time, named.get("symbol")) and (wanted or not absent):
            wrong.append(number_form(raw[name]).sentence(name))
    return [sentence.replace("with data.timezone", "with --timezone") for sentence in wrong]


def _conversion(source: Path, raw: pl.DataFrame, timezone: str | None) -> str:
    """The command that would write a usable copy, with what only a person can say as it is most often meant."""
    columns = source_columns(raw.schema)
    time = next((name for name in raw.columns if columns.renaming.get(name, name) == "timestamp"), None)
    zone, order = timezone or ("UTC" if _dates_alone(raw) else "ZONE"), ""
    if time is not None and (raw.schema[time] == pl.String or raw.schema[time].is_integer()):
        form = time_form(raw[time]).form
        zone = "" if form in ("aware", "epoch") else zone
        order = " --dates day-first" if form == "either" else ""
    said = f" --timezone {zone}" if zone else ""
    return f"tft init {shown_path(source)} --convert {shown_path(source.with_suffix('.parquet'))}{said}{order}"


def _dates_alone(raw: pl.DataFrame) -> bool:
    """Whether times say days and no time of day, or midnight in all rows: their zone moves no bar within a day."""
    columns = source_columns(raw.schema)
    time = next((name for name in raw.columns if columns.renaming.get(name, name) == "timestamp"), None)
    if time is None or date_and_time(raw) is not None:
        return False
    if raw.schema[time] == pl.String:
        clocks = raw[time].drop_nulls()
        return bool((~clocks.str.contains(r"\d:\d\d") | clocks.str.contains(MIDNIGHT)).all())
    if isinstance(raw.schema[time], pl.Datetime):
        return bool((raw[time].drop_nulls().dt.time() == clock(0)).all())
    return True


def _states_no_zone(times: pl.Series) -> bool:
    if times.dtype == pl.String:
        return not times.str.contains(OFFSET).any()
    return getattr(times.dtype, "time_zone", None) is None


def shown_path(path: Path) -> str:
    """As it is typed from the working folder, where it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _for_init(message: str, source: Path) -> str:
    """A refusal that names keys of an experiment file, in terms of the command."""
    message = message.replace("correct DATA, which is relative to the experiment file", "correct the path")
    message = message.replace("placed in data.timezone", "placed in --timezone")
    message = message.replace("set data.timezone", "use --timezone").replace(
        "put the files of DATA there", "put the bars there"
    )
    return message.replace("tft init DATA", f"tft init {shown_path(source)}")


def _interval(bars: pl.DataFrame) -> Interval:
    spacing = common_spacing(bars)
    if spacing is None:
        raise BarsError("no symbol has two bars, so nothing shows their interval; bring more bars")
    fitting = [name for name, length in BAR_LENGTHS.items() if length == spacing]
    if not fitting and timedelta(hours=23) <= spacing <= timedelta(hours=25):
        fitting = ["1d"]
    if not fitting:
        middle = bars.select(pl.col("timestamp").diff().over("symbol").median())["timestamp"][0]
        raise BarsError(
            f"bars of a symbol stand {spacing} apart most often (median {middle}), which is none of {KNOWN_INTERVALS}: make "
            "bars of one of these lengths"
        )
    return fitting[0]


def _refuse_openings(bars: pl.DataFrame, interval: Interval) -> None:
    refusal = refusal_of_stamp("open", interval) or refusal_of_openings(bars, interval)
    if refusal:
        raise BarsError(f"--stamp open: {refusal}")
