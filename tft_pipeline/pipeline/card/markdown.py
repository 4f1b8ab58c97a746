"""A card as GitHub Markdown, with the front matter of the Hugging Face Hub. Not here: what is shown (`parts`)."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.card.model_index import front_matter
from tft_pipeline.pipeline.card.parts import card_parts, lead_of, title_of
from tft_pipeline.pipeline.card.sheets import Listing, Sheet, ordered
from tft_pipeline.pipeline.card.validate import validate_card
from tft_pipeline.pipeline.markdown import escaped


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
