"""What the columns of a stranger's file are: names that mean timestamp, symbol, close; the shape of the table; what to rename.

A guess is said and never acted on by the pipeline: `tft init --convert` acts on it and lists what it did. Not here: values
(`time_text`, `number_text`), reading files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

Shape = Literal["long", "wide", "one_symbol", "either", "unknown"]

NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": (
        "timestamp", "closetime", "datetime", "date", "time", "dt", "opentime", "day", "tradedate", "tradingday", "asof",
        "gmttime", "localtime", "unix", "unixtimestamp", "timestampms", "ts",
    ),
    "symbol": (
        "symbol", "ticker", "asset", "instrument", "tic", "ric", "isin", "sid", "permno", "pair", "coin", "market", "sym",
        "contract", "securityid", "code", "name",
    ),
    "close": (
        "close", "adjclose", "adjustedclose", "closeprice", "closelast", "last", "lastprice", "price", "pxlast", "settle",
        "settlement", "settlementprice", "nav", "value", "c",
    ),
    "open": ("open", "openprice", "pxopen", "o"),
    "high": ("high", "highprice", "pxhigh", "h"),
    "low": ("low", "lowprice", "pxlow", "l"),
    "volume": ("volume", "vol", "v", "qty", "quantity", "basevolume", "pxvolume", "sharestraded"),
    "available_at": ("availableat", "publishedat", "releasedat"),
}  # fmt: skip
"""Name in the pipeline -> names it goes by elsewhere, in lower case without blanks and marks, the better one first."""
TICKERS = frozenset(
    {
        "o",
        "h",
        "l",
        "c",
        "v",
        "open",
        "low",
        "last",
        "price",
        "value",
        "nav",
        "name",
        "code",
        "coin",
        "market",
        "pair",
        "tic",
        "ric",
        "sid",
        "sym",
    }
)
"""Names that are tickers or columns of features as often: fields where another name says that the table is of fields."""
TIME_TICKERS = ("day", "ts", "dt")
ADJUSTED = ("adjclose", "adjustedclose")
OPENINGS = ("opentime",)
"""Names of times that are openings of bars."""
MANY = 2
"""Columns of numbers beside a time that make a table wide, where none is called close."""
MOST, MAJORITY = 5, 3
"""Columns in capitals, and how many for each that could be a field, from which a table is wide for all that: Citigroup is C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumns:
    """How the columns were understood.

    Attributes:
        renaming: name in the file -> name in the pipeline, of those that have to be renamed.
        shape: long: a row a symbol and bar; wide: a row a bar and a column a symbol; one_symbol: a row a bar and no symbol;
            either: names that are fields of one market, or markets of a wide table.
        wide: columns that look like symbols, of a wide table: all but the times; of either, those that no field is named like.
        fields: of either: name in the file -> field it could be.
        adjusted: column of adjusted closes beside unadjusted ones; None without both.
        text: other columns that hold text, which no feature can be.
        opening: the column of times names openings of bars.
    """

    renaming: Mapping[str, str]
    shape: Shape
    wide: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    adjusted: str | None = None
    text: tuple[str, ...] = ()
    opening: bool = False

    @property
    def sentence(self) -> str:
        """What to do about the columns; empty where they are as they must be."""
        said = []
        if self.renaming:
            said.append("rename " + ", ".join(f"{old!r} to {new!r}" for old, new in self.renaming.items()))
        if self.shape == "wide":
            shown = ", ".join(self.wide[:5]) + (f" and {len(self.wide) - 5} more" if len(self.wide) > 5 else "")
            said.append(
                f"the table is wide, a column a symbol ({shown}): bring it into the long form, one row a symbol and bar with "
                "the columns timestamp, symbol, close"
            )
        if self.shape == "either":
            fields = ", ".join(f"{old!r} ({new})" for old, new in self.fields.items())
            markets = f", such as {', '.join(map(repr, self.wide[:3]))}" if self.wide else ""
            said.append(
                f"{fields} can be fields of one table or markets of a wide one{markets}: where they are fields, rename them "
                "so; where they are markets, bring the table into the long form, one row a symbol and bar with the columns "
                "timestamp, symbol, close"
            )
        if self.shape == "one_symbol":
            said.append("no column says which market a row is of: add a column symbol")
        if self.adjusted:
            said.append(
                f"{self.adjusted!r} is adjusted for splits and dividends and 'Close' is not: use it as close, and scale "
                "open, high "
                "and low by the same factor, or drop them"
            )
        return "; ".join(said)


