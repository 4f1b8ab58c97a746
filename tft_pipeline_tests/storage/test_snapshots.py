import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline.storage.artifacts import IntegrityError, read_artifact
from tft_pipeline.storage.environment import environment_record
from tft_pipeline.storage.snapshots import BARS_FILE, MANIFEST_FILE, Snapshot, read_snapshot, write_snapshot
from tft_pipeline_tests.conftest import random_bars

TAKEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def snapshot(
    bars: pl.DataFrame | None = None, *, later: int = 0, environment: dict[str, Any] | None = None
) -> Snapshot:
    bars = random_bars(50) if bars is None else bars
    manifest = snapshot_manifest(
        bars,
        created_at=TAKEN + timedelta(seconds=later),
        interval="1d",
        source={"name": "bars.parquet", "sha256": "ab"},
        environment=environment or {},
    )
    return Snapshot(bars=bars, manifest=manifest)


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.is_symlink())


def test_a_snapshot_read_back_is_the_one_that_was_written(tmp_path):
    taken = snapshot()
    found = read_snapshot(write_snapshot(tmp_path, taken))
    assert found.bars.equals(taken.bars)
    assert found.bars.schema == taken.bars.schema
    assert found.manifest == taken.manifest
    assert found.content_sha256() == taken.content_sha256()


def test_its_folder_is_named_by_its_id(tmp_path):
    artifact = write_snapshot(tmp_path, snapshot())
    assert artifact.version == read_snapshot(artifact).snapshot_id
    assert re.fullmatch(r"2024-05-06T07-08-09Z-[0-9a-f]{12}", artifact.version)
    assert set(artifact.files) == {BARS_FILE, MANIFEST_FILE}


def test_the_same_content_taken_later_is_the_same_snapshot(tmp_path):
    first = write_snapshot(tmp_path, snapshot())
    again = write_snapshot(tmp_path, snapshot(later=60))
    assert again == first
    assert versions(tmp_path) == [first.version]


def test_other_content_is_another_snapshot_and_the_old_one_stays(tmp_path):
    first = write_snapshot(tmp_path, snapshot())
    second = write_snapshot(tmp_path, snapshot(random_bars(51), later=60))
    assert versions(tmp_path) == sorted([first.version, second.version])
    assert read_artifact(tmp_path) == second
    assert read_snapshot(first).bars.height == 200


def test_older_content_that_comes_back_is_current_again(tmp_path):
    first = write_snapshot(tmp_path, snapshot())
    write_snapshot(tmp_path, snapshot(random_bars(51), later=60))
    assert write_snapshot(tmp_path, snapshot(later=120)) == first
    assert read_artifact(tmp_path) == first
    assert os.readlink(tmp_path / "current") == first.version


@pytest.mark.fault("flipped_byte")
def test_a_damaged_snapshot_is_set_aside_and_written_anew(tmp_path):
    first = write_snapshot(tmp_path, snapshot())
    with (first.folder / BARS_FILE).open("r+b") as stream:
        stream.seek(40)
        stream.write(b"\xff")
    with pytest.raises(IntegrityError):
        read_artifact(tmp_path)
    again = write_snapshot(tmp_path, snapshot(later=60))
    assert read_snapshot(read_artifact(tmp_path)).bars.equals(snapshot().bars)
    assert [name.startswith((".damaged-", again.version)) for name in versions(tmp_path)] == [True, True]


def test_bars_that_are_not_the_manifests_content_are_refused(tmp_path):
    mixed = Snapshot(bars=random_bars(51), manifest=snapshot().manifest)
    with pytest.raises(IntegrityError, match=r"content .*, manifest "):
        read_snapshot(write_snapshot(tmp_path, mixed))


def test_the_stored_manifest_tells_no_machine_path(tmp_path):
    artifact = write_snapshot(tmp_path, snapshot(environment=environment_record()))
    text = artifact.path(MANIFEST_FILE).read_text()
    for told in (str(tmp_path), str(Path.home()), os.getcwd(), str(Path(__file__).parents[2])):
        assert told not in text
    strings = re.findall(r'"([^"]*)"', text)
    assert not [value for value in strings if value.startswith(("/", "~")) or re.match(r"[A-Za-z]:\\", value)]
    assert json.loads(text)["environment"]["python"]
