"""What the features of open, high, low and volume must satisfy beyond their loop oracles."""

from functools import cache, partial

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import Feature, build_features, catalogue, first_causality_violation, resolve_features
from tft_pipeline_tests.oracles.feature_panels import BARS_PER_YEAR, bars_of, stamps, walk

GROUPS = ("range", "bar", "vlm", "liq", "osc")
MINE = [feature for feature in catalogue() if feature.group in GROUPS]
PRICES = ("open", "high", "low", "close")
ROWS = 540


def build(bars: pl.DataFrame, features: list[Feature] | None = None) -> pl.DataFrame:
    names = [feature.name for feature in features or MINE]
    chosen = resolve_features(bars.columns, groups=(), names=names, has_market=False)
    return build_features(bars, chosen, market_symbol=None, bars_per_year=BARS_PER_YEAR)


@cache
def plain() -> pl.DataFrame:
    rng = np.random.default_rng(21)
    return bars_of("S", stamps(ROWS), walk(rng, ROWS), rng)


@cache
def hostile() -> pl.DataFrame:
    """Every kind of bad bar: missing, infinite, zero and negative values, one price all day, nothing traded."""
    row = pl.int_range(pl.len())
    still = row.is_between(100, 180)
    bad = {"open": 200, "high": 220, "low": 240, "volume": 260}
    flat = plain().with_columns(pl.when(still).then(pl.lit(50.0)).otherwise(name).alias(name) for name in PRICES)
    return flat.with_columns(
        pl.when(row == at)
        .then(None)
        .when(row == at + 3)
        .then(float("inf"))
        .when(row == at + 6)
        .then(float("nan"))
        .when(row == at + 9)
        .then(-1.0)
        .when((row == at + 12) | (row.is_between(120, 150) & (pl.lit(name) == "volume")))
        .then(0.0)
        .otherwise(name)
        .alias(name)
        for name, at in bad.items()
    )


def test_there_are_at_least_eighty_five_and_each_states_its_units() -> None:
    assert len(MINE) >= 85
    assert all(feature.units for feature in MINE)
    assert {feature.group for feature in MINE} == set(GROUPS)


@pytest.mark.parametrize("feature", MINE, ids=lambda feature: feature.name)
def test_bad_bars_give_a_null_and_good_ones_behind_them_a_value(feature: Feature) -> None:
    values = build(hostile(), [feature])[feature.name]
    assert not values.is_nan().any()
    assert values.is_finite().all()
    assert values[-1] is not None


def test_bad_values_of_a_bar_do_what_a_missing_one_does() -> None:
    row = pl.int_range(pl.len())
    frames = []
    for bad in (None, float("nan"), float("inf"), -1.0):
        bars = plain().with_columns(
            pl.when(row == at).then(bad).otherwise(name).alias(name)
            for name, at in {"open": 150, "high": 220, "low": 240, "volume": 260}.items()
        )
        frames.append(build(bars))
    for frame in frames[1:]:
        assert frame.equals(frames[0])


def test_no_later_bar_reaches_back_even_among_bad_bars() -> None:
    chosen = resolve_features(hostile().columns, groups=GROUPS, names=None, has_market=False)
    builder = partial(build_features, feature_set=chosen, market_symbol=None, bars_per_year=BARS_PER_YEAR)
    cuts = [stamps(ROWS)[at] for at in (110, 150, 205, 243, 262, 330)]
    assert first_causality_violation(builder, hostile(), cuts) is None


def test_shares_stay_between_their_ends() -> None:
    frame = build(plain())
    ends = {
        "bar_close_location": 0.0, "bar_upper_shadow": 0.0, "bar_lower_shadow": 0.0, "bar_body": -1.0,
        "bar_close_location_21": 0.0, "bar_upper_half_21": 0.0, "bar_tug_21": -1.0, "range_overnight_share_21": 0.0,
        "vlm_flow_5": -1.0, "vlm_accumulation_5": -1.0, "vlm_concentration_21": 0.0, "vlm_price_corr_21": -1.0,
        "liq_reversal_63": -1.0, "liq_zero_21": 0.0, "osc_stochastic_14": 0.0, "osc_adx_14": 0.0, "osc_plus_di_14": 0.0,
        "osc_aroon_up_25": 0.0, "osc_money_flow_14": 0.0, "osc_ultimate": 0.0, "osc_balance_14": -1.0,
    }  # fmt: skip
    for name, least in ends.items():
        values = frame[name].drop_nulls()
        assert values.min() >= least, name
        assert values.max() <= 1.0 + 1e-6, name
        assert values.n_unique() > 1 or name == "liq_zero_21", name


def test_the_parts_of_a_bar_add_up_to_its_range() -> None:
    frame = build(plain())
    whole = frame["bar_upper_shadow"] + frame["bar_lower_shadow"] + frame["bar_body"].abs()
    assert whole.to_numpy() == pytest.approx(np.ones(ROWS), abs=1e-6)


