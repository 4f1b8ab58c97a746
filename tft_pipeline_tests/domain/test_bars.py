from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import BarsError, normalise_bars, user_columns
from tft_pipeline.domain.manifest import quality

DAY = datetime(2024, 1, 1, tzinfo=UTC)


def bars(n: int = 5, symbols: tuple[str, ...] = ("A", "B"), **columns: Any) -> pl.DataFrame:
    stamps = [DAY + timedelta(days=k) for k in range(n)] * len(symbols)
    names = [symbol for symbol in symbols for _ in range(n)]
    close = 100.0 + np.arange(n * len(symbols))
    return pl.DataFrame({"timestamp": stamps, "symbol": names, "close": close, **columns})


def normalise(frame: pl.DataFrame, **changes: Any) -> pl.DataFrame:
    settings: dict[str, Any] = {"timezone": None, "symbols": None, "start": None, "end": None, "min_bars": 1}
    return normalise_bars(frame, **settings | changes)


def spoiled(column: str, value: Any, row: int = 3) -> pl.DataFrame:
    frame = bars(open=100.0, high=110.0, low=100.0, volume=5.0)
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    )


@pytest.mark.parametrize("column", ["timestamp", "symbol", "close"])
def test_a_missing_column_is_named_with_those_that_are_there(column):
    with pytest.raises(BarsError, match=rf"columns \['{column}'\] are missing.*rename yours"):
        normalise(bars(extra=1.0).drop(column))


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize("column", ["close", "open", "high", "low"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, None])
def test_a_price_that_is_no_price_is_refused_with_its_place(column, value):
    with pytest.raises(BarsError, match=rf"{column} is missing, non-finite or not positive in 1 of 10 rows") as caught:
        normalise(spoiled(column, value))
    assert "2024-01-04T00:00:00+00:00 A" in str(caught.value)
    assert f"value {value}" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, None])
def test_a_volume_that_is_no_volume_is_refused(value):
    with pytest.raises(BarsError, match=r"volume is missing, non-finite or negative in 1 rows"):
        normalise(spoiled("volume", value))


def test_a_volume_of_zero_is_a_volume():
    assert normalise(spoiled("volume", 0.0))["volume"].min() == 0.0


def test_missing_values_of_the_users_own_features_pass_and_are_counted():
    frame = normalise(bars(score=[1.0, None, float("nan"), float("inf"), *[2.0] * 6]))
    described = quality(frame)
    assert described["nulls"] == {"score": 1}
    assert described["non_finite"] == {"score": 2}


def test_text_in_a_feature_column_is_refused_by_name_and_type():
    with pytest.raises(BarsError, match="score has type String"):
        normalise(bars(score="high"))


@pytest.mark.parametrize("column", ["timestamp", "symbol"])
def test_a_bar_without_its_key_is_refused(column):
    frame = bars().with_columns(pl.when(pl.int_range(pl.len()) != 2).then(pl.col(column)).alias(column))
    with pytest.raises(BarsError, match=f"{column} is null in 1 of 10 rows"):
        normalise(frame)


@pytest.mark.fault("bad_bars")
def test_a_duplicate_key_is_refused_with_its_place():
    frame = pl.concat([bars(), bars().slice(7, 1).with_columns(close=pl.lit(1.0))])
    with pytest.raises(BarsError, match=r"1 duplicate .*2024-01-03T00:00:00\+00:00 B, 2 rows"):
        normalise(frame)


def test_one_instant_written_with_two_offsets_is_a_duplicate():
    frame = pl.DataFrame(
        {"timestamp": ["2024-01-01T12:00:00+00:00", "2024-01-01T14:00:00+02:00"], "symbol": "A", "close": [1.0, 2.0]}
    )
    with pytest.raises(BarsError, match="1 duplicate"):
        normalise(frame)


def test_a_source_without_rows_is_refused():
    with pytest.raises(BarsError, match=r"columns \['timestamp', 'symbol', 'close'\] and no rows"):
        normalise(bars().clear())
    with pytest.raises(BarsError, match="no rows"):
        normalise(bars().clear().with_columns(pl.col("timestamp").cast(pl.String)))


