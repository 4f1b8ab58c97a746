"""A whole run with another market beside the traded symbols: in the features, on its own calendar, and never traded."""

import json
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tft_pipeline_tests.conftest import N_BARS, Workbench, random_bars

COIN = "BTC-USD"
NAMES = ["ret_1", "z_21", "mom_rsi_14", "crypto_btc_ret_1", "crypto_btc_vol_21", "crypto_btc_z_63"]


def bars_with_a_coin() -> pl.DataFrame:
    """The small experiment's bars, stamped at 20:00, and a coin that closes every day at midnight."""
    stocks = random_bars().with_columns(pl.col("timestamp") + timedelta(hours=20))
    first, last = stocks["timestamp"].min(), stocks["timestamp"].max()
    days = pl.datetime_range(first, last, "1d", time_zone="UTC", eager=True).dt.truncate("1d")
    close = 9_000.0 * np.exp(np.cumsum(np.random.default_rng(11).normal(0.0, 0.03, len(days))))
    coin = pl.DataFrame({"timestamp": days.cast(stocks.schema["timestamp"]), "symbol": COIN, "close": close})
    return pl.concat([stocks, coin])


@pytest.mark.slow
def test_a_cross_market_is_context_from_the_snapshot_to_the_card(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(bars_with_a_coin(), {"data.cross_markets": {"crypto_btc": COIN}, "features.names": NAMES})
    result = bench.run()
    assert not result["failed"], result

    features = pl.read_parquet(sorted(bench.artifact("features").rglob("*.parquet")))
    assert set(NAMES) <= set(features.columns)
    assert features["crypto_btc_z_63"].null_count() < 0.25 * features.height
    for asset in ("features", "targets", "oos_portfolio"):
        frame = pl.read_parquet(sorted(bench.artifact(asset).rglob("*.parquet")))
        if "symbol" in frame.columns:
            assert COIN not in frame["symbol"], asset
    assert features["timestamp"].n_unique() == N_BARS

    card = json.loads(next(bench.artifact("model_card").glob("*.json")).read_text())
    text = json.dumps(card)
    assert '"symbols": ["AAA", "BBB", "CCC", "DDD"]' in text
    audit = next(path for path in bench.artifact("leakage_audit").glob("*.json") if path.name != "manifest.json")
    assert '"passed": false' not in audit.read_text()
