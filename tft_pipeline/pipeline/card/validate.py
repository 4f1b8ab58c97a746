"""Is a card what the published schema says, and does it agree with itself where no schema can ask?

Not here: the schema itself (`schemas/model_card.v2.schema.json`).
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from tft_pipeline.domain.card_nulls import at, finite, leaves, spelled

SCHEMA = "schemas/model_card.v2.schema.json"
SHOWN = 120
"""Characters of a value in a message."""
NAMING = frozenset({"required", "additionalProperties"})
"""Rules whose own message names the key; of the others path, value and rule say it all."""


class CardInvalidError(ValueError):
    """A card that is refused; the message names the path, the value and the rule."""


@cache
def card_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that the package publishes."""
    schema: dict[str, Any] = json.loads(files("tft_pipeline").joinpath(SCHEMA).read_text(encoding="utf-8"))
    return schema


def validate_card(card: Mapping[str, Any]) -> None:
    """Refuse a card that is not what the schema says, with one error: the most telling; then one that contradicts itself.

    Every null has its reason, by its path or that of all items of its list; gates_passed is what the gates say; the signature
    is of the weights of the newest fold.

    Raises:
        CardInvalidError: path, value and rule; a number that is not finite is refused first, for JSON has none.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    plain, lost = finite(card)
    if lost:
        raise CardInvalidError(
            f"model card: {spelled(lost[0])} is not finite (rule: JSON has no such number); set it null, with a reason"
        )
    problem = best_match(Draft202012Validator(card_schema()).iter_errors(plain))
    if problem is None:
        _refuse_contradictions(plain)
        return
    where = spelled(tuple(problem.absolute_path)) or "the card"
    rule = f"{problem.validator} {_short(problem.validator_value)}"
    said = f": {problem.message}" if problem.validator in NAMING and len(problem.message) <= SHOWN else ""
    raise CardInvalidError(f"model card: {where} is {_short(problem.instance)} (rule: {rule}){said}")


def _refuse_contradictions(card: Mapping[str, Any]) -> None:
    reasons = card["null_reasons"]
    bare = [path for path in leaves(card) if at(card, path) is None]
    bare = [path for path in bare if spelled(path) not in reasons and spelled(path, general=True) not in reasons]
    if bare:
        raise CardInvalidError(
            f"model card: {spelled(bare[0])} is null without a reason (rule: null_reasons names each); {len(bare)} such in all"
        )
    passed = not any(row["verdict"] == "fail" for row in card["gates"])
    if card["gates_passed"] is not None and card["gates_passed"] is not passed:
        raise CardInvalidError(
            f"model card: gates_passed is {card['gates_passed']} (rule: what the {len(card['gates'])} gates say: {passed})"
        )
    signature, own = card["architecture"]["signature"], card["train"]["folds"][-1]["sha256"]
    if signature is not None and signature["weights_sha256"] != own:
        raise CardInvalidError(
            f"model card: architecture.signature.weights_sha256 is {signature['weights_sha256']!r} (rule: that of the newest "
            f"fold, {own!r})"
        )


def _short(value: Any) -> str:
    """A value as it is, or what it is where it is long."""
    text = repr(value)
    if len(text) <= SHOWN:
        return text
    kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else f"{text[:SHOWN]}..."
    return f"{kind} of {len(value)}" if isinstance(value, dict | list) else kind
