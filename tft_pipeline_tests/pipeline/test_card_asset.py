"""The card of a finished run: valid, traced to the stored assets, released with its renderings."""

import hashlib
import json
from typing import Any

import pytest

from tft_pipeline.domain.card_nulls import at, leaves, spelled
from tft_pipeline.domain.card_sources import sources_of
from tft_pipeline.pipeline.card import card_html, card_markdown, validate_card
from tft_pipeline.pipeline.card.showing import show_card
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.fold_bundles import read_fold_bundle
from tft_pipeline.storage.releases import release_ids, released_version
from tft_pipeline_tests.conftest import Workbench


def test_the_released_card_is_valid_traced_and_rendered(finished: Workbench) -> None:
    models = finished.layout.models("small")
    version = released_version(models, release_ids(models)[-1])
    card = json.loads(version.path("model_card.json").read_text())
    validate_card(card)
    _lineage_is_of_the_stored_assets(finished, card)
    _folds_are_those_of_the_bundles(finished, card)
    assert [spelled(path) for path in leaves(card) if not sources_of(spelled(path, general=True))] == []
    last_resort = {place: why for place, why in card["null_reasons"].items() if why.endswith("recorded none")}
    assert last_resort == {}
    assert version.path("model_card.md").read_text() == card_markdown(card)
    assert version.path("model_card.html").read_text() == card_html(card)
    assert card["release_id"] == version.version
    listed = {name: digest for name, digest in version.files.items() if not name.startswith("model_card")}
    assert card["files"].items() <= listed.items()
    assert (
        hashlib.sha256(version.path("weights.safetensors").read_bytes()).hexdigest()
        == card["files"]["weights.safetensors"]
    )
    gates = json.loads(version.path("gate.json").read_text())
    assert (card["gates"], card["gates_passed"]) == (gates["gates"], gates["passed"])
    answer = show_card(str(finished.file), release="newest", as_format="json", layout=finished.layout)
    assert json.loads(answer["text"]) == card


def _lineage_is_of_the_stored_assets(finished: Workbench, card: dict[str, Any]) -> None:
    with finished.instance() as instance:
        for name, row in card["lineage"]["assets"].items():
            key = next(one for one in instance.all_asset_keys() if one.path[-1] == name)
            assert row["key"] == "/".join(key.path)
            found = {
                record.partition_key: record.asset_materialization.tags["dagster/data_version"]
                for record in reversed(instance.fetch_materializations(key, limit=50).records)
                if record.asset_materialization is not None
            }
            parts = row.get("partitions", {None: row})
            assert {part: one["data_version"] for part, one in parts.items()} == found, name


def _folds_are_those_of_the_bundles(finished: Workbench, card: dict[str, Any]) -> None:
    for fold in card["train"]["folds"]:
        bundle = read_fold_bundle(read_artifact(finished.layout.artifact("small", "production_fold", fold["id"])))
        assert fold["checkpoint_status"] == bundle.checkpoint_status
        assert fold["metrics"]["val"]["loss"] == bundle.fitted.history[fold["best_epoch"]]["validation_loss"]
        assert fold["rows"] == sum(bundle.class_balance.values())
    newest = finished.artifact("production_fold", card["train"]["folds"][-1]["id"]) / "weights.safetensors"
    assert card["train"]["folds"][-1]["sha256"] == hashlib.sha256(newest.read_bytes()).hexdigest()
    performance = json.loads((finished.artifact("oos_performance") / REPORT_FILE).read_text())
    assert card["metrics"]["sharpe"]["gross"] == performance["gross"]
    assert card["metrics"]["auc"]["value"] == performance["direction"]["tft"]["auc_roc"]
    low, high = card["metrics"]["auc"]["ci"]
    assert low < at(card, ("metrics", "auc", "value")) < high
    assert card["train"]["dagster"]["asset"] == "small/model_card"
    assert card["train"]["mlflow"]["folds_mirrored"] + card["train"]["mlflow"]["folds_waiting"] >= len(
        card["train"]["folds"]
    )


def test_the_report_shows_code_and_weights_of_the_card(finished: Workbench) -> None:
    page = (finished.artifact("report") / "report.html").read_text()
    card = json.loads((finished.artifact("model_card") / REPORT_FILE).read_text())["card"]
    assert card["train"]["folds"][-1]["sha256"][:16] in page
    if card["train"]["code"]["commit"] is None:
        pytest.skip("no checkout: there is no commit to show")
    assert card["train"]["code"]["commit"] in page
