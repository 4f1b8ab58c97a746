"""The contract of versions, held by no store, a folder and an S3 server alike; and what only a store has."""

import errno
import json
import shutil
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.artifacts import (
    CURRENT,
    ArtifactMissingError,
    IntegrityError,
    read_artifact,
    read_version,
    sha256_file,
    write_artifact,
)
from tft_pipeline.storage.object_store import MovedError, ObjectStore, StoreError, open_store
from tft_pipeline.storage.stored_versions import DamagedCopyWarning, stored_place
from tft_pipeline_tests.object_stores import KINDS, SECRET, STORES, requests_fail, use_store, writer

FILES = {"data.bin": bytes(range(256)) * 4, "report.json": b'{"a": 1}', "part/deep.txt": b"deep"}
ASSET = "experiments/small/features"


@pytest.fixture(params=KINDS)
def root(request, tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, request.param, tmp_path)
    return tmp_path / "home" / ASSET


@pytest.fixture(params=STORES)
def stored(request, tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, request.param, tmp_path)
    return tmp_path / "home" / ASSET


@pytest.fixture
def on_s3(tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, "s3", tmp_path)
    return tmp_path / "home" / ASSET


def other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "other") -> Path:
    """The same store, seen from an empty home."""
    monkeypatch.setenv("TFT_HOME", str(tmp_path / name))
    return tmp_path / name / ASSET


def store() -> ObjectStore:
    found = open_store()
    assert found is not None
    return found


def pointer(at: str = ASSET) -> dict:
    return json.loads(store().get(f"{at}/current.json") or b"{}")


# the contract


def test_what_was_written_is_read_back(root):
    written = write_artifact(root, writer(FILES))
    read = read_artifact(root)
    assert read == written
    assert {name: read.path(name).read_bytes() for name in read.files} == FILES
    assert (root / CURRENT).readlink() == Path(written.version)


def test_nothing_written_is_its_own_error(root):
    with pytest.raises(ArtifactMissingError, match="materialise this asset first"):
        read_artifact(root)


def test_a_newer_version_is_the_one_that_is_read_and_the_older_one_stays(root):
    first = write_artifact(root, writer(FILES))
    second = write_artifact(root, writer({"f": b"new"}))
    assert read_artifact(root) == second
    assert read_version(first.folder) == first
    assert write_artifact(root, writer(FILES)) == first
    assert read_artifact(root) == first


def test_a_named_version_is_never_overwritten_by_other_bytes(root):
    first = write_artifact(root, writer({"f": b"1"}), version="v1")
    with pytest.raises(FileExistsError, match="v1 exists with other content"):
        write_artifact(root, writer({"f": b"2"}), version="v1")
    assert read_artifact(root) == first


def test_a_failing_writer_changes_nothing(root):
    before = write_artifact(root, writer(FILES))

    def fails(folder: Path) -> None:
        (folder / "half").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_artifact(root, fails)
    assert read_artifact(root) == before


# without a store


