"""What raw bars must be before anything is computed from them.

Not here: reading files, features, when values were published (`bar_publications`).

Long format: `timestamp, symbol, close`, optionally `open, high, low, volume`, `available_at`, and ready-made features.
A bar's timestamp names its close; a decision is taken after it.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from tft_pipeline.domain.dates import refusal_of_dates, refusal_of_midnights
from tft_pipeline.domain.number_text import number_form
from tft_pipeline.domain.source_columns import source_columns
from tft_pipeline.domain.time_text import OFFSET, in_repeated_hour, placed, time_form
from tft_pipeline.domain.visible_text import LONGEST_NAME, shortened, unseen

REQUIRED = ("timestamp", "symbol", "close")
PRICES = ("open", "high", "low", "close")
RESERVED = (*REQUIRED, "open", "high", "low", "volume", "available_at")
RESERVED_PREFIX = "minute_"
"""Columns that begin so are raw aggregates of minute bars (`minutes`), never a feature of the user's own."""
SHADOW_PREFIX = "shadow_"
"""Columns that begin so would be taken for the shadow features of phase 2."""
SHARE_OF_RATES = 0.005
"""Share of values below 0 above which a column looks like rates, not like prices with mistakes."""
ROUNDING = 1e-6
"""How far a close or an open may lie outside [low, high], as a share of the price: adjusted prices are rounded."""
CONVERT = "`tft init DATA --convert bars.parquet` writes such a copy and lists what it changed"
"""What is offered where a file only has to be written in another form."""
CONTROL = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
"""What no symbol may hold: control characters, what breaks a line, and what is there and cannot be seen, such as the marks that
turn the direction of writing: two names that look the same would be two markets."""
TIMESTAMP = pl.Datetime("us", "UTC")
AT_CLOSE = timedelta(0)
"""Timestamps name the closes of their bars, as they do everywhere behind `normalise_bars`."""


class BarsError(ValueError):
    """Bars that cannot be used; the message gives the column, an example, the consequence and the remedy."""


class UnplacedTimesError(BarsError):
    """Times without a zone that only their source can place; a copy in another form would not help."""


def user_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The user's own feature columns, of the source or of tables: all that are not reserved, in their order."""
    return tuple(name for name in columns if name not in RESERVED and not name.startswith(RESERVED_PREFIX))