def test_an_empty_period_is_refused_with_what_the_source_has():
    with pytest.raises(BarsError, match=r"no bar between 2025-01-01 and the end: .*2024-01-01.*2024-01-05"):
        normalise(bars(), start=date(2025, 1, 1))
    with pytest.raises(BarsError, match="no bar between the beginning and 2023-12-31"):
        normalise(bars(), end=date(2023, 12, 31))


def test_start_and_end_keep_their_own_days():
    kept = normalise(bars(), start=date(2024, 1, 2), end=date(2024, 1, 4))
    assert sorted({stamp.day for stamp in kept["timestamp"]}) == [2, 3, 4]


def test_too_few_bars_are_refused_by_symbol_and_count_within_the_period():
    frame = pl.concat([bars(5), bars(3, symbols=("C", "D"))])
    with pytest.raises(BarsError, match=r"too few bars: C 3, D 3; data\.min_bars is 4"):
        normalise(frame, min_bars=4)
    with pytest.raises(BarsError, match="too few bars: A 4, B 4, C 2, D 2"):
        normalise(frame, min_bars=5, start=date(2024, 1, 2))
    assert normalise(frame, min_bars=5, symbols=("A", "B")).height == 10


@pytest.mark.fault("bad_bars")
def test_symbols_that_are_not_there_are_refused():
    with pytest.raises(BarsError, match=r"symbols \['X', 'Z'\] of data\.symbols are not in the source"):
        normalise(bars(), symbols=("Z", "A", "X"))


@pytest.mark.fault("bad_bars")
def test_shuffled_rows_give_the_same_frame():
    frame = bars(30, symbols=("C", "A", "B"), score=np.arange(90.0), volume=1.0)
    expected = normalise(frame)
    for seed in range(3):
        assert normalise(frame.sample(fraction=1.0, shuffle=True, seed=seed)).equals(expected)
    assert expected["symbol"].is_sorted()
    assert expected.columns == ["timestamp", "symbol", "close", "volume", "score"]


def test_what_comes_out_is_utc_microseconds_and_float64():
    frame = bars(score=[1] * 10, flag=[True] * 10).with_columns(
        pl.col("close").cast(pl.Float32), pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")
    )
    found = normalise(frame)
    assert found.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert found["timestamp"][0] == DAY
    assert {found.schema[name] for name in ("close", "score", "flag")} == {pl.Float64}
    assert user_columns(found.columns) == ("score", "flag")


def text_times(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": list(texts), "symbol": "A", "close": 1.0})


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize("text", [True, False])
def test_naive_timestamps_are_refused_without_a_time_zone(text):
    frame = (
        text_times("2024-01-01T10:00:00")
        if text
        else bars().with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    )
    with pytest.raises(BarsError, match=r"timestamp has no time zone \(first value 2024-01-01.*data\.timezone"):
        normalise(frame)


def test_timestamps_of_which_only_some_carry_an_offset_are_refused():
    with pytest.raises(BarsError, match=r"mixes time zones: 2 of 3 values.*'2024-01-02T10:00:00'"):
        normalise(text_times("2024-01-01T10:00:00Z", "2024-01-02T10:00:00", "2024-01-03T10:00:00+02:00"))
    with pytest.raises(BarsError, match="mixes time zones"):
        normalise(text_times("2024-01-01T10:00:00", "2024-01-02T10:00:00-05:00"), timezone="Europe/Berlin")


def test_different_offsets_name_instants():
    found = normalise(text_times("2024-07-01T10:00:00+02:00", "2024-01-01T10:00:00-05:00", "2024-01-01T10:00:00+0000"))
    assert [stamp.isoformat() for stamp in found["timestamp"]] == [
        "2024-01-01T10:00:00+00:00",
        "2024-01-01T15:00:00+00:00",
        "2024-07-01T08:00:00+00:00",
    ]


def test_the_letter_z_and_an_offset_may_stand_side_by_side():
    found = normalise(text_times("2024-01-01T10:00:00Z", "2024-01-02T10:00:00+02:00"))
    assert [stamp.hour for stamp in found["timestamp"]] == [10, 8]


@pytest.mark.parametrize("text", ["yesterday", "01/02/2024 10:00", "2024-13-01T00:00:00Z", ""])
def test_text_that_is_no_timestamp_is_refused(text):
    with pytest.raises(BarsError, match="timestamp is not ISO 8601"):
        normalise(text_times("2024-01-01T10:00:00Z", text), timezone="UTC")
    with pytest.raises(BarsError, match="timestamp is not ISO 8601"):
        normalise(text_times(text), timezone="UTC")


def test_numbers_are_no_timestamps():
    with pytest.raises(BarsError, match="timestamp has type Int64"):
        normalise(pl.DataFrame({"timestamp": [1_700_000_000], "symbol": "A", "close": 1.0}))


@pytest.mark.fault("bad_bars")
def test_the_time_zone_localises_naive_timestamps_over_daylight_saving():
    found = normalise(
        text_times("2024-01-15T16:00:00", "2024-07-15T16:00:00", "2024-03-11T16:00:00"), timezone="America/New_York"
    )
    assert [(stamp.month, stamp.hour) for stamp in found["timestamp"]] == [(1, 21), (3, 20), (7, 20)]


def test_dates_are_midnight_in_the_time_zone():
    dates = bars().with_columns(pl.col("timestamp").dt.date())
    assert normalise(dates, timezone="America/New_York")["timestamp"][0] == DAY + timedelta(hours=5)
    assert normalise(text_times("2024-01-01"), timezone="UTC")["timestamp"][0] == DAY


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("2024-11-03T01:30:00", "the hour 01:00 of 2024-11-03 occurs twice in America/New_York, 1 row "),
        ("2024-03-10T02:30:00", "does not exist in America/New_York"),
    ],
)
def test_an_hour_that_the_clock_repeats_or_skips_is_refused(text, word):
    with pytest.raises(BarsError, match=rf"cannot be placed in data\.timezone 'America/New_York'.*{word}"):
        normalise(text_times(text), timezone="America/New_York")


