"""Pages made from the code say what the code says: keys of the experiment file, fields of the model card."""

import json
import re
from datetime import date
from typing import Any

import jsonschema
import pytest
import yaml

import tft_pipeline
from tft_pipeline.domain.experiment import parse_experiment
from tft_pipeline_tests.pages import card_page, experiment_page
from tft_pipeline_tests.pages.schema_words import bounds, cell, default, kind
from tft_pipeline_tests.test_docs import PAGES, ROOT, TEXT, blocks, named

SHIPPED = sorted((ROOT / "experiments").glob("*.yaml"))
SCHEMA = json.loads(experiment_page.SCHEMA.read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """YAML as JSON has it: dates are text."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def without_required(node: Any) -> Any:
    """A schema that a part of an experiment file satisfies too."""
    if isinstance(node, dict):
        return {key: without_required(one) for key, one in node.items() if key != "required"}
    return [without_required(one) for one in node] if isinstance(node, list) else node


def test_the_page_of_functions_lists_what_the_library_offers_functions_first() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^        - (\w+)$", page, re.M)
    assert sorted(listed) == sorted(set(tft_pipeline.__all__) - {"__version__"})
    assert listed == sorted(listed, key=lambda name: (name[0].isupper(), name.endswith("Error"), listed.index(name)))


def test_the_pages_and_the_schema_are_as_the_code_makes_them() -> None:
    again = "make it again: python -m tft_pipeline_tests.pages."
    assert experiment_page.PAGE.read_text(encoding="utf-8") == experiment_page.page(), again + "experiment_page"
    assert experiment_page.schema() == SCHEMA, again + "experiment_page"
    assert card_page.PAGE.read_text(encoding="utf-8") == card_page.page(), again + "card_page"


def test_every_key_has_a_meaning_and_every_number_a_unit() -> None:
    keys = experiment_page.keys()
    assert len(keys) > 100
    sections = {part for part in experiment_page.blocks() if part and "." not in part}
    silent = [f"{part}.{name}" for part, name, node, _ in keys if not node.get("description") and name not in sections]
    assert silent == []
    numbers = {f"{part}.{name}".lstrip(".") for part, name, node, _ in keys if experiment_page.is_number(node)}
    assert numbers == set(experiment_page.UNIT)
    with pytest.raises(ValueError, match=r"data\.new is a number without a unit"):
        experiment_page.unit("data", "new", {"type": "integer"})


def test_every_section_has_a_sentence() -> None:
    assert [part for part, block in experiment_page.blocks().items() if part and not block.get("description")] == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_an_editor_finds_nothing_wrong_with_a_shipped_experiment(file: Any) -> None:
    content = plain(yaml.safe_load(file.read_text(encoding="utf-8")))
    jsonschema.validate(content, SCHEMA)
    with pytest.raises(jsonschema.ValidationError, match="'lokback' was unexpected"):
        jsonschema.validate(content | {"training": {"lokback": 64}}, SCHEMA)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(TEXT[page], "yaml")], ids=named)
def test_pieces_of_experiments_on_pages_are_valid(page: Any) -> None:
    """Whole ones are parsed, parts are held against the schema without what is required."""
    part = without_required(SCHEMA)
    for text in blocks(TEXT[page], "yaml"):
        content = yaml.safe_load(text)
        if content is None or set(content) == {"ops"}:  # a comment alone; what a job is given in the launchpad
            continue
        jsonschema.validate(plain(content), part)
        if set(SCHEMA["required"]) <= set(content):
            parse_experiment(content, origin=named(page))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(TEXT[page], "json")], ids=named)
def test_json_on_pages_is_json(page: Any) -> None:
    for text in blocks(TEXT[page], "json"):
        json.loads(text)


def test_every_field_of_a_card_is_on_its_page() -> None:
    """Counted another way: every name below `properties`, wherever it stands."""

    def names(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = set(node["properties"]) if isinstance(node.get("properties"), dict) else set()
            return own.union(*(names(one) for key, one in node.items() if key not in ("allOf", "required")))
        return set().union(*map(names, node)) if isinstance(node, list) else set()

    page = card_page.page()
    written = names(json.loads(card_page.SCHEMA.read_text(encoding="utf-8")))
    missing = [
        name
        for name in sorted(written)
        if f".{name}`" not in page and f"`{name}`" not in page and f"## {name}\n" not in page
    ]
    assert len(written) > 200
    assert missing == []


def test_words_for_a_schema_are_what_a_reader_needs() -> None:
    assert kind({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "text or null"
    assert kind({"enum": ["32", "off", "tft"]}) == '`"32"`, `"off"`, `tft`'
    assert kind({"type": "object", "additionalProperties": {"type": "number"}}) == "mapping to number"
    assert bounds({"exclusiveMinimum": 0, "maximum": 0.5}) == "above 0, at most 0.5"
    assert default({"default": None}, required=False) == "none"
    assert default({"default": "32"}, required=False) == '`"32"`'
    assert default({"type": "string"}, required=True) == "**required**"
    assert cell("|r| < <prefix>") == "\\|r\\| &lt; &lt;prefix>"
