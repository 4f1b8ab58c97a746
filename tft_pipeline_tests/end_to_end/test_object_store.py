"""A finished run pushed to an S3 server, and a second machine that has nothing but the store and the event log."""

import json
import shutil

import pytest

from tft_pipeline.pipeline.deploying import make_live
from tft_pipeline.pipeline.release_status import describe_status
from tft_pipeline.pipeline.sharing import pull, push
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.experiments import claim_name
from tft_pipeline.storage.release_bundle import read_release_bundle
from tft_pipeline.storage.releases import current_release, deploy_problems
from tft_pipeline_tests.conftest import Workbench, small_experiment
from tft_pipeline_tests.object_stores import SECRET, store_environment

AGGREGATES = ("oos_portfolio", "ensemble_weights")


@pytest.mark.slow
def test_a_second_machine_resumes_and_computes_the_same_from_the_folds_of_the_first(
    finished: Workbench, tmp_path, monkeypatch
):
    first, before, folds = finished, finished.versions(), finished.folds()
    listed = {asset: read_artifact(first.layout.artifact("small", asset)).files for asset in AGGREGATES}
    for name, value in store_environment("s3", tmp_path).items():
        monkeypatch.setenv(name, value)
    claim_name(first.layout.experiment("small"), first.file)
    pushed = push("small")
    assert not pushed["failed"], pushed
    made = make_live("small", first.layout, override="to pull it")  # noise passes no gates
    assert not made["failed"], made
    live = current_release(first.layout.models("small"))[0].version

    second = Workbench(tmp_path / "two")
    small_experiment(tmp_path / "two")
    # the event log is a database that machines share (docs/machines.md); here a copy stands for it
    shutil.copytree(first.layout.dagster_home, second.layout.dagster_home)
    monkeypatch.setenv("TFT_HOME", str(second.layout.home))
    monkeypatch.setenv("DAGSTER_HOME", str(second.layout.dagster_home))
    first.layout.home.rename(tmp_path / "gone")

    resumed = second.run(resume=True)
    assert not resumed["failed"], resumed
    assert second.materialisations()[("production_fold", folds[0])] == 1, "all of it is current here too"
    for key in ("report", "model_card", "release"):
        assert resumed[key].startswith(str(second.layout.home))
    said = describe_status("small")
    assert said["drift"].startswith("insufficient data")
    assert said["missing"] == [f"no model is live on this machine: {live} is live in the store, `tft pull` takes it"]

    with second.instance() as instance:
        for asset in AGGREGATES:
            key = second.graph.key(asset)
            done = second.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                asset_selection=[key], instance=instance
            )
            assert done.success
    for name in (*AGGREGATES, *(f"production_fold/{fold}" for fold in folds)):
        assert second.versions()[name] == before[name]
    for asset in AGGREGATES:
        assert read_artifact(second.layout.artifact("small", asset)).files == listed[asset]

    brought = pull("small")
    assert not brought["failed"], brought
    models = second.layout.models("small")
    assert brought["live"] == made["to"] == live
    assert deploy_problems(models) == []
    assert read_release_bundle((models / "versions" / "current").resolve()).model_id == brought["live"]
    manifests = [path.read_text() for path in second.layout.home.rglob("manifest.json")]
    assert manifests
    assert not any(SECRET in text for text in manifests)
    assert json.loads((models / "versions" / live / "model_card.json").read_text())["release_id"] == live