def test_an_unknown_time_zone_is_refused():
    with pytest.raises(BarsError, match="'Mars/Olympus'"):
        normalise(text_times("2024-01-01T10:00:00"), timezone="Mars/Olympus")


def test_a_time_zone_does_not_move_timestamps_that_have_one():
    assert normalise(bars(), timezone="Asia/Tokyo").equals(normalise(bars()))


@pytest.mark.fault("bad_bars")
def test_quality_counts_the_bars_a_symbol_lacks_between_its_first_and_last():
    frame = bars(10, symbols=("A", "B", "C"))
    a_gap = (pl.col("symbol") == "B") & (pl.col("timestamp").is_in([DAY + timedelta(days=k) for k in (4, 5)]))
    late = (pl.col("symbol") == "C") & (pl.col("timestamp") < DAY + timedelta(days=3))
    described = quality(normalise(frame.filter(~a_gap & ~late)))
    assert described["calendar_bars"] == 10
    assert described["rows_per_symbol"] == {"A": 10, "B": 8, "C": 7}
    assert described["gaps_per_symbol"] == {"A": 0, "B": 2, "C": 0}


def published(rows: Sequence[tuple[float, float | None, float]], **columns: Any) -> pl.DataFrame:
    """One symbol; rows of (bar, score, days after bar 0 of its publication)."""
    return pl.DataFrame(
        {
            "timestamp": [DAY + timedelta(days=bar) for bar, _, _ in rows],
            "symbol": "A",
            "close": [100.0 + bar for bar, _, _ in rows],
            "available_at": [DAY + timedelta(days=when) for _, _, when in rows],
            "score": [score for _, score, _ in rows],
            **columns,
        }
    )


def scores(frame: pl.DataFrame) -> list[float | None]:
    return publish_in_time(normalise(frame))["score"].to_list()


ON_TIME = [(k, float(k), k - 0.5) for k in range(6)]


def test_values_that_are_published_by_their_close_stay_where_they_are():
    assert scores(published(ON_TIME)) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    at_the_close = [(k + 0.5, float(k), k + 0.5) for k in range(6)]
    assert scores(published(at_the_close)) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_late_value_is_used_from_its_publication_on_and_not_before():
    every_two_late = [(k, float(k), k + 1.5) for k in range(6)]
    assert scores(published(every_two_late)) == [None, None, 0.0, 1.0, 2.0, 3.0]


