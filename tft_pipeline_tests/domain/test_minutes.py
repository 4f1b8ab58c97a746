"""Raw minute columns against loops, and what they must satisfy: nothing after the close, the same bits, clear refusals."""

import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.bars import BarsError, user_columns
from tft_pipeline.domain.minutes import FEWEST_COMPARED, MINUTE_COLUMNS, join_minutes, symbol_batches
from tft_pipeline_tests.oracles.minute_bars import HALF_DAY, as_minutes, daily_bars, days, minute_bars, session
from tft_pipeline_tests.oracles.minutes import MINUTE_ORACLES, in_bar

RECORDED = Path(os.environ.get("TFT_RECORDED_MINUTES", "no such file"))
"""A Parquet file of recorded minutes around the clock, stamped with their opening."""
PRICES = ("open", "high", "low", "close")


def joined(bars: pl.DataFrame, minutes: pl.DataFrame, *, timezone: str | None = None) -> pl.DataFrame:
    return join_minutes(bars, minutes.lazy(), timezone=timezone).bars


def assert_equal_to_loops(bars: pl.DataFrame, minutes: pl.DataFrame, frame: pl.DataFrame) -> dict[str, int]:
    """Every value of the frame against its oracle; returns how many were known, by column."""
    known = dict.fromkeys(MINUTE_ORACLES, 0)
    for (symbol,), part in frame.group_by("symbol", maintain_order=True):
        rows = as_minutes(minutes, str(symbol))
        closes = part["timestamp"].to_list()
        for k, close in enumerate(closes):
            inside = in_bar(rows, closes[k - 1] if k else None, close)
            for name, oracle in MINUTE_ORACLES.items():
                expected = oracle(inside) if inside else None
                found = part[name][k]
                where = f"{name} of {symbol} at {close} with {len(inside)} minutes"
                assert (found is None) == (expected is None), f"{where}: {found} against {expected}"
                if expected is not None:
                    known[name] += 1
                    assert found == pytest.approx(expected, rel=1e-8, abs=1e-12), where
    return known


def test_every_column_has_an_oracle_and_every_oracle_a_column() -> None:
    assert set(MINUTE_ORACLES) == set(MINUTE_COLUMNS)
    assert all(name.startswith("minute_") for name in MINUTE_COLUMNS)


def test_columns_equal_their_loops_over_sessions_a_change_of_clocks_and_a_half_day() -> None:
    bars, minutes = daily_bars(8), minute_bars(8)
    known = assert_equal_to_loops(bars, minutes, joined(bars, minutes))
    assert set(known.values()) == {2 * 7}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.one_of(st.integers(0, 13), st.integers(14, 70)), min_size=4, max_size=6),
    tick=st.sampled_from((0.0, 0.01, 5.0)),
    idle=st.sampled_from((0.1, 1.0)),
)
def test_columns_equal_their_loops_on_short_still_and_idle_bars(
    seed: int, lengths: list[int], tick: float, idle: float
) -> None:
    rng = np.random.default_rng(seed)
    two_hours = timedelta(hours=2)
    start = datetime(2024, 5, 1, tzinfo=UTC)
    stamps = pl.Series([start + two_hours * k for k in range(len(lengths) + 1)], dtype=pl.Datetime("us", "UTC"))
    bars = pl.DataFrame({"timestamp": stamps, "symbol": "A", "close": 1.0})
    rows = []
    for k, length in enumerate(lengths):
        at = np.sort(rng.choice(int(rng.integers(max(length, 1), 121)), size=length, replace=False))
        price = 100.0 + tick * rng.integers(-3, 4, length)
        for minute, close in zip(at, price, strict=True):
            high, low = close + tick * rng.integers(0, 2), close - tick * rng.integers(0, 2)
            volume = 0.0 if rng.random() < idle else float(rng.integers(1, 50))
            opened = close + tick * rng.integers(-1, 2)
            high, low = max(high, opened), min(low, opened)
            rows.append(
                (start + two_hours * k + timedelta(minutes=int(minute) + 1), "A", opened, high, low, close, volume)
            )
    # a symbol that trades in most minutes, so that the batch shows what it is
    rows += [(start + timedelta(minutes=m + 1), "B", 1.0, 1.0, 1.0, 1.0 + 0.0 * m, 1.0) for m in range(110) if m % 9]
    bars = pl.concat([bars, bars.with_columns(symbol=pl.lit("B")).head(2)])
    minutes = pl.DataFrame(rows, schema=["timestamp", "symbol", *PRICES, "volume"], orient="row")
    assert_equal_to_loops(bars, minutes, joined(bars, minutes))


