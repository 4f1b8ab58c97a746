"""Text whose author is unknown: what in it cannot be seen, and how to show it all the same.

Not here: HTML (`report.markup`), Markdown (`card.markdown`).
"""

import unicodedata

LONGEST_NAME = 128
"""Characters of a column's or a symbol's name: it stands in tables, charts and logs."""
LONGEST_SHOWN = 300
"""Characters of a refused value that a message shows."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's control and format characters (writing direction, zero width), halves of pairs, breaks of line and paragraph."""


def unseen(text: str, *, allowed: str = "") -> str | None:
    """The first character that cannot be seen, such as U+202E, which turns the direction of what follows; None without one."""
    found = next((c for c in text if c not in allowed and unicodedata.category(c) in _UNSEEN), None)
    return None if found is None else f"U+{ord(found):04X}"


def shown(text: str, *, allowed: str = "\n") -> str:
    """The text with every character that cannot be seen written out, so that it neither steers a terminal nor hides a word."""
    if unseen(text, allowed=allowed) is None:
        return text
    hidden = {c for c in text if c not in allowed and unicodedata.category(c) in _UNSEEN}
    return "".join(c.encode("unicode_escape").decode() if c in hidden else c for c in text)


def shortened(text: str, longest: int = LONGEST_SHOWN) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"
