"""What a CSV file is as text, before it is parsed: encoding, separator, header; and why it cannot be read as it is.

polars reads commas and UTF-8, takes a semicolon for part of a name and renames a repeated column without a word. Not here:
what columns mean (`domain.source_columns`), reading the rows (`sources`).
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tft_pipeline.domain.bars import BarsError

HEAD_BYTES = 256 * 1024
"""Of a file that are looked at; a header and some thousand rows."""
SEPARATORS = (",", ";", "\t", "|")
MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"PAR1", "a Parquet file", "name it .parquet"),
)
"""First bytes of files that are no CSV of UTF-8 text, what they are, and what to do."""
ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

ZONED = "; ZONE is that of its times, such as America/New_York, and UTC only if the source says so"
_CLOCK = re.compile(r"\d:\d\d(?::\d\d)?(?:\.\d+)?\s*(Z|UTC|GMT|[+-]\d\d)?")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|\d{9,}$")


@dataclass(frozen=True, slots=True)
class CsvText:
    """How a CSV file is written.

    Attributes:
        encoding: as Python names it.
        separator: between its fields.
        header: names in its first line.
        levels: the first line is the upper of several that are a header together, as data frames with levels are written: the
            lines that follow it and belong to it.
        zone: of its times, for `--timezone`: UTC of dates alone, ZONE of times without one, empty of others.
    """

    encoding: str
    separator: str
    header: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    zone: str


def csv_text(path: Path) -> CsvText:
    """How a file is written.

    Raises:
        BarsError: it is empty, or no text.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head.strip():
        raise BarsError(f"{path}: cannot be read: it is empty; put the bars there, with a header")
    for mark, what, remedy in MARKS:
        if head.startswith(mark) and mark not in ENCODINGS:
            raise BarsError(f"{path}: cannot be read: it is {what}; {remedy}")
    encoding = next((name for mark, name in ENCODINGS.items() if head.startswith(mark)), None)
    if encoding is None:
        encoding = _encoding(head)
    text = head.decode(encoding, errors="ignore")
    if not text.strip():  # a byte-order mark and nothing behind it
        raise BarsError(f"{path}: cannot be read: it is empty; put the bars there, with a header")
    if "\0" in text:
        raise BarsError(f"{path}: cannot be read: it holds zero bytes and is no text; save it as CSV")
    if text.lstrip().lower().startswith(("<!doctype", "<html")):
        raise BarsError(f"{path}: cannot be read: it is a web page, not a table; download the file behind it")
    lines = text.splitlines()[:4]
    separator = max(SEPARATORS, key=lambda mark: (lines[0].count(mark), -SEPARATORS.index(mark)))
    rows = [tuple(row) for row in csv.reader(lines, delimiter=separator)]
    rows = [tuple(name.strip() for name in row) for row in rows]
    clock = _CLOCK.search(lines[-1])
    zone = "UTC" if clock is None else "" if clock[1] else "ZONE"
    return CsvText(encoding, separator, rows[0], _levels(rows), zone)


def _encoding(head: bytes) -> str:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(head) - 4:  # not a character cut in two by the end of the head
            return "cp1252"
    return "utf-8-sig"


def _levels(rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Lines below the first that belong to the header: 'Ticker,AAPL,AAPL' and 'Date,,,' as yfinance writes them."""
    if len(rows) < 2 or len(rows[0]) < 2 or rows[0][0] not in ("Price", "", "Ticker", "Attributes"):
        return ()
    indexed = rows[0][0] == "" and len(set(rows[0][1:])) == len(rows[0][1:])
    if indexed or _are_numbers(rows[1][1:]):
        return ()
    found = [rows[1]]
    if len(rows) > 2 and not any(rows[2][1:]) and rows[2][0].lower() in ("date", "datetime", "timestamp"):
        found.append(rows[2])
    return tuple(found)


def _are_numbers(cells: tuple[str, ...]) -> bool:
    def number(cell: str) -> bool:
        try:
            float(cell.replace(",", ""))
        except ValueError:
            return cell == ""
        return True

    return all(number(cell) for cell in cells)


def refuse_unusual(path: Path, *, convertible: bool) -> None:
    """What the reader would misread or rename without a word.

    Args:
        convertible: the file holds bars, which `tft init --convert` can write in the form they must have.
    Raises:
        BarsError: another encoding or separator, a header of several lines, without one, or with a name twice.
    """
    found = csv_text(path)
    shown = Path(path.name) if path.is_absolute() else path
    convert = f", or let `tft init {shown} --convert {shown.with_suffix('.parquet')}"
    convert += (f" --timezone {found.zone}" if found.zone else "") + "` write a copy"
    convert = convert + ZONED * (found.zone == "ZONE") if convertible else ""
    if found.encoding == "utf-16":
        raise BarsError(f"{path}: cannot be read: it is UTF-16 text; save it as UTF-8{convert}")
    if found.encoding == "cp1252":
        raise BarsError(f"{path}: cannot be read: it is no UTF-8 text; save it as UTF-8{convert}")
    if found.separator != ",":
        named = {";": "semicolons", "\t": "tabs", "|": "bars (|)"}[found.separator]
        raise BarsError(
            f"{path}: cannot be read: its columns are separated by {named}; write commas, and decimal points in "
            f"numbers{convert}"
        )
    if found.levels:
        raise BarsError(
            f"{path}: cannot be read: its header has {1 + len(found.levels)} lines ({found.header[0]!r}, "
            f"{', '.join(repr(level[0]) for level in found.levels)} ...), a level of names each; bring the table into the "
            f"long form with one header line{convert}"
        )
    refuse_header(path, found.header)


def refuse_header(path: Path, header: Sequence[str]) -> None:
    """A first line that is no header, or names a column twice, which the reader would rename.

    Raises:
        BarsError: it is so.
    """
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise BarsError(f"{path}: cannot be read: its header names {', '.join(map(repr, twice))} twice; rename one")
    if any(_TIME.match(name) for name in header):
        raise BarsError(
            f"{path}: cannot be read: its first line is {','.join(header)[:80]}, which is a row and no header; write "
            "the names of the columns there, such as timestamp,symbol,close"
        )


def refusal(path: Path, error: Exception) -> str:
    """Why polars could not read a file, in one sentence and without its advice to programmers."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if path.suffix == ".parquet":
        return f"{path}: cannot be read: it is no whole Parquet file ({said}); fetch or write it again"
    if "more fields than" in said:
        return f"{path}: cannot be read: {_ragged(path)}; correct that line, or put text with separators in quotation marks"
    if match := re.match(r"could not parse `(.*)` as dtype `\S+` at column '(.*)' \(", said):
        return f"{path}: cannot be read: column {match[2]!r} holds {match[1]!r} where numbers stand before: write numbers alone"
    return f"{path}: cannot be read: {said}"


def _ragged(path: Path) -> str:
    """The first line with more fields than the header has names."""
    written = csv_text(path)
    with path.open(encoding=written.encoding, errors="replace", newline="") as stream:
        rows = csv.reader(stream, delimiter=written.separator)
        for row in rows:
            if len(row) > len(written.header):
                return f"line {rows.line_num} has {len(row)} fields, and the header names {len(written.header)}"
    return "a line has more fields than the header has names"
