"""Whether timestamps fit the interval that is stated, and which bars lack, against loops."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.intervals import (
    BAR_LENGTHS,
    LONGEST_LISTED,
    common_spacing,
    missing_bars,
    refusal_of_interval,
    refusal_of_openings,
    refusal_of_stamp,
    symbols_of_another_interval,
)

FIRST = datetime(2024, 3, 9, 0, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def bars(stamps: dict[str, list[datetime]]) -> pl.DataFrame:
    frames = [
        pl.DataFrame({"timestamp": pl.Series(times, dtype=pl.Datetime("us", "UTC")), "symbol": name})
        for name, times in stamps.items()
    ]
    return pl.concat(frames)


def every(length: timedelta, n: int, first: datetime = FIRST) -> list[datetime]:
    return [first + k * length for k in range(n)]


@pytest.mark.parametrize("interval", BAR_LENGTHS)
def test_bars_of_the_stated_interval_are_taken_and_of_every_other_refused(interval):
    found = bars({"A": every(BAR_LENGTHS[interval], 30), "B": every(BAR_LENGTHS[interval], 5)})
    assert refusal_of_interval(found, interval) is None
    for other in BAR_LENGTHS.keys() - {interval}:
        refusal = refusal_of_interval(found, other)
        assert refusal is not None
        assert refusal.endswith(f"state interval {interval}")


def test_the_length_of_a_bar_is_found_where_most_bars_are_missing():
    rng = np.random.default_rng(0)
    kept = np.flatnonzero(rng.random(5000) < 0.3)
    sparse = bars({"A": [FIRST + int(k) * MINUTE for k in kept]})
    spacings = sparse["timestamp"].diff().drop_nulls()
    assert spacings.median() > MINUTE  # the median would call them bars of 2 minutes
    assert common_spacing(sparse) == MINUTE
    assert refusal_of_interval(sparse, "1m") is None


def test_daily_bars_of_sessions_are_daily_across_a_change_of_clocks():
    closes = [datetime(2024, 3, day, 21 if day < 10 else 20, tzinfo=UTC) for day in (4, 5, 6, 7, 8, 11, 12, 13)]
    assert refusal_of_interval(bars({"A": closes}), "1d") is None
    assert refusal_of_interval(bars({"A": every(timedelta(days=7), 9)}), "1d") is not None


def test_symbols_are_not_compared_with_each_other():
    apart = bars({"A": every(5 * MINUTE, 9), "B": every(5 * MINUTE, 9, FIRST + MINUTE)})
    assert refusal_of_interval(apart, "5m") is None


def test_each_symbol_is_looked_at_by_itself_where_openings_are_moved():
    """Pooled, the many bars of one symbol hide the longer ones of another."""
    mixed = bars({"A": every(MINUTE, 3000), "B": every(15 * MINUTE, 200), "C": every(MINUTE, 2)})
    assert refusal_of_interval(mixed, "1m") is None
    assert symbols_of_another_interval(mixed, "1m") == ["bars of B stand 0:15:00 apart most often"]
    refusal = refusal_of_openings(mixed, "1m")
    assert refusal is not None
    assert "bars of B stand 0:15:00 apart most often: a bar that is longer than 1m would count as known" in refusal
    assert refusal_of_openings(mixed.filter(pl.col("symbol") != "B"), "1m") is None
    assert refusal_of_openings(mixed, "15m") == refusal_of_interval(mixed, "15m")
    alone = bars({"A": every(MINUTE, 30), "B": every(MINUTE, 1)})
    assert "B has one bar" in str(refusal_of_openings(alone, "1m"))


def test_two_bars_are_needed_to_know():
    refusal = refusal_of_interval(bars({"A": every(MINUTE, 1), "B": every(MINUTE, 1)}), "1m")
    assert refusal == "interval is 1m and no symbol has two bars, so nothing shows it; bring more bars"
    assert common_spacing(bars({"A": every(MINUTE, 1)})) is None


def test_an_unusual_length_is_refused_with_those_there_are():
    refusal = refusal_of_interval(bars({"A": every(3 * MINUTE, 9)}), "1m")
    assert refusal is not None
    assert "0:03:00 apart" in refusal
    assert refusal.endswith("that is none of 1m, 5m, 15m, 1h, 1d: make bars of one of these")


def test_only_a_daily_bar_cannot_be_stamped_with_its_opening():
    assert [name for name in BAR_LENGTHS if refusal_of_stamp("open", name)] == ["1d"]
    assert [name for name in BAR_LENGTHS if refusal_of_stamp("close", name)] == []
    assert "session" in str(refusal_of_stamp("open", "1d"))


def runs_by_loop(present: np.ndarray, first: datetime) -> list[dict[str, object]]:
    """Runs of absent minutes between present ones, one minute at a time."""
    found: list[tuple[int, int]] = []
    begun = None
    for k, here in enumerate(present):
        if not here and begun is None:
            begun = k
        if here and begun is not None:
            found.append((begun, k - begun))
            begun = None
    found.sort(key=lambda run: (-run[1], run[0]))
    return [{"first": (first + k * MINUTE).isoformat(), "bars": n} for k, n in found]


@pytest.mark.parametrize("seed", range(5))
def test_missing_bars_are_those_a_loop_finds(seed):
    rng = np.random.default_rng(seed)
    grids = {name: rng.random(400) < share for name, share in (("A", 0.6), ("B", 0.97), ("C", 1.1))}
    stamps = {}
    for name, grid in grids.items():
        grid[[0, -1]] = True
        stamps[name] = [FIRST + int(k) * MINUTE for k in np.flatnonzero(grid)]
    found = missing_bars(bars(stamps), MINUTE)
    for name, grid in grids.items():
        runs = runs_by_loop(grid, FIRST)
        assert found[name]["bars"] == int(grid.sum())
        assert found[name]["missing"] == int((~grid).sum())
        assert found[name]["longest"] == runs[:LONGEST_LISTED]
        assert (found[name]["first"], found[name]["last"]) == (
            stamps[name][0].isoformat(),
            stamps[name][-1].isoformat(),
        )


def test_bars_that_lack_behind_the_newest_count_where_they_could_be_there():
    held = bars({"A": every(MINUTE, 10)})
    assert missing_bars(held, MINUTE)["A"]["missing"] == 0
    assert missing_bars(held, MINUTE, until=FIRST + 9 * MINUTE)["A"]["missing"] == 0
    found = missing_bars(held, MINUTE, until=FIRST + 12 * MINUTE)["A"]
    assert found["missing"] == 3
    assert found["longest"] == [{"first": (FIRST + 10 * MINUTE).isoformat(), "bars": 3}]
    assert found["last"] == (FIRST + 9 * MINUTE).isoformat()


def test_bars_that_lack_before_the_oldest_count_where_they_could_be_there():
    held = bars({"A": every(MINUTE, 10)})
    assert missing_bars(held, MINUTE, since=FIRST - MINUTE)["A"]["missing"] == 0
    found = missing_bars(held, MINUTE, since=FIRST - 5 * MINUTE, until=FIRST + 11 * MINUTE)["A"]
    assert found["missing"] == 4 + 2
    assert found["longest"] == [
        {"first": (FIRST - 4 * MINUTE).isoformat(), "bars": 4},
        {"first": (FIRST + 10 * MINUTE).isoformat(), "bars": 2},
    ]
    assert found["first"] == FIRST.isoformat()