def test_a_value_published_a_second_after_the_close_waits_for_the_next_bar():
    second = 1 / 86400
    assert scores(published([(0, 0.0, second), (1, 1.0, 1.0), (2, 2.0, 2 + second)])) == [None, 1.0, 1.0]
    assert scores(published([(0, 0.0, 1.0), (1, None, 9.5)])) == [None, 0.0]


def test_the_next_return_published_just_before_the_next_close_is_not_seen_at_its_bar():
    rng = np.random.default_rng(8)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, 61)))
    next_return = close[1:] / close[:-1] - 1.0
    second = 1 / 86400
    rows = [(k, float(next_return[k]), k + 1 - second) for k in range(60)]
    found = scores(published(rows))
    assert found == [None, *next_return[:-1]]


def test_a_value_published_long_before_its_bar_waits_for_its_bar():
    ahead = [(k, float(k), k - 3.5) for k in range(6)]
    assert scores(published(ahead)) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    revised = [*ahead, (2, 77.0, 1.5), (2, 88.0, 1.7), (4, 99.0, 4.2)]
    assert scores(published(revised)) == [0.0, 1.0, 88.0, 3.0, 4.0, 5.0]


def test_a_late_value_of_an_older_bar_never_displaces_a_newer_one():
    rows = list(ON_TIME)
    rows[1] = (1, 99.0, 2.7)
    assert scores(published(rows)) == [0.0, 0.0, 2.0, 3.0, 4.0, 5.0]


def test_a_restated_value_is_used_from_its_publication_and_changes_no_earlier_bar():
    rows = [(0, 0.0, -0.1), (1, 1.0, 0.9), (2, None, 9.0), (3, None, 9.0), (4, None, 9.0)]
    before = scores(published(rows))
    after = scores(published([*rows, (1, 77.0, 2.5)]))
    assert before == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert after == [0.0, 1.0, 1.0, 77.0, 77.0]


def test_a_restatement_of_a_bar_that_has_been_followed_by_a_newer_value_changes_nothing():
    restated = [*ON_TIME, (1, 77.0, 2.6)]
    assert scores(published(restated)) == scores(published(ON_TIME))
    assert publish_in_time(normalise(published(restated))).height == 6


