"""Every feature of the catalogue against its loop oracle, and what the formulas must satisfy whatever the data."""

from functools import cache

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import build_features, catalogue, resolve_features
from tft_pipeline_tests.oracles.feature_bars import OraclePanel
from tft_pipeline_tests.oracles.feature_panels import (
    BARS_PER_YEAR,
    INDEX,
    as_oracle,
    bars_of,
    clean_panel,
    ragged_panel,
    stamps,
    walk,
)
from tft_pipeline_tests.oracles.features import ORACLES

FEATURES = catalogue()
NAMES = [feature.name for feature in FEATURES]
LOOKBACK = {feature.name: feature.lookback for feature in FEATURES}


def build(bars: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    chosen = resolve_features(bars.columns, groups=(), names=names, has_market=True)
    return build_features(bars, chosen, market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)


@cache
def ragged() -> tuple[OraclePanel, pl.DataFrame]:
    bars = ragged_panel()
    return as_oracle(bars), build(bars, NAMES)


@cache
def clean() -> pl.DataFrame:
    return build(clean_panel(360), NAMES)


def rows_to_look_at(n: int, lookback: int) -> list[int]:
    """The edges of the history, the frozen and the idle stretch, and a spread of ordinary bars."""
    edges = {0, 1, lookback - 2, lookback - 1, lookback, n - 1}
    return sorted(
        row for row in edges | {80, 125, 150, 155, 171, 188, 195, 221, 240} | {*range(13, n, 41)} if 0 <= row < n
    )


def test_every_feature_has_an_oracle_and_every_oracle_a_feature() -> None:
    assert set(ORACLES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_feature_equals_its_loop_oracle_on_a_ragged_panel(name: str) -> None:
    panel, frame = ragged()
    known = 0
    for symbol, bars in panel.symbols.items():
        column = frame.filter(pl.col("symbol") == symbol)[name].to_list()
        assert len(column) == len(bars.times)
        for row in rows_to_look_at(len(column), LOOKBACK[name]):
            expected = ORACLES[name](panel, symbol, row)
            where = f"{name} of {symbol} in row {row}"
            assert (column[row] is None) == (expected is None), f"{where}: {column[row]} against {expected}"
            if expected is not None:
                known += 1
                assert column[row] == pytest.approx(expected, rel=2e-6, abs=2e-7), where
    assert known >= 15


@pytest.mark.parametrize("name", NAMES)
def test_the_first_value_stands_exactly_where_the_lookback_says(name: str) -> None:
    for (symbol,), part in clean().group_by("symbol"):
        known = part[name].is_not_null()
        assert known.arg_max() == LOOKBACK[name] - 1, symbol
        assert known[LOOKBACK[name] - 1 :].all()


@pytest.mark.parametrize("name", [feature.name for feature in FEATURES if not feature.recursive])
def test_lookback_bars_are_enough_for_the_same_bits(name: str) -> None:
    enough = clean_panel(360).group_by("symbol", maintain_order=True).tail(LOOKBACK[name])
    live, full = (frame.group_by("symbol", maintain_order=True).last() for frame in (build(enough, [name]), clean()))
    assert live[name].null_count() == 0
    assert live[name].to_numpy().tobytes() == full[name].to_numpy().tobytes()


def test_features_called_recursive_do_depend_on_older_bars() -> None:
    for feature in (feature for feature in FEATURES if feature.recursive and feature.name != "mom_streak"):
        enough = clean_panel(360).group_by("symbol", maintain_order=True).tail(feature.lookback)
        part = build(enough, [feature.name]).group_by("symbol", maintain_order=True).last()[feature.name]
        whole = clean().group_by("symbol", maintain_order=True).last()[feature.name]
        assert part.to_list() != whole.to_list(), feature.name


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_the_unit_of_the_price_changes_nothing(scale: float) -> None:
    with_unit = {"close", "vlm_illiquidity_21", "vlm_value_z_63", "liq_amihud_21", "liq_amihud_63"}
    bars = ragged_panel()
    names = [name for name in NAMES if name not in with_unit]
    scaled = build(bars.with_columns(pl.col("open", "high", "low", "close") * scale), names)
    plain = ragged()[1]
    for name in names:
        np.testing.assert_array_equal(scaled[name].is_null(), plain[name].is_null(), err_msg=name)
        np.testing.assert_allclose(
            scaled[name].drop_nulls(), plain[name].drop_nulls(), rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_annual_volatilities_grow_with_the_root_of_the_bars_per_year() -> None:
    bars = clean_panel(100)
    chosen = resolve_features(bars.columns, groups=("vol", "range"), names=("mkt_vol_21",), has_market=True)
    one, four = (build_features(bars, chosen, market_symbol=INDEX, bars_per_year=a) for a in (252.0, 1008.0))
    annual = ["vol_5", "vol_ewm_20", "vol_downside_63", "mkt_vol_21", "range_parkinson_21", "range_garman_klass_21"]
    for name in [*annual, "range_yang_zhang_21"]:
        np.testing.assert_allclose(four[name].drop_nulls(), 2.0 * one[name].drop_nulls(), rtol=1e-6)
    assert one["vol_ratio_5_63"].equals(four["vol_ratio_5_63"])


def test_copies_of_one_symbol_correlate_fully_and_independent_ones_hardly() -> None:
    rng = np.random.default_rng(5)
    times, index = stamps(400), bars_of(INDEX, stamps(400), walk(rng, 400), rng)
    close = walk(rng, 400)
    copies = pl.concat([*(bars_of(f"S{i}", times, close, rng) for i in range(4)), index]).sort("symbol", "timestamp")
    strangers = clean_panel(400, symbols=10, seed=6)
    same, apart = (
        build(bars, ["brd_correlation_63"])["brd_correlation_63"].drop_nulls() for bars in (copies, strangers)
    )
    assert same.to_list() == pytest.approx([1.0] * len(same), abs=1e-6)
    assert abs(apart.mean()) < 0.05


def test_a_symbol_that_is_the_index_has_beta_and_correlation_one_and_no_residual() -> None:
    rng = np.random.default_rng(7)
    close = walk(rng, 300)
    bars = pl.concat([bars_of(name, stamps(300), close, rng) for name in (INDEX, "S0")])
    last = build(bars, ["beta_63", "corr_252", "beta_residual_21", "rs_63"]).row(-1, named=True)
    assert [last["beta_63"], last["corr_252"]] == pytest.approx([1.0, 1.0])
    assert [last["beta_residual_21"], last["rs_63"]] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_lone_symbol_has_no_breadth_and_no_rank() -> None:
    bars = clean_panel(260, symbols=1)
    frame = build(bars, [feature.name for feature in FEATURES if feature.group in {"brd", "xs"}])
    assert all(frame[name].null_count() == frame.height for name in frame.columns[2:])


def test_an_index_that_trades_half_of_the_days_still_gives_a_beta() -> None:
    bars = clean_panel(300)
    weekend = (pl.col("symbol") == INDEX) & (pl.col("timestamp").dt.weekday() > 5)
    frame = build(bars.filter(~weekend), ["beta_63", "mkt_ret_5"])
    later = frame.filter(pl.col("timestamp") > frame["timestamp"][100])
    open_days = later.filter(pl.col("timestamp").dt.weekday() <= 5)
    assert later.filter(pl.col("timestamp").dt.weekday() > 5)["beta_63"].null_count() == later.height - open_days.height
    assert open_days["beta_63"].null_count() == open_days["mkt_ret_5"].null_count() == 0
