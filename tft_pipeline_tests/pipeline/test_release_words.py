"""What the asset `release` says where its version could not be written, or not be made live."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from tft_pipeline.pipeline.assets import release as asset
from tft_pipeline.storage import deploying
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import deployment_lock, linked_release
from tft_pipeline.storage.releases import Release, release_ids
from tft_pipeline_tests.released import candidate, files_of, released


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """r1 is live."""
    released(tmp_path / "models", "r1", "one")
    return tmp_path / "models"


def release(models: Path, release_id: str, why_not: str = "") -> Release:
    graph = SimpleNamespace(name="small", layout=SimpleNamespace(models=lambda _: models))
    return asset._released(graph, release_id, files_of(release_id, release_id), why_not)  # type: ignore[arg-type]


def failure(models: Path, release_id: str = "r2") -> str:
    with pytest.raises(dg.Failure) as caught:
        release(models, release_id)
    assert not caught.value.allow_retries
    return str(caught.value.description)


def test_while_another_process_deploys_nothing_is_written(models, monkeypatch):
    monkeypatch.setattr("tft_pipeline.storage.deployments.LOCK_SECONDS", 0.05)
    with deployment_lock(models):
        said = failure(models)
    assert said.startswith("r2 was not written: ")
    assert "another process is deploying here; nothing was changed" in said
    assert release_ids(models) == ["r1"]


def test_an_id_of_other_content_is_no_candidate_of_this_run(models):
    candidate(models, "r2", "other")
    assert failure(models).startswith("r2 was not written: ")


def test_a_damaged_log_leaves_a_candidate_and_says_so(models):
    log = models / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    said = failure(models)
    assert said.startswith("candidate r2 was written, not deployed because ")
    assert "line 1" in said
    assert said.endswith("`tft deploy r2` makes it live")
    assert release_ids(models) == ["r1", "r2"]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_full_disk_after_the_version_was_written_says_how_far_it_came(models, monkeypatch, swapped):
    make_current = deploying.make_current

    def full(*arguments: object, **named: object) -> None:
        if swapped:
            make_current(*arguments, **named)  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deploying, "make_current", full)
    said = failure(models)
    assert "No space left" in said
    assert said.startswith(
        "candidate r2 was written and the link was swapped: it is live"
        if swapped
        else "candidate r2 was written, not deployed because"
    )
    assert linked_release(models) == ("r2" if swapped else "r1")


def test_a_version_that_was_removed_meanwhile_is_no_uncaught_error(models, monkeypatch):
    def gone(*_: object) -> None:
        raise deploying.DeployRefusedError("somebody removed it")

    monkeypatch.setattr(deploying, "fetch_version", gone)
    assert "not deployed because somebody removed it" in failure(models)
