"""No feature knows the future, and the checker that says so catches those that do."""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.features import (
    AcrossSymbols,
    Feature,
    FeatureSet,
    OfMarket,
    PerSymbol,
    build_features,
    catalogue,
    first_causality_violation,
    perturbed_after,
)
from tft_pipeline.domain.features.history import CrossSection, History
from tft_pipeline.domain.features.windows import Array
from tft_pipeline_tests.oracles.feature_panels import (
    BARS_PER_YEAR,
    INDEX,
    clean_panel,
    ragged_panel,
    random_panel,
    stamps,
)

EVERYTHING = FeatureSet(catalogue())


def builder(features: FeatureSet, *, user_columns: tuple[str, ...] = ()) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return partial(
        build_features,
        feature_set=features,
        market_symbol=INDEX,
        user_columns=user_columns,
        bars_per_year=BARS_PER_YEAR,
    )


@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    sigma=st.sampled_from((0.0, 0.01, 0.3)),
    cuts=st.lists(st.integers(40, 398), min_size=2, max_size=2),
)
def test_later_bars_leave_every_bit_of_random_ragged_panels_alone(seed: int, sigma: float, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    bars = random_panel(rng, 400, symbols=4, sigma=sigma, index_from=int(rng.integers(0, 30)))
    bars = bars.with_columns(alt_noise=pl.Series(rng.normal(size=bars.height)))
    times = stamps(400)
    build = builder(EVERYTHING, user_columns=("alt_noise",))
    assert first_causality_violation(build, bars, [times[cut] for cut in cuts]) is None


def test_later_bars_leave_every_bit_alone_at_the_edges_of_the_lookbacks() -> None:
    times = stamps(420)
    cuts = [times[row] for row in (1, 61, 150, 252, 300, 347)]
    assert first_causality_violation(builder(EVERYTHING), ragged_panel(), cuts) is None


def test_a_symbol_listed_later_changes_no_earlier_bit() -> None:
    bars = clean_panel(360, symbols=9)
    cut = stamps(360)[300]
    without = bars.filter((pl.col("symbol") != "S0") | (pl.col("timestamp") > cut))
    before, after = (builder(EVERYTHING)(frame).filter(pl.col("timestamp") <= cut) for frame in (
        bars.filter(pl.col("symbol") != "S0"), without))  # fmt: skip
    assert before.height == 8 * 301
    assert before.equals(after)


def leaky(name: str, source: PerSymbol | OfMarket | AcrossSymbols) -> FeatureSet:
    honest = next(feature for feature in catalogue() if feature.name == "ret_1m")
    return FeatureSet((honest, Feature(name=name, formula="leaks", lookback=1, inputs=("close",), source=source)))


def next_close(history: History) -> Array:
    return np.append(history.close[1:], np.nan)


def back_filled_average(history: History) -> Array:
    filled = pl.Series(history.close).rolling_mean(10).fill_null(strategy="backward").fill_null(0.0)
    return filled.to_numpy()


def share_of_the_sample(history: History) -> Array:
    return history.close / history.close.mean()


def bars_still_to_come(history: History) -> Array:
    return np.arange(len(history.close))[::-1].astype(np.float64)


def rank_in_the_whole_panel(section: CrossSection) -> Array:
    closes = section.matrix(lambda history: history.close)
    return section.broadcast(np.nanmean(closes)[None].repeat(len(section.calendar)))


LEAKS = {
    "leak_shift": PerSymbol(next_close),
    "leak_backfill": PerSymbol(back_filled_average),
    "leak_scaler": PerSymbol(share_of_the_sample),
    "leak_length": PerSymbol(bars_still_to_come),
    "leak_market": OfMarket(next_close),
    "leak_panel": AcrossSymbols(rank_in_the_whole_panel),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_named_with_its_symbol_and_time(name: str) -> None:
    times = stamps(80)
    violation = first_causality_violation(builder(leaky(name, LEAKS[name])), clean_panel(80), [times[5], times[50]])
    assert violation is not None
    assert (violation.feature, violation.cut, violation.change) == (name, times[5], "removed")
    assert violation.timestamp == (times[5] if name in {"leak_shift", "leak_market"} else times[0])
    assert violation.symbol == "S0"
    assert violation.expected != violation.found
    assert f"{name} of S0 at {violation.timestamp}" in str(violation)


def test_a_leak_of_values_alone_is_found_by_noise() -> None:
    def build(bars: pl.DataFrame) -> pl.DataFrame:
        peek = pl.col("close").shift(-1).over("symbol")
        known_end = pl.col("timestamp") == pl.col("timestamp").max()
        return bars.select(
            "timestamp", "symbol", alt_peek=pl.when(~known_end.any()).then(None).otherwise(peek.fill_null(0))
        )

    times = stamps(30)
    violation = first_causality_violation(build, clean_panel(30), [times[20]])
    assert violation is not None
    cheat = first_causality_violation(
        lambda bars: build(bars) if bars.height == 120 else build(clean_panel(30)), clean_panel(30), [times[20]]
    )
    assert cheat is not None
    assert (cheat.change, cheat.timestamp) == ("perturbed", times[20])


def test_rows_that_vanish_or_appear_are_violations_too() -> None:
    bars = clean_panel(30)
    times = stamps(30)
    without_last_bar = first_causality_violation(
        lambda frame: frame.filter(pl.col("timestamp") < pl.col("timestamp").max()), bars, [times[10]]
    )
    assert without_last_bar is not None
    assert without_last_bar.feature == "timestamp"
    assert (without_last_bar.expected, without_last_bar.found) == (None, None)
    one_row_too_many = first_causality_violation(
        lambda frame: frame if frame.height == bars.height else pl.concat([frame, frame.tail(1)]), bars, [times[10]]
    )
    assert one_row_too_many is not None
    assert one_row_too_many.timestamp == times[10]


def test_builds_with_different_columns_cannot_be_compared() -> None:
    bars = clean_panel(10)
    with pytest.raises(ValueError, match="different columns"):
        first_causality_violation(lambda b: b if b.height == 40 else b.drop("volume"), bars, [stamps(10)[5]])


@pytest.mark.parametrize("column", ["close", "volume", "alt_x"])
def test_noise_replaces_every_later_value_and_no_earlier_one(column: str) -> None:
    bars = clean_panel(30).with_columns(alt_x=pl.lit(0.0, dtype=pl.Float32))
    cut = stamps(30)[12]
    noisy = perturbed_after(bars, cut)
    later = bars["timestamp"] > cut
    assert noisy.filter(~later).equals(bars.filter(~later))
    assert (noisy.filter(later)[column] != bars.filter(later)[column]).all()
    assert noisy.schema == bars.schema
    assert (noisy["low"] <= noisy["close"]).all()
    assert (noisy["close"] <= noisy["high"]).all()


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_null_that_turns_into_a_zero_or_a_nan_is_a_difference(value: float) -> None:
    bars = clean_panel(30)
    build = builder(FeatureSet(EVERYTHING.features[:1]))

    def fills_short_histories(frame: pl.DataFrame) -> pl.DataFrame:
        return (
            build(frame) if frame.height == bars.height else build(frame).with_columns(pl.col("ret_1").fill_null(value))
        )

    violation = first_causality_violation(fills_short_histories, bars, [stamps(30)[10]])
    assert violation is not None
    assert (violation.feature, violation.expected) == ("ret_1", None)
    assert violation.found is not None


def test_one_flipped_bit_is_a_difference() -> None:
    bars = clean_panel(30)

    def nudged(frame: pl.DataFrame) -> pl.DataFrame:
        x = frame["close"].to_numpy().copy()
        if frame.height != bars.height:
            x[3] = np.nextafter(x[3], np.inf)
        return frame.select("timestamp", "symbol", px_x=pl.Series(x))

    violation = first_causality_violation(nudged, bars, [stamps(30)[10]])
    assert violation is not None
    assert violation.timestamp == stamps(30)[3]
