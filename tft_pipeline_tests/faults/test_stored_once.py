"""A fault of storing costs no second training and makes no second release. Small assets: `test_two_writers`."""

from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.pipeline import io_managers
from tft_pipeline.pipeline.assets import release as release_asset
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.io_managers import FoldBundleIOManager, ReportIOManager
from tft_pipeline.storage.artifacts import Artifact
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline.storage.releases import release_ids
from tft_pipeline_tests.conftest import Workbench

pytestmark = pytest.mark.fault("transient_fault")


def materialise(bench: Workbench, asset: str, partition: str | None = None) -> dict[str, Any]:
    return materialise_asset(bench.file, asset, partition=partition, downstream=False, report=lambda _: None)


def test_a_fault_while_a_release_is_recorded_makes_no_second_version(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tries = finished.layout.models("small"), []
    before, store = release_ids(models), ReportIOManager._store

    def fails_once(manager: ReportIOManager, root: Path, value: Any) -> tuple[Artifact, dict[str, Any]]:
        tries.append(root.name)
        if len(tries) == 1:
            raise ConnectionResetError("the store hung up")
        return store(manager, root, value)

    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(ReportIOManager, "_store", fails_once)
    done = materialise(finished, "release")
    assert not done["failed"], done
    assert tries == ["release", "release"]
    assert len(release_ids(models)) == len(before) + 1


@pytest.mark.slow
def test_a_fault_after_a_version_was_written_does_not_write_another_by_itself(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs_up(*_: object) -> str | None:
        raise ConnectionResetError("the server hung up")

    models = finished.layout.models("small")
    before = release_ids(models)
    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(release_asset, "follow", hangs_up)
    (failed,) = materialise(finished, "release")["failed"]
    assert "the server hung up" in failed["reason"]
    assert len(release_ids(models)) == len(before) + 1
    with finished.instance() as instance:
        run = instance.get_run_by_id(failed["run_id"])
    assert run is not None
    assert run.tags["dagster/max_retries"] == "0"  # the daemon launches it no second time either


def test_a_store_that_is_away_while_a_spec_is_read_is_asked_again(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, read = [], io_managers.read_artifact

    def fails_once(root: Path) -> Artifact:
        asked.append(root.name)
        if len(asked) == 1:
            raise StoreError("no answer", may_pass=True)
        return read(root)

    monkeypatch.setattr("tft_pipeline.pipeline.transient.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(io_managers, "read_artifact", fails_once)
    assert not materialise(finished, "production_fold", finished.folds()[0])["failed"]
    assert asked[:2] == ["production_plan", "production_plan"]


def test_a_fold_that_could_not_be_stored_is_not_trained_again(
    finished: Workbench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = finished.folds()[-1]
    state = finished.layout.training_state("small", "production", key)

    def fails(*_: object) -> tuple[Artifact, dict[str, Any]]:
        raise OSError("the disk broke")

    with monkeypatch.context() as patch:
        patch.setattr(FoldBundleIOManager, "_store", fails)
        (failed,) = materialise(finished, "production_fold", key)["failed"]
    assert "the disk broke" in failed["reason"]
    assert state.is_file()
    monkeypatch.setattr("tft_pipeline.model.fit._trainer", None)
    with caplog.at_level("INFO", "tft_pipeline"):
        assert not materialise(finished, "production_fold", key)["failed"]
    assert "training goes on after epoch" in caplog.text
    assert not list(state.parent.iterdir())
