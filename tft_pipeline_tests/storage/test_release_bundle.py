"""A bundle is read whole and verified, or refused by name before anything of it is parsed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tft_pipeline.model.fit import FittedFold
from tft_pipeline.storage import release_bundle, releases
from tft_pipeline.storage.artifacts import MANIFEST, ArtifactMissingError, IntegrityError
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.release_bundle import (
    FORM_FILES,
    SIGNATURE_FILE,
    WEIGHTS_FILE,
    ReleaseBundle,
    current_bundle,
    read_release_bundle,
)
from tft_pipeline_tests.made_bundles import made_bundle
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), network=NETWORK, epochs=1)


@pytest.fixture(scope="module")
def original(fitted: FittedFold, tmp_path_factory: pytest.TempPathFactory) -> ReleaseBundle:
    return made_bundle(tmp_path_factory.mktemp("models") / "versions", fitted)


@pytest.fixture
def folder(original: ReleaseBundle, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(original.artifact.folder, tmp_path / "r1")
    return tmp_path / "r1"


@pytest.fixture
def nothing_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing a signature fails the test."""

    def parsed(*_: object) -> None:
        raise AssertionError("something was parsed before it was verified")

    monkeypatch.setattr(release_bundle.Signature, "from_dict", parsed)
    monkeypatch.setattr(release_bundle, "_json", parsed)


def reseal(folder: Path) -> None:
    """A manifest of the folder as it stands now: a careful forger's."""
    body = json.loads((folder / MANIFEST).read_text())
    del body["manifest_sha256"]
    body["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    write_manifest(folder, body)


def write_manifest(folder: Path, body: dict) -> None:
    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    (folder / MANIFEST).write_text(canonical_json({**body, "manifest_sha256": digest}))


def edit_signature(folder: Path, changes: dict) -> None:
    stored = json.loads((folder / SIGNATURE_FILE).read_text())
    (folder / SIGNATURE_FILE).write_text(canonical_json(stored | changes))
    reseal(folder)


def test_what_was_written_is_read_back(original: ReleaseBundle, fitted: FittedFold) -> None:
    read = read_release_bundle(original.artifact.folder)
    assert read == original
    assert read.model_id == "r1"
    assert set(read.signature.forms.values()) == {"window.onnx", "stream.onnx"}
    assert read.onnx("onnx_window") == (read.artifact.folder / "window.onnx").read_bytes()
    again = read.fitted()
    assert again.scaler == fitted.scaler
    assert all((again.state[name] == value).all() for name, value in fitted.state.items())


def test_the_live_bundle_is_that_of_the_link_and_none_is_its_own_error(original: ReleaseBundle, tmp_path: Path) -> None:
    assert current_bundle(original.artifact.folder.parents[1]) == original
    with pytest.raises(ArtifactMissingError):
        current_bundle(tmp_path)


def test_a_link_that_moves_while_a_bundle_is_read_mixes_nothing(
    original: ReleaseBundle, tmp_path: Path, monkeypatch
) -> None:
    """The link is swapped after it was resolved: what was resolved is read to its end."""
    models = tmp_path / "models"
    for name in ("r1", "r2"):
        shutil.copytree(original.artifact.folder, models / "versions" / name)
    os.symlink("r1", models / "versions" / "current")
    verify = release_bundle.read_artifact

    def verify_and_swap(root: Path, *, in_store: bool) -> object:
        found = verify(root, in_store=in_store)
        (root / "current").unlink()
        os.symlink("r2", root / "current")
        return found

    monkeypatch.setattr(release_bundle, "read_artifact", verify_and_swap)
    bundle = current_bundle(models)
    assert bundle.model_id == "r1"
    assert all(bundle.artifact.path(name).parent.name == "r1" for name in bundle.artifact.files)


@pytest.mark.usefixtures("nothing_is_parsed")
def test_a_flipped_bit_in_any_file_is_refused_by_name_before_anything_is_parsed(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    assert {path.name for path in files} >= {*FORM_FILES.values(), SIGNATURE_FILE, WEIGHTS_FILE, "network.json"}
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(IntegrityError, match=path.name):
                read_release_bundle(folder)
        path.write_bytes(whole)


@pytest.mark.usefixtures("nothing_is_parsed")
def test_missing_extra_linked_and_emptied_files_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    for name in sorted(path.name for path in folder.iterdir()):
        path, aside = folder / name, tmp_path / "aside"
        path.rename(aside)
        with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
            read_release_bundle(folder)
        path.symlink_to(aside)
        with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
            read_release_bundle(folder)
        path.unlink()
        path.write_bytes(b"")
        with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
            read_release_bundle(folder)
        aside.replace(path)
    (folder / "more.bin").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"unlisted files \['more\.bin'\]"):
        read_release_bundle(folder)


@pytest.mark.usefixtures("nothing_is_parsed")
def test_a_truncated_manifest_is_refused_wherever_it_is_cut(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    for stop in range(0, len(whole) - 1, 64):
        (folder / MANIFEST).write_bytes(whole[:stop])
        with pytest.raises(IntegrityError, match=r"manifest\.json"):
            read_release_bundle(folder)


@pytest.mark.usefixtures("nothing_is_parsed")
@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "..", "a\\..\\secret", "a\0b"])
def test_a_manifest_that_names_a_place_outside_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"deep")
    body = json.loads((folder / MANIFEST).read_text())
    del body["manifest_sha256"]
    body["files"][name] = {"bytes": 4, "sha256": hashlib.sha256(b"deep").hexdigest()}
    write_manifest(folder, body)
    with pytest.raises(IntegrityError, match="missing files"):
        read_release_bundle(folder)