def test_a_random_walk_has_the_values_that_theory_says() -> None:
    rng = np.random.default_rng(3)
    steps = rng.normal(0.0, 0.001, (60, 1000))
    start = datetime(2024, 5, 1, tzinfo=UTC)
    close = 100.0 * np.exp(np.cumsum(steps, axis=1)).ravel()
    stamps = [start + timedelta(days=d, minutes=m + 1) for d in range(60) for m in range(1000)]
    minutes = pl.DataFrame({"timestamp": stamps, "symbol": "A", "close": close, "volume": 1.0 + rng.random(60_000)})
    bars = pl.DataFrame({"timestamp": [start + timedelta(days=d) for d in range(61)], "symbol": "A", "close": 1.0})
    found = joined(bars.with_columns(pl.col("timestamp").dt.cast_time_unit("us")), minutes)
    mean = {name: float(found[name].mean()) for name in found.columns[3:]}
    assert mean["minute_variation_1"] == pytest.approx(999e-6, rel=0.01)
    assert mean["minute_variation_5"] == pytest.approx(995e-6, rel=0.03)
    assert mean["minute_bipower"] == pytest.approx(999e-6, rel=0.02)
    assert mean["minute_kurtosis"] == pytest.approx(3.0, abs=0.06)
    assert mean["minute_variance_ratio"] == pytest.approx(1.0, abs=0.03)
    assert mean["minute_volume_concentration"] == pytest.approx((1 + (1 / 12) / 1.5**2) / 1000, rel=0.01)
    for name in ("minute_skew", "minute_autocorrelation", "minute_volume_move_correlation", "minute_sign_persistence"):
        assert mean[name] == pytest.approx(0.0, abs=0.03), name


def test_a_volume_that_never_differs_correlates_with_nothing() -> None:
    bars, minutes = daily_bars(3, ("AAA",)), minute_bars(3, ("AAA",)).with_columns(volume=pl.lit(0.1))
    assert joined(bars, minutes)["minute_volume_move_correlation"].to_list() == [None] * 3


def test_a_bouncing_price_shows_its_spread_and_a_jump_its_share() -> None:
    rng = np.random.default_rng(5)
    start = datetime(2024, 5, 1, tzinfo=UTC)
    bars = pl.DataFrame({"timestamp": [start, start + timedelta(days=1)], "symbol": "A", "close": 1.0})
    stamps = [start + timedelta(minutes=m + 1) for m in range(1400)]
    bounce = pl.DataFrame(
        {"timestamp": stamps, "symbol": "A", "close": 100.0 * np.exp(0.001 * rng.choice([-1, 1], 1400))}
    )
    assert joined(bars, bounce)["minute_roll_spread"][1] == pytest.approx(0.002, rel=0.1)
    log = np.cumsum(rng.normal(0.0, 0.0005, 1400))
    log[700:] += 0.02
    jump = joined(bars, pl.DataFrame({"timestamp": stamps, "symbol": "A", "close": 100.0 * np.exp(log)})).row(
        1, named=True
    )
    share = 1.0 - jump["minute_bipower"] / jump["minute_variation_1"]
    assert share == pytest.approx(0.02**2 / (0.02**2 + 1400 * 0.0005**2), abs=0.08)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), cut=st.integers(2, 9))
