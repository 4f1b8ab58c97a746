"""The guard over minutes: what a bar of the snapshot says of its minutes is joined again, with later minutes gone or changed.

Not here: the join (`minutes`), guards over other stored values (`leakage_stored`), the table of all (`pipeline.guards`).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from polars import selectors

from tft_pipeline.domain.bars import AT_CLOSE, RESERVED_PREFIX, BarsError, utc_column
from tft_pipeline.domain.features.causality import perturbed_after
from tft_pipeline.domain.leakage import Finding, judged
from tft_pipeline.domain.minutes import minute_closes

KEYS = ("timestamp", "symbol")
CUTS = 3
ROUNDING = 1e-9
"""Relative; other hardware or another library sums a bar's minutes with less, a wrong minute changes more."""
SPARE = timedelta(days=1)
"""No clock is further from UTC."""
LONGEST, FEWEST, ROWS = 60, 6, 1_500
"""Newest bars of a symbol to try, fewer where there are many symbols."""

Join = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


def newest_with_minutes(bars: pl.DataFrame) -> pl.DataFrame:
    """The newest bars up to the last one that has minutes, of all symbols over the same time; sorted by symbol and timestamp.

    Returns:
        No rows where no bar has minutes.
    """
    known = bars.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in _columns(bars)))
    if known.is_empty():
        return bars.clear()
    n = int(np.clip(ROWS // known["symbol"].n_unique(), FEWEST, LONGEST))
    last = known["timestamp"].max()
    ordered = bars.filter(pl.col("timestamp") <= last).sort("symbol", "timestamp")
    tails = ordered.group_by("symbol", maintain_order=True).tail(n)
    spans = tails.group_by("symbol").agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
    # a symbol that ended years ago, or trades once a year, must not make the others read all these years
    firsts = spans.filter(pl.col("last") == last)["first"].sort()
    first = firsts[len(firsts) // 2]
    return ordered.filter(pl.col("timestamp") >= first)


def minutes_are_not_used_early(join: Join, bars: pl.DataFrame, minutes: pl.DataFrame, timezone: str | None) -> Finding:
    """Stored minute columns are joined again to the bit, and stay up to each cut without the minutes that close after it.

    Three times: the minutes after a cut are removed, removed together with the bars after it, and replaced by noise. Cuts are
    the closes of bars with minutes, spread evenly. A symbol's first bar here has none before it and is not compared.

    Args:
        join: bars without minute columns, rows of minutes -> the bars with their minute columns: the pipeline's own.
        bars: some of the snapshot's, each symbol's without a hole, sorted by symbol and timestamp.
        minutes: rows as the source has them, all that close inside these bars.
        timezone: of naive timestamps.
    """
    stored = bars.select(*KEYS, *_columns(bars))
    names = stored.columns[2:]
    known = stored.filter(
        pl.any_horizontal(pl.col(name).is_not_null() for name in names) & (pl.int_range(pl.len()).over("symbol") > 0)
    )
    if known.is_empty():
        return judged("nothing", [], ["no bar tried has minutes"])
    plain = bars.drop(names)
    ticks = known["timestamp"].unique().sort()
    cuts = sorted({ticks[len(ticks) * (k + 1) // (CUTS + 1)] for k in range(CUTS)})
    closes = utc_column(minutes["timestamp"], timezone)
    tried = (
        f"{len(names)} columns of {known.height} bars joined again from {minutes.height} minutes, {len(cuts)} times with later "
        "minutes removed and replaced by noise"
    )
    try:
        again = join(plain, minutes)
    except BarsError as error:
        return judged(tried, [], [f"the minutes of these bars alone cannot be joined: {error}"])
    if set(_columns(again)) != set(names):
        other = sorted(set(_columns(again)) ^ set(names))
        return judged(tried, [f"{other[:3]} are stored and not joined again, or the other way round"])
    wrong, untried = _stored_otherwise(stored, again.select(stored.columns))
    for cut in cuts:
        if wrong:
            break
        kept = minutes.filter(closes <= cut)
        noisy = perturbed_after(
            minutes.with_columns(closes, (selectors.numeric() - selectors.by_name("symbol")).cast(pl.Float64)),
            cut,
            seed=2,
        ).with_columns(minutes["timestamp"])
        expected = again.filter(pl.col("timestamp") <= cut).select(stored.columns)
        for change, some_bars, some_minutes in (
            ("removed", plain, kept),
            ("removed with the bars after it", plain.filter(pl.col("timestamp") <= cut), kept),
            ("replaced by noise", plain, noisy),
        ):
            try:
                found = join(some_bars, some_minutes)
            except BarsError as error:
                untried.append(f"the minutes up to {cut} cannot be joined without those after it: {error}")
                continue
            found = found.filter(pl.col("timestamp") <= cut).select(stored.columns)
            wrong += _moved(expected, found, f"when the minutes that close after {cut} are {change}")
    return judged(tried, wrong, untried)


def _columns(bars: pl.DataFrame) -> list[str]:
    return [name for name in bars.columns if name.startswith(RESERVED_PREFIX)]


def _stored_otherwise(stored: pl.DataFrame, again: pl.DataFrame) -> tuple[list[str], list[str]]:
    """What the snapshot holds and the join does not give, and the same where only rounding differs."""
    compared = pl.int_range(pl.len()).over("symbol") > 0
    stored, again = stored.filter(compared), again.filter(compared)
    wrong: list[str] = []
    rounded: list[str] = []
    for name in stored.columns[2:]:
        left, right = _numbers(stored[name]), _numbers(again[name])
        if np.array_equal(left, right, equal_nan=True):
            continue
        close = np.allclose(left, right, rtol=ROUNDING, atol=ROUNDING * _size(left), equal_nan=True)
        (rounded if close else wrong).append(
            f"the stored {name} {_first(stored, left, right)} when it is joined again"
            f"{': by rounding alone, so other hardware or another library joined it' if close else ''}"
        )
    return wrong, rounded


def _moved(expected: pl.DataFrame, found: pl.DataFrame, when: str) -> list[str]:
    wrong = []
    for name in expected.columns[2:]:
        left, right = _numbers(expected[name]), _numbers(found[name])
        if not np.array_equal(left, right, equal_nan=True):
            wrong.append(f"{name} {_first(expected, left, right)} {when}")
    return wrong[:1]


def _numbers(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _size(values: np.ndarray) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


def _first(frame: pl.DataFrame, left: np.ndarray, right: np.ndarray) -> str:
    """Where two columns differ first, and by what."""
    rows = np.flatnonzero((left != right) & ~(np.isnan(left) & np.isnan(right)))
    row = int(min(rows, key=lambda place: (frame["timestamp"][int(place)], int(place))))
    return f"of {frame['symbol'][row]} at {frame['timestamp'][row]} is {left[row]:.6g}, and {right[row]:.6g}"


def rows_inside(
    minutes: pl.LazyFrame, bars: pl.DataFrame, timezone: str | None, opened_before: timedelta = AT_CLOSE
) -> pl.DataFrame:
    """Rows of a source of the symbols of some bars that close after the first of them and not after the last.

    Times of a datetime type are narrowed down while they are read, with a day to spare; text is read whole.

    Args:
        minutes: the source.
        bars: some of the snapshot's.
        timezone, opened_before: see `minutes.minute_closes`.
    Returns:
        The rows, their timestamps the closes in UTC, whatever the source names.
    """
    first, last = bars["timestamp"].min(), bars["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    wanted = minutes.filter(pl.col("symbol").cast(pl.String).is_in(bars["symbol"].unique().to_list()))
    kind = minutes.collect_schema()["timestamp"]
    if isinstance(kind, pl.Datetime):
        stamp = pl.col("timestamp") if kind.time_zone is None else pl.col("timestamp").dt.convert_time_zone("UTC")
        lower, upper = first.replace(tzinfo=None) - SPARE, last.replace(tzinfo=None) + SPARE
        wanted = wanted.filter(stamp.dt.replace_time_zone(None).is_between(lower, upper))
    rows = wanted.collect(engine="streaming")
    rows = rows.with_columns(minute_closes(rows["timestamp"], timezone, opened_before))
    return rows.filter((pl.col("timestamp") > first) & (pl.col("timestamp") <= last))
