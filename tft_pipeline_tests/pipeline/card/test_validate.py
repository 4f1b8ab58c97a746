"""The published schema: itself valid, kept by every card that is made, broken by cards that were tampered with."""

import copy
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tft_pipeline.pipeline.card.validate import SCHEMA, CardInvalidError, card_schema, validate_card
from tft_pipeline_tests.made_cards import completed, made_card, overridden

Card = dict[str, Any]


def test_the_schema_is_published_with_the_package_and_valid_itself() -> None:
    schema = json.loads(files("tft_pipeline").joinpath(SCHEMA).read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema == card_schema()


def test_every_property_of_the_schema_has_a_description() -> None:
    def bare(node: Any, where: str = "") -> list[str]:
        if not isinstance(node, dict):
            return (
                [place for k, item in enumerate(node) for place in bare(item, f"{where}/{k}")]
                if isinstance(node, list)
                else []
            )
        own = [f"{where}/{key}" for key, item in node.get("properties", {}).items() if "description" not in item]
        inner = {key: item for key, item in node.items() if key not in ("if", "then", "else")}  # conditions, not keys
        return own + [place for key, item in inner.items() if key != "allOf" for place in bare(item, f"{where}/{key}")]

    assert bare(card_schema()) == []


@pytest.mark.parametrize(
    "card",
    [
        made_card(),
        made_card(reasons=("production: no",), drift="retrain", leak="future"),
        made_card(probabilities=False, p95=None),
        made_card(network={"family": "lstm"}),
        completed(),
        completed(compared=False),
        overridden(),
    ],
    ids=["of a run", "NO-GO", "no probability", "lstm", "released", "nothing live", "overridden"],
)
def test_every_card_that_is_made_keeps_the_schema(card: Card) -> None:
    validate_card(card)
    validate_card(json.loads(json.dumps(card, allow_nan=False)))


def drop(*path: str | int) -> Callable[[Card], None]:
    """Remove a key."""

    def change(card: Any) -> None:
        for key in path[:-1]:
            card = card[key]
        del card[path[-1]]

    return change


def put(value: Any, *path: str | int) -> Callable[[Card], None]:
    """Set a key."""

    def change(card: Any) -> None:
        for key in path[:-1]:
            card = card[key]
        card[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("3", "version"), ["version is '3'", "const '2'"]),
        (drop("owner"), ["the card is an object", "'owner' is a required property"]),
        (drop("train", "rows"), ["train is an object", "'rows' is a required property"]),
        (put("many", "train", "rows"), ["train.rows is 'many'", "integer"]),
        (put(-1, "train", "rows"), ["train.rows is -1", "minimum 0"]),
        (put(1.2, "metrics", "accuracy"), ["metrics.accuracy is 1.2", "maximum 1"]),
        (put([0.1], "metrics", "auc", "ci"), ["metrics.auc.ci is [0.1]"]),
        (put("weather", "metrics", "rain"), ["metrics is an object", "'rain' was unexpected"]),
        (put("lost", "train", "folds", 0, "checkpoint_status"), ["train.folds[0].checkpoint_status is 'lost'", "enum"]),
        (put("ab", "train", "folds", 1, "sha256"), ["train.folds[1].sha256 is 'ab'", "pattern"]),
        (put([], "train", "folds"), ["train.folds is []", "minItems 1"]),
        (put("maybe", "gates", 0, "verdict"), ["gates[0].verdict is 'maybe'"]),
        (put("live", "status"), ["status is 'live'", "candidate"]),
        (put("deployed by override", "status"), ["override is None"]),
        (put([], "gates"), ["gates is []"]),
        (put({"reason": "r", "who": "w", "at": "t", "failed": ["dsr"]}, "override"), ["override is {"]),
        (put("NO-GO", "verdict"), ["reasons is []"]),
        (put(["a reason"], "reasons"), ["reasons is ['a reason']"]),
        (put("yesterday", "created_at"), ["created_at is 'yesterday'", "pattern"]),
        (put({"x": ""}, "null_reasons"), ["null_reasons.x is ''"]),
        (put({}, "null_reasons"), ["is null without a reason", "null_reasons names each"]),
        (drop("null_reasons", "owner"), ["owner is null without a reason"]),
        (put("yesterday", "train", "range", "start"), ["train.range.start is 'yesterday'", "pattern"]),
        (put("2021-01-05", "train", "range", "end"), ["train.range.end is '2021-01-05'", "pattern"]),
        (put("soon", "train", "folds", 0, "test", "last"), ["train.folds[0].test.last is 'soon'", "pattern"]),
        (put("soon", "train", "research_last"), ["train.research_last is 'soon'"]),
        (drop("train", "extents", "rows"), ["train.extents is", "'rows' is a required property"]),
        (put(False, "gates_passed"), ["gates_passed is False", "the 15 gates say: True"]),
        (put("fail", "gates", 3, "verdict"), ["gates_passed is True", "say: False"]),
        (drop("architecture", "signature", "weights_sha256"), ["'weights_sha256' is a required property"]),
        (
            put("ef" * 32, "architecture", "signature", "weights_sha256"),
            ["architecture.signature.weights_sha256", "fold"],
        ),
        (drop("latency_ms", "p99_ci"), ["latency_ms is an object", "'p99_ci' is a required property"]),
        (drop("files", "signature.json"), ["files is"]),
        (drop("gates", 0, "looser"), ["gates[0] is an object", "'looser' is a required property"]),
    ],
)
def test_a_card_that_was_tampered_with_is_refused_with_path_value_and_rule(
    change: Callable[[Card], None], words: list[str]
) -> None:
    card = copy.deepcopy(completed())
    change(card)
    with pytest.raises(CardInvalidError) as caught:
        validate_card(card)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_its_place(value: float) -> None:
    card = made_card()
    card["latency_ms"]["mean"] = value
    with pytest.raises(CardInvalidError, match=r"latency_ms\.mean is not finite"):
        validate_card(card)


def test_each_required_key_of_every_own_block_is_missed() -> None:
    """No block of ours can lose a key unnoticed; a released card names every file that each bundle has."""
    card = completed()
    validator = Draft202012Validator(card_schema())
    for block in (
        "train",
        "metrics",
        "architecture",
        "inference",
        "latency",
        "calibration",
        "lineage",
        "monitoring_plan",
        "latency_ms",
        "files",
    ):
        for key in card[block]:
            broken = {**card, block: {name: value for name, value in card[block].items() if name != key}}
            assert not validator.is_valid(broken), f"{block}.{key}"
    for key in card:
        assert not validator.is_valid({name: value for name, value in card.items() if name != key}), key