def test_a_signature_of_other_weights_is_refused(folder: Path) -> None:
    edit_signature(folder, {"weights_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="its scaler and forms are another model's"):
        read_release_bundle(folder)


def test_a_signature_that_names_a_form_that_is_not_there_is_refused(folder: Path) -> None:
    (folder / "stream.onnx").unlink()
    reseal(folder)
    with pytest.raises(IntegrityError, match=r"names stream\.onnx, which is not there"):
        read_release_bundle(folder)


@pytest.mark.parametrize("place", ["../window.onnx", "/etc/hostname", ".hidden", "a/b"])
def test_a_signature_whose_form_lies_outside_is_refused(folder: Path, place: str) -> None:
    edit_signature(folder, {"forms": {"onnx_window": place, "onnx_stream": "stream.onnx"}})
    with pytest.raises(ValueError, match="plain name"):
        read_release_bundle(folder)


def test_a_signature_that_is_none_says_where_and_why(folder: Path) -> None:
    edit_signature(folder, {"lookback": "many"})
    with pytest.raises(ValueError, match=r"signature\.json: lookback is 'many', no whole number"):
        read_release_bundle(folder)
    (folder / SIGNATURE_FILE).write_text("{")
    reseal(folder)
    with pytest.raises(ValueError, match=r"signature\.json is no JSON"):
        read_release_bundle(folder)


def test_a_release_from_before_signatures_says_so(folder: Path) -> None:
    (folder / SIGNATURE_FILE).unlink()
    reseal(folder)
    with pytest.raises(IntegrityError, match="release again"):
        read_release_bundle(folder)


def test_a_file_that_changes_after_it_was_verified_is_not_run(folder: Path) -> None:
    bundle = read_release_bundle(folder)
    for name in ("window.onnx", "network.json"):
        damaged = bytearray((folder / name).read_bytes())
        damaged[-1] ^= 1
        (folder / name).write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"window\.onnx: SHA-256"):
        bundle.onnx("onnx_window")
    with pytest.raises(IntegrityError, match=r"network\.json: SHA-256"):
        bundle.document("network.json")


def test_a_form_that_is_not_carried_says_why(tmp_path: Path) -> None:
    lstm = small_fit(random_panel(), network=NETWORK.model_copy(update={"family": "lstm"}), epochs=1)
    bundle = made_bundle(tmp_path / "versions", lstm)
    assert bundle.onnx("onnx_window")
    with pytest.raises(ValueError, match="does not carry the form onnx_stream: an lstm starts from zero states"):
        bundle.onnx("onnx_stream")
    with pytest.raises(ValueError, match="there is no such form"):
        bundle.onnx("quick")


def test_no_file_of_a_bundle_is_a_pickle_or_an_archive(original: ReleaseBundle) -> None:
    no_pickles(original.artifact.folder)


def no_pickles(folder: Path) -> None:
    """No file begins as a pickle of any protocol, or as a zip, which torch.save writes."""
    import pickletools

    for path in folder.iterdir():
        content = path.read_bytes()
        assert not content.startswith(
            (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x1f\x8b")
        ), path
        assert b"__reduce__" not in content, path
        try:
            opcodes = [opcode.name for opcode, _, _ in pickletools.genops(content)]
        except Exception:  # not a stream of pickle's opcodes, which is what is wanted
            continue
        raise AssertionError(f"{path} reads as a pickle: {opcodes[:5]}")


def test_its_names_are_those_of_the_releases() -> None:
    """They are spelt out again so that live code need not import what deploys."""
    for name in ("CARD_FILE", "WEIGHTS_FILE", "GATE_FILE", "VERSIONS"):
        assert getattr(release_bundle, name) == getattr(releases, name)