def test_later_minutes_and_bars_leave_every_earlier_bit_alone(seed: int, cut: int) -> None:
    bars, minutes = daily_bars(10), minute_bars(10, seed=seed, every=7)
    close = session(days(10)[cut])[1]
    known = pl.col("timestamp") <= close
    whole = joined(bars, minutes).filter(known)
    rng = np.random.default_rng(seed)
    noise = pl.Series(np.exp(rng.normal(0.0, 0.3, minutes.height)))
    noisy = minutes.with_columns(
        pl.when(known).then(pl.col(name)).otherwise(pl.col(name) * noise).alias(name) for name in (*PRICES, "volume")
    )
    for part in (
        joined(bars.filter(known), minutes.filter(known)),
        joined(bars.filter(known), minutes),
        joined(bars, noisy).filter(known),
        joined(bars, minutes.sample(fraction=1.0, shuffle=True, seed=seed % 1000)).filter(known),
    ):
        assert part.equals(whole, null_equal=True)


def test_only_what_closes_after_the_bar_before_and_by_the_bars_close_counts() -> None:
    bars, minutes = daily_bars(3, ("AAA",)), minute_bars(3, ("AAA",), kept=1.0)
    second_late = minutes.with_columns(pl.col("timestamp") + timedelta(seconds=1))
    after_the_last = second_late.with_columns(pl.col("timestamp") + timedelta(days=5))
    assert joined(bars, minutes)["minute_count"].to_list() == [None, 390.0, 390.0]
    late = joined(bars, second_late)
    # the last minute of a day now belongs to the next, that of the last day to none
    assert late["minute_count"].to_list() == [None, 390.0, 390.0]
    assert late["minute_idle_share"][1] > 0.7, "the evening before is part of the session"
    assert joined(bars, pl.concat([second_late, after_the_last])).equals(late)


def test_a_change_of_clocks_changes_no_session_and_a_half_day_is_shorter() -> None:
    n = 8
    found = joined(daily_bars(n, ("AAA",)), minute_bars(n, ("AAA",), kept=1.0))
    counts = dict(zip(days(n), found["minute_count"].to_list(), strict=True))
    assert counts.pop(HALF_DAY) == 210.0
    assert counts.pop(days(n)[0]) is None
    assert set(counts.values()) == {390.0}
    assert {date(2024, 3, 8), date(2024, 3, 11)} <= set(counts), "before and after the change of clocks"


def test_bars_stamped_with_their_date_get_the_minutes_of_the_day_before() -> None:
    bars, minutes = daily_bars(6, ("AAA",)), minute_bars(6, ("AAA",))
    closing = join_minutes(bars, minutes.lazy(), timezone="America/New_York")
    midnight = bars.with_columns(pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.truncate("1d"))
    midnight = midnight.with_columns(pl.col("timestamp").dt.convert_time_zone("UTC"))
    dated = join_minutes(midnight, minutes.lazy(), timezone="America/New_York")
    assert (closing.about["bars_stamped_with_their_date"], dated.about["bars_stamped_with_their_date"]) == (False, True)
    values = [frame["minute_variation_1"].to_list() for frame in (closing.bars, dated.bars)]
    assert values[1][2:] == values[0][1:-1]


def test_a_symbol_or_a_day_without_minutes_is_null() -> None:
    bars, minutes = daily_bars(4, ("AAA", "BBB", "CCC")), minute_bars(4)
    day = days(4)[2]
    gone = (pl.col("symbol") == "AAA") & (pl.col("timestamp").dt.date() == day)
    found = join_minutes(bars, minutes.filter(~gone).lazy(), timezone=None)
    assert found.about["symbols_without_minutes"] == ["CCC"]
    assert found.about["bars_with_minutes"] == 2 + 3
    for name in MINUTE_COLUMNS:
        values = found.bars[name].to_list()
        assert values[:4] == [None, values[1], None, values[3]]
        assert values[8:] == [None] * 4
        assert None not in (values[1], values[3]), name


