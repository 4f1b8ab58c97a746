"""Every leaf of a card has a declared source, and the declaration is true: a changed record changes the blocks that name it."""

from dataclasses import replace
from typing import Any

import pytest

from tft_pipeline.domain.card_nulls import at, leaves, spelled
from tft_pipeline.domain.card_sources import ASSETS, RUN, SOURCES, lineage_block, sources_of
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.model_card import build_card
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.made_cards import ASSET_OF, card_inputs, completed, made_card, overridden

FOLLOWERS = ("lineage", "null_reasons")
"""Blocks that speak of the others."""


def test_every_leaf_of_every_card_has_a_declared_source() -> None:
    for card in (made_card(), completed(), overridden(), made_card(probabilities=False)):
        for path in leaves(card):
            assert sources_of(spelled(path, general=True)), spelled(path)


def test_every_declared_block_is_on_the_card() -> None:
    places = {spelled(path, general=True) for path in leaves(completed())}
    for block in SOURCES:
        assert any(place == block or place.startswith((f"{block}.", f"{block}[")) for place in places), block


def test_every_source_is_an_asset_a_key_of_the_experiment_file_or_a_record_of_the_run() -> None:
    keys = {
        name.partition(":")[2] for sources in SOURCES.values() for name in sources if name.startswith("experiment:")
    }
    assert keys <= set(Experiment.model_fields)
    assert set(ASSETS) == {*ASSET_OF.values(), "snapshot", "production_fold"}
    assert not RUN & set(ASSETS)


def test_a_leaf_in_no_block_is_refused() -> None:
    with pytest.raises(KeyError, match="train\\.weather: no block"):
        sources_of("train.weather")


def test_the_lineage_names_key_hash_and_data_version_of_each_asset() -> None:
    inputs = card_inputs()
    lineage = build_card(**inputs)["lineage"]
    assert lineage["blocks"]["metrics"] == list(SOURCES["metrics"])
    tuned = inputs["tuned"].content_sha256()
    assert lineage["assets"]["tuned_hyperparameters"] == {
        "key": "small/tuned_hyperparameters",
        "content_sha256": tuned,
        "data_version": tuned[:16],
    }
    assert set(lineage["assets"]["production_fold"]["partitions"]) == set(inputs["folds"])


def test_an_asset_without_a_content_hash_and_one_too_many_are_refused() -> None:
    contents = card_inputs()["contents"]
    with pytest.raises(ValueError, match="hand in each of them"):
        lineage_block(small(), {name: value for name, value in contents.items() if name != "snapshot"})
    with pytest.raises(ValueError, match="hand in each of them"):
        lineage_block(small(), {**contents, "weather": "0" * 64})


def test_the_fingerprint_of_the_configuration_follows_the_keys_that_the_card_reads() -> None:
    contents = card_inputs()["contents"]

    def fingerprint(changes: dict[str, Any]) -> str:
        return str(lineage_block(small(changes), contents)["experiment"]["fingerprint"])

    assert fingerprint({"card.owner": "a desk"}) != fingerprint({})
    assert fingerprint({"gates.deploy": "manual"}) != fingerprint({})
    assert fingerprint({"network.dropout": 0.4}) == fingerprint({})  # the tuned record says what was used


def moved(value: Any) -> Any:
    """The same record with every number another one."""
    if isinstance(value, dict):
        return {key: moved(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [moved(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    return value * 0.9 + 0.013 if isinstance(value, float) else value + 1 if isinstance(value, int) else value


def perturbed(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `build_card` with one record's numbers changed."""
    record = inputs[name]
    if name == "plan":
        specs = [spec.model_copy(update={"dates": moved(spec.dates), "horizon": 2}) for spec in record.specs]
        return inputs | {"plan": record.model_copy(update={"specs": tuple(specs), "purge": 9, "n_unscored_bars": 8})}
    if name == "tuned":
        return inputs | {"tuned": record.model_copy(update={"study": "other", "best_trial": 1, "seconds": 77.0})}
    if name == "catalogue":
        return inputs | {"catalogue": record.model_copy(update={"user_columns": ("mine",)})}
    if name == "prefiltered":
        return inputs | {"prefiltered": record.model_copy(update={"kept": record.kept[:1]})}
    if name == "audit":
        rows = tuple({**row, "passed": not row["passed"], "state": "not_verifiable"} for row in record.rows)
        return inputs | {"audit": record.model_copy(update={"rows": rows})}
    if name == "manifest":
        return inputs | {"manifest": {**moved(record), "snapshot_id": "other", "as_of": "2030-01-01T00:00:00+00:00"}}
    if name == "folds":
        return inputs | {"folds": {key: {**row, **moved(row), "best_epoch": 0} for key, row in record.items()}}
    if name == "drift":
        return inputs | {"drift": record.model_copy(update={"verdict": "retrain", "n_recent": 11})}
    return inputs | {name: type(record).model_validate(moved(record.model_dump()))}


@pytest.mark.parametrize("name", [*ASSET_OF, "manifest", "folds"])
def test_a_changed_record_changes_blocks_that_name_its_asset_and_no_others(name: str) -> None:
    inputs = card_inputs()
    before, after = build_card(**inputs), build_card(**perturbed(name, inputs))
    asset = {"manifest": "snapshot", "folds": "production_fold", **ASSET_OF}[name]
    places = {path for card in (before, after) for path in leaves(card) if path[0] not in FOLLOWERS}
    changed = [path for path in places if _value(before, path) != _value(after, path)]
    assert changed
    strangers = [spelled(path) for path in changed if asset not in sources_of(spelled(path, general=True))]
    assert strangers == []


def test_what_the_run_recorded_changes_only_the_blocks_that_name_it() -> None:
    inputs = card_inputs()
    made = replace(
        inputs["made"], environment={"python": "4", "packages": {}}, mlflow={**inputs["made"].mlflow, "version": "9"}
    )
    before, after = build_card(**inputs), build_card(**inputs | {"made": made})
    places = [
        path for path in leaves(after) if path[0] not in FOLLOWERS and _value(before, path) != _value(after, path)
    ]
    assert {sources_of(spelled(path)) for path in places} == {("environment",), ("tracking",)}


def _value(card: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    try:
        return at(card, path)
    except (KeyError, IndexError, TypeError):
        return "absent"
