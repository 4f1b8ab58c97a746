"""How many bars matter: what is said to forget does, and what is said never to forget does not."""

import numpy as np
import polars as pl

from tft_pipeline.domain.features import build_features, catalogue, resolve_features
from tft_pipeline.live.bar_tails import NEVER_FORGET, SETTLED, settled_bars
from tft_pipeline_tests.conftest import random_bars

CROSS = {"abroad": "ABROAD"}


def falling_bars(n: int) -> pl.DataFrame:
    """Markets whose highest price is the first, with every column a feature of the catalogue reads."""
    symbols = ("AAA", "BBB", "CCC", "INDEX", "ABROAD")
    bars = random_bars(n, symbols).sort("symbol", "timestamp")
    bars = bars.with_columns(close=pl.col("close") * (-0.002 * pl.int_range(pl.len()).over("symbol")).exp())
    random = np.random.default_rng(0)

    def noise(scale: float) -> pl.Series:
        return pl.Series(random.normal(0.0, scale, bars.height))

    bars = bars.with_columns(open=pl.col("close") * (1.0 + noise(3e-3)), volume=noise(0.5).exp() * 1e4)
    bars = bars.with_columns(
        high=pl.max_horizontal("open", "close") * (1.0 + noise(3e-3).abs()),
        low=pl.min_horizontal("open", "close") * (1.0 - noise(3e-3).abs()),
    )
    minutes = sorted({column for feature in catalogue() for column in feature.inputs if column.startswith("minute_")})
    return bars.with_columns((noise(0.1) + 1.0).abs().alias(column) for column in minutes)


def test_every_recursive_feature_of_the_catalogue_forgets_or_is_named() -> None:
    bars = falling_bars(1800)
    offered = resolve_features(bars.columns, groups=None, names=None, has_market=True, cross_markets=CROSS).features
    names = [each.name for each in offered if each.recursive and (SETTLED * each.lookback <= 1400)]
    slow = [each for each in offered if each.recursive and each.name not in names]
    assert all(each.name not in NEVER_FORGET for each in slow)
    chosen = resolve_features(bars.columns, groups=(), names=names, has_market=True, cross_markets=CROSS)
    assert {*NEVER_FORGET} < {each.name for each in chosen.features}
    late = bars.filter(pl.int_range(pl.len()).over("symbol") >= 1800 - 1400)
    last = bars["timestamp"].unique().sort()[-15:].to_list()
    built = [
        build_features(rows, chosen, market_symbol="INDEX", cross_symbols=("ABROAD",), bars_per_year=252.0).filter(
            pl.col("timestamp").is_in(last)
        )
        for rows in (bars, late)
    ]
    differ = {
        name: np.nanmax(np.abs(whole - cut)) / (1e-3 + np.nanstd(whole))
        for name in names
        for whole, cut in [[frame[name].to_numpy() for frame in built]]
    }
    assert {name for name, apart in differ.items() if apart > 1e-4} == NEVER_FORGET


def test_bars_that_settle_a_set_of_features_are_those_of_the_slowest() -> None:
    def settled(*names: str) -> int | None:
        return settled_bars(
            resolve_features(("timestamp", "symbol", "close"), groups=(), names=names, has_market=False).features
        )

    assert settled("sma_20_gap") == 1
    assert settled("ret_1", "sma_20_gap") == SETTLED * 61
    assert settled("ret_1", "dd_age") is None
