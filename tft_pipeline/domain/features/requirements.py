"""What bars must satisfy before features are computed from them; every refusal names the bar, what is wrong and the remedy."""

from collections.abc import Collection, Sequence

import polars as pl

from tft_pipeline.domain.features.catalogue import catalogue
from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature, OfSymbol

KEYS = ("timestamp", "symbol")
OPTIONAL = ("open", "high", "low", "volume")


def check_bars(bars: pl.DataFrame) -> None:
    """Keys of the right type, sorted by (symbol, timestamp), unique; closes complete and positive.

    Raises:
        ValueError: one of these does not hold.
    """
    absent = [name for name in (*KEYS, "close") if name not in bars.columns]
    if absent:
        raise ValueError(f"the bars have no column {', '.join(absent)}: features need timestamp, symbol and close")
    if bars.is_empty():
        raise ValueError("the bars are empty: there is nothing to compute features for")
    if bars.schema["timestamp"] != pl.Datetime("us", "UTC") or bars.schema["symbol"] != pl.String:
        raise ValueError(
            f"timestamp is {bars.schema['timestamp']} and symbol {bars.schema['symbol']}: bars would join wrongly, "
            "cast them to Datetime('us', 'UTC') and String"
        )
    symbol_before, timestamp_before = pl.col("symbol").shift(1), pl.col("timestamp").shift(1)
    follows = (pl.col("symbol") > symbol_before) | (
        (pl.col("symbol") == symbol_before) & (pl.col("timestamp") > timestamp_before)
    )
    first = pl.int_range(pl.len()) == 0
    complete = pl.col("symbol").is_not_null() & pl.col("timestamp").is_not_null()
    _refuse_rows(
        bars.filter(~(complete & (first | follows.fill_null(False)))),
        "is not after the row before it",
        "windows would mix bars: sort by (symbol, timestamp) and drop duplicates",
    )
    positive = pl.col("close").cast(pl.Float64).is_finite() & (pl.col("close") > 0)
    _refuse_rows(
        bars.filter(~positive.fill_null(False)),
        "has a close that is missing, not finite or not above 0",
        "its return does not exist: repair or drop the bar",
    )


def check_untraded(symbols: Collection[str], market_symbol: str | None, cross_symbols: Sequence[str]) -> None:
    """Every symbol that is context has bars, is named once, and is not all there is.

    Raises:
        ValueError: one of these does not hold.
    """
    if market_symbol is not None and market_symbol not in symbols:
        raise ValueError(
            f"market symbol {market_symbol!r} has no bar: its features would be empty, add it or pass None"
        )
    for symbol in cross_symbols:
        if symbol not in symbols:
            raise ValueError(
                f"cross symbol {symbol!r} has no bar: its features would be empty, add its bars or drop it"
            )
        if symbol == market_symbol or list(cross_symbols).count(symbol) > 1:
            raise ValueError(f"cross symbol {symbol!r} is context already: name it once, as market or as cross symbol")
    if not set(symbols) - {market_symbol, *cross_symbols}:
        only = f"the market symbol {market_symbol!r}" if not cross_symbols else "market and cross symbols"
        raise ValueError(f"the bars hold only {only}: no symbol is left to compute for")


def check_inputs(
    bars: pl.DataFrame, features: tuple[Feature, ...], market_symbol: str | None, cross_symbols: Sequence[str]
) -> None:
    """Every feature finds its columns and its symbol.

    Raises:
        ValueError: one does not.
    """
    present = {*bars.columns, MARKET_CLOSE} if market_symbol is not None else set(bars.columns)
    for feature in features:
        absent = [name for name in feature.inputs if name not in present]
        if absent:
            raise ValueError(f"feature {feature.name!r} needs {absent}, which the bars lack: resolve features on them")
        if isinstance(feature.source, OfSymbol) and feature.source.symbol not in cross_symbols:
            raise ValueError(
                f"feature {feature.name!r} is about {feature.source.symbol!r}, which is not among the cross symbols "
                f"{list(cross_symbols)}: name it there"
            )


def check_user_columns(bars: pl.DataFrame, user_columns: Sequence[str], features: tuple[Feature, ...]) -> None:
    """Every own column is there, a number, and not named like another.

    Raises:
        ValueError: one is not.
    """
    taken = {feature.name for feature in (*catalogue(), *features)} | {*KEYS, *OPTIONAL, "close"}
    for name in user_columns:
        if name not in bars.columns:
            raise ValueError(f"user column {name!r} is not in the bars: it cannot be passed on, check the spelling")
        if name in taken or list(user_columns).count(name) > 1:
            raise ValueError(f"user column {name!r} is the name of another column too: they would collide, rename it")
        if not (bars.schema[name].is_numeric() or bars.schema[name] == pl.Boolean):
            raise ValueError(f"user column {name!r} is {bars.schema[name]}: the network reads numbers, encode it first")


def _refuse_rows(wrong: pl.DataFrame, what: str, remedy: str) -> None:
    if not wrong.is_empty():
        first = wrong.row(0, named=True)
        where = f"bar of {first['symbol']} at {first['timestamp']}"
        raise ValueError(f"{where} {what} ({wrong.height} such bars): {remedy}")