def test_symbols_read_one_by_one_give_the_bits_of_all_at_once() -> None:
    bars, minutes = daily_bars(4, ("AAA", "BBB", "CCC")), minute_bars(4, ("AAA", "BBB", "CCC", "ZZZ"), every=5)
    whole = join_minutes(bars, minutes.lazy(), timezone=None)
    single = join_minutes(bars, minutes.lazy(), timezone=None, batch_rows=1)
    assert whole.bars.equals(single.bars)
    assert whole.about == single.about
    assert whole.about["rows"] == minutes.height
    assert whole.bars.drop(MINUTE_COLUMNS).equals(bars)
    assert user_columns(whole.bars.columns) == ()


def test_a_batch_holds_as_many_symbols_as_fit() -> None:
    counts = pl.DataFrame({"symbol": ["A", "B", "C", "D", "E"], "len": [4, 4, 9, 1, 2]})
    assert symbol_batches(counts, {"A", "B", "C", "D", "E"}, 8) == [["A", "B"], ["C"], ["D", "E"]]
    assert symbol_batches(counts, {"E", "B"}, 6) == [["B", "E"]]
    assert symbol_batches(counts, {"E", "B"}, 5) == [["B"], ["E"]]


def test_what_the_minutes_lack_leaves_out_the_columns_that_need_it_and_says_so() -> None:
    bars, minutes = daily_bars(4), minute_bars(4)
    whole = joined(bars, minutes)
    for lacking in (["volume"], ["open"], ["high", "low"], ["open", "high", "low", "volume"]):
        found = join_minutes(bars, minutes.drop(lacking).lazy(), timezone=None)
        expected = {name for name, needs in MINUTE_COLUMNS.items() if set(needs) & set(lacking)}
        assert set(found.left_out) == expected == set(whole.columns) - set(found.bars.columns)
        assert all(set(absent) <= set(lacking) for absent in found.left_out.values())
        assert found.bars.equals(whole.select(found.bars.columns))
    assert len(found.bars.columns) > 3 + 12


def test_text_and_naive_times_are_placed_in_the_time_zone() -> None:
    bars, minutes = daily_bars(4), minute_bars(4)
    local = pl.col("timestamp").dt.convert_time_zone("America/New_York")
    naive = minutes.with_columns(local.dt.replace_time_zone(None))
    text = minutes.with_columns(local.dt.strftime("%Y-%m-%dT%H:%M:%S"))
    whole = joined(bars, minutes)
    assert joined(bars, naive, timezone="America/New_York").equals(whole)
    assert joined(bars, text, timezone="America/New_York").equals(whole)


