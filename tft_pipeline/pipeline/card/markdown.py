"""A card as GitHub Markdown, with the front matter of the Hugging Face Hub. Not here: what is shown (`parts`)."""

import re
from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.card.model_index import front_matter
from tft_pipeline.pipeline.card.parts import card_parts, lead_of, title_of
from tft_pipeline.pipeline.card.sheets import Listing, Sheet, ordered
from tft_pipeline.pipeline.card.validate import validate_card

SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Signs that mean something anywhere in a line; an underscore inside a word is none."""
FIRST = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-]))(.)")
"""What makes a line a heading, a rule or an item of a list."""
ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("://", "&#58;//"), ("www.", "www&#46;"), ("@", "&#64;"))
"""What HTML reads, and what GitHub makes a link of."""


def card_markdown(card: Mapping[str, Any]) -> str:
    """The whole file: front matter, then every section.

    Raises:
        CardInvalidError: a card that its schema refuses.
    """
    validate_card(card)
    card = ordered(card)
    lines = [front_matter(card), f"# {escaped(title_of(card))}", "", *_sheet(lead_of(card), named=False)]
    for part in card_parts(card):
        lines += [f"## {escaped(part.title)}", "", escaped(part.sentence), ""]
        for block in part.blocks:
            lines += _sheet(block) if isinstance(block, Sheet) else _listing(block)
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """One line of text that Markdown and HTML show as it is."""
    safe = " ".join(text.split())
    for sign, entity in ENTITIES:
        safe = safe.replace(sign, entity)
    return FIRST.sub(r"\1\\\2", SPECIAL.sub(r"\\\g<0>", safe))


def _sheet(sheet: Sheet, *, named: bool = True) -> list[str]:
    caption = [f"**{escaped(sheet.caption)}**", ""] if named else []
    if not sheet.rows:
        return [*caption, "none", ""]
    head = f"| {' | '.join(escaped(title) or ' ' for title in sheet.head)} |"
    rule = f"|{' --- |' * len(sheet.head)}"
    rows = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in sheet.rows]
    return [*caption, head, rule, *rows, ""]


def _listing(listing: Listing) -> list[str]:
    items = [f"* {escaped(item)}" for item in listing.items] or ["none"]
    return [f"**{escaped(listing.lead)}**", "", *items, ""]