def test_a_mirror_image_of_the_prices_swaps_the_sides() -> None:
    mirrored = plain().with_columns(
        open=2500 / pl.col("open"), close=2500 / pl.col("close"), high=2500 / pl.col("low"), low=2500 / pl.col("high")
    )
    frame, other = build(plain()), build(mirrored)
    for name in (
        "bar_intrabar_5",
        "bar_overnight_21",
        "bar_gap",
        "bar_tug_63",
        "vlm_flow_21",
        "vlm_up_down_63",
        "osc_force_13",
    ):
        assert other[name].drop_nulls().to_numpy() == pytest.approx(-frame[name].drop_nulls().to_numpy(), abs=1e-5), (
            name
        )
    for name in ("range_parkinson_21", "range_rogers_satchell_10", "range_yang_zhang_63", "range_atr_ratio_5_63",
                 "range_z_21", "liq_roll_63", "liq_high_low_21", "liq_close_mid_21", "liq_impact_21"):  # fmt: skip
        assert other[name].drop_nulls().to_numpy() == pytest.approx(frame[name].drop_nulls().to_numpy(), abs=1e-5), name
    assert other["osc_aroon_up_25"].equals(frame["osc_aroon_down_25"].rename("osc_aroon_up_25"))


def test_the_unit_of_the_volume_changes_nothing_but_the_levels_of_illiquidity() -> None:
    with_unit = {"vlm_illiquidity_21", "liq_amihud_21", "liq_amihud_63"}
    frame, scaled = build(plain()), build(plain().with_columns(pl.col("volume") * 2.0**10))
    for name in set(frame.columns) - {"timestamp", "symbol"}:
        shift = -np.log(2.0**10) if name in with_unit else 0.0
        rough = 2e-2 if name.startswith(("vlm_z", "vlm_trend", "vlm_change")) else 2e-3
        gap = (scaled[name] - frame[name]).drop_nulls().to_numpy() - shift
        assert np.abs(gap).max() < rough, name


@cache
def bounced(spread: float) -> pl.DataFrame:
    """Bars of 390 trades, each at the bid or the ask, whose middle walks; 1000 bars of about 1.5 % a bar."""
    rng = np.random.default_rng(31)
    middle = np.cumsum(rng.normal(0.0, 0.015 / np.sqrt(390.0), (1000, 390)).ravel()).reshape(1000, 390)
    trades = 50.0 * np.exp(middle + 0.5 * spread * rng.choice((-1.0, 1.0), middle.shape))
    return pl.DataFrame(
        {
            "timestamp": pl.Series(stamps(1000), dtype=pl.Datetime("us", "UTC")),
            "symbol": ["S"] * 1000,
            "open": trades[:, 0],
            "high": trades.max(axis=1),
            "low": trades.min(axis=1),
            "close": trades[:, -1],
        }
    )


@pytest.mark.parametrize(
    ("name", "bias"), [("liq_roll_63", 0.006), ("liq_high_low_63", 0.003), ("liq_close_mid_63", 0.007)]
)
def test_spread_estimators_find_a_planted_spread(name: str, bias: float) -> None:
    feature = next(feature for feature in MINE if feature.name == name)
    narrow, wide = (build(bounced(spread), [feature])[name].mean() for spread in (0.001, 0.03))
    assert wide == pytest.approx(0.03, abs=bias)
    assert wide > 2.0 * narrow


@pytest.mark.parametrize("name", ["parkinson", "garman_klass", "rogers_satchell", "yang_zhang"])
def test_range_volatilities_find_the_volatility_of_a_walk(name: str) -> None:
    feature = next(feature for feature in MINE if feature.name == f"range_{name}_126")
    found = build(bounced(0.0), [feature])[feature.name].mean()
    # highs and lows of 390 steps fall a little short of those of the path between them
    assert found == pytest.approx(0.015 * np.sqrt(BARS_PER_YEAR), rel=0.08)


def test_drift_moves_parkinson_but_not_rogers_and_satchell() -> None:
    drift = np.linspace(0.0, 0.02, 390)
    rng = np.random.default_rng(33)
    path = np.cumsum(rng.normal(0.0, 0.01 / np.sqrt(390.0), (300, 390)), axis=1)
    level, parts = 0.0, []
    for day in path + drift:
        parts.append(np.exp(level + day))
        level += day[-1] - 0.02
    trades = np.array(parts)
    bars = pl.DataFrame(
        {
            "timestamp": pl.Series(stamps(300), dtype=pl.Datetime("us", "UTC")),
            "symbol": ["S"] * 300,
            "open": trades[:, 0],
            "high": trades.max(axis=1),
            "low": trades.min(axis=1),
            "close": trades[:, -1],
        }
    )
    frame = build(
        bars, [feature for feature in MINE if feature.name in ("range_parkinson_126", "range_rogers_satchell_126")]
    )
    truth = 0.01 * np.sqrt(BARS_PER_YEAR)
    assert frame["range_rogers_satchell_126"].mean() == pytest.approx(truth, rel=0.1)
    assert frame["range_parkinson_126"].mean() > 1.3 * truth