def one_wrong(column: str, value: object) -> pl.DataFrame:
    minutes = minute_bars(3, every=30)
    wrong = (pl.int_range(pl.len()) == 17).fill_null(False)
    return minutes.with_columns(pl.when(wrong).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


def test_five_minutes_are_no_minutes_and_holes_make_no_minute_longer() -> None:
    bars, minutes = daily_bars(3), minute_bars(3, kept=1.0)
    number = pl.int_range(pl.len()).over("symbol")
    for every in (2, 5, 390):
        with pytest.raises(BarsError, match=r"rows are most often .* apart, not one minute: .*minute_variation_1"):
            joined(bars, minutes.filter(number % every == 0))
    one_in_five = pl.Series(np.random.default_rng(1).random(minutes.height) < 0.2)
    assert joined(bars, minutes.filter(one_in_five))["minute_count"].drop_nulls().max() < 120
    assert joined(bars, minutes.filter(number == 500))["minute_count"].drop_nulls().to_list() == [1.0, 1.0]


def test_a_minute_whose_prices_contradict_each_other_is_refused() -> None:
    for column, value in (("high", 1.0), ("low", 99.0), ("open", 70.0), ("close", 20.0)):
        with pytest.raises(BarsError, match=r"1 rows have prices that contradict each other \(first 2024-03-.* AAA"):
            joined(daily_bars(3), one_wrong(column, value))


PLAIN = minute_bars(3, every=30)
WRONG: dict[str, tuple[pl.DataFrame, str]] = {
    "no close": (PLAIN.drop("close"), r"columns \['close'\] are missing"),
    "no rows": (PLAIN.clear(), r"the source has no rows; put the minutes there or drop data\.minute_source"),
    "naive": (PLAIN.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), r"no time zone.*data\.timezone"),
    "twice": (
        pl.concat([PLAIN, PLAIN.slice(5, 1)]),
        r"1 rows have the \(timestamp, symbol\) of another.*AAA.*keep one row",
    ),
    "seconds": (
        pl.concat([PLAIN, PLAIN.slice(5, 1).with_columns(pl.col("timestamp") + timedelta(seconds=10))]),
        r"2 rows close less than a minute after the row before.*sum them up",
    ),
    "price of zero": (one_wrong("low", 0.0), r"1 rows low is missing, non-finite or out of range.*'low': 0\.0"),
    "price of nan": (one_wrong("close", float("nan")), r"close is missing, non-finite"),
    "no price": (one_wrong("open", None), r"open is missing, non-finite"),
    "negative volume": (one_wrong("volume", -1.0), r"volume is missing, non-finite or out of range"),
    "text": (PLAIN.with_columns(volume=pl.lit("many")), r"volume has type String; prices and volumes are numbers"),
    "no symbol": (one_wrong("symbol", None), r"symbol is null in 1 rows"),
    "no time": (one_wrong("timestamp", None), r"timestamp is null in 1 of"),
    "other symbols": (
        PLAIN.with_columns(symbol=pl.lit("ZZZ")),
        r"minute bars are of \['ZZZ'\], bars of \['AAA', 'BBB'\]",
    ),
    "other dates": (
        PLAIN.with_columns(pl.col("timestamp") + timedelta(days=900)),
        r"not one minute bar closes inside a bar between 2024-03-06.*correct data\.minute_source",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_minutes_are_refused_by_name(case: str) -> None:
    minutes, message = WRONG[case]
    with pytest.raises(BarsError) as caught:
        joined(daily_bars(3), minutes)
    assert re.search(message, str(caught.value)), str(caught.value)


MINUTE = timedelta(minutes=1)


def of_last_minutes(n: int, minutes: pl.DataFrame) -> pl.DataFrame:
    """Daily bars whose close is that of their last minute, as whoever sums minutes up makes them."""
    bars = daily_bars(n).drop("close")
    return bars.join(minutes.select("timestamp", "symbol", "close"), on=["timestamp", "symbol"], how="inner")


def around_the_close(n: int) -> pl.DataFrame:
    """Minutes that go on after the session, so that the one behind each close is there."""
    minutes = minute_bars(n, kept=1.0)
    return pl.concat([minutes, *(_after(minutes, symbol, day) for symbol in ("AAA", "BBB") for day in days(n))])


def _after(minutes: pl.DataFrame, symbol: str, day: date) -> pl.DataFrame:
    last = minutes.filter((pl.col("symbol") == symbol) & (pl.col("timestamp") == session(day)[1]))
    prices = pl.col("open", "high", "low", "close")
    return last.with_columns(pl.col("timestamp") + MINUTE, prices * 1.01)


@pytest.mark.parametrize("written", ["times", "text", "naive"])
def test_openings_give_the_values_of_the_same_minutes_stamped_with_their_closes(written: str) -> None:
    minutes = minute_bars(8)
    bars = of_last_minutes(8, minutes)
    opened = minutes.with_columns(pl.col("timestamp") - MINUTE)
    if written == "text":
        opened = opened.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%z"))
    if written == "naive":  # in Berlin, where clocks change later than in New York
        opened = opened.with_columns(
            pl.col("timestamp").dt.convert_time_zone("Europe/Berlin").dt.replace_time_zone(None)
        )
    found = join_minutes(bars, opened.lazy(), timezone="Europe/Berlin", opened_before=MINUTE)
    assert found.bars.equals(joined(bars, minutes))
    assert found.about == join_minutes(bars, minutes.lazy(), timezone="Europe/Berlin").about


def test_a_minute_is_added_to_the_moment_and_not_to_the_clock() -> None:
    """The minute that opens at 1:59 before clocks go forward closes at 3:00, not at an hour that there is not."""
    opened = pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                datetime(2024, 3, 31, 1, 30), datetime(2024, 3, 31, 1, 59), "1m", eager=True
            ),
            "symbol": "A",
            "close": np.linspace(100.0, 101.0, 30),
        }
    )
    stamps = [datetime(2024, 3, 31, 0, 30, tzinfo=UTC), datetime(2024, 3, 31, 1, 0, tzinfo=UTC)]
    bars = pl.DataFrame({"timestamp": stamps, "symbol": "A", "close": [100.0, 101.0]})
    bars = bars.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    found = join_minutes(bars, opened.lazy(), timezone="Europe/Berlin", opened_before=MINUTE)
    assert found.bars["minute_count"].to_list() == [None, 30.0]