def test_without_a_store_nothing_of_it_is_imported(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from tft_pipeline.storage.artifacts import write_artifact, read_artifact\n"
        f"root = Path({str(tmp_path / 'anywhere')!r})\n"
        "write_artifact(root, lambda folder: (folder / 'f').write_text('1') and None); read_artifact(root)\n"
        "assert not {'fsspec', 'tft_pipeline.storage.object_store'} & set(sys.modules), sorted(sys.modules)"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# with a store


def test_another_machine_fetches_the_version_and_its_link(stored, tmp_path, monkeypatch):
    written = write_artifact(stored, writer(FILES))
    elsewhere = other_machine(tmp_path, monkeypatch)
    read = read_artifact(elsewhere)
    assert (read.version, read.files) == (written.version, written.files)
    assert {name: read.path(name).read_bytes() for name in read.files} == FILES
    assert (elsewhere / CURRENT).readlink() == Path(written.version)
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted([CURRENT, written.version])


def test_the_pointer_names_version_manifest_and_time_and_nothing_else(stored):
    written = write_artifact(stored, writer(FILES))
    body = pointer()
    assert set(body) == {"version", "manifest_sha256", "at"}
    assert body["version"] == written.version
    assert body["manifest_sha256"] == json.loads((written.folder / "manifest.json").read_text())["manifest_sha256"]


def test_a_machine_never_reads_what_another_one_has_replaced(stored, tmp_path, monkeypatch):
    write_artifact(stored, writer(FILES))
    elsewhere = other_machine(tmp_path, monkeypatch)
    newer = write_artifact(elsewhere, writer({"f": b"new"}))
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    assert read_artifact(stored).files == newer.files
    assert (stored / CURRENT).readlink() == Path(newer.version)


def test_a_version_that_is_here_is_not_fetched_again(on_s3):
    write_artifact(on_s3, writer(FILES))
    seen: list[str] = []
    with requests_fail(first=99, seen=seen):
        read_artifact(on_s3)
    assert [line.split()[0] for line in seen] == ["get_object"]
    assert seen[0].endswith(f"{ASSET}/current.json")


@pytest.mark.fault("store_torn")
def test_a_damaged_copy_here_is_set_aside_fetched_again_and_said(stored):
    written = write_artifact(stored, writer(FILES))
    (written.folder / "data.bin").write_bytes(b"other")
    with pytest.warns(DamagedCopyWarning, match="set aside and .* was fetched again"):
        read = read_artifact(stored)
    assert read == written
    assert read.path("data.bin").read_bytes() == FILES["data.bin"]
    (aside,) = stored.glob(".damaged-*")
    assert (aside / "data.bin").read_bytes() == b"other"


@pytest.mark.fault("store_torn")
@pytest.mark.parametrize("name", ["data.bin", "part/deep.txt"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_object_is_refused_by_name_and_nothing_is_taken(stored, tmp_path, monkeypatch, name, damage):
    written = write_artifact(stored, writer(FILES))
    key = f"{ASSET}/{written.version}/{name}"
    sound = store().get(key)
    flipped = bytes([sound[0] ^ 1]) + sound[1:]
    elsewhere = other_machine(tmp_path, monkeypatch)
    if damage == "missing":
        store().remove(key)
    else:
        store().put(key, flipped if damage == "flipped" else sound[:-1])
    with pytest.raises(IntegrityError) as caught:
        read_artifact(elsewhere)
    assert key in str(caught.value)
    if damage != "missing":
        assert written.files[name] in str(caught.value)
        copy = tmp_path / "copy"
        copy.write_bytes(store().get(key))
        assert sha256_file(copy) in str(caught.value)
    assert list(elsewhere.iterdir()) == []
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    write_artifact(stored, writer(FILES))  # writing it again mends it
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "other"))
    assert read_artifact(elsewhere).files == written.files


@pytest.mark.fault("store_torn")
def test_a_flipped_bit_in_a_stored_manifest_or_pointer_is_refused(stored, tmp_path, monkeypatch):
    written = write_artifact(stored, writer({"f": b"1"}))
    for key in (f"{ASSET}/{written.version}/manifest.json", f"{ASSET}/current.json"):
        sound = store().get(key)
        for position in range(0, len(sound), 17):
            if sound[position : position + 1] in b" \n" or (
                key.endswith("current.json")
                and b'"at"' in sound[: position + 6]
                and position < sound.index(b"manifest")
            ):
                continue
            elsewhere = other_machine(tmp_path, monkeypatch, f"{key.rsplit('/')[-1]}{position}")
            store().put(key, sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
            with pytest.raises(IntegrityError):
                read_artifact(elsewhere)
        store().put(key, sound)
    assert read_artifact(other_machine(tmp_path, monkeypatch, "sound")).files == written.files


@pytest.mark.fault("store_torn")
def test_a_pointer_to_a_version_that_is_not_there_is_refused(stored, tmp_path, monkeypatch):
    written = write_artifact(stored, writer(FILES))
    store().put(f"{ASSET}/current.json", json.dumps(pointer() | {"version": "absent"}).encode())
    with pytest.raises(IntegrityError, match=r"absent/manifest\.json is missing"):
        read_artifact(other_machine(tmp_path, monkeypatch))
    store().put(f"{ASSET}/current.json", b'{"version": "../../x", "manifest_sha256": "0"}')
    with pytest.raises(IntegrityError, match="is no pointer"):
        read_artifact(other_machine(tmp_path, monkeypatch))
    assert written.folder.is_dir()


@pytest.mark.fault("hostile_names")
@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "./a", "a//b"])
def test_a_stored_manifest_that_leaves_its_folder_is_refused(stored, tmp_path, monkeypatch, name):
    from hashlib import sha256

    from tft_pipeline.storage.atomic import canonical_json

    body = {"schema_version": 1, "files": {name: {"bytes": 1, "sha256": "0" * 64}}}
    digest = sha256(canonical_json(body).encode()).hexdigest()
    store().put(f"{ASSET}/v1/manifest.json", canonical_json(body | {"manifest_sha256": digest}).encode())
    store().put(f"{ASSET}/current.json", json.dumps({"version": "v1", "manifest_sha256": digest}).encode())
    with pytest.raises(IntegrityError, match="leaves its folder"):
        read_artifact(stored)
    assert not (tmp_path / "home" / "experiments" / "secret").exists()


def test_what_lies_here_alone_is_not_used_in_the_stores_place(stored, monkeypatch):
    with monkeypatch.context() as alone:
        alone.delenv("TFT_STORE")
        write_artifact(stored, writer(FILES))
    with pytest.raises(ArtifactMissingError, match="`tft push` puts it there"):
        read_artifact(stored)


