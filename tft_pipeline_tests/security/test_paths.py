"""Names that people, exchanges and files give never lead out of the folder they belong to.

Links, `..` and absolute names inside versions: `storage/test_artifacts.py`; inside bundles: `storage/test_release_bundle.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tft_pipeline.__main__ import main
from tft_pipeline.live.sealed_json import DamagedRecordError, read_sealed
from tft_pipeline.model.tuning_control import ControlFileError, read_control
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.storage.artifacts import IntegrityError, read_version, write_artifact
from tft_pipeline.storage.downloads import _folder_name
from tft_pipeline.storage.release_bundle import read_release_bundle
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.report_records import made_records

pytestmark = pytest.mark.fault("hostile_files")
DEEP = "[" * 200_000 + "]" * 200_000
STRANGE = ["../../escape", "..", "/etc", "~root", "a/../../b", "a\nb", "--help=x", "$(touch owned)", "x" * 500]


def files(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "market", ["BTC/USDT", "..", ".", "../../x", "/etc", "a\0b", ".hidden", "a\\b", "%2E%2E", "=cmd()"]
)
def test_a_market_of_any_name_has_a_folder_right_below_that_of_its_exchange(market: str, tmp_path: Path) -> None:
    place = tmp_path / "downloads" / _folder_name(market)
    assert place.resolve() == place
    assert place.parent == tmp_path / "downloads"
    assert not place.name.startswith(".")


def test_markets_of_different_names_have_different_folders() -> None:
    markets = ["..", ".", "%2E.", "%2E", "a.b", "a%2Eb", "A/B", "A%2FB"]
    assert len({_folder_name(market) for market in markets}) == len(markets)


COMMANDS = [
    ["card", "--experiment", "STRANGE"],
    ["status", "--experiment", "STRANGE"],
    ["deploy", "--experiment", "STRANGE"],
    ["rollback", "STRANGE", "--experiment", "STRANGE"],
    ["predict", "--bars", "STRANGE", "--experiment", "STRANGE"],
    ["drift", "--experiment", "STRANGE", "--snapshot", "STRANGE"],
    ["train", "--snapshot", "STRANGE"],
    ["bench", "--experiment", "STRANGE"],
    ["kill-switch", "status", "--experiment", "STRANGE"],
    ["run", "STRANGE"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_commands_refuse_names_that_are_paths_and_write_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "in" / "home"
    home.mkdir(parents=True)
    monkeypatch.setenv("TFT_HOME", str(home))
    monkeypatch.chdir(tmp_path / "in")
    for strange in STRANGE:
        monkeypatch.setattr(sys, "argv", ["tft", *(strange if word == "STRANGE" else word for word in words)])
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr().err
        assert leaving.value.code in (1, 2), (strange, said)
        assert "Traceback" not in said
        assert said.strip(), strange
    assert files(tmp_path) <= {"in", "in/home"}


def test_a_fold_key_that_is_a_path_leaves_no_file_outside_its_experiment(
    workbench: Callable[..., Workbench], tmp_path: Path
) -> None:
    """Somebody adds such a partition in the UI; the plan does not know it."""
    bench, key = workbench(), "../../../../escape"
    plan = made_records().plan.model_dump_json()
    root = bench.layout.artifact("small", "production_plan")
    write_artifact(root, lambda folder: (folder / REPORT_FILE).write_text(plan))
    with bench.instance() as instance:
        instance.add_dynamic_partitions("small_production_folds", [key])
    before = files(tmp_path) - {path for path in files(tmp_path) if path.startswith("fresh/home")}
    done = materialise_asset(bench.file, "production_fold", partition=key, downstream=False, report=print)
    assert done["failed"]
    assert {path for path in files(tmp_path) if not path.startswith("fresh/home")} == before
    assert not any("escape" in path for path in files(tmp_path))


def test_a_control_file_nested_without_end_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    path.write_text(DEEP)
    with pytest.raises(ControlFileError, match="nested too deeply"):
        read_control(path)


def test_a_record_of_the_live_loop_nested_without_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    path.write_text(DEEP)
    with pytest.raises(DamagedRecordError, match="nested too deeply"):
        read_sealed(path)


def test_a_signature_nested_without_end_is_refused(tmp_path: Path) -> None:
    found = write_artifact(tmp_path / "r", lambda folder: (folder / "signature.json").write_text(DEEP))
    with pytest.raises(ValueError, match="nested too deeply"):
        read_release_bundle(found.folder)


def test_a_manifest_nested_without_end_is_refused(tmp_path: Path) -> None:
    found = write_artifact(tmp_path / "r", lambda folder: (folder / "data.txt").write_text("x"))
    (found.folder / "manifest.json").write_text(DEEP)
    with pytest.raises(IntegrityError, match="not a manifest"):
        read_version(found.folder)