def test_symbols_do_not_see_each_others_publications():
    late = published([(k, 10.0 + k, k + 1.5) for k in range(6)]).with_columns(symbol=pl.lit("B"))
    both = publish_in_time(normalise(pl.concat([published(ON_TIME), late])))
    assert both.filter(pl.col("symbol") == "A")["score"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert both.filter(pl.col("symbol") == "B")["score"].to_list() == [None, None, 10.0, 11.0, 12.0, 13.0]


def test_publications_equal_a_search_over_all_rows():
    rng = np.random.default_rng(4)
    rows = [(k, float(100 * k + j), k - 2 + float(rng.exponential(2.5))) for k in range(40) for j in range(3)]
    found = scores(published(rows))
    for bar in range(40):
        known = [(of, when, score) for of, score, when in rows if when <= bar and of <= bar]
        assert found[bar] == (max(known)[2] if known else None)
    assert len(set(found)) > 20


def test_prices_stay_with_their_bar_and_later_bars_change_no_earlier_row():
    rows = [(k, float(k), k + 1.6) for k in range(8)]
    whole = publish_in_time(normalise(published(rows)))
    part = publish_in_time(normalise(published(rows[:5])))
    assert whole["close"].to_list() == [100.0 + k for k in range(8)]
    assert whole.head(5).equals(part)


def test_a_price_cannot_be_known_before_its_bar_closed():
    frame = published([(0, 0.0, 0.0), (1, 1.0, 0.9), (2, 2.0, 2.0)])
    with pytest.raises(BarsError, match=r"available_at is before its timestamp in 1 rows \(first at 2024-01-02"):
        publish_in_time(normalise(frame.drop("score")))
    assert scores(frame) == [0.0, 1.0, 2.0]


def test_a_row_without_a_publication_time_is_refused():
    frame = published(ON_TIME).with_columns(available_at=pl.when(pl.col("score") != 2.0).then(pl.col("available_at")))
    with pytest.raises(BarsError, match="available_at is null"):
        publish_in_time(normalise(frame))


def test_without_features_a_price_published_after_its_decision_is_refused():
    frame = published([(0, 0.0, 0.1), (1, 1.0, 2.5), (2, 2.0, 2.1)]).drop("score")
    with pytest.raises(BarsError, match="1 prices were published after the next bar"):
        publish_in_time(normalise(frame))
    on_time = normalise(published([(k, 0.0, k + 0.5) for k in range(6)]).drop("score"))
    assert publish_in_time(on_time).equals(on_time)


def test_publications_of_one_bar_that_differ_in_a_price_are_refused():
    frame = pl.concat([published(ON_TIME), published([(1, 5.0, 3.0)]).with_columns(close=pl.lit(7.0))])
    with pytest.raises(BarsError, match=r"1 bars have several publications that differ in \['close'\].*2024-01-02"):
        publish_in_time(normalise(frame))


def test_two_rows_of_one_publication_are_a_duplicate():
    with pytest.raises(BarsError, match=r"1 duplicate \(timestamp, symbol, available_at\) keys"):
        normalise(published([*ON_TIME, (1, 5.0, 0.5)]))


def test_a_naive_publication_time_is_refused():
    frame = published(ON_TIME).with_columns(pl.col("available_at").dt.replace_time_zone(None))
    with pytest.raises(BarsError, match="available_at has no time zone"):
        normalise(frame)


DATES = [(k, float(k), float(k)) for k in range(6)]


@pytest.mark.parametrize("days_later", [0, 3])
def test_publications_that_are_dates_alone_are_refused_however_they_are_written(days_later):
    dated = published([(k, value, k + days_later) for k, value, _ in DATES])
    texts = {"date": "%Y-%m-%d", "offset": "%Y-%m-%dT%H:%M:%S+00:00"}
    day = str((DAY + timedelta(days=days_later)).date())
    for frame in (
        dated,
        dated.with_columns(pl.col("available_at").dt.date()),
        *(dated.with_columns(pl.col("available_at").dt.strftime(text)) for text in texts.values()),
    ):
        with pytest.raises(
            BarsError, match=rf"available_at .*{day}.* up to a day too early; write the time of publication"
        ):
            normalise(frame, timezone="UTC")


def test_the_end_of_its_own_day_is_a_time_of_publication_and_used_by_no_bar_of_that_day():
    ended = published([(k + hour, float(k), k + 1) for k in range(6) for hour in (0.5, 0.8)])
    assert scores(ended) == [None, None, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]
    local = pl.col("timestamp", "available_at").dt.replace_time_zone("America/Sao_Paulo").dt.convert_time_zone("UTC")
    assert normalise(ended.with_columns(local), timezone="America/Sao_Paulo").height == 12


def test_bars_stamped_with_their_date_are_legitimate_and_so_are_dates_of_prices_alone():
    assert normalise(published(DATES).drop("score")).height == 6
    assert scores(published([(k, float(k), k + 0.9) for k in range(6)])) == [None, 0.0, 1.0, 2.0, 3.0, 4.0]


WHOLE = {"open": 100.0, "high": 110.0, "low": 90.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"high": 89.0},
        {"open": 110.2},
        {"open": 89.9},
        {"close": 110.2},
        {"close": 89.9},
        {"high": 99.0},
        {"low": 109.5},
    ],
)
def test_prices_that_contradict_each_other_are_refused_with_their_place(wrong):
    frame = bars(**WHOLE).with_columns(
        pl.when(pl.int_range(pl.len()) == 4)
        .then(wrong.get(name, 100.0 if name == "close" else pl.col(name)))
        .otherwise(name)
        .alias(name)
        for name in ("open", "high", "low", "close")
    )
    message = r"prices contradict each other in 1 of 10 rows \(first at 2024-01-05T.* A: open .*exchange or correct"
    with pytest.raises(BarsError, match=message):
        normalise(frame)


def test_a_close_beyond_the_high_by_rounding_and_bars_without_a_range_pass():
    close = bars()["close"]
    assert normalise(bars(open=close, high=close * (1 - 5e-7), low=close * (1 + 4e-7))).height == 10
    for absent in (("open",), ("high",), ("low",), ("open", "high")):
        assert normalise(bars(**WHOLE).drop(absent)).height == 10
    with pytest.raises(BarsError, match="contradict"):
        normalise(bars(high=close * (1 - 2e-6)))


