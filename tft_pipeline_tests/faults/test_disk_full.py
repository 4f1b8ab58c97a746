"""A disk that is really full: a file system of some kilobytes in memory, which only root may mount.

Where nothing can be mounted each of these skips, the only tests of a fault that may do so with `TFT_REQUIRE_FAULTS`:
`test_writes_killed` and `test_deploy_killed` refuse writes by strace, and those may not.
"""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import torch

from tft_pipeline.storage.artifacts import read_artifact, write_artifact
from tft_pipeline.storage.atomic import append_line, replace_file
from tft_pipeline.storage.fold_bundles import read_fold_bundle, write_fold_bundle
from tft_pipeline.storage.frozen import known_snapshots, write_frozen
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.usage import KEYS, read_usage, record_usage
from tft_pipeline_tests.faults.frozen_bars import bars
from tft_pipeline_tests.faults.required import MOUNTS_NOTHING
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit
from tft_pipeline_tests.storage.test_fold_bundles import bundle

PAGE = 4096
FULL = f"No space left on device|os error {errno.ENOSPC}"
Disk = Callable[[int], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a file system of so many KiB."""
    mounted: list[Path] = []

    def mount(kib: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"{MOUNTS_NOTHING}: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def filled(place: Path, leave: int = 0) -> Iterator[None]:
    """Another program's file takes what is left, but for some bytes."""
    other = place / "of another program"
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    other.write_bytes(b"0" * (free - leave))
    try:
        yield
    finally:
        other.unlink()


def writer(n_bytes: int) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "a").write_bytes(b"a")
        (folder / "b").write_bytes(b"b" * n_bytes)

    return fill


@pytest.mark.fault("disk_full")
def test_a_version_that_does_not_fit_is_an_error_leaves_no_piece_and_the_one_before_stays_current(disk: Disk) -> None:
    root = disk(256) / "asset"
    before = write_artifact(root, writer(100))
    for leave in (0, PAGE, 4 * PAGE, 10 * PAGE):  # in the folder, in the first file, in the second, in the manifest
        with filled(root.parent, leave), pytest.raises(OSError, match=FULL) as caught:
            write_artifact(root, writer(10 * PAGE))
        assert caught.value.errno == errno.ENOSPC
        assert read_artifact(root) == before
        assert {path.name for path in root.iterdir()} == {"current", before.version}
    after = write_artifact(root, writer(10 * PAGE))
    assert read_artifact(root) == after != before


@pytest.mark.fault("disk_full")
def test_a_fold_that_does_not_fit_is_an_error_and_the_one_before_stays_whole(disk: Disk) -> None:
    fitted = small_fit(random_panel(), epochs=1)
    root = disk(1024) / "fold"
    before = write_artifact(root, lambda folder: write_fold_bundle(bundle(fitted), folder))
    left = [PAGE * k for k in range(0, before.n_bytes // PAGE, max(1, before.n_bytes // PAGE // 6))]
    for leave in left:
        with filled(root.parent, leave), pytest.raises((OSError, pl.exceptions.ComputeError), match=FULL):
            write_artifact(root, partial(write_fold_bundle, bundle(fitted, seconds=leave + 1.0)))
        assert read_artifact(root) == before
        assert {path.name for path in root.iterdir()} == {"current", before.version}
    found = read_fold_bundle(read_artifact(root))
    assert all(torch.equal(found.fitted.state[name], value) for name, value in fitted.state.items())


@pytest.mark.fault("disk_full", "unwritable_checkpoint")
def test_a_training_state_that_does_not_fit_ends_no_fit_and_is_told(disk: Disk) -> None:
    place = disk(16)
    told: list[str] = []
    panel = random_panel()
    with filled(place):
        fitted = small_fit(panel, epochs=2, checkpoint=place / "states" / "fold", on_unwritten=told.append)
    whole = small_fit(panel, epochs=2)
    assert all(torch.equal(fitted.state[name], value) for name, value in whole.state.items())
    assert [f"after epoch {k} could not be written: No space left" in one for k, one in enumerate(told)] == [True] * 2
    assert not list(place.rglob("fold*"))


@pytest.mark.fault("disk_full")
def test_a_snapshot_that_does_not_fit_is_not_frozen_and_the_others_stay(disk: Disk) -> None:
    layout = Layout(disk(256))
    write_frozen(layout, bars(30), interval="1d", source={"name": "bars.parquet"})
    before = known_snapshots(layout)
    for leave in (0, PAGE, 2 * PAGE, 3 * PAGE):
        with filled(layout.home, leave), pytest.raises((OSError, pl.exceptions.ComputeError), match=FULL):
            write_frozen(layout, bars(3000), interval="1d", source={"name": "bars.parquet"})
        assert known_snapshots(layout) == before
        assert not list(layout.frozen.glob(".stage-*"))
    write_frozen(layout, bars(3000), interval="1d", source={"name": "bars.parquet"})
    assert len(known_snapshots(layout)) == len(before) + 1


@pytest.mark.fault("disk_full")
def test_a_line_of_a_ledger_that_fits_in_part_leaves_nothing_of_itself(disk: Disk) -> None:
    place = disk(64)
    ledger = place / "ledger.jsonl"
    row = {"text": "x" * 500}
    append_line(ledger, row)
    n_bytes = ledger.stat().st_size
    with filled(place):  # of its own page the file may fill the rest
        for _ in range(PAGE // n_bytes - 1):
            append_line(ledger, row)
        with pytest.raises(OSError, match=FULL) as caught:
            append_line(ledger, row)
    assert caught.value.errno == errno.ENOSPC
    lines = ledger.read_text().splitlines()
    assert (len(lines), len(set(lines))) == (PAGE // n_bytes, 1), "every line is whole"
    append_line(ledger, row)
    assert ledger.read_text().splitlines() == [*lines, lines[0]]


@pytest.mark.fault("disk_full")
def test_a_row_of_usage_is_refused_whole_and_the_rows_before_it_stay(disk: Disk) -> None:
    place = disk(64)
    row = dict.fromkeys(KEYS, "x" * 40)
    ledger = place / "usage.jsonl"
    record_usage(ledger, row)
    n_rows = PAGE // ledger.stat().st_size
    with filled(place):
        for _ in range(n_rows - 1):
            record_usage(ledger, row)
        with pytest.raises(OSError, match=FULL):
            record_usage(ledger, row)
    assert read_usage(ledger) == (row,) * n_rows


@pytest.mark.fault("disk_full")
def test_a_file_that_cannot_be_replaced_stays_as_it_was(disk: Disk) -> None:
    place = disk(64)
    path = place / "report.json"
    path.write_text("before")
    with filled(place, PAGE), pytest.raises(OSError, match=FULL):
        replace_file(path, lambda staged: staged.write_text("after" * PAGE))
    assert path.read_text() == "before"
    assert [one.name for one in place.iterdir()] == ["report.json"]
