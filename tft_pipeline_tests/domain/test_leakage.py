"""Guards over bars: each holds on honest functions and names the leak of a leaky one; the leaky ones are written out here."""

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.leakage import (
    inputs_do_not_see_later_bars,
    last_bars,
    leverage_problems,
    outcomes_lie_after_the_decision,
    positions_earn_the_next_bar,
    telling_cuts,
)
from tft_pipeline.domain.targets import build_targets
from tft_pipeline_tests.builders import ragged_bars, toy_features
from tft_pipeline_tests.conftest import random_bars


def bars(n: int = 150, seed: int = 0) -> pl.DataFrame:
    return ragged_bars(n, seed=seed).sort("symbol", "timestamp")


def outcomes_of(frame: pl.DataFrame, horizon: int = 1) -> pl.DataFrame:
    made = build_targets(frame, horizon=horizon, volatility_span=10, bars_per_year=252, untraded=())
    return made.select("timestamp", "symbol", "next_return", "volatility", "label")


def cuts(frame: pl.DataFrame) -> list:
    ticks = frame["timestamp"].unique().sort()
    return [ticks[len(ticks) // 3], ticks[2 * len(ticks) // 3]]


def test_the_last_bars_are_those_of_the_last_timestamps() -> None:
    frame = bars()
    tail = last_bars(frame, 20)
    assert tail["timestamp"].unique().sort().to_list() == frame["timestamp"].unique().sort().to_list()[-20:]
    assert last_bars(frame, 10_000).equals(frame)


def test_cuts_stand_where_values_come_back_after_missing_ones() -> None:
    frame = toy_features(bars())
    found = telling_cuts(frame, 2)
    ticks = frame["timestamp"].unique().sort().to_list()
    assert found == sorted(set(found))
    assert ticks[0] in found
    assert {ticks[len(ticks) // 3], ticks[2 * len(ticks) // 3]} <= set(found)
    by_hand = set()
    for (_,), part in frame.group_by("symbol"):
        for name in ("past_return", "mean_5", "range_10"):
            values, stamps = part[name].to_list(), part["timestamp"].to_list()
            by_hand |= {
                (name, stamps[k]) for k in range(1, len(values)) if values[k - 1] is None and values[k] is not None
            }
    covered = {name for name, stamp in by_hand if stamp in found}
    assert covered == {"past_return", "mean_5", "range_10"}


def test_too_few_bars_for_cuts_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bars are too few for 3 cuts"):
        telling_cuts(toy_features(random_bars(4).sort("symbol", "timestamp")), 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_causal_features_are_no_leak(seed: int) -> None:
    frame = bars(seed=seed)
    found = inputs_do_not_see_later_bars(toy_features, frame, telling_cuts(toy_features(frame), 3))
    assert found.passed, found
    assert found.tried.startswith("3 columns at")


@pytest.mark.parametrize("limit", [1, 3, None])
def test_a_back_fill_of_any_length_is_named(limit: int | None) -> None:
    def filled(frame: pl.DataFrame) -> pl.DataFrame:
        return toy_features(frame).with_columns(
            pl.exclude("timestamp", "symbol").backward_fill(limit=limit).over("symbol")
        )

    frame = bars()
    found = inputs_do_not_see_later_bars(filled, frame, telling_cuts(filled(frame), 1))
    assert found.passed is False
    assert "depends on the future" in found.detail


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_honest_targets_are_no_leak(seed: int, horizon: int) -> None:
    frame = bars(seed=seed)
    found = outcomes_lie_after_the_decision(
        lambda some: outcomes_of(some, horizon), frame, cuts(frame), horizon=horizon
    )
    assert found.passed, found


@pytest.mark.parametrize("column", ["next_return", "label"])
@pytest.mark.parametrize("bars_off", [1, -1])
def test_outcomes_that_are_a_bar_off_are_named(column: str, bars_off: int) -> None:
    def leaky(frame: pl.DataFrame) -> pl.DataFrame:
        return outcomes_of(frame).with_columns(pl.col(column).shift(bars_off).over("symbol"))

    frame = bars()
    found = outcomes_lie_after_the_decision(leaky, frame, cuts(frame), horizon=1)
    assert found.passed is False
    assert found.detail.startswith(column)


def test_a_return_that_starts_a_bar_before_the_decision_is_named() -> None:
    """It ends where it should; the return of the decision's own bar is in it."""

    def leaky(frame: pl.DataFrame) -> pl.DataFrame:
        two = (1.0 + pl.col("next_return")) * (1.0 + pl.col("next_return").shift(1)) - 1.0
        return outcomes_of(frame).with_columns(next_return=two.over("symbol"))

    frame = bars()
    found = outcomes_lie_after_the_decision(leaky, frame, cuts(frame), horizon=1)
    assert found.passed is False
    assert "moves with the bars before" in found.detail


def test_a_label_that_looks_further_than_its_horizon_is_named() -> None:
    frame = bars()
    found = outcomes_lie_after_the_decision(lambda some: outcomes_of(some, 5), frame, cuts(frame), horizon=4)
    assert found.passed is False
    found = outcomes_lie_after_the_decision(lambda some: outcomes_of(some, 3), frame, cuts(frame), horizon=4)
    assert found.passed is False


def test_without_an_outcome_nothing_was_tried() -> None:
    frame = bars()
    empty = lambda some: outcomes_of(some).with_columns(next_return=None, label=None)  # noqa: E731
    found = outcomes_lie_after_the_decision(empty, frame, cuts(frame), horizon=1)
    assert found.passed is None
    assert found.detail == "next_return has no value at the bars tried; label has no value at the bars tried"


def predictions(n: int = 40) -> pl.DataFrame:
    frame = outcomes_of(random_bars(n + 20).sort("symbol", "timestamp")).drop_nulls()
    rng = np.random.default_rng(1)
    return frame.with_columns(raw_position=pl.Series(rng.uniform(-1, 1, frame.height)))


def book(frame: pl.DataFrame, *, bars_off: int = 0) -> pl.DataFrame:
    """Mean over symbols of position times next return, smoothed over two bars."""
    frame = frame.sort("symbol", "timestamp")
    held = 0.7 * pl.col("raw_position") + 0.3 * pl.col("raw_position").shift(1).fill_null(0.0)
    earned = frame.with_columns(held=held.over("symbol"))
    earned = earned.with_columns(pl.col("held").shift(bars_off).over("symbol").fill_null(0.0))
    return (
        earned.group_by("timestamp").agg(gross=(pl.col("held") * pl.col("next_return")).sort_by("symbol").mean())
    ).sort("timestamp")


def test_a_book_that_earns_the_next_bar_is_no_leak() -> None:
    found = positions_earn_the_next_bar(book, predictions(), n_bars=4)
    assert found.passed, found


def test_a_book_that_earns_with_tomorrows_position_is_named() -> None:
    found = positions_earn_the_next_bar(lambda some: book(some, bars_off=-1), predictions(), n_bars=4)
    assert found.passed is False
    assert "a later bar" in found.detail


def test_a_book_that_earns_todays_return_is_named() -> None:
    def same_day(frame: pl.DataFrame) -> pl.DataFrame:
        frame = frame.sort("symbol", "timestamp")
        return book(frame.with_columns(pl.col("next_return").shift(1).over("symbol").fill_null(0.0)))

    found = positions_earn_the_next_bar(same_day, predictions(), n_bars=4)
    assert found.passed is False


def test_a_book_that_earns_older_returns_too_is_named() -> None:
    def late(frame: pl.DataFrame) -> pl.DataFrame:
        frame = frame.sort("symbol", "timestamp")
        return book(frame.with_columns(pl.col("next_return") + pl.col("next_return").shift(1).fill_null(0.0)))

    found = positions_earn_the_next_bar(late, predictions(), n_bars=4)
    assert found.passed is False
    assert "an older bar" in found.detail


def test_a_book_that_does_not_hold_its_positions_is_named() -> None:
    found = positions_earn_the_next_bar(lambda some: book(some.with_columns(raw_position=1.0)), predictions(), n_bars=4)
    assert found.passed is False
    assert "does not move with the raw_position" in found.detail


def test_a_book_without_returns_was_not_tried() -> None:
    still = predictions().with_columns(next_return=0.0)
    assert positions_earn_the_next_bar(book, still, n_bars=4).passed is None


def test_a_column_without_a_value_at_the_bars_tried_was_not_tried() -> None:
    frame = bars()
    late = lambda some: toy_features(some).with_columns(  # noqa: E731
        slow=pl.lit(None, pl.Float32), never=pl.when(pl.col("timestamp") > cuts(frame)[-1]).then(1.0).cast(pl.Float32)
    )
    found = inputs_do_not_see_later_bars(late, frame, cuts(frame))
    assert found.state == "not_verifiable"
    assert found.passed is None
    assert found.detail.startswith("slow, never (2 columns) have no value")


def test_an_outcome_without_a_value_is_named_and_a_leak_beside_it_first() -> None:
    frame = bars()
    empty = lambda some: outcomes_of(some).with_columns(label=pl.lit(None, pl.Float64))  # noqa: E731
    found = outcomes_lie_after_the_decision(empty, frame, cuts(frame), horizon=1)
    assert (found.state, found.detail) == ("not_verifiable", "label has no value at the bars tried")
    both = lambda some: empty(some).with_columns(pl.col("next_return").shift(1).over("symbol"))  # noqa: E731
    assert outcomes_lie_after_the_decision(both, frame, cuts(frame), horizon=1).state == "leak"


def test_leverage_of_another_bar_or_of_the_return_is_named() -> None:
    known = outcomes_of(bars())
    leverage = (0.15 / pl.col("volatility")).cast(pl.Float32)
    told = lambda column: leverage_problems(known.with_columns(leverage_in_loss=column), 0.15)  # noqa: E731
    assert told(pl.when(pl.col("label").is_not_null()).then(leverage)) == []
    for leaky in (leverage.shift(-1).over("symbol"), leverage / (1.0 + 50.0 * pl.col("next_return").abs())):
        (problem,) = told(leaky)
        assert problem.startswith("leverage_in_loss of ")
