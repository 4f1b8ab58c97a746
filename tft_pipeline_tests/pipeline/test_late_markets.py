"""Another market that begins late, through the check that features do not see later bars."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from tft_pipeline.pipeline.assets.features import feature_assets
from tft_pipeline.pipeline.assets.snapshot import snapshot_assets
from tft_pipeline.pipeline.io_managers import io_managers
from tft_pipeline_tests.conftest import Workbench, random_bars

CHANGES: dict[str, Any] = {
    "data.min_bars": 3,
    "data.cross_markets": {"coin": "COIN"},
    "features.names": ["ret_1m", "coin_vol_21"],
}


@pytest.mark.parametrize("bars", [60, 3])
def test_cuts_lie_where_every_market_has_begun(bars: int, workbench: Callable[..., Workbench]) -> None:
    stocks = random_bars(120, ("AAA", "BBB"))
    ticks = stocks["timestamp"].unique().sort().tail(bars)
    close = np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.03, bars)))
    coin = pl.DataFrame({"timestamp": ticks, "symbol": "COIN", "close": close})
    bench = workbench(pl.concat([stocks, coin]), CHANGES)
    made = [*snapshot_assets(bench.graph), *feature_assets(bench.graph)]
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            made,
            selection=[bench.graph.key(asset) for asset in ("snapshot", "feature_catalogue", "features")],
            resources=dict(io_managers(bench.layout)),
            instance=instance,
            raise_on_error=False,
        )
    (check,) = (one for one in done.get_asset_check_evaluations() if one.asset_key == bench.graph.key("features"))
    assert check.passed is (bars == 60), check.description
    if bars == 3:
        assert "3 bars since all of COIN have begun are too few" in str(check.description)
