"""The section of an experiment file that says what data there are: bars, minutes, tables, other markets."""

from datetime import date, timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from tft_pipeline.domain.bars import AT_CLOSE
from tft_pipeline.domain.features.cross_market import refusal_of_prefix
from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval, Stamp, refusal_of_stamp
from tft_pipeline.domain.sections import Names, PositiveFloat, PositiveInt, Section
from tft_pipeline.domain.tables import refusal_of_table_prefix


class TableSection(Section):
    """An exogenous table joined to the bars as it was published."""

    source: str = Field(
        description="Parquet or CSV file or a folder of them with timestamp (what a row speaks of), available_at (when it "
        "was published), numbers and, where values differ by symbol, symbol; relative to the experiment file"
    )
    prefix: str = Field(description="begins the names of its columns, <prefix>_<column>, and is their group")
    max_age_days: PositiveFloat | None = Field(
        default=None,
        le=36_500.0,
        description="days after which a value that was public counts as missing; without it the table must go on to the "
        "last bar, and have more than one row",
    )


class DataSection(Section):
    """Where the bars come from and what one bar is."""

    source: str = Field(description="Parquet or CSV file or a folder of them; relative to the experiment file")
    interval: Interval = Field(description="length of one bar; bars of another one are refused")
    stamp: Stamp = Field(
        default="close",
        description="what the timestamps of source name: the close of a bar, or its opening, as exchanges write it; then one "
        "interval is added to each. minute_source and tables are not touched: minute_stamp speaks of the former",
    )
    bars_per_year: PositiveFloat = Field(description="bars a year, for annualising: 252 for US daily bars")
    market_symbol: str | None = Field(
        default=None,
        description="index used as context; never traded. Joined by equal timestamps, so its bar must close no later than the "
        "traded ones of that timestamp: take an index of the same exchange, and other places as cross_markets",
    )
    cross_markets: dict[str, str] = Field(
        default={},
        description="prefix of feature names to symbol, such as {crypto_btc: BTC-USD}: other markets used as context, on "
        "their own calendars; never traded. A daily bar of theirs that is stamped with its date alone (00:00 UTC or in "
        "timezone) is over when that day ends, and counts from then on",
    )
    symbols: Names | None = Field(default=None, description="restrict to these symbols; all by default")
    timezone: str | None = Field(
        default=None,
        description="time zone of naive timestamps, which are not accepted without it, of data.start and data.end, and of the "
        "calendar features",
    )
    minute_source: str | None = Field(
        default=None,
        description="minute bars behind daily or hourly ones; their aggregates are the groups intra and micro; a file or "
        "folder, relative to the experiment file",
    )
    minute_stamp: Stamp = Field(
        default="close",
        description="what the timestamps of minute_source name: the close of a minute, or its opening, as exchanges write it; "
        "then one minute is added to each. Closes of bars and minutes that contradict it are refused",
    )
    tables: Annotated[tuple[TableSection, ...], Field(strict=False)] = Field(
        default=(), description="tables such as volatility indices, rates and flows, joined by available_at"
    )
    start: date | None = Field(default=None, description="first date used")
    end: date | None = Field(default=None, description="last date used")
    min_bars: PositiveInt = Field(default=300, description="fewest bars a symbol must bring")

    @model_validator(mode="after")
    def _cross_markets_are_context_only(self) -> Self:
        named = list(self.cross_markets.values())
        for prefix, symbol in self.cross_markets.items():
            refusal = refusal_of_prefix(prefix)
            if refusal:
                raise ValueError(f"cross_markets: {refusal}")
            if symbol == self.market_symbol:
                raise ValueError(
                    f"cross_markets: {prefix} is {symbol!r}, the market_symbol: its features exist already, in mkt; drop it"
                )
            if named.count(symbol) > 1:
                raise ValueError(
                    f"cross_markets: {symbol!r} has two prefixes: every column would exist twice; drop one"
                )
            if symbol in (self.symbols or ()):
                raise ValueError(
                    f"cross_markets: {prefix} is {symbol!r}, which data.symbols lists as traded: it would get no targets; "
                    "drop it from one of the two"
                )
        return self

    @model_validator(mode="after")
    def _openings_tell_the_close(self) -> Self:
        refusal = refusal_of_stamp(self.stamp, self.interval)
        if refusal:
            raise ValueError(refusal)
        return self

    @model_validator(mode="after")
    def _bars_hold_many_minutes(self) -> Self:
        if self.minute_source is not None and self.interval not in ("1h", "1d"):
            raise ValueError(
                f"minute_source is given and interval is {self.interval}: half hours and opening ranges do not fit into such a "
                "bar; use 1h or 1d, or drop minute_source"
            )
        if self.minute_source is None and self.minute_stamp != "close":
            raise ValueError(
                f"minute_stamp is {self.minute_stamp} and there is no minute_source: it speaks of the minutes' timestamps, "
                "those of source have the key stamp; drop it, or add minute_source"
            )
        return self

    @model_validator(mode="after")
    def _table_prefixes_are_free(self) -> Self:
        taken = {prefix.partition("_")[0]: "data.cross_markets" for prefix in self.cross_markets}
        for table in self.tables:
            refusal = refusal_of_table_prefix(table.prefix)
            if refusal:
                raise ValueError(f"tables: {refusal}")
            if table.prefix in taken:
                raise ValueError(
                    f"tables: prefix {table.prefix!r} is used in {taken[table.prefix]} too: a group must have one source; "
                    "rename one"
                )
            taken[table.prefix] = "data.tables"
        return self

    @property
    def opened_before(self) -> timedelta:
        """What the timestamps of `source` are earlier than the closes of their bars."""
        return BAR_LENGTHS[self.interval] if self.stamp == "open" else AT_CLOSE

    @property
    def minutes_opened_before(self) -> timedelta:
        """What the timestamps of `minute_source` are earlier than the closes of their minutes."""
        return BAR_LENGTHS["1m"] if self.minute_stamp == "open" else AT_CLOSE

    @property
    def untraded(self) -> tuple[str, ...]:
        """Symbols that are context only: the market index, then the cross markets."""
        return (*(() if self.market_symbol is None else (self.market_symbol,)), *self.cross_markets.values())
