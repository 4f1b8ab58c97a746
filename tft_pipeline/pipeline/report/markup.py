"""Text to HTML, escaped by default; numbers with sensible digits; tables. Not here: what is shown, figures, the document.

A `str` is text and is escaped wherever it is placed; only `Html` is taken as markup.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

DASH = "—"
MINUS = "−"
THIN_SPACE = "\u202f"
"""Narrow, does not break: between groups of three digits."""
TALL = 30
"""Rows from which a table scrolls in its own box on the screen."""
SHORT_CELL = (24, 40)
"""Characters up to which a cell is kept on one line, and from which its column gets a least width."""
LONGEST_TEXT = 160
"""Characters of a list or mapping in a cell; the rest is counted."""


class Html(str):
    """Markup that may be placed in a page as it is."""

    __slots__ = ()


def html(value: object) -> Html:
    """Markup of anything: `Html` as it is, everything else as escaped text."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Parts one after the other, text among them escaped."""
    return Html(escape(separator).join(html(part) for part in parts))


def tag(name: str, *children: object, attributes: Mapping[str, str] | None = None) -> Html:
    """One element; children that are not `Html` are escaped, attribute values always."""
    written = "".join(f' {key}="{escape(value, quote=True)}"' for key, value in (attributes or {}).items())
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def line(*children: object) -> Html:
    """Text that is not broken into lines, such as dates."""
    return tag("span", *children, attributes={"class": "line"})


def paragraph(*children: object, kind: str = "") -> Html:
    """A paragraph, with a class where one is named."""
    return tag("p", *children, attributes={"class": kind} if kind else None)


def bullets(items: Iterable[object]) -> Html:
    """An unordered list."""
    return tag("ul", *(tag("li", item) for item in items))


def figure_of(record: Mapping[str, Any], key: str, *, of: str) -> Any:
    """An agreed entry of a record; None is a finding, absence is an error.

    Raises:
        ValueError: the record has no such key.
    """
    if key not in record:
        raise ValueError(
            f"{of} has no {key!r} (it has {', '.join(map(str, record)) or 'nothing'}): the report would leave it out "
            f"unnoticed; materialise {of} again"
        )
    return record[key]


def decimal(value: float | None, digits: int = 2) -> str:
    """`-0.126` -> `−0.13`; a dash for None. A value that rounds to zero has no sign."""
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(share: float | None, digits: int = 1) -> str:
    """`0.1234` -> `12.3 %`, which does not break; a dash for None."""
    return DASH if share is None else f"{decimal(100.0 * share, digits)}{THIN_SPACE}%"


def count(value: float | None) -> str:
    """`12345` -> `12 345` with narrow no-break spaces; a dash for None."""
    return DASH if value is None else f"{round(value):,}".replace(",", THIN_SPACE).replace("-", MINUS)


def several(n: int, what: str) -> str:
    """`1 fold`, `3 folds`."""
    return f"{count(n)} {what}{'' if n == 1 else 's'}"


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """`−0.10 to 1.10`; a dash when an end is None."""
    return DASH if low is None or high is None else f"{decimal(low, digits)} to {decimal(high, digits)}"


def day(stamp: str) -> str:
    """ISO timestamp to a date, with the time where there is one."""
    date, _, time = stamp.partition("T")
    return date if not time or time.startswith("00:00") else f"{date} {time[:5]}"


def free(value: Any) -> str:
    """Any JSON value as short text, for records whose keys are not known here."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value).replace("-", MINUS) if abs(value) < 10_000 else count(value)
    if isinstance(value, float):
        text = f"{value:.4g}" if abs(value) < 1000.0 else f"{value:.0f}"
        return text.replace("-", MINUS)
    if isinstance(value, Mapping):
        return _shortened([f"{key}: {free(item)}" for key, item in value.items()])
    if isinstance(value, list | tuple):
        return _shortened([free(item) for item in value])
    return str(value)


def _shortened(items: Sequence[str]) -> str:
    kept: list[str] = []
    for item in items:
        if kept and sum(map(len, kept)) + len(item) > LONGEST_TEXT:
            return f"{', '.join(kept)} and {len(items) - len(kept)} more ({len(items)} in all)"
        kept.append(item)
    return ", ".join(kept) or "none"


def words(key: str) -> str:
    """A record's key as a heading: `sharpe_annual` -> `sharpe, a year`."""
    for ending, unit in (("_annual", ", a year"), ("_bps", ", bps"), ("_ms", ", ms"), ("_bars", ", bars")):
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " ") + unit
    return key.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading and the cell of a row; numbers stand at the right."""

    title: str
    cell: Callable[[Mapping[str, Any]], object]
    numeric: bool = True


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, caption: str) -> Html:
    """A table with a heading for each column; the first cell of a row names it. Wide and tall ones scroll in a box."""
    grid = [[column.cell(row) for column in columns] for row in rows]
    kinds = ["number" if column.numeric else _width([cells[k] for cells in grid]) for k, column in enumerate(columns)]
    side = [{"class": kind} if kind else {} for kind in kinds]
    titles = [{"class": "number"} if column.numeric else {} for column in columns]
    head = tag(
        "tr",
        *(tag("th", c.title, attributes={"scope": "col", **t}) for c, t in zip(columns, titles, strict=True)),
    )
    body = []
    for first, *others in grid:
        cells = [tag("td", cell, attributes=s) for cell, s in zip(others, side[1:], strict=True)]
        body.append(tag("tr", tag("th", first, attributes={"scope": "row", **side[0]}), *cells))
    inner = tag("table", tag("thead", head), tag("tbody", *body))
    box = "box tall" if len(rows) > TALL else "box"
    scrolled = tag("div", inner, attributes={"class": box, "tabindex": "0", "role": "region", "aria-label": caption})
    return join([paragraph(caption, kind="caption"), scrolled])


def _width(cells: Sequence[object]) -> str:
    """How a column of text may be squeezed: short ones keep their line, long ones keep a readable width."""
    longest = max((len(str(cell)) for cell in cells if not isinstance(cell, Html)), default=0)
    return "prose" if longest > SHORT_CELL[1] else "line" if 0 < longest <= SHORT_CELL[0] else ""


def free_table(rows: Sequence[Mapping[str, Any]], *, caption: str) -> Html:
    """A table of rows whose keys are not known here: every key of any row is a column."""
    keys = list(dict.fromkeys(key for row in rows for key in row))

    def column(key: str) -> Column:
        values = [row.get(key) for row in rows]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values if v is not None)
        return Column(words(str(key)), lambda row: free(row.get(key)), numeric)

    return table([column(key) for key in keys], rows, caption=caption)


def facts(rows: Mapping[str, object], *, caption: str) -> Html:
    """Two columns: what, and its value."""
    columns = [Column("", lambda row: row["what"], False), Column("value", lambda row: row["value"], False)]
    return table(columns, [{"what": what, "value": value} for what, value in rows.items()], caption=caption)


def free_record(record: Mapping[str, Any], *, caption: str) -> Html:
    """A record whose keys are not known here: plain values, then a table for each list or mapping of rows."""
    parts: list[Html] = []
    plain = {
        words(str(key)): free(value) for key, value in record.items() if not _is_rows(value) and not _is_named(value)
    }
    if plain:
        parts.append(facts(plain, caption=caption))
    for key, value in record.items():
        title = f"{caption}: {words(str(key))}"
        if _is_rows(value):
            parts.append(free_table(value, caption=title))
        elif _is_named(value):
            parts.append(free_table([{"name": name, **row} for name, row in value.items()], caption=title))
    return join(parts)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(row, Mapping) for row in value.values())
