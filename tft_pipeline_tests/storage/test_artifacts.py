import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import (
    CURRENT,
    MANIFEST,
    ArtifactMissingError,
    IntegrityError,
    read_artifact,
    read_version,
    sha256_file,
    write_artifact,
)
from tft_pipeline.storage.atomic import canonical_json

FILES = {"data.bin": bytes(range(256)) * 4, "report.json": b'{"a": 1}', "part/deep.txt": b"deep"}


def writer(files: dict[str, bytes]):
    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return fill


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x01
    path.write_bytes(content)


def sealed(folder: Path, body: dict) -> None:
    """A manifest whose own hash is right, whatever it says."""
    import hashlib

    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    (folder / MANIFEST).write_text(canonical_json({**body, "manifest_sha256": digest}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "asset", writer(FILES))
    return tmp_path / "asset"


def test_what_was_written_is_read_back_with_hashes_and_size(root):
    artifact = read_artifact(root)
    assert {name: artifact.path(name).read_bytes() for name in artifact.files} == FILES
    assert artifact.files == {name: sha256_file(artifact.folder / name) for name in FILES}
    assert artifact.n_bytes == sum(len(content) for content in FILES.values())
    assert names(root) == {CURRENT, artifact.version}


def test_a_file_that_is_not_listed_has_no_path(root):
    with pytest.raises(IntegrityError, match="other is not listed"):
        read_artifact(root).path("other")


def test_nothing_written_is_its_own_error(tmp_path):
    with pytest.raises(ArtifactMissingError, match="materialise this asset first"):
        read_artifact(tmp_path / "asset")


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_flipped_bit_in_any_file_is_refused_and_both_hashes_are_named(root, name):
    artifact = read_artifact(root)
    rng = random.Random(1)
    for position in {0, len(FILES[name]) - 1, rng.randrange(len(FILES[name]))}:
        flip(artifact.folder / name, position)
        with pytest.raises(IntegrityError, match=name) as caught:
            read_artifact(root)
        assert artifact.files[name] in str(caught.value)
        assert sha256_file(artifact.folder / name) in str(caught.value)
        flip(artifact.folder / name, position)
    assert read_artifact(root) == artifact


@pytest.mark.fault("flipped_byte", "bad_manifest")
def test_a_flipped_bit_anywhere_in_the_manifest_is_refused(root):
    manifest = read_artifact(root).folder / MANIFEST
    whole = manifest.read_bytes()
    accepted = []
    for position in range(len(whole)):
        flip(manifest, position)
        try:
            read_artifact(root)
            accepted.append(position)
        except IntegrityError:
            pass
        manifest.write_bytes(whole)
    # a blank turned into another blank changes no content
    assert {whole[position] for position in accepted} <= set(b" \n")


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8, 0.99])
def test_a_truncated_manifest_is_refused(root, share):
    manifest = read_artifact(root).folder / MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize(
    "content",
    [b"[]", b"1", b"null", b"\xff\xfe", b"{}", b'{"manifest_sha256": "x"}', b'{"manifest_sha256": "x", "files": 1}'],
)
def test_what_is_no_manifest_is_refused(root, content):
    (read_artifact(root).folder / MANIFEST).write_bytes(content)
    with pytest.raises(IntegrityError, match="is not a manifest"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
def test_a_manifest_with_a_number_that_json_does_not_know_is_refused(root):
    manifest = read_artifact(root).folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('"bytes": 4', '"bytes": NaN'))
    with pytest.raises(IntegrityError, match="is not a manifest"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
def test_an_absent_manifest_is_refused(root):
    (read_artifact(root).folder / MANIFEST).unlink()
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
def test_a_missing_and_an_extra_file_are_named(root):
    folder = read_artifact(root).folder
    (folder / "data.bin").rename(folder / "part" / "other.bin")
    with pytest.raises(IntegrityError, match=r"missing files \['data.bin'\], unlisted files \['part/other.bin'\]"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
def test_an_extra_file_alone_is_refused(root):
    (read_artifact(root).folder / "part" / "extra").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"missing files \[\], unlisted files \['part/extra'\]"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize("target", ["inside", "outside", "dangling"])
def test_a_file_replaced_by_a_link_to_the_same_bytes_is_refused(root, tmp_path, target):
    folder = read_artifact(root).folder
    copy = tmp_path / "copy.bin"
    shutil.copy(folder / "data.bin", copy)
    (folder / "data.bin").unlink()
    places = {"inside": Path("report.json"), "outside": copy, "dangling": Path("nowhere")}
    (folder / "data.bin").symlink_to(places[target])
    with pytest.raises(IntegrityError, match=r"data\.bin is a link"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
def test_a_folder_that_is_a_link_is_refused(root, tmp_path):
    folder = read_artifact(root).folder
    shutil.copytree(folder / "part", tmp_path / "elsewhere")
    shutil.rmtree(folder / "part")
    (folder / "part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
def test_a_manifest_that_lists_a_file_outside_its_folder_is_refused(root):
    folder = read_artifact(root).folder
    (root / "secret").write_bytes(b"deep")
    body = json.loads((folder / MANIFEST).read_text())
    del body["manifest_sha256"]
    body["files"]["../secret"] = body["files"].pop("part/deep.txt")
    (folder / "part" / "deep.txt").unlink()
    sealed(folder, body)
    with pytest.raises(IntegrityError, match=r"missing files \['\.\./secret'\]"):
        read_artifact(root)


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize("target", ["../elsewhere", "/tmp", "..", ".hidden", "a/b", "a\nb", "v1\n"])
def test_a_current_link_that_leaves_the_artifact_is_refused(root, target):
    (root / CURRENT).unlink()
    os.symlink(target, root / CURRENT)
    with pytest.raises(IntegrityError, match="not a version of this artifact"):
        read_artifact(root)


def test_a_current_link_to_a_version_that_is_gone_is_refused(root):
    shutil.rmtree(read_artifact(root).folder)
    with pytest.raises(IntegrityError, match="is missing"):
        read_artifact(root)


@pytest.mark.parametrize(
    "version", ["../x", "..", "/abs", "a/b", ".hidden", "a\\b", "a\0b", "a b", "x" * 129, "", "v1\n", "current"]
)
def test_a_version_name_that_is_no_plain_name_is_refused(root, version):
    before = read_artifact(root)
    with pytest.raises(ValueError, match="is not a plain name"):
        write_artifact(root, writer({"f": b"1"}), version=version)
    assert read_artifact(root) == before


@pytest.mark.fault("disk_full")
def test_a_failing_writer_leaves_the_version_before_it_current_and_nothing_half_written(root):
    before, listed = read_artifact(root), names(root)

    def fails(folder: Path) -> None:
        (folder / "data.bin").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_artifact(root, fails)
    assert names(root) == listed
    assert read_artifact(root) == before


def test_a_writer_that_leaves_a_link_makes_no_version_current(root):
    before = read_artifact(root)
    with pytest.raises(IntegrityError, match="is a link"):
        write_artifact(root, lambda folder: (folder / "f").symlink_to("/etc/hostname"))
    assert read_artifact(root) == before


def test_a_writer_may_not_fill_the_manifest_itself(root):
    before, listed = read_artifact(root), names(root)
    with pytest.raises(ValueError, match=r"the writer made a file manifest\.json"):
        write_artifact(root, writer({MANIFEST: b"{}"}))
    assert read_artifact(root) == before
    assert names(root) == listed


def test_equal_bytes_are_one_version_and_other_bytes_another(root):
    first = read_artifact(root)
    assert write_artifact(root, writer(dict(reversed(FILES.items())))) == first
    assert names(root) == {CURRENT, first.version}
    second = write_artifact(root, writer({**FILES, "data.bin": b"new"}))
    assert names(root) == {CURRENT, first.version, second.version}
    assert read_artifact(root) == second
    assert read_version(root / first.version) == first


def test_names_count_in_a_version(tmp_path):
    one = write_artifact(tmp_path, writer({"a": b"x"}))
    assert write_artifact(tmp_path, writer({"b": b"x"})).version != one.version


def test_going_back_to_older_content_makes_its_version_current_again(root):
    first = read_artifact(root)
    write_artifact(root, writer({"f": b"new"}))
    inode = first.folder.stat().st_ino
    assert write_artifact(root, writer(FILES)) == first
    assert read_artifact(root).folder.stat().st_ino == inode


def test_a_version_is_never_overwritten_by_other_bytes(tmp_path):
    first = write_artifact(tmp_path, writer({"f": b"1"}), version="v1")
    with pytest.raises(FileExistsError, match="v1 exists with other content"):
        write_artifact(tmp_path, writer({"f": b"2"}), version="v1")
    assert read_artifact(tmp_path) == first
    assert write_artifact(tmp_path, writer({"f": b"1"}), version="v1") == first


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("version", [None, "v1"])
def test_a_damaged_equal_version_is_set_aside_and_written_anew(tmp_path, version):
    first = write_artifact(tmp_path, writer(FILES), version=version)
    flip(first.folder / "data.bin", 5)
    again = write_artifact(tmp_path, writer(FILES), version=version)
    assert again == first
    assert read_artifact(tmp_path) == first
    (aside,) = (path for path in tmp_path.iterdir() if path.name.startswith(".damaged-"))
    assert (aside / "data.bin").read_bytes() != FILES["data.bin"]


LOOP = """
import sys
from pathlib import Path
from tft_pipeline.storage.artifacts import write_artifact
root, start = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for k in range(start, start + 100_000):
    def fill(folder):
        for part in range(3):
            (folder / f"part{part}").write_text(f"{k}\\n" * 2000)
    write_artifact(root, fill)
"""


@pytest.mark.fault("kill_artifact")
def test_kill_9_at_any_moment_never_leaves_a_torn_current(tmp_path):
    root, rng = tmp_path / "asset", random.Random(3)
    seen, killed_in_a_write = [-1], 0
    for k in range(30):
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(root), str(100_000 * k)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process.stdout as stream:
            assert stream.readline() == "ready\n"
            time.sleep(0.005 + 0.03 * rng.random())
            process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        if not (root / CURRENT).is_symlink():
            continue
        artifact = read_artifact(root)
        content = {artifact.path(f"part{part}").read_text() for part in range(3)}
        assert len(content) == 1
        seen.append(int(content.pop().split("\n")[0]))
        killed_in_a_write += any(name.startswith(".stage-") for name in names(root))
    assert seen == sorted(seen)
    assert seen[-1] >= 100_000 * 20
    assert killed_in_a_write > 5
    write_artifact(root, writer(FILES))
    assert read_artifact(root).files.keys() == FILES.keys()
