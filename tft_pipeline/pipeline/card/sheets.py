"""Sections of a card as plain text: sentences, lists and tables. Not here: what they hold (`parts`), any markup."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tft_pipeline.pipeline.report.markup import DASH, free, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table of text: a heading for each column, the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list under a lead."""

    lead: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One section: heading, one sentence, what follows."""

    title: str
    sentence: str
    blocks: tuple[Sheet | Listing, ...]


def facts(caption: str, rows: Mapping[str, object]) -> Sheet:
    """Two columns: what, and its value."""
    return Sheet(caption=caption, head=("", "value"), rows=tuple((name, _text(value)) for name, value in rows.items()))


def sheet(caption: str, rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> Sheet:
    """Some keys of records, one row each."""
    cells = tuple(tuple(_text(row.get(key)) for key in keys) for row in rows)
    return Sheet(caption=caption, head=tuple(words(key) for key in keys), rows=cells)


def _text(value: object) -> str:
    return value if isinstance(value, str) and value else DASH if value == "" else free(value)


def ordered(value: Any) -> Any:
    """The same card with sorted keys, as it is stored: a page is the same whether its card was read back or not."""
    if isinstance(value, Mapping):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value
