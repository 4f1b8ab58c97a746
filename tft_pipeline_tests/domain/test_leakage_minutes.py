"""The guard over minutes: an honest join holds, and each way to give a bar minutes of later is named."""

from collections.abc import Callable
from datetime import timedelta

import polars as pl
import pytest

from tft_pipeline.domain.leakage import Finding
from tft_pipeline.domain.leakage_minutes import minutes_are_not_used_early, newest_with_minutes, rows_inside
from tft_pipeline.domain.minutes import MINUTE_COLUMNS, join_minutes
from tft_pipeline_tests.oracles.minute_bars import NEW_YORK, daily_bars, minute_bars

N = 12
BARS, MINUTES = daily_bars(N), minute_bars(N)
Join = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


def honest(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    return join_minutes(bars, minutes.lazy(), timezone=None).bars


def of_the_next_bar(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Each bar gets the minutes of the bar after it."""
    return honest(bars, minutes).with_columns(pl.col(*MINUTE_COLUMNS).shift(-1).over("symbol"))


def an_hour_late(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Each bar gets the minutes up to the opening of the next session and one hour of it."""
    return honest(bars, minutes.with_columns(pl.col("timestamp") - timedelta(hours=18, minutes=30)))


def less_the_mean_of_all(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """One column is centred by bars of later, too."""
    skew = pl.col("minute_skew")
    return honest(bars, minutes).with_columns(skew - skew.mean())


def examined(stored: pl.DataFrame, join: Join = honest, minutes: pl.DataFrame = MINUTES) -> Finding:
    bars = newest_with_minutes(stored)
    return minutes_are_not_used_early(join, bars, rows_inside(minutes.lazy(), bars, None), None)


def test_an_honest_join_holds() -> None:
    found = examined(honest(BARS, MINUTES))
    assert found.state == "held", found
    assert found.tried.startswith(f"{len(MINUTE_COLUMNS)} columns of {2 * (N - 1)} bars joined again from ")


def test_a_source_of_openings_is_read_as_its_closes() -> None:
    """The guard gets closes, and finds minutes that were joined one minute early."""
    within = BARS.with_columns(pl.col("timestamp") - timedelta(minutes=85))  # where the next minute follows at once
    bars = newest_with_minutes(honest(within, MINUTES))
    opened = MINUTES.with_columns(pl.col("timestamp") - timedelta(minutes=1))
    rows = rows_inside(opened.lazy(), bars, None, opened_before=timedelta(minutes=1))
    assert rows.equals(rows_inside(MINUTES.lazy(), bars, None))
    assert minutes_are_not_used_early(honest, bars, rows, None).state == "held"
    early = newest_with_minutes(honest(within, opened))
    assert minutes_are_not_used_early(honest, early, rows, None).state == "leak"


@pytest.mark.parametrize("join", [of_the_next_bar, an_hour_late, less_the_mean_of_all])
def test_minutes_of_later_are_named_when_the_snapshot_was_made_of_them_too(join: Join) -> None:
    """The newest bar shows that they are gone; where the join gives what is stored, cuts before it must show it."""
    found = examined(join(BARS, MINUTES), join)
    assert found.state == "leak"
    assert found.detail.startswith("minute_") or found.detail.startswith("the stored minute_")
    one_later = minutes_are_not_used_early(join, join(BARS, MINUTES), MINUTES, None)
    assert one_later.state == "leak"
    assert " when the minutes that close after 2024-03-" in one_later.detail


def test_minutes_of_later_are_named_by_an_honest_join() -> None:
    found = examined(of_the_next_bar(BARS, MINUTES))
    assert found.state == "leak"
    assert found.detail.startswith("the stored minute_")


@pytest.mark.parametrize("factor", [1.0 + 1e-14, 1.0 + 1e-6])
def test_a_stored_value_that_is_not_joined_again_is_named_unless_it_is_rounding(factor: float) -> None:
    stored = honest(BARS, MINUTES).with_columns(pl.col("minute_variation_1") * factor)
    found = examined(stored)
    assert found.state == ("leak" if factor > 1.0 + 1e-9 else "not_verifiable")
    assert ("by rounding alone" in found.detail) is (factor < 1.0 + 1e-9)


def test_a_column_that_is_stored_and_not_joined_is_named() -> None:
    found = examined(honest(BARS, MINUTES).with_columns(minute_mood=1.0))
    assert found.state == "leak"
    assert "minute_mood" in found.detail


def test_clocks_of_another_place_are_read_as_the_join_reads_them() -> None:
    there = MINUTES.with_columns(pl.col("timestamp").dt.convert_time_zone(str(NEW_YORK)).dt.replace_time_zone(None))
    text = there.with_columns(pl.col("timestamp").dt.to_string("%Y-%m-%dT%H:%M:%S"))
    stored = honest(BARS, MINUTES)
    bars = newest_with_minutes(stored)

    def join(some: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
        return join_minutes(some, minutes.lazy(), timezone=str(NEW_YORK)).bars

    for source in (there, text):
        rows = rows_inside(source.lazy(), bars, str(NEW_YORK))
        assert rows.height == rows_inside(MINUTES.lazy(), bars, None).height
        assert minutes_are_not_used_early(join, bars, rows, str(NEW_YORK)).state == "held"


def test_whole_numbers_of_volume_are_replaced_by_noise_too() -> None:
    whole = MINUTES.with_columns(pl.col("volume").cast(pl.Int64))
    assert examined(honest(BARS, whole), minutes=whole).state == "held"
    sees_volume: list[int] = []

    def join(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
        sees_volume.append(int((minutes["volume"] % 1 != 0).sum()))
        return honest(bars, minutes)

    examined(honest(BARS, whole), join, whole)
    assert max(sees_volume) > 1000


def test_bars_after_the_last_minutes_and_symbols_that_ended_long_ago_are_left_out() -> None:
    stored = honest(BARS, MINUTES)
    day = pl.duration(days=4_000)
    gone = stored.filter(pl.col("symbol") == "AAA").with_columns(pl.col("timestamp") - day, symbol=pl.lit("OLD"))
    later = stored.tail(3).with_columns(
        pl.col("timestamp") + pl.duration(days=30),
        *(pl.lit(None, pl.Float64).alias(name) for name in MINUTE_COLUMNS),
    )
    assert newest_with_minutes(pl.concat([stored, gone, later])).equals(stored)


def test_many_symbols_are_tried_on_few_bars() -> None:
    names = [f"S{k}" for k in range(400)]
    stamps = BARS["timestamp"].unique().sort()
    bars = pl.DataFrame({"symbol": names}).join(pl.DataFrame({"timestamp": stamps}), how="cross")
    found = newest_with_minutes(bars.with_columns(minute_count=1.0))
    assert found["timestamp"].n_unique() == 6
    assert found["symbol"].n_unique() == 400


def test_bars_without_minutes_were_not_tried() -> None:
    none = honest(BARS, MINUTES).with_columns(pl.lit(None, pl.Float64).alias(name) for name in MINUTE_COLUMNS)
    assert newest_with_minutes(none).is_empty()
    assert minutes_are_not_used_early(honest, none, MINUTES, None).state == "not_verifiable"


def test_minutes_that_cannot_be_joined_in_part_are_no_leak() -> None:
    """A refusal of the join says nothing about the future."""

    def join(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
        return honest(bars, minutes.clear() if minutes.height < 6_000 else minutes)

    found = examined(honest(BARS, MINUTES), join)
    assert found.state == "not_verifiable"
    assert "cannot be joined without those after it: minute bars: the source has no rows" in found.detail
