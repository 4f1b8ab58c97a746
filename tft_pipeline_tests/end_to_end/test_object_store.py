"""A whole run whose store is an S3 server, and a second machine that has nothing but the store and the event log."""

import json
import shutil

import pytest

from tft_pipeline.pipeline.deploying import make_live
from tft_pipeline.pipeline.sharing import pull
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.release_bundle import read_release_bundle
from tft_pipeline.storage.releases import current_release, deploy_problems
from tft_pipeline_tests.conftest import Workbench, small_experiment
from tft_pipeline_tests.object_stores import SECRET, use_store

AGGREGATES = ("oos_portfolio", "ensemble_weights")


@pytest.mark.slow
def test_a_second_machine_computes_the_same_from_the_folds_of_the_first(tmp_path, monkeypatch):
    use_store(monkeypatch, "s3", tmp_path / "one")
    monkeypatch.setenv("TFT_WORKERS", "1")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "one" / "home" / "dagster"))
    small_experiment(tmp_path / "one")
    first = Workbench(tmp_path / "one")
    result = first.run()
    assert not result["failed"], result
    before = first.versions()
    made = make_live("small", first.layout, override="to pull it")  # noise passes no gates
    assert not made["failed"], made

    second = Workbench(tmp_path / "two")
    small_experiment(tmp_path / "two")
    # the event log is a database that machines share (docs/machines.md); here a copy stands for it
    shutil.copytree(first.layout.dagster_home, second.layout.dagster_home)
    monkeypatch.setenv("TFT_HOME", str(second.layout.home))
    monkeypatch.setenv("DAGSTER_HOME", str(second.layout.dagster_home))
    with second.instance() as instance:
        for asset in AGGREGATES:
            key = second.graph.key(asset)
            done = second.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                asset_selection=[key], instance=instance
            )
            assert done.success
    for fold in first.folds():
        name = f"production_fold/{fold}"
        assert second.versions()[name] == before[name]
    for asset in AGGREGATES:
        assert second.versions()[asset] == before[asset]
        files = read_artifact(second.layout.artifact("small", asset)).files
        assert files == {name: json.loads(text)["sha256"] for name, text in _listed(first, asset).items()}

    brought = pull("small")
    assert not brought["failed"], brought
    models = second.layout.models("small")
    assert brought["live"] == made["to"] == current_release(first.layout.models("small"))[0].version
    assert deploy_problems(models) == []
    assert read_release_bundle((models / "versions" / "current").resolve()).model_id == brought["live"]
    manifests = [path.read_text() for path in second.layout.home.rglob("manifest.json")]
    assert manifests
    assert not any(SECRET in text for text in manifests)


def _listed(bench: Workbench, asset: str) -> dict[str, str]:
    body = json.loads((bench.artifact(asset) / "manifest.json").read_text())
    return {name: json.dumps(entry) for name, entry in body["files"].items()}
