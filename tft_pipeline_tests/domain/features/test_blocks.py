"""The feature frame in blocks is the feature frame, to the bit, and nobody ever holds all of it."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import (
    AcrossSymbols,
    Feature,
    FeatureSet,
    PerSymbol,
    build_features,
    catalogue,
    evaluation,
    first_causality_violation,
    pyramid,
    resolve_features,
)
from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.domain.features.feature import OfSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array
from tft_pipeline_tests.oracles.feature_panels import (
    BARS_PER_YEAR,
    INDEX,
    bars_of,
    clean_panel,
    ragged_panel,
    stamps,
    walk,
)

COIN = "COIN"


def close_of(history: History) -> Array:
    return history.close


def two_bar_return(history: History) -> Array:
    return history.log_return_over(2)


ABOUT_COIN = (
    Feature(
        name="coin_level", formula="X", lookback=1, inputs=("close",), source=OfSymbol(COIN, close_of), units="price"
    ),
    Feature(
        name="coin_ret_2", formula="ln(X / X_-2)", lookback=3, inputs=("close",), source=OfSymbol(COIN, two_bar_return)
    ),
)


def with_coin(bars: pl.DataFrame) -> pl.DataFrame:
    """Another market that closes hours after the others, has a gap of two weeks and ends early."""
    times = [stamp.replace(hour=23, minute=30) for stamp in stamps(300)]
    kept = times[:100] + times[114:]
    coin = bars_of(COIN, kept, walk(np.random.default_rng(9), len(kept), 0.03), np.random.default_rng(9))
    return pl.concat([bars, coin]).sort("symbol", "timestamp")


def prepared(bars: pl.DataFrame, features: tuple[Feature, ...] | None = None, **named: object) -> FeatureBuild:
    chosen = resolve_features(bars.columns, groups=None, names=("close", "volume"), has_market=True)
    has_coin = COIN in bars["symbol"]
    wanted = features or (*chosen.features, *(ABOUT_COIN if has_coin else ()))
    return FeatureBuild.of(
        bars,
        FeatureSet(wanted),
        market_symbol=INDEX,
        cross_symbols=(COIN,) if has_coin else (),
        bars_per_year=BARS_PER_YEAR,
        **named,  # type: ignore[arg-type]
    )


LONG_BARS = 780


def long_panel() -> pl.DataFrame:
    """One symbol with holes and one listed late, long enough for three strips of any lookback."""
    bars = clean_panel(LONG_BARS, symbols=2, seed=4)
    row = pl.int_range(pl.len()).over("symbol")
    kept = ((pl.col("symbol") != "S0") | (row % 41 != 7)) & ((pl.col("symbol") != "S1") | (row >= 60))
    return bars.filter(kept).with_columns(volume=pl.when(row % 97 == 5).then(None).otherwise("volume"))


@pytest.fixture
def short_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips that small panels have several of."""
    monkeypatch.setattr(evaluation, "STRIP_ROWS", 130)
    monkeypatch.setattr(pyramid, "STRIP_ROWS", 300)


def test_blocks_of_any_size_and_strips_of_any_length_give_the_same_bits(short_strips: None) -> None:
    bars = with_coin(long_panel()).with_columns(alt_x=pl.int_range(pl.len()))
    build = prepared(bars, user_columns=("alt_x",))
    longest = max(feature.lookback for feature in build.own if not feature.recursive)
    assert min(stop - start for start, stop in build.traded) > evaluation.STRIP_ROWS + longest
    parts = list(build.frames(rows=1))
    assert len(parts) == 2
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(evaluation, "STRIP_ROWS", 10**6)
        whole.setattr(pyramid, "STRIP_ROWS", 10**6)
        (frame,) = build.frames(rows=10**9)
    for name in frame.columns:
        assert pl.concat([part[name] for part in parts]).equals(frame[name], null_equal=True), name


def test_a_block_is_whole_symbols_in_order_and_ends_before_an_untraded_one() -> None:
    build = prepared(with_coin(ragged_panel()), catalogue()[:1])
    order = [symbol for symbol, _, _ in build.spans]
    assert order == ["COIN", "EARLY", "FULL", "HOLES", "ICE", INDEX, "LATE", "TWIN_A", "TWIN_B"]
    assert [len(block.symbols) for block in build.blocks(10**9)] == [4, 3]
    assert [len(block.symbols) for block in build.blocks(700)] == [2, 2, 2, 1]
    for rows in (1, 500, 10**9):
        blocks = build.blocks(rows)
        assert [block.place for block in blocks] == [0, *np.cumsum([block.rows for block in blocks])[:-1]]
        spans = [span for block in blocks for span in block.symbols]
        assert spans == list(build.traded)


def test_one_block_lives_at_a_time_however_many_symbols_there_are() -> None:
    build = prepared(clean_panel(60, symbols=12))
    alive: list[weakref.ref[pl.DataFrame]] = []
    most = 0

    def watched() -> Iterator[pl.DataFrame]:
        for frame in build.frames(rows=60):
            alive.append(weakref.ref(frame))
            yield frame

    rows = 0
    for frame in watched():
        rows += frame.height
        most = max(most, sum(one() is not None for one in alive))
    assert (rows, len(alive)) == (720, 12)
    assert most <= 2, "the one in hand, and the one before it until the name is bound again"


