"""Text as Markdown that shows it as it is: for files and for metadata, which Dagster's UI renders. Not here: what is shown."""

import re
from collections.abc import Iterable

import dagster as dg

SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Signs that mean something anywhere in a line; an underscore inside a word is none."""
FIRST = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-]))(.)")
"""What makes a line a heading, a rule or an item of a list."""
ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("://", "&#58;//"), ("www.", "www&#46;"), ("@", "&#64;"))
"""What HTML reads, and what GitHub makes a link of."""


def escaped(text: str) -> str:
    """One line of text that Markdown and HTML show as it is."""
    safe = " ".join(text.split())
    for sign, entity in ENTITIES:
        safe = safe.replace(sign, entity)
    return FIRST.sub(r"\1\\\2", SPECIAL.sub(r"\\\g<0>", safe))


def listing(lines: Iterable[str]) -> dg.MarkdownMetadataValue:
    """One item a line for the UI, whatever names stand in it; "none" without lines."""
    return dg.MetadataValue.md("\n".join(f"* {escaped(line)}" for line in lines) or "none")