def plain(name: str) -> str:
    """A name in lower case, without blanks, marks and what stands in brackets."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", name.lower()))


def source_columns(schema: Mapping[str, pl.DataType] | Sequence[str]) -> SourceColumns:
    """What the columns of a file mean, by their names and, where known, types.

    Args:
        schema: name to type, or names alone.
    """
    names = list(schema)
    types = dict(schema) if isinstance(schema, Mapping) else {}
    found = _named(names, types)
    adjusted = next((name for name in names if plain(name) in ADJUSTED), None)
    both = adjusted is not None and found.get("close") != adjusted
    taken = set(found.values()) | ({adjusted} if both and adjusted else set())
    times = [name for name in names if plain(name) in NAMES["timestamp"] and plain(name) not in TIME_TICKERS]
    rest = [name for name in names if name not in taken]
    numbers = [name for name in rest if name not in times and (name not in types or types[name].is_numeric())]
    shape = _shape(found, numbers, types)
    wide: tuple[str, ...] = ()
    fields = {old: new for new, old in found.items() if new != "timestamp"}
    if shape == "wide":
        wide = tuple(name for name in names if name in numbers or name in fields)
        found, rest = {"timestamp": found["timestamp"]}, [name for name in rest if name not in wide]
    if shape == "either":
        found, wide = {"timestamp": found["timestamp"]}, tuple(numbers)
    return SourceColumns(
        renaming={old: new for new, old in found.items() if old != new},
        shape=shape,
        wide=wide,
        fields=fields if shape == "either" else {},
        adjusted=adjusted if both else None,
        text=tuple(name for name in rest if types.get(name) == pl.String),
        opening=plain(found.get("timestamp", "")) in OPENINGS,
    )


def _named(names: Sequence[str], types: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Meaning -> the column that is named like it."""
    found: dict[str, str] = {}
    for meaning, known in NAMES.items():
        exact = [name for name in names if name == meaning]
        best = exact or sorted((n for n in names if plain(n) in known), key=lambda n: known.index(plain(n)))
        if meaning == "symbol":  # prices are no names
            best = [n for n in best if plain(n) not in TICKERS or n not in types or not types[n].is_float()]
        if best:
            found[meaning] = best[0]
    indexed = bool(names) and names[0].strip() in ("", "index", "Unnamed: 0")  # the index of a data frame
    if indexed and ("timestamp" not in found or (plain(found["timestamp"]) in TIME_TICKERS and "close" not in found)):
        found["timestamp"] = names[0]
    if "volume" not in found and "close" in found:  # exchanges write the coin behind it, such as "Volume BTC"
        volumes = [name for name in names if plain(name).startswith("volume")]
        found |= {"volume": volumes[0]} if volumes else {}
    return found


def _shape(found: Mapping[str, str], numbers: Sequence[str], types: Mapping[str, pl.DataType]) -> Shape:
    """What a table is, by the meanings that were found and the columns of numbers that mean nothing."""
    fields = {meaning: name for meaning, name in found.items() if meaning != "timestamp"}
    sure = {meaning for meaning, name in fields.items() if plain(name) not in TICKERS}
    sure |= {"symbol"} if "symbol" in fields and types.get(fields["symbol"]) == pl.String else set()
    whole_set = {"open", "high", "low", "close"} <= set(fields)
    known: Shape = "long" if "symbol" in fields else "one_symbol"
    if "timestamp" not in found:
        return "unknown"
    capitals = all(name == name.upper() for name in (*numbers, *fields.values()))
    majority = capitals and len(numbers) >= max(MOST, MAJORITY * len(fields))
    if "close" in fields:
        if sure:
            return known
        if whole_set:
            return "either" if majority else known
        if majority:
            return "wide"
        return "either" if numbers or (capitals and len(fields) > 1) else known
    if sure == {"volume"} and numbers:
        return "either"
    return "wide" if not sure and len(numbers) + len(fields) >= MANY else "unknown"
