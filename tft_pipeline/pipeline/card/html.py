"""A card as one HTML page that loads and runs nothing. Not here: what is shown (`parts`), escaping (`report.markup`)."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from tft_pipeline.pipeline.card.parts import card_parts, lead_of, title_of
from tft_pipeline.pipeline.card.sheets import Listing, Part, Sheet, ordered
from tft_pipeline.pipeline.card.validate import validate_card
from tft_pipeline.pipeline.report.markup import Column, Html, bullets, html, join, paragraph, table, tag
from tft_pipeline.pipeline.report.page import script_source
from tft_pipeline.pipeline.report.style import STYLE

LONG_WORD = 40
"""Characters of a word, such as a hash, from which its cell may be broken anywhere."""
OWN = """
.long { overflow-wrap: anywhere; min-width: 18ch; }
h3 { font-size: 1rem; margin: 18px 0 4px; }
"""


def card_html(card: Mapping[str, Any]) -> str:
    """The whole page.

    The Content-Security-Policy allows its one style sheet, by hash, and nothing else.

    Raises:
        CardInvalidError: a card that its schema refuses.
    """
    validate_card(card)
    card = ordered(card)
    style = STYLE + OWN
    policy = f"default-src 'none'; style-src {script_source(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    parts = card_parts(card)
    contents = tag(
        "nav",
        tag("ol", *(tag("li", tag("a", part.title, attributes={"href": f"#{_anchor(part)}"})) for part in parts)),
        attributes={"aria-label": "Contents"},
    )
    go = card["verdict"] == "GO"
    banner = tag(
        "div",
        tag("strong", f"{'✓' if go else '✗'} {card['verdict']}"),
        paragraph(card["status"]),
        attributes={"class": f"verdict {'go' if go else 'stop'}"},
    )
    body = tag("main", tag("h1", title_of(card)), banner, _sheet(lead_of(card)), contents, *map(_section, parts))
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{html(policy)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="referrer" content="no-referrer">'),
            Html('<link rel="icon" href="data:,">'),
            tag("title", title_of(card)),
            tag("style", Html(style)),
        ]
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _section(part: Part) -> Html:
    blocks = [_sheet(block) if isinstance(block, Sheet) else _listing(block) for block in part.blocks]
    finding = paragraph(part.sentence, kind="finding")
    return tag("section", tag("h2", part.title), finding, *blocks, attributes={"id": _anchor(part)})


def _sheet(sheet: Sheet) -> Html:
    if not sheet.rows:
        return join([paragraph(sheet.caption, kind="caption"), paragraph("none", kind="note")])
    columns = [Column(title, partial(_cell, k), False) for k, title in enumerate(sheet.head)]
    return table(columns, [{"cells": cells} for cells in sheet.rows], caption=sheet.caption)


def _cell(column: int, row: Mapping[str, Any]) -> object:
    """Text; one with a long word may be broken anywhere."""
    text = row["cells"][column]
    longest = max(map(len, text.split()), default=0)
    return tag("div", text, attributes={"class": "long"}) if longest >= LONG_WORD else text


def _listing(listing: Listing) -> Html:
    return join([tag("h3", listing.lead), bullets(listing.items) if listing.items else paragraph("none", kind="note")])


def _anchor(part: Part) -> str:
    return re.sub(r"[^a-z0-9]+", "-", part.title.lower()).strip("-")
