"""Markdown and HTML of a card: complete, and unmoved by names that mean something to either."""

import itertools
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tft_pipeline.pipeline.card import CardInvalidError, card_html, card_markdown
from tft_pipeline.pipeline.card.markdown import escaped
from tft_pipeline.pipeline.card.model_index import LICENSES, METRICS, hub_metadata
from tft_pipeline_tests.made_cards import completed, made_card, overridden

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b \"quoted\" 'single' & `code` *bold* __under__ [link](http://evil.example) $x$",
    "two\nlines\n---\n# heading\n| a | b |\n1. item",
)
COMMON = MarkdownIt("commonmark").enable("table")


class Page(HTMLParser):
    """Tags with their attributes, and the text outside style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.words)


def hostile() -> dict[str, Any]:
    """A released card with hostile features, owner, reasons and guards."""
    said = {"owner": HOSTILE[0], "license": "my-own-1.0", "intended_use": HOSTILE[1], "out_of_scope": [HOSTILE[2]]}
    card = completed(made_card(features=HOSTILE, reasons=HOSTILE, experiment={"card": said}))
    card["leakage_audit"]["guards"][HOSTILE[1]] = True
    card["model_name"] = HOSTILE[0]
    return card


def body(text: str) -> str:
    """Markdown without its front matter."""
    return text.split("\n---\n", 1)[1]


def tables(text: str) -> list[list[int]]:
    """Cells of each row of each table, as CommonMark with GitHub's tables reads them."""
    found: list[list[int]] = []
    for token in COMMON.parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(0)
        elif token.type in ("td_open", "th_open"):
            found[-1][-1] += 1
    return found


def headings(text: str) -> list[tuple[str, str]]:
    """Level and text of every heading."""
    tokens = COMMON.parse(text)
    return [(a.tag, b.content) for a, b in itertools.pairwise(tokens) if a.type == "heading_open"]


@pytest.mark.parametrize("make", [made_card, completed, overridden, hostile])
def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(make: Any) -> None:
    found = tables(body(card_markdown(make())))
    assert len(found) > 15
    assert all(len(set(rows)) == 1 for rows in found)


def test_hostile_names_add_no_heading_table_link_or_element_to_the_markdown() -> None:
    tame, nasty = body(card_markdown(completed(made_card(reasons=("a", "b", "c"))))), body(card_markdown(hostile()))
    assert [level for level, _ in headings(nasty)] == [level for level, _ in headings(tame)]
    assert [len(rows[:1]) for rows in tables(nasty)] == [len(rows[:1]) for rows in tables(tame)]
    kinds = {child.type for token in COMMON.parse(nasty) for child in token.children or ()}
    assert kinds <= {"text", "strong_open", "strong_close", "text_special"}
    assert not any(token.type in ("html_block", "fence", "code_block", "hr") for token in COMMON.parse(nasty))
    assert "<script>" not in nasty


@given(st.text(max_size=60))
def test_any_text_comes_back_from_markdown_as_one_line_of_itself(text: str) -> None:
    flat = " ".join(text.split())
    rendered = COMMON.render(f"* {escaped(text)}")
    page = Page(rendered)
    shown = flat.replace("\0", "\ufffd")
    assert page.text.strip("\n").replace("\n", "") == shown
    assert {name for name, _ in page.tags} == {"ul", "li"}


def test_the_front_matter_is_what_the_hub_documents() -> None:
    card = completed(made_card(experiment={"card": {"license": "Apache-2.0"}}))
    text = card_markdown(card)
    assert text.startswith("---\n")
    data = yaml.safe_load(text.split("\n---\n", 1)[0].removeprefix("---\n"))
    assert data == hub_metadata(card)
    assert data["license"] == "apache-2.0"
    assert all(isinstance(one, str) for one in data["tags"])
    assert isinstance(data["library_name"], str)
    (model,) = data["model-index"]
    assert set(model) == {"name", "results"}
    (result,) = model["results"]
    # required by the Hub: task.type, dataset.type, dataset.name, metrics[].type, metrics[].value
    assert set(result) == {"task", "dataset", "metrics"}
    assert result["task"]["type"] == "time-series-forecasting"
    assert {"type", "name"} <= set(result["dataset"])
    assert [set(row) for row in result["metrics"]] == [{"type", "name", "value", "verified"}] * len(METRICS)
    values = {row["type"]: row["value"] for row in result["metrics"]}
    assert values["accuracy"] == card["metrics"]["accuracy"]
    assert values["sharpe_ratio"] == card["metrics"]["sharpe"]["value"]
    assert not any(row["verified"] for row in result["metrics"])


def test_a_license_that_the_hub_does_not_list_is_other_with_its_name_and_none_is_left_out() -> None:
    own = hub_metadata(made_card(experiment={"card": {"license": "Our-Own-1.0"}}))
    assert (own["license"], own["license_name"]) == ("other", "our-own-1.0")
    assert "license" not in hub_metadata(made_card())
    assert {"apache-2.0", "mit", "openrail++"} <= LICENSES


def test_a_figure_that_is_null_is_no_result_of_the_hub() -> None:
    (model,) = hub_metadata(made_card(probabilities=False))["model-index"]
    assert [row["type"] for row in model["results"][0]["metrics"]] == ["sharpe_ratio"]


def test_hostile_names_are_text_of_the_page_and_nothing_else() -> None:
    tame, nasty = Page(card_html(completed(made_card(reasons=("a", "b", "c"))))), Page(card_html(hostile()))
    assert "script" not in {name for name, _ in nasty.tags}
    assert {name for name, _ in nasty.tags} <= {name for name, _ in tame.tags}
    for name in HOSTILE:
        assert name in nasty.text
    assert not any(key.startswith("on") for _, attributes in nasty.tags for key in attributes)


def test_the_page_loads_nothing_and_its_policy_allows_one_style_by_hash() -> None:
    text = card_html(completed())
    page = Page(text)
    policy = next(own["content"] for name, own in page.tags if name == "meta" and own.get("http-equiv"))
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; img-src data:; base-uri 'none'; form-action 'none'",
        policy,
    )
    addresses = [own[key] for _, own in page.tags for key in ("src", "href") if key in own]
    assert all(one is not None and (one.startswith("#") or one == "data:,") for one in addresses)
    anchors = {own["id"] for _, own in page.tags if own.get("id")}
    assert {one.removeprefix("#") for one in addresses if one and one.startswith("#")} == anchors
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize("render", [card_markdown, card_html])
def test_both_show_verdict_gates_figures_reasons_for_nulls_and_the_override(render: Any) -> None:
    text = render(overridden())
    for words in (
        "deployed by override",
        "a drill",
        "challenger",
        "Sharpe ratio",
        "two completed trials",
        "production_fold",
    ):
        assert words in text, words


@pytest.mark.parametrize("render", [card_markdown, card_html])
def test_a_card_that_the_schema_refuses_is_not_rendered(render: Any) -> None:
    with pytest.raises(CardInvalidError, match="'owner' is a required property"):
        render({key: value for key, value in made_card().items() if key != "owner"})


@pytest.mark.parametrize("render", [card_markdown, card_html])
def test_a_rendering_does_not_depend_on_the_order_of_keys(render: Any) -> None:
    card = overridden()
    assert render(json.loads(json.dumps(card, sort_keys=True))) == render(card)