def test_minutes_whose_stamp_the_closes_of_bars_contradict_are_refused() -> None:
    n = FEWEST_COMPARED + 1
    minutes = around_the_close(n)
    bars = of_last_minutes(n, minutes)
    opened = minutes.with_columns(pl.col("timestamp") - MINUTE)
    with pytest.raises(
        BarsError, match=r"minute_stamp is close, and \d+ of \d+ bars of AAA .* set data.minute_stamp: open"
    ):
        joined(bars, opened)
    with pytest.raises(
        BarsError, match=r"minute_stamp is open, and \d+ of \d+ bars of AAA .* set data.minute_stamp: close"
    ):
        join_minutes(bars, minutes.lazy(), timezone=None, opened_before=MINUTE)
    one_symbol = pl.concat([minutes.filter(symbol="AAA"), opened.filter(symbol="BBB")])
    with pytest.raises(BarsError, match="bars of BBB close at the price of the minute before"):
        joined(bars, one_symbol)
    assert join_minutes(bars, opened.lazy(), timezone=None, opened_before=MINUTE).bars.equals(joined(bars, minutes))


def test_closes_that_are_no_minutes_price_few_bars_and_still_prices_contradict_no_stamp() -> None:
    n = FEWEST_COMPARED + 1
    minutes = around_the_close(n)
    opened = minutes.with_columns(pl.col("timestamp") - MINUTE)
    auctions = of_last_minutes(n, minutes).with_columns(pl.col("close") * 1.0001)
    assert joined(auctions, opened)["minute_count"].drop_nulls().len() == 2 * (n - 1)
    few = of_last_minutes(n, minutes).group_by("symbol", maintain_order=True).head(FEWEST_COMPARED - 1)
    assert joined(few, opened).height == few.height
    still = opened.with_columns(pl.lit(7.0).alias(name) for name in PRICES)
    assert joined(of_last_minutes(n, minutes).with_columns(close=7.0), still).height == 2 * n


@pytest.mark.skipif(not RECORDED.is_file(), reason="TFT_RECORDED_MINUTES names no file")
def test_recorded_openings_are_seen_by_the_closes_of_hours() -> None:
    opening = pl.read_parquet(RECORDED)
    minutes = opening.with_columns(pl.col("timestamp") + MINUTE)
    hours = minutes.filter(pl.col("timestamp").dt.minute() == 0).select("timestamp", "symbol", "close")
    hours = hours.sort("symbol", "timestamp")
    with pytest.raises(BarsError, match=r"set data\.minute_stamp: open"):
        joined(hours, opening)
    found = join_minutes(hours, opening.lazy(), timezone=None, opened_before=MINUTE).bars
    assert found.equals(joined(hours, minutes))


@pytest.mark.skipif(not RECORDED.is_file(), reason="TFT_RECORDED_MINUTES names no file")
def test_recorded_minutes_give_the_values_of_the_loops() -> None:
    opening = pl.read_parquet(RECORDED)
    minutes = opening.with_columns(pl.col("timestamp") + timedelta(minutes=1))
    closes = minutes.filter((pl.col("timestamp").dt.hour() == 0) & (pl.col("timestamp").dt.minute() == 0))
    bars = closes.select("timestamp", "symbol", "close").sort("symbol", "timestamp")
    few = bars.filter(pl.col("timestamp") < bars["timestamp"].min() + timedelta(days=4))
    known = assert_equal_to_loops(few, minutes, joined(few, minutes))
    assert min(known.values()) >= 6
