"""Other markets as context: their own calendar, the newest value known at the bar, and nothing after it."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import build_features, first_causality_violation, resolve_features
from tft_pipeline.domain.features.cross_market import cross_market_features, refusal_of_prefix
from tft_pipeline.domain.features.groups import GROUPS
from tft_pipeline_tests.oracles.feature_bars import OracleBars
from tft_pipeline_tests.oracles.feature_cross import CROSS_FORMULAS, cross_value
from tft_pipeline_tests.oracles.feature_panels import BARS_PER_YEAR, INDEX, as_oracle, bars_of, walk

COIN = "BTC-USD"
MARKETS = {"crypto_btc": COIN}
NAMES = [f"crypto_btc_{name}" for name in CROSS_FORMULAS]
DAY = timedelta(days=1)
FIRST = datetime(2020, 1, 6, 20, tzinfo=UTC)  # a Monday


def weekdays(n: int) -> list[datetime]:
    return [day for day in (FIRST + i * DAY for i in range(2 * n)) if day.weekday() < 5][:n]


def every_day(n: int, hour: int) -> list[datetime]:
    return [(FIRST + i * DAY).replace(hour=hour) for i in range(n)]


@cache
def panel(hour: int, *, days: int = 460, n: int = 320) -> pl.DataFrame:
    """Two symbols and the index on weekdays at 20:00, a coin on all days at another hour, some of its days missing."""
    rng = np.random.default_rng(3)
    stocks = [bars_of(name, weekdays(n), walk(rng, n), rng) for name in ("AAA", "BBB", INDEX)]
    coin = bars_of(COIN, every_day(days, hour), walk(rng, days, 0.03), rng)
    gone = pl.Series([day % 97 == 40 for day in range(days)])
    return pl.concat([*stocks, coin.filter(~gone)]).sort("symbol", "timestamp")


def build(bars: pl.DataFrame, names: list[str] | None = None) -> pl.DataFrame:
    chosen = resolve_features(
        bars.columns, groups=(), names=NAMES if names is None else names, has_market=True, cross_markets=MARKETS
    )
    return build_features(bars, chosen, market_symbol=INDEX, cross_symbols=(COIN,), bars_per_year=BARS_PER_YEAR)


@pytest.mark.parametrize("hour", [0, 20, 21])
def test_every_bar_gets_the_newest_value_known_at_its_close(hour: int) -> None:
    bars = panel(hour)
    frame, oracle = build(bars), as_oracle(bars)
    coin = oracle.symbols.pop(COIN)
    known = dict.fromkeys(NAMES, 0)
    for symbol in ("AAA", "BBB"):
        part = frame.filter(pl.col("symbol") == symbol)
        for row in [*range(0, 320, 23), 180, 181, 182, 183, 184, 319]:
            for name in CROSS_FORMULAS:
                expected = cross_value(oracle, name, coin, part["timestamp"][row], 5 * DAY)
                found = part[f"crypto_btc_{name}"][row]
                where = f"{name} of {symbol} at {part['timestamp'][row]}"
                assert (found is None) == (expected is None), f"{where}: {found} against {expected}"
                if expected is not None:
                    known[f"crypto_btc_{name}"] += 1
                    assert found == pytest.approx(expected, rel=2e-6, abs=2e-7), where
    assert min(known.values()) >= 10


def test_a_value_published_after_the_bar_waits_for_the_next_bar() -> None:
    at_the_bar, after_it = (build(panel(hour))["crypto_btc_ret_1"] for hour in (20, 21))
    mondays = build(panel(20))["timestamp"].dt.weekday() == 1
    assert at_the_bar[100:200].is_not_null().all()
    assert not at_the_bar.equals(after_it)
    # On a Tuesday the value of 21:00 the day before is what a market at 20:00 shows on the Monday.
    tuesday = int((mondays & (pl.int_range(len(mondays), eager=True) > 100)).arg_max()) + 1
    assert after_it[tuesday] == at_the_bar[tuesday - 1]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_of_two_bars_with_the_same_date_alone_the_coins_is_not_over_yet(zone: str) -> None:
    at_20 = panel(20)
    local = pl.col("timestamp").dt.date().cast(pl.Datetime("us")).dt.replace_time_zone(zone).dt.convert_time_zone("UTC")
    dated = at_20.with_columns(local)
    chosen = resolve_features(dated.columns, groups=(), names=NAMES, has_market=True, cross_markets=MARKETS)
    told: dict[str, Any] = {"market_symbol": INDEX, "cross_symbols": (COIN,), "bars_per_year": BARS_PER_YEAR}
    found = build_features(dated, chosen, **told, timezone=zone).filter(pl.col("symbol") == "AAA")
    # a coin that closes an hour after the stocks of the same day
    late = at_20.with_columns(
        pl.when(pl.col("symbol") == COIN).then(pl.col("timestamp") + timedelta(hours=1)).otherwise("timestamp")
    )
    expected = build(late).filter(pl.col("symbol") == "AAA")
    assert found.select(NAMES).equals(expected.select(NAMES))
    cut = dated.filter(pl.col("symbol") == "AAA")["timestamp"][200]
    noisy = dated.with_columns(
        pl.when((pl.col("symbol") == COIN) & (pl.col("timestamp") >= cut))
        .then(pl.col("close") * 3)
        .otherwise("close")
        .alias("close")
    )
    again = build_features(noisy, chosen, **told, timezone=zone).filter(pl.col("symbol") == "AAA")
    assert again.head(201).select(NAMES).equals(found.head(201).select(NAMES)), (
        "the candle of the same date is not read"
    )
    assert again.row(201) != found.row(201)


def test_what_the_coin_does_later_changes_no_bit() -> None:
    bars = panel(21)
    cuts = [bars.filter(pl.col("symbol") == "AAA")["timestamp"][row] for row in (70, 200, 300)]
    assert first_causality_violation(build, bars, cuts) is None


def test_the_weekend_counts_on_the_coins_calendar_and_brings_no_bar_of_its_own() -> None:
    bars = panel(20)
    frame = build(bars)
    assert set(frame["timestamp"].dt.weekday()) == {1, 2, 3, 4, 5}
    assert frame["symbol"].unique().sort().to_list() == ["AAA", "BBB"]
    coin = bars.filter(pl.col("symbol") == COIN)
    highest = coin["close"].rolling_max(252)
    expected = dict(zip(coin["timestamp"], coin["close"] / highest - 1, strict=True))
    last = frame.row(-1, named=True)
    assert last["crypto_btc_dd_252"] == pytest.approx(expected[last["timestamp"]], rel=1e-6)


def test_a_market_that_fell_silent_is_forgotten_and_not_carried_on() -> None:
    bars = panel(20)
    stamps = bars.filter(pl.col("symbol") == "AAA")["timestamp"]
    end = stamps[200]
    quiet = bars.filter((pl.col("symbol") != COIN) | (pl.col("timestamp") <= end))
    part = build(quiet, ["crypto_btc_vol_21"]).filter(pl.col("symbol") == "AAA")
    for row in range(195, 215):
        silent_for = stamps[row] - end
        assert (part["crypto_btc_vol_21"][row] is None) == (silent_for > 5 * DAY), stamps[row]


def test_the_first_value_comes_with_the_lookback_th_bar_of_the_other_market() -> None:
    bars = panel(20)
    coin = bars.filter(pl.col("symbol") == COIN)["timestamp"]
    part = build(bars).filter(pl.col("symbol") == "AAA")
    for feature in cross_market_features("crypto_btc", COIN):
        first_known = coin[feature.lookback - 1]
        expected = (part["timestamp"] >= first_known).arg_max()
        assert part[feature.name].is_not_null().arg_max() == expected, feature.name


def test_each_market_brings_eight_described_features_in_a_group_of_its_own() -> None:
    features = cross_market_features("crypto_btc", COIN)
    assert [feature.name for feature in features] == NAMES
    assert {feature.group for feature in features} == {"crypto"}
    assert all(COIN in feature.formula and feature.units and feature.lag == 0 for feature in features)


def test_cross_markets_are_resolved_by_group_and_by_name_after_the_catalogue() -> None:
    markets = {"crypto_btc": COIN, "crypto_eth": "ETH-USD", "oil": "CL"}

    def names(groups: tuple[str, ...] | None, single: tuple[str, ...] | None) -> tuple[str, ...]:
        return resolve_features(("close",), groups=groups, names=single, has_market=False, cross_markets=markets).names

    assert len(names(("crypto",), None)) == 16
    assert names((), ("oil_z_63", "ret_1")) == ("ret_1", "oil_z_63")
    assert (
        len(names(None, None))
        == len(resolve_features(("close",), groups=None, names=None, has_market=False).names) + 24
    )
    with pytest.raises(ValueError, match=r"unknown feature group \['gold'\].*crypto, oil"):
        names(("gold",), None)
    with pytest.raises(ValueError, match=r"unknown feature name \['crypto_btc_ret_2'\].*crypto_btc_ret_1"):
        names(None, ("crypto_btc_ret_2",))


@pytest.mark.parametrize("prefix", ["Crypto", "1btc", "btc-usd", "btc__x", "_btc", "btc_", "", "btc usd"])
def test_a_prefix_that_cannot_begin_a_column_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters, digits and single underscores"):
        cross_market_features(prefix, COIN)


@pytest.mark.parametrize("prefix", ["minute", "minute_btc", "shadow", "shadow_btc"])
def test_a_prefix_of_raw_minutes_or_of_shadows_is_refused(prefix: str) -> None:
    assert "would be taken for these; begin it with another word" in refusal_of_prefix(prefix)
    assert not refusal_of_prefix(f"x{prefix}")


@pytest.mark.parametrize("prefix", [*GROUPS, "mkt_btc", "close", "volume_btc", "timestamp"])
def test_a_prefix_of_the_catalogue_or_of_a_raw_column_is_refused(prefix: str) -> None:
    assert "falls into the group" in refusal_of_prefix(prefix)
    with pytest.raises(ValueError, match="begin it with another word"):
        resolve_features(("close",), groups=None, names=None, has_market=False, cross_markets={prefix: COIN})


def test_as_oracle_keeps_the_coin_beside_the_index() -> None:
    oracle = as_oracle(panel(20))
    assert isinstance(oracle.symbols[COIN], OracleBars)
    assert len(oracle.symbols[COIN].times) > len(oracle.market.times)
