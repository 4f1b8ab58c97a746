"""Raw rows to the bars that an experiment works on: checked, and cut to what its data section names.

Not here: reading files, what minutes and tables join to bars (`minutes`, `tables`), what a bar must be (`bars`).
"""

import polars as pl

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import BarsError, normalise_bars
from tft_pipeline.domain.data_section import DataSection
from tft_pipeline.domain.intervals import refusal_of_interval, refusal_of_openings


def checked_bars(data: DataSection, raw: pl.DataFrame) -> pl.DataFrame:
    """One row a symbol and bar, in UTC, sorted by symbol and timestamp.

    Raises:
        BarsError: rows that cannot be used, bars that are not of `data.interval`, timestamps that are no openings where
            `data.stamp` says so, or a market that is not among them.
    """
    frame = publish_in_time(
        normalise_bars(
            raw,
            timezone=data.timezone,
            symbols=_with_untraded(data, raw),
            start=data.start,
            end=data.end,
            min_bars=data.min_bars,
            opened_before=data.opened_before,
        )
    )
    refusal = refusal_of_openings(frame, data.interval) if data.stamp == "open" else None
    if refusal:  # added to an opening, a wrong length would place the close before the bar has seen it
        raise BarsError(f"data.stamp is open, which adds data.interval to each timestamp: {refusal}")
    _refuse_absent_markets(data, frame)
    traded = frame.filter(~pl.col("symbol").is_in(list(data.untraded)))  # the others may have calendars of their own
    if refusal := refusal_of_interval(traded, data.interval):
        raise BarsError(f"data.{refusal}")
    return frame


def _with_untraded(data: DataSection, raw: pl.DataFrame) -> tuple[str, ...] | None:
    """Symbols to keep: those of data.symbols and the markets that are there; which is absent is told by its own key."""
    if data.symbols is None or "symbol" not in raw.columns:
        return data.symbols
    present = set(raw["symbol"].cast(pl.String).unique())
    return (*data.symbols, *(name for name in data.untraded if name in present and name not in data.symbols))


def _refuse_absent_markets(data: DataSection, frame: pl.DataFrame) -> None:
    present = set(frame["symbol"].unique())
    if data.market_symbol is not None and data.market_symbol not in present:
        raise BarsError(
            f"data.market_symbol {data.market_symbol!r} has no bars in the source; correct it, or remove the key to "
            "go without market features"
        )
    for prefix, symbol in data.cross_markets.items():
        if symbol not in present:
            raise BarsError(
                f"data.cross_markets {prefix}: {symbol!r} has no bars in the source; add them, correct the symbol, or remove "
                "the prefix to go without its features"
            )
    if present <= set(data.untraded):
        given = {"data.market_symbol": data.market_symbol, "data.cross_markets": data.cross_markets}
        keys = " and ".join(key for key, value in given.items() if value)
        raise BarsError(
            f"{keys} name all symbols there are ({', '.join(sorted(present))}), and these are never traded: there is nothing "
            f"to learn positions for; add bars of symbols to trade, or take one out of {keys}"
        )
