"""A manifest that is cut, wherever: of a version, of frozen bars, of a release. None of it is read as if it were whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.artifacts import MANIFEST, IntegrityError, read_artifact, write_artifact
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.frozen import frozen_snapshot, write_frozen
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.releases import deploy_problems, released_version, write_version
from tft_pipeline_tests.faults.frozen_bars import bars
from tft_pipeline_tests.faults.scripted_writer import fill
from tft_pipeline_tests.released import files_of

STEP = 64
Read = Callable[[], object]


def version(root: Path) -> tuple[Path, Read]:
    folder = write_artifact(root / "asset", lambda stage: fill(stage, "text")).folder
    return folder, lambda: read_artifact(root / "asset")


def frozen(root: Path) -> tuple[Path, Read]:
    folder, snapshot = write_frozen(Layout(root), bars(30), interval="1d", source={"name": "bars.parquet"})
    return folder, lambda: frozen_snapshot(snapshot.snapshot_id, Layout(root))


def release(root: Path) -> tuple[Path, Read]:
    write_version(root, release_id="r1", fill=files_of("r1", "one"))
    deploy_release(root, "r1", reason="", automatic=True)
    folder = root / "versions" / "r1"
    folder.chmod(0o755)
    (folder / MANIFEST).chmod(0o644)
    return folder, lambda: released_version(root, "r1")


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize("kind", [version, frozen, release])
def test_a_manifest_cut_at_every_64_bytes_is_refused_by_name(
    kind: Callable[[Path], tuple[Path, Read]], tmp_path: Path
) -> None:
    folder, read = kind(tmp_path)
    read()
    manifest = folder / MANIFEST
    whole = manifest.read_bytes()
    cuts = [*range(0, len(whole) - 1, STEP), len(whole) - 2]  # the line break at the end says nothing
    assert len(cuts) > 4
    for cut in cuts:
        manifest.write_bytes(whole[:cut])
        with pytest.raises((IntegrityError, ConfigurationError), match=r"manifest\.json|is missing|damaged") as caught:
            read()
        assert str(folder) in str(caught.value), cut
        if kind is release:
            assert deploy_problems(tmp_path) != []
    manifest.write_bytes(whole)
    read()


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("kind", [version, frozen])
def test_a_manifest_with_a_number_that_is_none_is_refused_by_name(
    kind: Callable[[Path], tuple[Path, Read]], number: str, tmp_path: Path
) -> None:
    folder, read = kind(tmp_path)
    manifest = folder / MANIFEST
    body = json.loads(manifest.read_text())
    listed = next(iter(body["files"].values()))
    manifest.write_text(manifest.read_text().replace(f'"bytes": {listed["bytes"]}', f'"bytes": {number}', 1))
    with pytest.raises((IntegrityError, ConfigurationError), match=r"manifest\.json"):
        read()


@pytest.mark.fault("bad_manifest")
@pytest.mark.parametrize("kind", [version, frozen, release])
def test_a_folder_with_a_file_too_many_or_too_few_is_refused_by_name(
    kind: Callable[[Path], tuple[Path, Read]], tmp_path: Path
) -> None:
    folder, read = kind(tmp_path)
    (folder / "extra").write_text("x")
    with pytest.raises((IntegrityError, ConfigurationError), match=r"unlisted files.*extra"):
        read()
    (folder / "extra").unlink()
    first = sorted(path for path in folder.iterdir() if path.name != MANIFEST)[0]
    shutil.move(first, tmp_path / "aside")
    with pytest.raises((IntegrityError, ConfigurationError), match=rf"missing files.*{first.name}"):
        read()
