"""A second machine on one store: what it knows, what it refuses, and what it says while the store is down."""

import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import DriftRecord
from tft_pipeline.pipeline.card.made import live_card
from tft_pipeline.pipeline.claiming import claim
from tft_pipeline.pipeline.commands import run_experiment, summary
from tft_pipeline.pipeline.drift_facts import judged_days, planned_models, stored_nights
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.progress import Stage
from tft_pipeline.pipeline.release_status import describe_status
from tft_pipeline.pipeline.runs import materialise
from tft_pipeline.pipeline.sharing import push
from tft_pipeline.pipeline.staleness import Staleness
from tft_pipeline.pipeline.usage import resource_tables
from tft_pipeline.storage.artifacts import linked_version, read_artifact, write_artifact
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.experiments import claim_name
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.object_store import ObjectStore, StoreError
from tft_pipeline_tests.conftest import Workbench, small_experiment
from tft_pipeline_tests.object_stores import use_store, writer
from tft_pipeline_tests.released import candidate


def at(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> Layout:
    """Work on a machine: a home of its own, the same store."""
    patch.setenv("TFT_HOME", str(tmp_path / name))
    return Layout(tmp_path / name)


def no_answer(*_: object) -> None:
    raise StoreError("s3://b/p: the store did not answer")


@pytest.fixture
def second(finished: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A fresh machine with the event log and the store of a finished run, whose own home is gone."""
    monkeypatch.setenv("TFT_STORE", f"file://{tmp_path / 'store'}")
    with finished.instance() as instance:
        claim(finished.graph, instance)
    told: list[Stage] = []
    assert not push("small", told.append)["failed"]
    assert [stage.done for stage in told] == list(range(told[0].of + 1)), "every version was counted"
    assert told[0].of > len(finished.folds())
    found = Workbench(tmp_path / "two")
    small_experiment(tmp_path / "two")
    shutil.copytree(finished.layout.dagster_home, found.layout.dagster_home)
    monkeypatch.setenv("TFT_HOME", str(found.layout.home))
    monkeypatch.setenv("DAGSTER_HOME", str(found.layout.dagster_home))
    finished.layout.home.rename(tmp_path / "gone")
    return found


def why(bench: Workbench, asset: str) -> str | None:
    with bench.instance() as instance:
        return Staleness(bench.graph, bench.definitions, instance).why(asset)


def test_it_finds_folds_nights_and_the_release_of_the_first(second: Workbench) -> None:
    models = planned_models(second.graph)
    assert models is not None
    assert (models.fold, models.unfinished) == (second.folds()[-1], ())
    said = summary(second.graph)
    assert Path(said["model_card"]).is_relative_to(second.layout.home)
    assert Path(said["release"]).is_dir()

    drift = read_artifact(second.layout.artifact("small", "drift_report")).path(REPORT_FILE).read_bytes()
    day = second.layout.artifact("small", "drift_night", "2021-08-10")
    write_artifact(day, writer({REPORT_FILE: drift}))
    shutil.rmtree(day.parent)
    assert judged_days(second.layout, "small") == [date(2021, 8, 10)]
    assert [night.day for night in stored_nights(second.graph)[0]] == [date(2021, 8, 10)]

    tables = resource_tables(second.graph, {"production_fold": second.folds()})
    assert tables["timeline"] == [], "nothing was computed here"


def test_a_step_alone_on_a_fresh_worker_names_the_snapshot_of_the_store(second: Workbench) -> None:
    root = second.layout.artifact("small", "drift_report")
    before = DriftRecord.model_validate_json(read_artifact(root).path(REPORT_FILE).read_text())
    assert before.snapshot_id == read_artifact(second.layout.artifact("small", "snapshot")).version
    shutil.rmtree(second.layout.experiment("small"))
    with second.instance() as instance:
        assert materialise(second.definitions, instance, [second.graph.key("drift_report")]).ok
    after = DriftRecord.model_validate_json(read_artifact(root).path(REPORT_FILE).read_text())
    assert (after.snapshot_id, after.content_sha256()) == (before.snapshot_id, before.content_sha256())
    phase = resource_tables(second.graph, {"production_fold": second.folds()})["timeline"][0]["phase"]
    assert phase == "Latency, drift, ensemble"


def test_what_another_log_put_into_the_store_is_not_current(
    second: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why(second, "oos_portfolio") is None
    mine = read_artifact(second.layout.artifact("small", "oos_portfolio")).version
    three = at("three", tmp_path, monkeypatch)
    theirs = write_artifact(three.artifact("small", "oos_portfolio"), writer({"data.parquet": b"net * 3"})).version
    at("two/home", tmp_path, monkeypatch)
    said = str(why(second, "oos_portfolio"))
    assert "the store (file://" in said
    assert said.endswith(f"holds version {theirs}, this log made {mine}")


def test_a_machine_with_another_event_log_is_refused_and_told_how_to_join(
    second: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with second.instance() as instance:
        claim(second.graph, instance)  # as the first: one log
    other = Workbench(tmp_path / "five")
    small_experiment(tmp_path / "five", changes={"data.symbols": ["AAA", "BBB", "CCC"]})
    monkeypatch.setenv("TFT_HOME", str(other.layout.home))
    monkeypatch.setenv("DAGSTER_HOME", str(other.layout.dagster_home))
    pointer = tmp_path / "store" / "experiments" / "small" / "snapshot" / "current.json"
    before = pointer.read_bytes()
    with pytest.raises(ConfigurationError, match=r"holds results that another event log recorded.*TFT_LOCKS"):
        run_experiment(other.file, resume=False, report=str, until="snapshot")
    assert pointer.read_bytes() == before


def test_a_link_that_was_moved_by_hand_is_not_current(finished: Workbench) -> None:
    root = finished.layout.artifact("small", "oos_portfolio")
    mine = linked_version(root)
    theirs = write_artifact(root, writer({"data.parquet": b"net * 3"})).version
    assert str(why(finished, "oos_portfolio")).endswith(f"{root} holds version {theirs}, this log made {mine}")


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first machine of a store, with one release that is live and one that waits."""
    use_store(monkeypatch, "file", tmp_path)
    layout = at("a", tmp_path, monkeypatch)
    claim_name(layout.experiment("small"), small_experiment(tmp_path))
    models = layout.models("small")
    candidate(models, "2025-01-01T00-00-00Z-a", "one")
    deploy_release(models, "2025-01-01T00-00-00Z-a", reason="first")
    candidate(models, "2025-01-02T00-00-00Z-a", "two")
    return models


def test_a_fresh_worker_judges_against_what_is_live_in_the_store_and_moves_no_link(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = at("b", tmp_path, monkeypatch).models("small")
    found = live_card(models)
    assert found is not None
    assert found["release_id"] == "2025-01-01T00-00-00Z-a"
    assert linked_release(models) is None
    monkeypatch.setattr(ObjectStore, "get", no_answer)
    assert live_card(at("c", tmp_path, monkeypatch).models("small")) == {}, "not known is not nothing"


def test_status_says_what_waits_and_what_is_live_elsewhere(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = at("b", tmp_path, monkeypatch)
    claim_name(layout.experiment("small"), tmp_path / "small.yaml")
    said = describe_status("small")
    assert said["live"] == "nothing"
    assert said["store"].endswith("2025-01-01T00-00-00Z-a is live, nothing is live here; `tft pull` takes it")
    assert [row.partition(": ")[2] for row in said["releases"]] == [
        "in the store, not on this machine; `tft pull --release` fetches it"
    ] * 2
    assert said["missing"][:2] == [
        "nothing was trained yet on this machine: run `tft run` or `tft train`",
        "no model is live on this machine: 2025-01-01T00-00-00Z-a is live in the store, `tft pull` takes it",
    ]
    assert not said["failed"]


def test_status_of_a_machine_whose_store_is_down_says_what_is_live_here(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("get", "names"):
        monkeypatch.setattr(ObjectStore, name, no_answer)
    said = describe_status("small")
    assert (said["live"], said["failed"]) == ("2025-01-01T00-00-00Z-a", [])
    assert said["weights"].startswith("verified")
    assert said["store"].startswith("not known, and what follows is as of this machine: s3://b/p")
    assert said["newest"] == "nothing was released by a run yet"
    assert json.dumps(said)


def test_a_candidate_whose_card_was_changed_is_not_quoted(released: Path) -> None:
    card = released / "versions" / "2025-01-02T00-00-00Z-a" / "model_card.json"
    card.chmod(0o644)
    card.write_text(card.read_text().replace("NO-GO", "GO   "))
    (row,) = [row for row in describe_status("small")["releases"] if row.startswith("2025-01-02")]
    assert row.startswith("2025-01-02T00-00-00Z-a: damaged (")
    assert "GO  " not in row