def normalise_bars(
    frame: pl.DataFrame,
    *,
    timezone: str | None,
    symbols: Sequence[str] | None,
    start: date | None,
    end: date | None,
    min_bars: int,
    opened_before: timedelta = AT_CLOSE,
) -> pl.DataFrame:
    """Check and canonicalise bars: UTC microseconds, Float64, sorted by symbol and timestamp.

    Shuffled rows give the same frame as sorted ones. Values are never repaired: what is wrong raises. With `available_at`
    a bar may have several rows, one a publication; `publish_in_time` reads them.

    Args:
        frame: raw rows.
        timezone: time zone of naive timestamps; without it they are refused.
        symbols: keep only these; each must be present.
        start, end: first and last date kept, in `timezone` (UTC without one).
        min_bars: fewest bars a symbol may bring within the period.
        opened_before: what the source's timestamps are earlier than the closes of their bars: nothing, or one interval where
            it stamps bars with their openings. It is added before anything else, `start` and `end` included, so that both
            kinds of files give the same frame; `available_at` is a time of its own and is not moved.
    Raises:
        BarsError: a missing column, no rows, a column named like a minute aggregate, naive or mixed time zones, a symbol
            without a name, a column or a symbol whose name is too long or holds what cannot be seen, a duplicate (timestamp,
            symbol), a non-finite or non-positive price, prices that contradict each other, a negative volume, a feature that is
            not a number, publications of features that are dates alone, an empty period, too few bars.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        guess = source_columns(frame.schema).sentence
        raise BarsError(
            f"columns {missing} are missing; bars need {list(REQUIRED)}; rename yours: {frame.columns}"
            + (f": {guess}; {CONVERT}" if guess else "")
        )
    _refuse_strange_names(frame.columns)
    if frame.is_empty():
        raise BarsError(f"the source has columns {frame.columns} and no rows; put the bars there")
    taken = [name for name in frame.columns if name.startswith(RESERVED_PREFIX)]
    if taken:
        raise BarsError(
            f"columns {taken} begin with {RESERVED_PREFIX!r}, the name of aggregates that data.minute_source makes: rename them"
        )
    shadows = [name for name in frame.columns if name.startswith(SHADOW_PREFIX)]
    if shadows:
        raise BarsError(
            f"columns {shadows} begin with {SHADOW_PREFIX!r}, the name of features made of noise: rename them"
        )
    try:
        closes = utc_column(frame["timestamp"], timezone) + opened_before
    except UnplacedTimesError:
        raise
    except BarsError as error:
        raise BarsError(f"{error}; {CONVERT}") from error
    frame = frame.with_columns(closes, frame["symbol"].cast(pl.String))
    if "available_at" in frame.columns:
        # without features it speaks of prices, which no other bar gets
        given, featured = frame["available_at"], bool(user_columns(frame.columns))
        frame = frame.with_columns(
            publication_column(given, frame["timestamp"], timezone) if featured else utc_column(given, timezone)
        )
    for name in ("timestamp", "symbol"):
        if nulls := frame[name].null_count():
            raise BarsError(f"{name} is null in {nulls} of {frame.height} rows: a bar needs its key; remove these rows")
    if nameless := int((frame["symbol"].str.strip_chars() == "").sum()):
        raise BarsError(
            f"symbol is empty in {nameless} of {frame.height} rows: bars of unknown markets would count as one market's; "
            "name them or remove these rows"
        )
    unprintable = frame.filter(pl.col("symbol").str.contains(CONTROL))
    if unprintable.height:
        raise BarsError(
            f"symbol {unprintable['symbol'][0]!r} holds a control character or a line break, in {unprintable.height} of "
            f"{frame.height} rows: names are written to files and logs, where it would begin a line of its own; rename it"
        )
    if longest := frame.filter(pl.col("symbol").str.len_chars() > LONGEST_NAME).height:
        raise BarsError(
            f"symbol is longer than {LONGEST_NAME} characters in {longest} of {frame.height} rows: it would fill tables "
            "and logs; is it another column? Shorten it"
        )
    if symbols is not None:
        absent = sorted(set(symbols) - set(frame["symbol"].unique()))
        if absent:
            raise BarsError(f"symbols {absent} of data.symbols are not in the source; correct the list or add bars")
        frame = frame.filter(pl.col("symbol").is_in(list(symbols)))
    span = _describe_span(frame)
    day = pl.col("timestamp").dt.convert_time_zone(timezone or "UTC").dt.date()
    if start is not None:
        frame = frame.filter(day >= start)
    if end is not None:
        frame = frame.filter(day <= end)
    if frame.is_empty():
        raise BarsError(f"no bar between {start or 'the beginning'} and {end or 'the end'}: the source has {span}")
    frame = _numbers(frame)
    _refuse_bad_prices(frame)
    _refuse_duplicates(frame, timezone, opened_before)
    counts = frame.group_by("symbol").agg(len=pl.col("timestamp").n_unique())
    counts = counts.filter(pl.col("len") < min_bars).sort("symbol")
    if counts.height:
        few = ", ".join(f"{row['symbol']} {row['len']}" for row in counts.iter_rows(named=True))
        raise BarsError(
            f"too few bars: {few}; data.min_bars is {min_bars}: features and labels of such a symbol would be mostly "
            "missing; leave it out with data.symbols, bring more bars, or lower data.min_bars"
        )
    ordered = [name for name in RESERVED if name in frame.columns]
    return frame.select(*ordered, *user_columns(frame.columns)).sort(
        "symbol", "timestamp", *(name for name in ("available_at",) if name in frame.columns)
    )


def _refuse_strange_names(columns: Sequence[str]) -> None:
    """Names of columns become names of features, which stand in tables, charts, files and logs."""
    for name in columns:
        if (hidden := unseen(name)) is not None:
            raise BarsError(
                f"column {shortened(repr(name))} holds {hidden}, which cannot be seen: it would break a line, or make the "
                "name look like another feature's; rename it"
            )
        if len(name) > LONGEST_NAME:
            raise BarsError(
                f"column {shortened(repr(name), LONGEST_NAME)} is longer than {LONGEST_NAME}: it would fill tables, charts and "
                "logs; rename it"
            )


def utc_column(column: pl.Series, timezone: str | None) -> pl.Series:
    """Times as UTC microseconds: dates, ISO 8601 text or datetimes; naive ones are placed in `timezone`.

    Raises:
        BarsError: another type, text that is no time, mixed time zones, naive times without `timezone`.
    """
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if column.dtype == pl.String:
        column = _parse_times(column)
    if not isinstance(column.dtype, pl.Datetime):
        guess = f": {time_form(column).sentence}" if column.dtype.is_integer() else ""
        raise BarsError(
            f"{column.name} has type {column.dtype}; give timestamps, as ISO 8601 text or a datetime type{guess}"
        )
    if column.dtype.time_zone is not None:
        return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if timezone is None:
        raise UnplacedTimesError(
            f"{column.name} has no time zone (first value {column[0]}): bars of different places would be aligned "
            "wrongly; write an offset into each timestamp, or set data.timezone"
        )
    try:
        return placed(column, timezone).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    except ValueError as error:
        raise UnplacedTimesError(f"{column.name} cannot be placed in data.timezone {timezone!r}: {error}") from error


def publication_column(available_at: pl.Series, timestamp: pl.Series, timezone: str | None) -> pl.Series:
    """Times of publication as UTC microseconds, and not dates: see `dates` for what would leak.

    Args:
        available_at: as it came.
        timestamp: what the rows speak of, as UTC.
    Raises:
        BarsError: see `utc_column`; dates alone, also where they are written as midnights.
    """
    if refusal := refusal_of_dates(available_at):
        raise BarsError(refusal)
    times = utc_column(available_at, timezone)
    if refusal := refusal_of_midnights(times, timestamp, timezone):
        raise BarsError(refusal)
    return times


def _parse_times(column: pl.Series) -> pl.Series:
    strange = column.drop_nulls().filter(~column.drop_nulls().str.contains(r"^\d{4}-?\d{2}-?\d{2}"))
    if len(strange):
        raise BarsError(
            f"{column.name} is not ISO 8601 in {len(strange)} of {len(column)} rows (first {strange[0]!r}): day and month "
            f"could be exchanged; write year-month-day: {time_form(column).sentence}"
        )
    aware = column.str.contains(OFFSET)
    n_aware = int(aware.sum())
    if 0 < n_aware < len(column.drop_nulls()):
        naive = column.filter(~aware)
        raise BarsError(
            f"{column.name} mixes time zones: {n_aware} of {len(column)} values carry an offset and others, such as "
            f"{naive[0]!r}, do not; give every timestamp an offset"
        )
    try:
        if n_aware:
            return column.str.to_datetime(time_unit="us", time_zone="UTC", strict=True)
        return column.str.to_datetime(time_unit="us", strict=True)
    except pl.exceptions.PolarsError as error:
        raise BarsError(f"{column.name} is not ISO 8601: {error}") from error


def _numbers(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [name for name in frame.columns if name not in ("timestamp", "symbol", "available_at")]
    for name in columns:
        if not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Boolean or frame[name].dtype == pl.Null):
            guess = f": {number_form(frame[name]).sentence(name)}; {CONVERT}" if frame[name].dtype == pl.String else ""
            raise BarsError(f"{name} has type {frame[name].dtype}; all but timestamp and symbol are numbers{guess}")
    return frame.with_columns(pl.col(columns).cast(pl.Float64))


def _refuse_bad_prices(frame: pl.DataFrame) -> None:
    for name in PRICES:
        if name not in frame.columns:
            continue
        bad = frame.filter(pl.col(name).is_null() | ~pl.col(name).is_finite() | (pl.col(name) <= 0))
        if bad.height:
            below = int((frame[name] < 0).sum())
            remedy = (
                "correct or remove these bars"
                if below <= SHARE_OF_RATES * frame.height
                else f"{below} are below 0, as rates and spreads are: take the price of what is traded on them (100 less a "
                "rate), or shift them; correct these bars where they are prices"
            )
            raise BarsError(
                f"{name} is missing, non-finite or not positive in {bad.height} of {frame.height} rows "
                f"({example_of(bad)}, value {bad[name][0]}): returns would be undefined; {remedy}"
            )
    if "volume" in frame.columns:
        bad = frame.filter(pl.col("volume").is_null() | ~pl.col("volume").is_finite() | (pl.col("volume") < 0))
        if bad.height:
            raise BarsError(
                f"volume is missing, non-finite or negative in {bad.height} rows ({example_of(bad)}); "
                "correct it, or drop the column"
            )
    against = contradiction(frame.columns)
    bad = frame.filter(against)
    if bad.height:
        prices = ", ".join(f"{name} {bad[name][0]}" for name in PRICES if name in bad.columns)
        raise BarsError(
            f"prices contradict each other in {bad.height} of {frame.height} rows ({example_of(bad)}: {prices}): a bar trades "
            "between its low and its high, so ranges, gaps and wicks would be wrong; exchange or correct the columns, or "
            "remove these bars"
        )


def contradiction(columns: Sequence[str]) -> pl.Expr:
    """Whether a bar's prices cannot all be true: high < low, or open or close outside [low, high] by more than `ROUNDING`.

    Args:
        columns: those of the frame; what is absent is not compared.
    """
    lower = ("open", "low", "close")
    pairs = [(name, "high") for name in lower] + [("low", name) for name in ("open", "close")]
    against = [pl.col(low) > pl.col(high) * (1.0 + ROUNDING) for low, high in pairs if {low, high} <= set(columns)]
    return pl.any_horizontal(pl.lit(False), *against)


def _refuse_duplicates(frame: pl.DataFrame, timezone: str | None, opened_before: timedelta) -> None:
    keys = [name for name in ("timestamp", "symbol", "available_at") if name in frame.columns]
    repeated = frame.group_by(keys).len().filter(pl.col("len") > 1).sort("timestamp", "symbol")
    if repeated.height:
        remedy = "which price is right cannot be known; keep one row a key"
        if timezone is not None:  # of times that state none
            stamps = repeated["timestamp"] - opened_before
            if in_repeated_hour(stamps.dt.convert_time_zone(timezone).dt.replace_time_zone(None)).all():
                remedy = (
                    "these look like local times of a zone with summer time: two different bars, of the hour that clocks "
                    "repeat in autumn; export them in UTC"
                )
        raise BarsError(
            f"{repeated.height} duplicate ({', '.join(keys)}) keys "
            f"({example_of(repeated)}, {repeated['len'][0]} rows): {remedy}"
        )


def example_of(frame: pl.DataFrame) -> str:
    """The first row, as a message names it."""
    return f"first at {frame['timestamp'][0].isoformat()} {frame['symbol'][0]!s}"


def _describe_span(frame: pl.DataFrame) -> str:
    if frame.is_empty():
        return "no rows"
    return f"bars from {frame['timestamp'].min()!s} to {frame['timestamp'].max()!s}"
