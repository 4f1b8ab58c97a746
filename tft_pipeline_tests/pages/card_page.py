"""docs/reference/model-card-fields.md, made from the JSON Schema of the model card.

python -m tft_pipeline_tests.pages.card_page
"""

import json
from pathlib import Path

from tft_pipeline_tests.pages.schema_words import Node, bounds, cell, kind

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "model-card-fields.md"
SCHEMA = ROOT / "tft_pipeline" / "schemas" / "model_card.v2.schema.json"
HEAD = """# Fields of the model card

Every field of `model_card.json`, made from [its schema](../../tft_pipeline/schemas/model_card.v2.schema.json)
(`python -m tft_pipeline_tests.pages.card_page`); do not edit this page. Where the values come from, and how a card is shown and
validated: [the model card](../model-card.md).

A dot goes into a block, `[]` into each entry of a list, `*` into each entry of a mapping. A field that may be null is null only
with its reason in `null_reasons`. All fields are there on every card, but for those marked *optional*.
"""


def rows(node: Node, defined: dict[str, Node], path: str, optional: bool) -> list[tuple[str, str, str]]:
    """Path, type and meaning of a field and of all below it; references are followed."""
    target = kind(node) if "$ref" in node else ""
    whole = {**defined[target], **node} if target else node
    alternatives = [one for one in whole.get("oneOf", ()) if one.get("type") != "null"]
    nullable = len(alternatives) < len(whole.get("oneOf", ()))
    inner = alternatives[0] if len(alternatives) == 1 else whole
    inner = {**defined[kind(inner)], **inner} if "$ref" in inner else inner
    plain = {key: value for key, value in inner.items() if key != "$ref"}
    items = plain.get("items", {})
    entry = plain.get("additionalProperties")
    named = {one["pattern"]: one["description"] for one in defined.values() if "pattern" in one}
    form = named.get(plain.get("pattern", ""), "")
    words = (form or _kind(plain, defined)) + (" or null" if nullable else "")
    limits = "" if form else bounds(plain)
    said = words + (f"; {limits}" if limits else "") + ("; *optional*" if optional else "")
    found = [(path, said, str(whole.get("description", inner.get("description", ""))))]
    for below, mark in ((plain, ""), (items, "[]"), (entry if isinstance(entry, dict) else {}, ".*")):
        block = _block(below, defined)
        for name, child in block.get("properties", {}).items():
            found += rows(child, defined, f"{path}{mark}.{name}", name not in block.get("required", ()))
    return found


def _block(node: Node, defined: dict[str, Node]) -> Node:
    """Fields below a node; of several alternatives those of all, required where each of them asks for it."""
    if "$ref" in node:
        return {**defined[kind(node)], **node}
    several = [one for one in node.get("oneOf", ()) if "properties" in one]
    if not several:
        return node
    union = {name: child for one in several for name, child in one["properties"].items()}
    return {"properties": union, "required": set.intersection(*(set(one["required"]) for one in several))}


def _kind(node: Node, defined: dict[str, Node]) -> str:
    words = kind(node)
    for name, one in defined.items():
        if "properties" in one:
            words = words.replace(f"list of {name}", "list of blocks").replace(
                f"mapping to {name}", "mapping to blocks"
            )
        elif one.get("type") == "string":
            words = words.replace(f"list of {name}", "list of text").replace(f"mapping to {name}", "mapping to text")
        else:
            words = words.replace(f"list of {name}", "list of mappings").replace(
                f"mapping to {name}", "mapping to mappings"
            )
    return "block" if "properties" in node else words


def page() -> str:
    """The page as text."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    lines = HEAD.splitlines()
    plain: list[tuple[str, str, str]] = []
    parts: list[tuple[str, list[tuple[str, str, str]]]] = []
    for name, node in schema["properties"].items():
        found = rows(node, schema["$defs"], name, name not in schema["required"])
        if len(found) == 1:
            plain += found
        else:
            parts.append((name, found))
    for title, found in (("Plain fields", plain), *parts):
        own = [] if title == "Plain fields" else [f"{found[0][2][0].upper()}{found[0][2][1:]} ({found[0][1]}).", ""]
        lines += ["", f"## {title}", "", *own, "| field | type and limits | meaning |", "|---|---|---|"]
        lines += [
            "| " + " | ".join(map(cell, (f"`{path}`", words, said))) + " |"
            for path, words, said in (found if not own else found[1:])
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
