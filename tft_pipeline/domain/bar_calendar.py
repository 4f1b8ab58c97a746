"""How bars follow each other, found in all bars of a snapshot: `calendar_record`. Not here: its checks, its use."""

from datetime import timedelta
from typing import Any

import polars as pl

from tft_pipeline.domain.calendar_record import DAY_S

LEAST_PAUSES = 3
"""Times that a bar was followed by a longer step before that is usual."""
USUAL = 0.5
"""Share of the weeks."""
SATURDAY = 6
"""As polars counts, from Monday as 1."""
MIDNIGHT = pl.col("local").dt.time() == pl.time(0)


def calendar_of(stamps: pl.Series, length: timedelta, *, timezone: str | None) -> dict[str, Any]:
    """The calendar of a market, decided once from all there is.

    zone: UTC without `timezone`, and where daily bars are all 00:00 UTC; else whichever of the two gives bars fewer different
    times of day, `timezone` where both give as many.

    dated: daily bars, all at 00:00 in that zone, of a market that has a bar on fewer than half of the Saturdays between its
    first and last. One with bars every day (coins) is stamped with its closes, and so is one whose stamps are not all
    midnights. A market that is open Monday to Friday and stamps closes at midnight has bars on Saturdays.

    pauses: bars of one weekday and time of day (of one weekday, where bars are daily) that were followed by a longer step at
    least three times and in at least half of all cases. How long: the median of these longer steps, the lower of two. Steps are
    counted on the clock of the zone, those of daily bars in dates. An outage is not usual, and a holiday neither.

    Args:
        stamps: of the traded symbols' bars, UTC; any order, repeated or not.
        length: of one bar.
        timezone: of the data; None for none.
    """
    seconds = int(length.total_seconds())
    daily = seconds == DAY_S
    times = stamps.drop_nulls().unique().sort()
    zone = _zone(times, timezone, daily=daily)
    frame = _local(times, zone).with_columns(weekday=pl.col("local").dt.weekday().cast(pl.Int64) - 1)
    on_clock = pl.col("local").dt.date() if daily else pl.col("local")
    frame = frame.with_columns(
        time=pl.lit(None, dtype=pl.String) if daily else pl.col("local").dt.strftime("%H:%M:%S"),
        gap=on_clock.diff().shift(-1).dt.total_seconds(),
    )
    pauses = _pauses(frame, seconds)
    grid = pl.col("local").diff().dt.total_seconds() if daily else pl.col("utc").diff().dt.total_seconds()
    regular = frame.height > 1 and not pauses and bool(frame.select((grid.drop_nulls() % seconds == 0).all()).item())
    return {
        "kind": "regular" if regular else "observed",
        "step_s": seconds,
        "words": _words(seconds, regular=regular, n_pauses=len(pauses)),
        "zone": zone,
        "dated": daily and bool(frame.select(MIDNIGHT.all()).item()) and not _trades_on_saturdays(frame),
        "pauses": pauses,
    }


def _zone(times: pl.Series, timezone: str | None, *, daily: bool) -> str:
    if timezone is None:
        return "UTC"
    utc, local = _local(times, "UTC"), _local(times, timezone)
    if daily and utc.select(MIDNIGHT.all()).item():
        return "UTC"
    n_utc, n_local = (each["local"].dt.time().n_unique() for each in (utc, local))
    return "UTC" if n_utc < n_local else timezone


def _local(times: pl.Series, zone: str) -> pl.DataFrame:
    """utc: the stamps, local: what a clock of the zone showed, without a zone."""
    return pl.DataFrame({"utc": times, "local": times.dt.convert_time_zone(zone).dt.replace_time_zone(None)})


def _pauses(frame: pl.DataFrame, seconds: int) -> list[dict[str, Any]]:
    followed = frame.drop_nulls("gap").with_columns(longer=pl.col("gap") > seconds)
    found = followed.group_by("weekday", "time").agg(
        n=pl.len(),
        n_longer=pl.col("longer").sum(),
        gap_s=pl.col("gap").filter("longer").quantile(0.5, interpolation="lower").cast(pl.Int64),
    )
    usual = found.filter((pl.col("n_longer") >= LEAST_PAUSES) & (pl.col("n_longer") >= USUAL * pl.col("n")))
    return usual.sort("weekday", "time").select("weekday", "time", "gap_s").to_dicts()


def _trades_on_saturdays(frame: pl.DataFrame) -> bool:
    dates = frame["local"].dt.date().unique().sort()
    if dates.is_empty():
        return False
    days = pl.date_range(dates[0], dates[-1], "1d", eager=True)
    there, all_ = (int((each.dt.weekday() == SATURDAY).sum()) for each in (dates, days))
    return there > 0 and there >= USUAL * all_


def _words(seconds: int, *, regular: bool, n_pauses: int) -> str:
    if regular:
        return f"a bar every {seconds} s, without a usual pause"
    after = f"; bars of a week that are usually followed by a pause: {n_pauses}" if n_pauses else ""
    return f"a bar is a timestamp at which a traded symbol has a row; one bar is {seconds} s long, the next may be later{after}"