def test_later_bars_leave_every_bit_of_the_blocks_alone(short_strips: None) -> None:
    def build(bars: pl.DataFrame) -> pl.DataFrame:
        return pl.concat(prepared(bars).frames(rows=1))

    bars = with_coin(long_panel())
    assert first_causality_violation(build, bars, [stamps(LONG_BARS)[700]]) is None


def test_another_market_is_known_from_its_close_on_until_it_is_stale() -> None:
    bars = with_coin(clean_panel(420, symbols=2))
    frame = build_features(
        bars, FeatureSet(ABOUT_COIN), market_symbol=INDEX, cross_symbols=(COIN,), bars_per_year=BARS_PER_YEAR
    )
    assert frame["symbol"].unique().sort().to_list() == ["S0", "S1"]
    coin = bars.filter(pl.col("symbol") == COIN)
    closes = dict(zip(coin["timestamp"], coin["close"], strict=True))
    one = frame.filter(pl.col("symbol") == "S1")
    for stamp, level, change in zip(one["timestamp"], one["coin_level"], one["coin_ret_2"], strict=True):
        known = [at for at in closes if at <= stamp]
        fresh = len(known) > 1 and (stamp - known[-1]).total_seconds() <= 5 * 86_400
        assert level == (pytest.approx(closes[known[-1]], rel=1e-6) if fresh else None), stamp
        if fresh and len(known) > 2:
            assert change == pytest.approx(np.log(closes[known[-1]] / closes[known[-3]]), rel=1e-5, abs=1e-7)
        else:
            assert change is None
    assert one["coin_level"].null_count() > 100, "the gap and the end make it stale"


def test_other_bars_of_another_market_move_its_features_only_from_their_close_on() -> None:
    bars = with_coin(clean_panel(120, symbols=1))
    build = partial(
        build_features,
        feature_set=FeatureSet(ABOUT_COIN),
        market_symbol=INDEX,
        cross_symbols=(COIN,),
        bars_per_year=BARS_PER_YEAR,
    )
    times = stamps(120)
    cut = times[50].replace(hour=23, minute=30)
    moved = pl.when((pl.col("symbol") == COIN) & (pl.col("timestamp") >= cut)).then(pl.col("close") * 2.0)
    before, after = build(bars), build(bars.with_columns(close=moved.otherwise("close")))
    changed = before.filter(before["coin_level"].ne_missing(after["coin_level"]))["timestamp"]
    assert changed.min() == times[51]


def test_symbols_that_are_context_are_asked_for_by_name() -> None:
    bars = with_coin(clean_panel(20, symbols=1))
    about = FeatureSet(ABOUT_COIN)
    build = partial(build_features, bars, about, market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)
    for cross, message in (
        ((), "'coin_level' is about 'COIN', which is not among the cross symbols"),
        (("COIN", "GOLD"), "cross symbol 'GOLD' has no bar"),
        (("COIN", INDEX), f"cross symbol '{INDEX}' is context already"),
        (("COIN", "COIN"), "cross symbol 'COIN' is context already"),
        (("COIN", "S0"), "hold only market and cross symbols"),
    ):
        with pytest.raises(ValueError, match=message):
            build(cross_symbols=cross)


def test_a_value_that_is_known_later_stands_on_the_later_bar_of_its_own_symbol() -> None:
    bars = clean_panel(12, symbols=3)
    names = ("ret_1m", "mkt_vol_21", "brd_advance", "xs_ret_1")
    now = resolve_features(bars.columns, groups=(), names=names, has_market=True).features
    late = tuple(replace(feature, lag=2) for feature in now)
    frames = [pl.concat(prepared(bars, features).frames(rows=25)) for features in (now, late)]
    shifted = frames[0].with_columns(pl.exclude("timestamp", "symbol").shift(2).over("symbol"))
    assert frames[1].equals(shifted)


def test_a_column_of_the_bars_that_a_feature_names_reaches_its_formula() -> None:
    feature = Feature(
        name="extra_x", formula="x", lookback=1, inputs=("x",), source=PerSymbol(partial(History.column, name="x"))
    )
    bars = clean_panel(5, symbols=1).with_columns(x=pl.int_range(pl.len()).cast(pl.Float64))
    assert pl.concat(prepared(bars, (feature,)).frames())["extra_x"].to_list() == [5.0, 6.0, 7.0, 8.0, 9.0]


def test_equal_values_for_all_symbols_are_kept_once_a_bar() -> None:
    build = prepared(clean_panel(30, symbols=4))
    outside = build.outside(build.beyond)
    assert outside["brd_advance"].values.shape == (30,)
    assert outside["xs_ret_1"].values.shape == (120,)
    assert all(
        isinstance(feature.source, AcrossSymbols) or outside[feature.name].calendar == "market"
        for feature in build.beyond
    )
