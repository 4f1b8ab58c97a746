"""The object store fails: at every request, by a kill, under two writers. A reader sees the old version or the new one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import Artifact, read_artifact, write_artifact
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline_tests.object_stores import requests_fail, use_store, writer

ASSET = "experiments/small/features"
OLD = {f"part{k}": b"old" for k in range(3)}
NEW = {f"part{k}": b"new" for k in range(3)}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, "s3", tmp_path)
    return tmp_path / "home" / ASSET


def seen_from(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> Artifact:
    """What an empty machine reads."""
    with patch.context() as there:
        there.setenv("TFT_HOME", str(tmp_path / name))
        return read_artifact(tmp_path / name / ASSET)


@pytest.mark.fault("store_down")
@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_store_that_goes_away_at_any_request_of_a_write_leaves_the_old_or_the_new(root, tmp_path, monkeypatch, after):
    before = write_artifact(root, writer(OLD))
    for first in range(20):
        try:
            with requests_fail(first=first, after=after):
                new = write_artifact(root, writer(NEW))
        except StoreError:
            assert (root / "current").readlink() == Path(before.version)
            read = seen_from(f"m{first}", tmp_path, monkeypatch)
            # the answer of the pointer's put was lost: the store has the new version, whole, and the writer may try again
            assert read.files in ((before.files, artifact_files(NEW, tmp_path)) if after else (before.files,))
            continue
        break
    else:
        pytest.fail("it never went through")
    assert first == 6  # the old manifest asked for, three files, manifest, pointer: no request was left out
    assert seen_from("last", tmp_path, monkeypatch).files == new.files == read_artifact(root).files


def artifact_files(files: dict[str, bytes], tmp_path: Path) -> dict[str, str]:
    return write_artifact(tmp_path / "aside", writer(files), in_store=False).files


@pytest.mark.fault("store_down")
@pytest.mark.parametrize("fresh", [True, False])
def test_a_reader_of_a_store_that_is_down_gets_an_error_and_never_an_old_copy(root, tmp_path, monkeypatch, fresh):
    before = write_artifact(root, writer(OLD))
    home = tmp_path / ("fresh" if fresh else "home")
    monkeypatch.setenv("TFT_HOME", str(home))
    for first in range(20):
        try:
            with requests_fail(first=first):
                read = read_artifact(home / ASSET)
        except StoreError:
            fetched = [path.name for path in (tmp_path / "fresh" / ASSET).glob("*")]
            assert fetched in ([], [before.version]) or first == 5  # a whole version or nothing; the link last
            continue
        break
    assert first == (
        6 if fresh else 1
    )  # pointer, manifest, three files, pointer again after the link; or the pointer alone
    assert read.files == before.files


@pytest.mark.slow
@pytest.mark.fault("store_down")
def test_a_server_that_was_stopped_is_named_with_the_remedy(tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer

    use_store(monkeypatch, "s3", tmp_path)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    server.stop()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    try:
        with pytest.raises(StoreError, match=r"Could not connect.*see that the store answers.*unset TFT_STORE"):
            read_artifact(tmp_path / "home" / ASSET)
    finally:
        S3FileSystem.clear_instance_cache()


@pytest.mark.fault("store_writers")
def test_of_two_writers_at_once_the_last_one_wins_and_both_versions_are_whole(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    root = tmp_path / "home" / ASSET
    seen: list[dict[str, str]] = []
    written: list[dict[str, str]] = []
    done = threading.Event()

    def write(name: str) -> None:
        for k in range(10):
            written.append(write_artifact(root, writer({f"part{p}": f"{name}{k}".encode() for p in range(3)})).files)

    def read() -> None:
        while not done.is_set():
            seen.append(read_artifact(root).files)

    write_artifact(root, writer(OLD))
    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join(120)
    done.set()
    reader.join(120)
    last = read_artifact(root)
    assert len(written) == 20
    assert last.files in written
    assert (root / "current").readlink() == Path(last.version)
    assert len(seen) > 3
    assert seen_from("fresh", tmp_path, monkeypatch).files == last.files


@pytest.mark.slow
@pytest.mark.fault("store_down")
def test_an_uploader_killed_at_any_request_leaves_the_old_or_the_new_and_the_next_one_goes_through(
    root, tmp_path, monkeypatch
):
    command = [sys.executable, "-m", "tft_pipeline_tests.faults.scripted_uploader"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        valid = write_artifact(root, writer(OLD)).files
        outcomes = []
        # killed before a request is killed after the one before it; the last one is killed after, too
        for at, when in [*((number, "before") for number in range(7)), (5, "after")]:
            process.stdin.write(f"{root} {when}{at} {at} {when}\n")
            process.stdin.flush()
            ended = process.stdout.readline().strip()
            read = seen_from(f"{when}{at}", tmp_path, monkeypatch).files
            whole = artifact_files({f"part{k}": f"{when}{at}".encode() * 100 for k in range(3)}, tmp_path)
            assert read in (valid, whole)
            outcomes.append((ended, "new" if read == whole else "old"))
            valid = read
        process.stdin.close()
        assert process.wait(60) == 0
    assert outcomes == [("killed", "old")] * 6 + [("done 0", "new"), ("killed", "new")]
    again = write_artifact(root, writer(NEW))
    assert seen_from("last", tmp_path, monkeypatch).files == again.files
