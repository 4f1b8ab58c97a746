"""Names of columns in strangers' files, and the shape of their tables."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.source_columns import NAMES, source_columns

OHLCV = {"Date": "timestamp", "Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume"}


@pytest.mark.parametrize(
    ("columns", "shape", "renaming"),
    [
        (["timestamp", "symbol", "close"], "long", {}),
        (["Date", "Ticker", "Close"], "long", {"Date": "timestamp", "Ticker": "symbol", "Close": "close"}),
        (list(OHLCV), "one_symbol", OHLCV),
        (["Date", "AAPL", "MSFT"], "wide", {"Date": "timestamp"}),
        (["", "GOLD", "SILVER"], "wide", {"": "timestamp"}),
        (["open_time", "close", "close_time"], "one_symbol", {"close_time": "timestamp"}),
        (
            ["date", "symbol", "close", "Volume BTC", "Volume USD"],
            "long",
            {"date": "timestamp", "Volume BTC": "volume"},
        ),
        (["Datetime", "Adj Close"], "one_symbol", {"Datetime": "timestamp", "Adj Close": "close"}),
        (["date", "ticker", "ret"], "unknown", {"date": "timestamp", "ticker": "symbol"}),
        (["a", "b"], "unknown", {}),
        (["Date", "Price"], "one_symbol", {"Date": "timestamp", "Price": "close"}),
        (["ts", "coin", "price"], "long", {"ts": "timestamp", "coin": "symbol", "price": "close"}),
        (
            ["date", "o", "h", "l", "c", "v", "rsi"],
            "one_symbol",
            {"date": "timestamp", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"},
        ),
    ],
)
def test_columns_are_understood_by_their_names(columns: list[str], shape: str, renaming: dict[str, str]) -> None:
    found = source_columns(columns)
    assert (found.shape, dict(found.renaming)) == (shape, renaming)
    assert all(repr(old) in found.sentence and repr(new) in found.sentence for old, new in renaming.items())


def test_an_adjusted_close_beside_an_unadjusted_one_is_told() -> None:
    found = source_columns(["Date", "Symbol", "Close", "Adj Close"])
    assert found.adjusted == "Adj Close"
    assert "scale open, high and low by the same factor" in found.sentence
    assert source_columns(["Date", "Symbol", "Adj Close"]).adjusted is None


def test_times_of_openings_are_known_by_their_name_and_text_is_told_apart() -> None:
    assert source_columns(["Open time", "Symbol", "Close"]).opening
    assert not source_columns(["Open time", "Close time", "Symbol", "Close"]).opening
    schema = {
        "date": pl.String(),
        "symbol": pl.String(),
        "close": pl.Float64(),
        "currency": pl.String(),
        "x": pl.Int64(),
    }
    assert source_columns(schema).text == ("currency",)


@pytest.mark.parametrize(
    "names",
    [
        ["AAPL", "MSFT", "V"],
        ["AAPL", "MSFT", "LOW"],
        ["T", "F", "Volume ETF"],
        ["AAPL", "DAY", "MSFT"],
        ["^GSPC", "^VIX", "TS", "SYM"],
        ["A", "AA", "AAPL", "C", "COIN", "GE", "F", "IBM", "KO", "LOW", "MSFT", "ORCL", "PEP", "T", "V", "WMT"],
    ],
)
def test_in_a_wide_table_every_column_but_the_time_is_a_symbol(names: list[str]) -> None:
    for schema in (["Date", *names], dict.fromkeys(["Date"], pl.String()) | dict.fromkeys(names, pl.Float64())):
        found = source_columns(schema)
        assert (found.shape, found.wide, dict(found.renaming)) == ("wide", tuple(names), {"Date": "timestamp"})


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (["AAPL", "MSFT", "C", "V"], {"C": "close", "V": "volume"}),
        (["AAPL", "MSFT", "COIN", "C"], {"COIN": "symbol", "C": "close"}),
        (["Price", "GE", "KO"], {"Price": "close"}),
        (["AAPL", "MSFT", "Volume"], {"Volume": "volume"}),
        (["C", "V"], {"C": "close", "V": "volume"}),
        (["O", "H", "L", "C", *(f"A{k}" for k in range(12))], {"O": "open", "H": "high", "L": "low", "C": "close"}),
    ],
)
def test_names_that_are_tickers_and_fields_are_told_as_both_and_taken_for_neither(
    names: list[str], fields: dict[str, str]
) -> None:
    found = source_columns(["Date" if "AAPL" in names else "DATE", *names])
    assert (found.shape, dict(found.fields)) == ("either", fields)
    assert "fields of one table or markets of a wide one" in found.sentence


def test_a_column_of_text_is_the_symbol_and_one_of_prices_is_not() -> None:
    text = {"DATE": pl.String(), "COIN": pl.String(), "PRICE": pl.Float64(), "RSI": pl.Float64()}
    assert source_columns(text).shape == "long"
    assert source_columns({"date": pl.String(), "coin": pl.Float64(), "close": pl.Float64()}).shape == "one_symbol"


@given(st.permutations(["timestamp", "symbol", "close", "open", "high", "low", "volume"]))
def test_names_that_are_right_are_never_renamed_in_any_order(columns: list[str]) -> None:
    found = source_columns(columns)
    assert (found.shape, dict(found.renaming), found.sentence) == ("long", {}, "")


def test_no_name_means_two_things() -> None:
    known = [name for names in NAMES.values() for name in names]
    assert len(known) == len(set(known))