def test_names_of_shadow_features_are_reserved():
    with pytest.raises(BarsError, match=r"columns \['shadow_rate'\] begin with 'shadow_'.*rename them"):
        normalise(bars(shadow_rate=1.0))


def test_names_of_minute_aggregates_are_reserved():
    with pytest.raises(BarsError, match=r"columns \['minute_count'\] begin with 'minute_'.*rename them"):
        normalise(bars(minute_count=1.0))
    assert user_columns(["timestamp", "close", "minute_count", "minutes", "score"]) == ("minutes", "score")


def test_first_and_last_date_are_read_in_the_time_zone_of_the_bars() -> None:
    days = [f"2024-01-0{k}" for k in range(1, 6)]
    frame = pl.DataFrame({"timestamp": days, "symbol": "A", "close": 1.0})
    kept = normalise_bars(
        frame, timezone="Asia/Tokyo", symbols=None, start=date(2024, 1, 2), end=date(2024, 1, 4), min_bars=1
    )
    assert kept["timestamp"].dt.convert_time_zone("Asia/Tokyo").dt.day().to_list() == [2, 3, 4]


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_bars_stamped_with_their_openings_are_those_stamped_with_their_closes(zone):
    # the clocks of New York change on 2024-03-10 at 2:00, between the openings
    hour = timedelta(hours=1)
    closes = [datetime(2024, 3, 9, 21, tzinfo=UTC) + k * hour for k in range(30)]
    by_close = pl.DataFrame({"timestamp": closes, "symbol": "A", "close": 100.0 + np.arange(30.0)})
    by_open = by_close.with_columns(pl.col("timestamp") - hour)
    if zone is not None:
        by_open = by_open.with_columns(pl.col("timestamp").dt.convert_time_zone(zone).dt.replace_time_zone(None))
    period = {"start": date(2024, 3, 10), "end": date(2024, 3, 10)}
    found = normalise(by_open, timezone=zone, opened_before=hour, **period)
    assert found.equals(normalise(by_close, timezone=zone, **period))
    assert 20 < found.height < 30


def test_a_publication_is_not_moved_with_the_stamps():
    frame = bars().with_columns(available_at=pl.col("timestamp") + timedelta(hours=3), score=1.0)
    moved = normalise(frame, opened_before=timedelta(hours=1))
    assert moved["available_at"].equals(normalise(frame)["available_at"])
    assert (moved["timestamp"] - normalise(frame)["timestamp"]).unique().to_list() == [timedelta(hours=1)]


@pytest.mark.parametrize("name", ["", "  "])
def test_a_symbol_without_a_name_is_refused(name: str) -> None:
    frame = pl.DataFrame(
        {
            "timestamp": [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2)],
            "symbol": ["AAA", name],
            "close": [1.0, 2.0],
        }
    )
    with pytest.raises(BarsError, match=r"symbol is empty in 1 of 2 rows: .* name them or remove"):
        normalise_bars(frame, timezone=None, symbols=None, start=None, end=None, min_bars=1)


@pytest.mark.parametrize("symbol", ["B\nlatency: {}\n#", "B\r", "B\tC", "B\x00", "B\x85C", "B\u2028C", "B\u2029"])
def test_a_symbol_with_a_control_character_or_a_line_break_is_refused_by_name(symbol: str) -> None:
    frame = pl.DataFrame({"timestamp": ["2020-01-01T00:00Z"] * 2, "symbol": ["A", symbol], "close": [1.0, 2.0]})
    with pytest.raises(BarsError, match="holds a control character or a line break, in 1 of 2 rows") as refused:
        normalise_bars(frame, timezone=None, symbols=None, start=None, end=None, min_bars=1)
    assert repr(symbol) in str(refused.value)


def test_names_of_markets_in_any_alphabet_are_taken() -> None:
    names = ["BTC/USDT:USDT", "BRK.B", "^GSPC", "7203.T", "ÖMV", "日経 225"]
    frame = pl.DataFrame({"timestamp": ["2020-01-01T00:00Z"] * 6, "symbol": names, "close": [1.0] * 6})
    kept = normalise_bars(frame, timezone=None, symbols=None, start=None, end=None, min_bars=1)
    assert set(kept["symbol"]) == set(names)
