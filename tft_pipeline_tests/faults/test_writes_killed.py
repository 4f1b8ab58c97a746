"""kill -9, EIO and a full disk at each call that moves a name or makes bytes durable, while something is stored."""

import shutil
from pathlib import Path

import pytest

from tft_pipeline.storage import atomic
from tft_pipeline.storage.artifacts import ArtifactMissingError, read_artifact, write_artifact
from tft_pipeline.storage.frozen import frozen_snapshot, known_snapshots, write_frozen
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.faults.frozen_bars import bars
from tft_pipeline_tests.faults.scripted_writer import PARTS, fill
from tft_pipeline_tests.faults.traced import MOVES, disturbed, points, why_not

SCRIPT = Path(__file__).with_name("scripted_writer.py")
SOURCE = {"name": "bars.parquet"}
LATER = 50
"""Bars of the snapshot that is frozen after each disturbance."""


@pytest.fixture(autouse=True)
def _sweep_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.setattr(atomic, "SWEEP_SECONDS", 0.0)


def prepared(kind: str, root: Path) -> None:
    """One version, or one frozen snapshot, is there already."""
    if kind == "artifact":
        write_artifact(root, lambda folder: fill(folder, "old"))
    else:
        write_frozen(Layout(root), bars(30), interval="1d", source=SOURCE)


def found(kind: str, root: Path) -> str:
    """What a reader finds: old or new, whole; anything else raises."""
    if kind == "artifact":
        artifact = read_artifact(root)
        (text,) = {artifact.path(f"part{part}").read_text() for part in range(PARTS)}
        assert text in ("old" * 2000, "new" * 2000)
        return text[:3]
    heights = {frozen_snapshot(name, Layout(root))[1].bars.height for name in known_snapshots(Layout(root))}
    assert heights - {LATER} in ({30}, {30, 40})
    return "new" if 40 in heights else "old"


def stored_again(kind: str, root: Path) -> None:
    """The next attempt succeeds, and the next that writes sweeps what is left over."""
    if kind == "artifact":
        write_artifact(root, lambda folder: fill(folder, "new"))
    else:
        for n in (40, LATER):  # bars that are there already are found, and nothing is written
            write_frozen(Layout(root), bars(n), interval="1d", source=SOURCE)
    assert found(kind, root) == "new"
    assert not list(root.rglob(f"{atomic.STAGE_PREFIX}*"))


def disturb_everywhere(kind: str, tmp_path: Path, names: tuple[str, ...], effect: str) -> dict[str, int]:
    """Disturb the work at each point in turn; how often old and new were found, and how often the work ended well."""
    prepared(kind, tmp_path / "template")
    shutil.copytree(tmp_path / "template", tmp_path / "counted", symlinks=True)
    tried = points(SCRIPT, [kind, str(tmp_path / "counted")], tmp_path / "trace", names)
    assert len(tried) > 2, "there is something to disturb"
    seen = {"old": 0, "new": 0, "well": 0}
    for point in tried:
        root = tmp_path / "tried"
        shutil.copytree(tmp_path / "template", root, symlinks=True)
        done = disturbed(SCRIPT, [kind, str(root)], point, effect)
        if effect == "signal=SIGKILL":
            assert done.returncode in (-9, 137), (point, done.returncode, done.stderr)
            assert done.stdout == "begins\n", (point, "it was killed outside of its work")
        elif done.returncode == 0:
            seen["well"] += 1
        else:
            words = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}[effect.partition("=")[2]]
            assert (done.returncode, done.stdout) == (1, "begins\n"), (point, done.stderr)
            assert words in done.stderr, (point, done.stderr)
        try:
            seen[found(kind, root)] += 1
            stored_again(kind, root)
        except Exception as error:
            raise AssertionError(f"{effect} at {point[0]} number {point[1]}: {error}") from error
        shutil.rmtree(root)
    return seen


@pytest.mark.fault("kill_artifact")
def test_a_writer_killed_at_any_such_call_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    seen = disturb_everywhere("artifact", tmp_path, MOVES, "signal=SIGKILL")
    assert seen["old"] > 0
    assert seen["new"] > 0


@pytest.mark.slow
@pytest.mark.fault("kill_snapshot")
def test_a_process_killed_at_any_such_call_has_frozen_its_bars_whole_or_not_at_all(tmp_path: Path) -> None:
    seen = disturb_everywhere("snapshot", tmp_path, MOVES, "signal=SIGKILL")
    assert seen["old"] > 0
    assert seen["new"] > 0


@pytest.mark.fault("eio")
def test_a_disk_that_cannot_make_a_version_durable_is_an_error_and_leaves_the_old_or_the_new_one(
    tmp_path: Path,
) -> None:
    seen = disturb_everywhere("artifact", tmp_path, ("fsync",), "error=EIO")
    assert seen["well"] == 0
    assert seen["old"] > seen["new"] > 0


@pytest.mark.slow
@pytest.mark.fault("eio")
def test_a_disk_that_cannot_make_a_snapshot_durable_is_an_error(tmp_path: Path) -> None:
    seen = disturb_everywhere("snapshot", tmp_path, ("fsync",), "error=EIO")
    assert seen["well"] == 0
    assert seen["old"] > 0


@pytest.mark.fault("disk_full")
def test_a_full_disk_at_any_write_of_a_version_is_an_error_and_the_old_one_stays(tmp_path: Path) -> None:
    seen = disturb_everywhere("artifact", tmp_path, ("write", "mkdir", "symlink"), "error=ENOSPC")
    assert seen["new"] == seen["well"], "only a folder that is there already is not missed"
    assert seen["old"] > seen["new"]


@pytest.mark.fault("kill_artifact")
def test_before_the_first_version_a_killed_writer_leaves_none(tmp_path: Path) -> None:
    tried = points(SCRIPT, ["artifact", str(tmp_path / "counted")], tmp_path / "trace", MOVES)
    done = disturbed(SCRIPT, ["artifact", str(tmp_path / "new")], tried[0], "signal=SIGKILL")
    assert done.returncode in (-9, 137)
    with pytest.raises(ArtifactMissingError):
        read_artifact(tmp_path / "new")
    stored_again("artifact", tmp_path / "new")
