"""Features from worker processes: the same bits, and nothing left behind."""

from pathlib import Path

import polars as pl
import pytest

from tft_pipeline.domain.content import frame_sha256
from tft_pipeline.domain.features import FeatureSet, resolve_features
from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.model import feature_stream
from tft_pipeline.model.feature_stream import feature_frames, workers_for
from tft_pipeline.model.processes import n_workers
from tft_pipeline.storage.frames import write_frames
from tft_pipeline_tests.oracles.feature_panels import BARS_PER_YEAR, INDEX, clean_panel


def build(bars: pl.DataFrame, groups: tuple[str, ...], user_columns: tuple[str, ...] = ()) -> FeatureBuild:
    chosen = resolve_features(bars.columns, groups=groups, names=None, has_market=True)
    return FeatureBuild.of(
        bars,
        FeatureSet(chosen.features),
        market_symbol=INDEX,
        user_columns=user_columns,
        bars_per_year=BARS_PER_YEAR,
        timezone="Asia/Tokyo",
    )


def test_two_processes_store_what_one_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = clean_panel(90, symbols=9).with_columns(alt_x=pl.int_range(pl.len()))
    wanted = build(bars, ("ret", "vol", "mkt", "brd", "xs", "vlm", "cal"), ("alt_x",))
    monkeypatch.setattr(FeatureBuild.blocks, "__defaults__", (150,))
    assert len(wanted.blocks()) == 5
    one, two = (
        write_frames(tmp_path / f"{workers}.parquet", feature_frames(wanted, tmp_path, workers=workers))
        for workers in (1, 2)
    )
    assert one.content_sha256() == two.content_sha256() == frame_sha256(pl.concat(wanted.frames()))
    assert {path.name for path in tmp_path.iterdir()} == {"1.parquet", "2.parquet"}


def test_a_refusal_in_a_worker_is_raised_here_and_its_bars_are_removed(tmp_path: Path) -> None:
    bars = clean_panel(30).with_columns(volume=pl.lit(1e60))
    chosen = resolve_features(bars.columns, groups=(), names=("volume",), has_market=True)
    wanted = FeatureBuild.of(bars, chosen, market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)
    with pytest.raises(ValueError, match=r"'volume' reaches 1e\+60"):
        list(feature_frames(wanted, tmp_path, workers=2))
    assert list(tmp_path.iterdir()) == []


def test_small_work_stays_here_and_large_work_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = build(clean_panel(30), ("ret",))
    assert workers_for(wanted) == 1
    monkeypatch.setattr(feature_stream, "WORTH_A_WORKER", 1)
    assert workers_for(wanted) == n_workers()
    monkeypatch.setenv("TFT_WORKERS", "1")
    assert workers_for(wanted) == 1
