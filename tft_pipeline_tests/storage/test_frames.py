"""Frames written block by block: the same rows are the same content, however they were cut."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.content import frame_sha256
from tft_pipeline.storage import frames
from tft_pipeline.storage.frames import write_frames


def frame(rows: int = 100) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    values = rng.normal(size=rows).astype(np.float32)
    return pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                pl.datetime(2024, 1, 1),
                pl.datetime(2024, 1, 1) + pl.duration(days=rows - 1),
                "1d",
                time_zone="UTC",
                eager=True,
            ),
            "symbol": [f"S{k // 10}" for k in range(rows)],
            "holed": pl.Series(np.where(values > 0, values, np.nan)).fill_nan(None),
            "nan": pl.Series(np.where(values > 1, values, np.float32(np.nan))),
            "empty": pl.Series([None] * rows, dtype=pl.Float32),
        }
    )


@pytest.mark.parametrize("cuts", [(), (50,), (1, 2, 3, 50, 99), (7, 8, 64)])
@pytest.mark.parametrize("read_bytes", [1, 10**9])
def test_the_content_is_that_of_the_whole_frame_however_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: tuple[int, ...], read_bytes: int
) -> None:
    monkeypatch.setattr(frames, "READ_BYTES", read_bytes)
    whole = frame()
    parts = [whole[start:stop] for start, stop in zip((0, *cuts), (*cuts, 100), strict=True)]
    stored = write_frames(tmp_path / "f.parquet", parts)
    assert stored.content_sha256() == frame_sha256(whole)
    assert (stored.height, stored.schema) == (100, whole.schema)
    assert stored.null_counts == whole.null_count().row(0, named=True)
    back = pl.read_parquet(stored.path)
    assert back.schema == whole.schema
    assert frame_sha256(back) == frame_sha256(whole)


def test_one_changed_cell_is_another_content(tmp_path: Path) -> None:
    changed = frame().with_columns(
        holed=pl.when(pl.int_range(pl.len()) == 77).then(0.5).otherwise("holed").cast(pl.Float32)
    )
    one, two = (write_frames(tmp_path / name, [part]).content for name, part in (("a", frame()), ("b", changed)))
    assert one != two


def test_a_frame_is_let_go_before_the_next_one_is_asked_for(tmp_path: Path) -> None:
    alive: list[weakref.ref[pl.DataFrame]] = []
    most = 0

    def parts() -> Iterator[pl.DataFrame]:
        nonlocal most
        for k in range(8):
            most = max(most, sum(one() is not None for one in alive))
            part = frame(20).with_columns(holed=pl.lit(k, dtype=pl.Float32))
            alive.append(weakref.ref(part))
            yield part
            del part

    assert write_frames(tmp_path / "f.parquet", parts()).height == 160
    assert most <= 1


def test_frames_of_other_columns_and_no_frame_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="follows one of"):
        write_frames(tmp_path / "f.parquet", [frame(), frame().drop("empty")])
    with pytest.raises(ValueError, match="there is no frame to write"):
        write_frames(tmp_path / "g.parquet", [])