def test_a_folder_outside_the_home_is_refused_before_anything_is_written(stored, tmp_path):
    outside = tmp_path / "outside"
    with pytest.raises(ConfigurationError, match="is not below TFT_HOME"):
        write_artifact(outside, writer(FILES))
    assert not outside.exists()
    with pytest.raises(ConfigurationError, match="is not below TFT_HOME"):
        read_artifact(outside)
    built = write_artifact(outside, writer(FILES), in_store=False)
    assert read_artifact(outside, in_store=False) == built
    assert store().names("experiments") == {}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/plain/folder", "no URL"),
        ("s3:bucket", "no URL"),
        ("simplecache::s3://bucket", "no URL"),
        ("s3://bucket/x?versionId=1", "no URL"),
        ("file://relative/folder", "three slashes"),
        ("nonsense://bucket", "cannot be used"),
        ("memory://bucket", "ends with the process"),
        ("http://host/bucket", "nothing can be written"),
        (f"s3://key:{SECRET}@bucket", "may hold credentials"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_in_words_without_secrets(tmp_path, monkeypatch, url, said):
    use_store(monkeypatch, "none", tmp_path)
    monkeypatch.setenv("TFT_STORE", url)
    with pytest.raises(ConfigurationError, match=said) as caught:
        write_artifact(tmp_path / "home" / ASSET, writer(FILES))
    assert SECRET not in str(caught.value)


def test_a_store_inside_the_home_is_refused(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    for place in (tmp_path / "home" / "store", tmp_path):
        monkeypatch.setenv("TFT_STORE", f"file://{place}")
        with pytest.raises(ConfigurationError, match="within each other"):
            stored_place(tmp_path / "home" / ASSET)


def test_no_credentials_in_messages_objects_or_manifests(on_s3, tmp_path):
    written = write_artifact(on_s3, writer(FILES))
    texts = [content for key in store().names("experiments") if (content := store().get(key)) is not None]
    with requests_fail(first=0), pytest.raises(StoreError) as caught:
        read_artifact(on_s3)
    texts += [str(caught.value).encode(), (written.folder / "manifest.json").read_bytes()]
    assert not any(SECRET.encode() in text for text in texts)


def plain_store(name: str) -> ObjectStore:
    return ObjectStore(url=f"memory://{name}", fs=MemoryFileSystem(), root=f"/{name}")


@pytest.mark.parametrize(
    ("cause", "may_pass"),
    [
        (TimeoutError("no answer"), True),
        (ConnectionRefusedError("nobody there"), True),
        (OSError(errno.EBUSY, "SlowDown"), True),
        (PermissionError("Access Denied"), False),
        (OSError(errno.ENOSPC, "full"), False),
        (ValueError("bad request"), False),
    ],
)
def test_an_error_of_the_store_says_whether_it_may_pass(tmp_path, cause, may_pass):
    def ask(path: str) -> bytes:
        raise cause

    with pytest.raises(StoreError) as caught:
        plain_store(tmp_path.name)._asked("read", "a/b", ask)
    assert caught.value.may_pass is may_pass


@pytest.mark.fault("store_writers")
@pytest.mark.parametrize("kind", ["file", "s3", "memory"])
def test_one_of_two_who_create_wins_and_who_replaces_what_has_moved_is_told(kind, tmp_path, monkeypatch):
    use_store(monkeypatch, "none" if kind == "memory" else kind, tmp_path)
    # a protocol of which nothing is known but what fsspec promises; as a store it is refused
    one = plain_store(tmp_path.name) if kind == "memory" else store()
    assert one.get("a/b") is None
    assert one.create("a/b", b"1")
    assert not one.create("a/b", b"2")
    one.replace("a/b", b"3", expected=b"1")
    with pytest.raises(MovedError):
        one.replace("a/b", b"4", expected=b"1")
    with pytest.raises(MovedError):
        one.replace("a/b", b"4", expected=None)
    assert one.get("a/b") == b"3"
    assert list(one.names("a")) == ["a/b"]
    one.remove("a/b")
    one.remove("a/b")
    assert one.get("a/b") is None


@pytest.mark.fault("store_writers")
def test_s3_itself_refuses_a_pointer_that_moved_between_look_and_put(on_s3, monkeypatch):
    one = store()
    one.put("a/b", b"1")
    monkeypatch.setattr(ObjectStore, "_unmoved", lambda self, key, expected: self.put(key, b"in between"))
    with pytest.raises(MovedError):
        one.replace("a/b", b"2", expected=b"1")
    assert one.get("a/b") == b"in between"


@pytest.mark.parametrize("key", ["../x", "/x", "a/../b", "a//b", "a/.hidden", "", "a\\b", "a b"])
def test_a_key_that_is_no_plain_name_is_refused(stored, key):
    with pytest.raises(ValueError, match="is no key"):
        store().put(key, b"1")


def test_a_store_that_is_emptied_is_not_healed_from_a_copy(stored, tmp_path):
    write_artifact(stored, writer(FILES))
    if (tmp_path / "store").is_dir():
        shutil.rmtree(tmp_path / "store")
    else:
        store().fs.rm(store().root, recursive=True)
    with pytest.raises(ArtifactMissingError, match="it is not used in its place"):
        read_artifact(stored)
