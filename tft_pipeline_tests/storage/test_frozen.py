"""Snapshots that a person froze: found by id, by its beginning and by path, and by nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage import frozen
from tft_pipeline.storage.artifacts import MANIFEST
from tft_pipeline.storage.frozen import SNAPSHOT_ID, frozen_snapshot, known_snapshots, write_frozen
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.snapshots import BARS_FILE, MANIFEST_FILE
from tft_pipeline_tests.conftest import random_bars

BARS = random_bars(30)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "home")


def freeze(layout: Layout, n: int = 30) -> Path:
    return write_frozen(layout, random_bars(n), interval="1d", source={"name": "bars.parquet"})[0]


def refusal(named: str, layout: Layout) -> str:
    with pytest.raises(ConfigurationError) as caught:
        frozen_snapshot(named, layout)
    return str(caught.value)


def test_what_was_frozen_is_found_by_its_id(layout):
    folder, written = write_frozen(layout, BARS, interval="1d", source={"name": "bars.parquet"})
    assert folder == layout.home / "snapshots" / written.snapshot_id
    assert SNAPSHOT_ID.fullmatch(written.snapshot_id)
    assert sorted(path.name for path in folder.iterdir()) == sorted([BARS_FILE, MANIFEST_FILE, MANIFEST])
    found_folder, found = frozen_snapshot(written.snapshot_id, layout)
    assert found_folder == folder.resolve()
    assert found.bars.equals(BARS)
    assert found.manifest == written.manifest
    assert found.manifest["source"] == {"name": "bars.parquet"}


def test_it_is_found_by_the_beginning_of_its_id_and_by_the_path_of_its_folder(layout, tmp_path, monkeypatch):
    folder = freeze(layout)
    for named in (folder.name[:4], folder.name[:20], str(folder), f"{folder}/"):
        assert frozen_snapshot(named, layout)[0] == folder.resolve()
    shutil.copytree(folder, tmp_path / "elsewhere" / "kept")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for named in ("kept", "./kept", "../elsewhere/kept"):
        found, snapshot = frozen_snapshot(named, layout)
        assert found == (tmp_path / "elsewhere" / "kept").resolve()
        assert snapshot.snapshot_id == folder.name


def test_equal_bars_are_found_again_and_keep_the_record_of_the_first_time(layout):
    first = freeze(layout)
    folder, again = write_frozen(layout, BARS, interval="1d", source={"name": "copy.csv"})
    assert folder == first
    assert again.manifest["source"] == {"name": "bars.parquet"}
    assert known_snapshots(layout) == [first.name]


def test_other_bars_and_another_interval_are_other_snapshots(layout):
    names = {freeze(layout, 30).name, freeze(layout, 31).name}
    names.add(write_frozen(layout, BARS, interval="1h", source={"name": "bars.parquet"})[0].name)
    assert len(names) == 3
    assert known_snapshots(layout) == sorted(names)


def test_a_beginning_of_several_ids_is_refused_with_them(layout):
    names = sorted([freeze(layout, 30).name, freeze(layout, 31).name])
    message = refusal("20", layout)
    assert "begins 2 ids" in message
    assert ", ".join(names) in message
    assert "give more of the id" in message


def test_an_unknown_id_is_refused_with_the_known_ones(layout):
    assert "none was frozen yet: run `tft snapshot`" in refusal("2025-10-15T12-00-00Z", layout)
    folder = freeze(layout)
    message = refusal("1999", layout)
    assert f"known are {folder.name}" in message
    assert str(layout.frozen) in message


def test_of_many_known_snapshots_the_newest_are_listed(layout, monkeypatch):
    monkeypatch.setattr(frozen, "MOST_LISTED", 2)
    names = sorted(freeze(layout, 30 + k).name for k in range(4))
    assert f"known are {names[-2]}, {names[-1]} and 2 older" in refusal("1999", layout)


@pytest.mark.parametrize(
    "named", ["", ".", "..", "../experiments", "snapshots/../..", "/", "/etc/passwd", "current", "*"]
)
def test_a_name_that_leads_elsewhere_names_no_snapshot(layout, named):
    freeze(layout)
    assert f"snapshot {named!r} is neither an id below" in refusal(named, layout)


@pytest.mark.parametrize("named", ["a" * 5000, f"x/{'a' * 5000}", "~nobody-of-that-name/x"])
def test_a_name_that_no_file_can_have_is_refused_in_a_line(layout, named):
    message = refusal(named, layout)
    assert message.startswith(f"snapshot {named[:80]!r} cannot be looked for: ")
    assert len(message) < 250


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("file", [BARS_FILE, MANIFEST_FILE, MANIFEST])
def test_a_damaged_snapshot_is_refused_and_never_parsed(layout, file):
    folder = freeze(layout)
    with (folder / file).open("r+b") as stream:
        stream.seek(30)
        stream.write(b"\xff")
    message = refusal(folder.name, layout)
    assert "is damaged" in message
    assert "freeze the bars again" in message


@pytest.mark.fault("bad_manifest")
def test_a_snapshot_that_lacks_a_file_is_refused(layout):
    folder = freeze(layout)
    (folder / BARS_FILE).unlink()
    assert re.search(r"missing files \['bars.parquet'\]", refusal(folder.name, layout))


def test_a_renamed_snapshot_is_refused(layout):
    folder = freeze(layout)
    other = folder.with_name(f"2020-01-01T00-00-00Z-{folder.name[-12:]}")
    folder.rename(other)
    assert f"holds snapshot {folder.name}: the folder was renamed" in refusal(other.name, layout)


def test_what_is_no_snapshot_is_not_listed(layout):
    folder = freeze(layout)
    (layout.frozen / "notes").mkdir()
    (layout.frozen / f"{folder.name}.txt").write_text("")
    (layout.frozen / f".damaged-{folder.name}-0").mkdir()
    assert known_snapshots(layout) == [folder.name]


def test_the_files_say_no_machine_path(layout):
    folder = freeze(layout)
    text = (folder / MANIFEST_FILE).read_text()
    assert str(layout.home) not in text
    assert json.loads(text)["symbols"] == ["AAA", "BBB", "CCC", "DDD"]
