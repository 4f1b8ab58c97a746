"""The feature frame: its shape, its nulls, and what it refuses."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.features import FeatureSet, build_features, catalogue, resolve_features
from tft_pipeline_tests.oracles.feature_panels import BARS_PER_YEAR, INDEX, clean_panel, ragged_panel, random_panel

SMALL = ("ret_1m", "sma_5_gap")


def build(
    bars: pl.DataFrame, *, user_columns: tuple[str, ...] = (), names: tuple[str, ...] | None = None
) -> pl.DataFrame:
    chosen = resolve_features(bars.columns, groups=None if names is None else (), names=names, has_market=True)
    return build_features(bars, chosen, market_symbol=INDEX, user_columns=user_columns, bars_per_year=BARS_PER_YEAR)


def test_the_frame_has_one_float32_column_a_feature_in_catalogue_order_and_no_index_row() -> None:
    bars = ragged_panel()
    frame = build(bars)
    expected = [feature.name for feature in catalogue() if not feature.on_request]
    assert frame.columns == ["timestamp", "symbol", *expected]
    assert set(frame.dtypes[2:]) == {pl.Float32}
    assert frame.select("timestamp", "symbol").equals(
        bars.filter(pl.col("symbol") != INDEX).select("timestamp", "symbol")
    )


def test_without_an_index_every_symbol_stays() -> None:
    bars = clean_panel(30)
    chosen = resolve_features(bars.columns, groups=("ret", "xs"), names=None, has_market=False)
    frame = build_features(bars, chosen, market_symbol=None, bars_per_year=BARS_PER_YEAR)
    assert frame["symbol"].unique().sort().to_list() == sorted([INDEX, "S0", "S1", "S2"])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), sigma=st.sampled_from((0.0, 1e-9, 0.01, 0.5)))
def test_no_computed_value_is_nan_or_infinite(seed: int, sigma: float) -> None:
    frame = build(random_panel(np.random.default_rng(seed), 360, symbols=3, sigma=sigma))
    for column in frame.iter_columns():
        if column.dtype == pl.Float32:
            assert column.drop_nulls().is_finite().all(), column.name


def test_a_price_that_never_moves_has_zero_returns_and_no_scores() -> None:
    bars = clean_panel(360).with_columns(close=pl.when(pl.col("symbol") == "S0").then(0.1).otherwise("close"))
    last = build(bars).filter(pl.col("symbol") == "S0").row(-1, named=True)
    assert last["ret_1m"] == last["sma_200_gap"] == last["vol_63"] == last["beta_63"] == 0.0
    blank = (
        "ret_5",
        "macd_8_24",
        "z_63",
        "mom_rsi_14",
        "mom_stochastic_63",
        "vol_skew_63",
        "vol_ratio_5_63",
        "corr_63",
    )
    assert {name: last[name] for name in blank} == dict.fromkeys(blank)


def test_a_price_that_grows_steadily_has_no_spread_but_rounding_and_so_no_scaled_value() -> None:
    steady = 50.0 * 1.001 ** pl.int_range(pl.len()).over("symbol")
    bars = clean_panel(360).with_columns(close=pl.when(pl.col("symbol") == "S0").then(steady).otherwise("close"))
    last = build(bars).filter(pl.col("symbol") == "S0").row(-1, named=True)
    blank = (
        "ret_5",
        "beta_residual_21",
        "vol_skew_63",
        "vol_kurtosis_63",
        "vol_ratio_5_63",
        "z_vol_252",
        "vol_of_vol_63",
    )
    pairs = ("corr_63", "corr_252", "vol_autocorrelation_21", "vol_autocorrelation_63")
    assert {name: last[name] for name in (*blank, *pairs)} == dict.fromkeys((*blank, *pairs))
    assert last["ret_1m"] == pytest.approx(0.001)
    assert last["vol_63"] == pytest.approx(0.0, abs=1e-12)


def test_user_columns_pass_through_untouched() -> None:
    bars = clean_panel(4, symbols=1).with_columns(
        vix_level=pl.Series([1.5, None, float("nan"), 2.0] * 2), alt_flag=pl.Series([True, False, None, True] * 2),
        alt_count=pl.Series([1, 2, 3, 4] * 2),
    )  # fmt: skip
    frame = build(bars, user_columns=("alt_count", "vix_level", "alt_flag"), names=SMALL)
    assert frame.columns == ["timestamp", "symbol", *SMALL, "alt_count", "vix_level", "alt_flag"]
    assert set(frame.dtypes[2:]) == {pl.Float32}
    vix = frame["vix_level"].to_list()
    assert (vix[0], vix[1], np.isnan(vix[2]), vix[3]) == (1.5, None, True, 2.0)
    assert frame["alt_flag"].to_list() == [1.0, 0.0, None, 1.0]
    assert frame["alt_count"].to_list() == [1.0, 2.0, 3.0, 4.0]


def test_an_optional_value_that_is_not_finite_counts_as_missing() -> None:
    bars = clean_panel(40)
    spoiled = [
        bars.with_columns(volume=pl.when(pl.int_range(pl.len()) == 45).then(value).otherwise("volume"))
        for value in (None, float("nan"), float("inf"))
    ]
    frames = [build(frame, names=("vlm_z_21", "volume")) for frame in spoiled]
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])
    assert frames[0]["volume"].null_count() == 1


def test_a_symbol_of_one_bar_is_all_null_where_history_is_needed() -> None:
    bars = clean_panel(30).filter((pl.col("symbol") != "S1") | (pl.int_range(pl.len()).over("symbol") == 20))
    row = build(bars).filter(pl.col("symbol") == "S1").row(0, named=True)
    assert row["dd_since_start"] == 0.0
    assert row["ret_1m"] is row["sma_5_gap"] is row["xs_ret_5"] is row["mom_streak"] is None


def test_the_index_is_matched_by_timestamp_and_counts_its_own_bars() -> None:
    bars = clean_panel(30)
    gone = bars["timestamp"][20]
    frame = build(
        bars.filter((pl.col("symbol") != INDEX) | (pl.col("timestamp") != gone)), names=("mkt_vol_21", "rs_21")
    )
    one = frame.filter(pl.col("symbol") == "S0")["mkt_vol_21"]
    assert one.is_not_null().arg_max() == 22
    assert build(bars, names=("mkt_vol_21",))["mkt_vol_21"].is_not_null().arg_max() == 21


def change(bars: pl.DataFrame, row: int, column: str, value: object) -> pl.DataFrame:
    return bars.with_columns(pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(column).alias(column))


@pytest.mark.parametrize("value", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_a_close_without_a_logarithm_is_refused_by_symbol_and_time(value: float | None) -> None:
    bars = clean_panel(10)
    with pytest.raises(ValueError, match=r"bar of INDEX at 2019-11-29 .* not above 0 \(1 such bars\)"):
        build(change(bars, 3, "close", value), names=SMALL)


def test_unsorted_and_duplicate_bars_are_refused() -> None:
    bars = clean_panel(10)
    for wrong in (bars.reverse(), bars.sort("timestamp", "symbol"), pl.concat([bars.head(1), bars])):
        with pytest.raises(ValueError, match="is not after the row before it"):
            build(wrong, names=SMALL)


def test_wrong_frames_are_refused_with_the_remedy() -> None:
    bars = clean_panel(10)
    naive = bars.with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    for wrong, message in (
        (bars.drop("close"), "no column close"),
        (bars.clear(), "the bars are empty"),
        (naive, "cast them to Datetime"),
        (bars.filter(pl.col("symbol") != INDEX), "market symbol 'INDEX' has no bar"),
        (bars.filter(pl.col("symbol") == INDEX), "hold only the market symbol"),
    ):
        with pytest.raises(ValueError, match=message):
            build(wrong, names=("cal_month_sin",))


def test_a_set_resolved_for_other_columns_is_refused() -> None:
    bars = clean_panel(10)
    chosen = resolve_features(bars.columns, groups=("vlm", "mkt"), names=None, has_market=True)
    with pytest.raises(ValueError, match=r"'mkt_ret_1' needs \['market_close'\]"):
        build_features(bars, chosen, market_symbol=None, bars_per_year=BARS_PER_YEAR)
    with pytest.raises(ValueError, match=r"'vlm_z_5' needs \['volume'\]"):
        build_features(bars.drop("volume"), chosen, market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("nowhere", "not in the bars"),
        ("ret_5", "of another column too"),
        ("volume", "of another"),
        ("note", "encode it"),
    ],
)
def test_a_user_column_that_cannot_be_used_is_refused(column: str, message: str) -> None:
    bars = clean_panel(10).with_columns(ret_5=pl.lit(1.0), note=pl.lit("x"))
    with pytest.raises(ValueError, match=message):
        build(bars, user_columns=(column,), names=SMALL)


def test_user_columns_may_stand_alone_but_not_twice() -> None:
    bars = clean_panel(5).with_columns(vix_level=pl.lit(1.0))
    frame = build_features(
        bars, FeatureSet(()), market_symbol=INDEX, user_columns=("vix_level",), bars_per_year=BARS_PER_YEAR
    )
    assert frame.columns == ["timestamp", "symbol", "vix_level"]
    with pytest.raises(ValueError, match="'vix_level' is the name of another column"):
        build(bars, user_columns=("vix_level", "vix_level"), names=SMALL)


def test_a_value_beyond_float32_is_refused_and_not_made_infinite() -> None:
    with pytest.raises(ValueError, match=r"'volume' reaches 1e\+40"):
        build(change(clean_panel(10), 15, "volume", 1e40), names=("volume",))


@pytest.mark.parametrize("bars_per_year", [0.0, -1.0, float("nan")])
def test_bars_per_year_must_be_positive(bars_per_year: float) -> None:
    with pytest.raises(ValueError, match="bars_per_year"):
        build_features(clean_panel(5), FeatureSet(()), market_symbol=INDEX, bars_per_year=bars_per_year)
