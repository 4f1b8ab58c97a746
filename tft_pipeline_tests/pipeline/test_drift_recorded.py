"""Recorded minutes of March 2023 through the command for two files: features of the catalogue see a coin lose its peg."""

import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tft_pipeline.domain.features.build import build_features
from tft_pipeline.domain.features.catalogue import resolve_features
from tft_pipeline.pipeline.drift_command import compare_files

RECORDED = Path(os.environ.get("TFT_RECORDED_MINUTES", "no such file"))
KEYS = ["timestamp", "symbol"]

pytestmark = pytest.mark.skipif(not RECORDED.is_file(), reason="TFT_RECORDED_MINUTES names no file")


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """Minutes of bitcoin in dollars and in two dollar coins."""
    return pl.read_parquet(RECORDED).sort("symbol", "timestamp")


@pytest.fixture(scope="module")
def features(bars: pl.DataFrame) -> pl.DataFrame:
    """The catalogue's returns, and strength of the coins' prices beside that in dollars."""
    chosen = resolve_features(bars.columns, groups=("ret", "rs"), names=None, has_market=True, cross_markets={})
    return build_features(bars, chosen, market_symbol="BTCUSD", bars_per_year=525_600)


def verdict(frame: pl.DataFrame, day: int, folder: Path) -> tuple[str, list[str]]:
    """That of one day of March against all days before it, and the features that ask for a retrain."""
    start, stop = (datetime(2023, 3, one, tzinfo=UTC) for one in (day, day + 1))
    sides = frame.filter(pl.col("timestamp") < start), frame.filter(pl.col("timestamp").is_between(start, stop, "left"))
    files = [folder / f"{name}.parquet" for name in ("before", "after", "report")]
    for side, file in zip(sides, files[:2], strict=True):
        side.write_parquet(file)
    found = compare_files(files[0], files[1], output=files[2], psi_threshold=0.25, js_threshold=0.3)
    return found["verdict"], [row["feature"] for row in found["drift"]["features"] if row["verdict"] == "retrain"]


def test_features_beside_a_market_find_the_lost_peg_on_its_day(features: pl.DataFrame, tmp_path: Path) -> None:
    said, which = verdict(features, 11, tmp_path)
    assert said == "retrain"
    assert {"rs_10", "rs_21", "rs_63"} <= set(which)


def test_they_call_a_calm_day_stable(features: pl.DataFrame, tmp_path: Path) -> None:
    assert verdict(features, 9, tmp_path)[1] == verdict(features, 16, tmp_path)[1] == []


def test_prices_and_volumes_by_themselves_do_not_see_it(bars: pl.DataFrame, tmp_path: Path) -> None:
    assert verdict(bars, 11, tmp_path) == ("stable", [])
