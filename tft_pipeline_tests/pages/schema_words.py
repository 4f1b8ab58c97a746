"""A JSON Schema's node in words for a table. Not here: what a page shows (`experiment_page`, `card_page`)."""

import json
from typing import Any

import yaml

Node = dict[str, Any]
NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def cell(text: str) -> str:
    """Text inside a table's cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def written(value: object) -> str:
    """A value as YAML has it: text that would be read as something else is quoted."""
    return value if isinstance(value, str) and yaml.safe_load(value) == value else json.dumps(value)


def kind(node: Node) -> str:
    """Type, choices and form, such as "list of text" or "`close`, `open`"; a reference by its name."""
    if "$ref" in node:
        return str(node["$ref"]).rpartition("/")[2]
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{written(value)}`" for value in node["enum"])
    for key in ("anyOf", "oneOf"):
        if key in node:
            return " or ".join(dict.fromkeys(kind(one) for one in node[key]))
    types = node.get("type")
    if isinstance(types, list):
        return " or ".join(kind({**node, "type": one}) for one in types)
    if types == "array":
        return f"list of {kind(node['items'])}" if node.get("items") else "list"
    if types == "object":
        inner = node.get("additionalProperties")
        return f"mapping to {kind(inner)}" if isinstance(inner, dict) else "mapping"
    if node.get("format") == "date":
        return "date"
    if types is None:
        return "any value"
    return NAMES[types]


def bounds(node: Node) -> str:
    """Limits of a number, a text or a list, such as "above 0, at most 1"; empty where there are none."""
    said = []
    for key, words in (
        ("minimum", "at least {}"),
        ("exclusiveMinimum", "above {}"),
        ("maximum", "at most {}"),
        ("exclusiveMaximum", "below {}"),
        ("minLength", "at least {} characters"),
        ("maxLength", "at most {} characters"),
        ("minItems", "at least {} entries"),
        ("maxItems", "at most {} entries"),
        ("minProperties", "at least {} entries"),
        ("pattern", "of the form `{}`"),
    ):
        if key in node:
            value = f"{node[key]:g}" if isinstance(node[key], float) else str(node[key])
            said.append(
                words.format(value).replace("at least 1 characters", "not empty").replace(" 1 entries", " 1 entry")
            )
    for key in ("anyOf", "oneOf"):
        said += [words for one in node.get(key, ()) if (words := bounds(one))]
    return ", ".join(said)


def default(node: Node, *, required: bool) -> str:
    """The default as it is written in YAML, or that there is none."""
    if required or "default" not in node:
        return "**required**"
    value = node["default"]
    if value is None:
        return "none"
    return f"`{written(value)}`"
