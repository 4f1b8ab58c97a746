"""Findings in prices: planted ones are found, honest markets are left alone, and only relative size counts."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.plausibility import (
    AROUND,
    LONGEST_LISTED,
    RATIOS,
    Finding,
    implausible_prices,
    listed,
    standstills,
    usual_size,
)

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "us_equities_daily.parquet"
FIRST = datetime(2020, 1, 1, tzinfo=UTC)


def walk(n: int = 600, size: float = 0.01, seed: int = 0) -> np.ndarray:
    """Closes of a random walk with fat tails."""
    return 100.0 * np.exp(np.cumsum(size * np.random.default_rng(seed).standard_t(8, n)))


def framed(closes: np.ndarray, **columns: np.ndarray) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    stamps = [FIRST + timedelta(days=k) for k in range(len(closes))]
    return pl.DataFrame({"timestamp": stamps, "symbol": "AAA", "close": closes, **columns})


def found(bars: pl.DataFrame) -> list[tuple[str, datetime | None]]:
    return [(one.kind, one.at) for one in implausible_prices(bars, daily=True)]


def slow_usual_size(returns: np.ndarray) -> np.ndarray:
    """s, as the rule says it, one bar after the other."""
    half = AROUND // 2
    moved = [abs(r) for r in returns if r != 0]
    least = 0.5 * float(np.median(moved)) if moved else 0.0
    around = [np.median(np.abs(returns[max(0, k - half) : k + half + 1])) for k in range(len(returns))]
    return np.array([1.4826 * max(one, least) for one in around])


def test_the_usual_size_is_the_median_of_the_returns_around_as_a_loop_finds_it() -> None:
    returns = np.diff(np.log(walk(300)))
    returns[40:90] = 0.0
    assert usual_size(returns) == pytest.approx(slow_usual_size(returns), rel=1e-12)


@given(st.sampled_from(RATIOS), st.booleans(), st.integers(60, 540), st.integers(0, 20))
def test_a_planted_split_is_found_at_its_bar_with_its_ratio(
    ratio: tuple[int, int], falls: bool, bar: int, seed: int
) -> None:
    closes = walk(seed=seed)
    closes[bar] = closes[bar - 1]  # an ordinary day but for the split
    new, old = ratio
    closes[bar:] *= old / new if falls else new / old
    (one,) = implausible_prices(framed(closes), daily=True)
    assert (one.kind, one.at) == ("jump", FIRST + timedelta(days=bar))
    shares = f"{new}:{old} split" if falls else f"{old}:{new} reverse split"
    assert shares in one.sentence
    assert f"{'divide' if falls else 'multiply'} the prices before it by {new / old:g}" in one.sentence


@pytest.mark.parametrize("missing", [0.0, 0.02, 0.1])
@pytest.mark.parametrize(("minutes", "a_day"), [(1, 390), (5, 78), (15, 26), (60, 7)])
def test_a_split_over_night_is_found_among_bars_of_a_session(minutes: int, a_day: int, missing: float) -> None:
    """Nights move eight thousandths, which is many times what one bar does."""
    chance = np.random.default_rng(3)
    days = [day for day in (FIRST + timedelta(days=k) for k in range(60)) if day.weekday() < 5]
    stamps = [day + timedelta(hours=14, minutes=30 + minutes * k) for day in days for k in range(1, a_day + 1)]
    returns = 0.01 / math.sqrt(a_day) * chance.standard_t(8, len(stamps))
    returns[::a_day] = 0.008 * chance.standard_t(8, len(days))
    bar = a_day * (len(days) // 2)
    returns[bar] = 0.008 - math.log(4)
    bars = pl.DataFrame({"timestamp": stamps, "symbol": "AAA", "close": 100.0 * np.exp(np.cumsum(returns))})
    there = chance.random(len(stamps)) >= missing
    there[bar - 1 : bar + 1] = True
    (one,) = implausible_prices(bars.filter(there), daily=False)
    assert (one.kind, one.at) == ("jump", stamps[bar])
    assert "4:1 split" in one.sentence
    assert implausible_prices(bars.filter(there & (np.arange(len(stamps)) < bar)), daily=False) == ()


def test_a_crash_that_is_no_ratio_and_one_that_was_traded_through_are_no_splits() -> None:
    closes = walk()
    closes[300:] *= 0.62
    assert found(framed(closes)) == []
    halved = walk()
    halved[300] = halved[299]
    halved[300:] *= 0.5
    opens = np.append(halved[0], halved[:-1])  # it opened where it had closed, and fell in the course of the bar
    high, low = np.maximum(opens, halved), np.minimum(opens, halved)
    assert found(framed(halved, open=opens, high=high, low=low)) == []
    opens[300] = halved[300]
    high, low = np.maximum(opens, halved), np.minimum(opens, halved)
    assert [kind for kind, _ in found(framed(halved, open=opens, high=high, low=low))] == ["jump"]


def test_the_sentence_of_a_split_says_what_trading_did() -> None:
    closes = walk()
    closes[300] = closes[299]
    closes[300:] /= 2
    volume = np.where(np.arange(600) < 300, 100.0, 200.0)
    (one,) = implausible_prices(framed(closes, volume=volume), daily=True)
    assert "median volume after it: 2 x that before" in one.sentence


@pytest.mark.parametrize("factor", [10.0, 0.1, 1.5, 0.5])
def test_a_price_that_leaves_its_neighbours_and_comes_back_is_one_tick_and_no_split(factor: float) -> None:
    closes = walk()
    closes[200:203] = closes[199]
    closes[201] *= factor
    (one,) = implausible_prices(framed(closes), daily=True)
    assert (one.kind, one.at, one.bars) == ("tick", FIRST + timedelta(days=201), 1)
    assert f"{closes[201]:,.6g}" in one.sentence
    assert f"between {closes[200]:,.6g} and {closes[202]:,.6g}" in one.sentence


def test_31000_among_3100_is_told_with_its_neighbours() -> None:
    closes = np.full(200, 3100.0) * np.exp(0.004 * np.random.default_rng(1).normal(size=200))
    closes[120] = 31_000.0
    (one,) = implausible_prices(framed(closes), daily=True)
    assert "AAA closes at 31,000 on 2020-04-30, between 3," in one.sentence


def test_a_high_that_nobody_else_saw_is_a_tick_of_the_range() -> None:
    closes = walk()
    high, low = closes * 1.005, closes * 0.995
    high[50] = closes[50] * 10
    low[70] = closes[70] / 10
    told = implausible_prices(framed(closes, open=closes.copy(), high=high, low=low), daily=True)
    assert [(one.kind, one.at) for one in told] == [
        ("tick", FIRST + timedelta(days=50)),
        ("tick", FIRST + timedelta(days=70)),
    ]
    assert "has high" in told[0].sentence
    assert "has low" in told[1].sentence


@given(st.floats(1e-4, 0.08), st.integers(0, 30), st.floats(1e-3, 1e5))
def test_an_honest_walk_of_any_size_and_price_is_left_alone(size: float, seed: int, price: float) -> None:
    assert found(framed(price * walk(400, size, seed))) == []


@given(st.floats(1e-6, 1e6), st.integers(0, 10))
def test_the_unit_of_the_price_changes_no_finding(unit: float, seed: int) -> None:
    closes = walk(seed=seed)
    closes[100:] /= 4
    closes[300] *= 8
    assert found(framed(closes)) == found(framed(unit * closes)) != []


def test_prices_that_stand_still_are_one_finding_a_symbol_and_a_quiet_market_is_none() -> None:
    closes = walk()
    closes[100:130] = closes[99]
    closes[400:420] = closes[399]
    (one,) = implausible_prices(framed(closes), daily=True)
    assert (one.kind, one.at, one.bars) == ("still", FIRST + timedelta(days=99), 31 + 21)
    assert "in 31 bars in a row" in one.sentence
    assert "1 more times for 21 bars or more" in one.sentence
    quiet = 100.0 + np.random.default_rng(3).integers(-1, 2, 600).clip(0, None).cumsum() * 0.01  # most bars do not move
    assert [kind for kind, _ in found(framed(quiet))] == []


def test_a_run_of_equal_closes_is_reported_when_chance_would_not_make_it() -> None:
    returns = np.where(np.random.default_rng(5).random(20_000) < 0.2, 0.0, 0.01)
    runs = standstills(returns)
    longest = max(len(run) for run in "".join("0" if r == 0 else "1" for r in returns).split("1"))
    assert runs == [], f"a fifth stand still, and {longest} in a row are chance"
    returns[500:530] = 0.0
    ((first, length),) = standstills(returns)
    assert first <= 500
    assert length >= 31
    assert 20_000 * 0.2**30 < 1e-6 < 20_000 * 0.2 ** math.floor(longest)


def test_the_sample_has_one_jump_that_was_real_one_that_is_not_and_one_market_that_stood_still() -> None:
    bars = pl.read_parquet(SAMPLE).sort("symbol", "timestamp")
    told = [(one.kind, one.symbol, f"{one.at:%Y-%m-%d}") for one in implausible_prices(bars, daily=True)]
    assert told == [
        ("jump", "AAPL", "2000-09-29"),  # halved on a profit warning
        ("jump", "RRC", "1990-04-10"),  # to a third after weeks without a change
        ("still", "RRC", "1990-01-02"),
    ]


def test_few_bars_and_prices_that_never_move_say_nothing_of_jumps() -> None:
    assert found(framed(walk(15))) == []
    assert {kind for kind, _ in found(framed(np.full(100, 5.0)))} == {"still"}


def test_of_many_findings_of_a_kind_the_rest_is_counted() -> None:
    many = [Finding("tick", "A", FIRST, 1, str(k)) for k in range(LONGEST_LISTED + 7)]
    kept = listed([*many, Finding("jump", "A", FIRST, 1, "jump")])
    assert [one.sentence for one in kept[-2:]] == ["and 7 more like these (tick)", "jump"]
    assert len(kept) == LONGEST_LISTED + 2


def test_a_symbol_that_never_moves_or_hardly_does_is_told() -> None:
    still = np.full(500, 5.0)
    (one,) = implausible_prices(framed(still), daily=True)
    assert (one.kind, one.bars) == ("still", 499)
    assert "499 of 499 closes equal the one before" in one.sentence
    still[250:] = 6.0
    assert [kind for kind, _ in found(framed(still))] == ["still"]
