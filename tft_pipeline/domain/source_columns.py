"""What the columns of a stranger's file are: names that mean timestamp, symbol, close; the shape of the table; what to rename.

A guess is said and never acted on by the pipeline: `tft init --convert` acts on it and lists what it did. Not here: values
(`time_text`, `number_text`), reading files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

Shape = Literal["long", "wide", "one_symbol", "unknown"]

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
ADJUSTED = ("adjclose", "adjustedclose")
OPENINGS = ("opentime",)
"""Names of times that are openings of bars."""
MANY = 2
"""Columns of numbers beside a time that make a table wide, where none is called close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumns:
    """How the columns were understood.

    Attributes:
        renaming: name in the file -> name in the pipeline, of those that have to be renamed.
        shape: long: a row a symbol and bar; wide: a row a bar and a column a symbol; one_symbol: a row a bar and no symbol.
        wide: columns that look like symbols, of a wide table.
        adjusted: column of adjusted closes beside unadjusted ones; None without both.
        text: other columns that hold text, which no feature can be.
        opening: the column of times names openings of bars.
    """

    renaming: Mapping[str, str]
    shape: Shape
    wide: tuple[str, ...] = ()
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
    found: dict[str, str] = {}
    for meaning, known in NAMES.items():
        exact = [name for name in names if name == meaning]
        best = exact or sorted((n for n in names if plain(n) in known), key=lambda n: known.index(plain(n)))
        if best:
            found[meaning] = best[0]
    if "timestamp" not in found and names and names[0].strip() in ("", "index", "Unnamed: 0"):
        found["timestamp"] = names[0]  # the index of a data frame
    if "volume" not in found:  # exchanges write the coin behind it, such as "Volume BTC"
        volumes = [name for name in names if plain(name).startswith("volume")]
        found |= {"volume": volumes[0]} if volumes else {}
    adjusted = next((name for name in names if plain(name) in ADJUSTED), None)
    both = adjusted is not None and found.get("close") != adjusted
    taken = set(found.values()) | ({adjusted} if both and adjusted else set())
    rest = [name for name in names if name not in taken]
    numbers = [name for name in rest if name not in types or types[name].is_numeric()]
    shape: Shape = "unknown"
    wide: tuple[str, ...] = ()
    if {"timestamp", "symbol", "close"} <= set(found):
        shape = "long"
    elif {"timestamp", "close"} <= set(found):
        shape = "one_symbol"
    elif "timestamp" in found and not {"symbol", "close", "open", "high", "low"} & set(found) and len(numbers) >= MANY:
        shape, wide = "wide", tuple(numbers)
        found = {"timestamp": found["timestamp"]}
    return SourceColumns(
        renaming={old: new for new, old in found.items() if old != new},
        shape=shape,
        wide=wide,
        adjusted=adjusted if both else None,
        text=tuple(name for name in rest if types.get(name) == pl.String),
        opening=plain(found.get("timestamp", "")) in OPENINGS,
    )
