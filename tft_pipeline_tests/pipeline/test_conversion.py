"""`tft init --convert`: the copy holds the bars that the file meant, every change is listed, the file stays as it is."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.conversion import convert_bars
from tft_pipeline.storage.sources import read_source
from tft_pipeline_tests.conftest import random_bars

MEANT = random_bars(30, ("AAA", "BBB")).with_columns(pl.col("close").round(2) * 100, volume=1000.0)
"""Prices above 1,000, so that separators show."""
MEANT = MEANT.with_columns(pl.col("close").round(1)).sort("symbol", "timestamp")


def converted(source: Path, **options) -> tuple[pl.DataFrame, tuple[str, ...]]:  # type: ignore[no-untyped-def]
    output = source.parent / "copy" / "out.parquet"
    before = {path: path.read_bytes() for path in (source.iterdir() if source.is_dir() else [source])}
    given = {"timezone": None, "dates": None, "symbol": None, "upper": False, "force": False} | options
    changes = convert_bars(source, output, **given)
    assert {path: path.read_bytes() for path in before} == before
    return read_source(output), changes


def same(found: pl.DataFrame, meant: pl.DataFrame = MEANT) -> bool:
    return found.select("timestamp", "symbol", "close").equals(meant.select("timestamp", "symbol", "close"))


def day_first(frame: pl.DataFrame = MEANT) -> pl.DataFrame:
    return frame.with_columns(pl.col("timestamp").dt.strftime("%d/%m/%Y"))


def test_a_file_with_everything_wrong_at_once_comes_out_as_it_was_meant(tmp_path: Path) -> None:
    rows = day_first().with_columns(
        close=pl.col("close").map_elements(lambda x: f"{x:,.1f}".translate(str.maketrans(",.", ".,")), pl.String),
        currency=pl.lit("USD"),
        symbol=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("symbol").str.to_lowercase()).otherwise("symbol"),
    )
    rows = pl.concat([rows, rows.head(2)]).rename({"timestamp": "Date", "symbol": "Ticker", "close": "Last"})
    path = tmp_path / "mine.csv"
    path.write_bytes(rows.write_csv(separator=";").encode("utf-16"))
    found, changes = converted(path, timezone="UTC", upper=True)
    assert same(found)
    told = "\n".join(changes)
    for words in (
        "read as utf-16",
        "separated by ';'",
        "Last: decimal comma text",
        "renamed 'Date' to 'timestamp', 'Ticker' to 'symbol', 'Last' to 'close'",
        "dropped 'currency'",
        "times: day first",
        "placed in UTC",
        "symbols in capitals: aaa, bbb",
        "removed 2 rows that repeat another one",
    ):
        assert words in told, told


def test_a_wide_table_becomes_long_and_its_blanks_are_counted(tmp_path: Path) -> None:
    frame = MEANT.pivot("symbol", index="timestamp", values="close")
    lacking = frame.with_columns(BBB=pl.when(pl.int_range(pl.len()) < 4).then(None).otherwise("BBB"))
    lacking.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%d")).rename({"timestamp": ""}).write_csv(
        tmp_path / "w.csv"
    )
    found, changes = converted(tmp_path / "w.csv", timezone="UTC")
    kept = MEANT.filter((pl.col("symbol") == "AAA") | (pl.col("timestamp") >= frame["timestamp"][4]))
    assert same(found, kept)
    assert any("removed 4 rows without a close (first at 2020-01-01" in one for one in changes)
    assert any("wide to long: 2 columns are symbols now" in one for one in changes)


@pytest.mark.parametrize("symbols_above", [False, True])
def test_header_lines_of_field_and_symbol_become_columns(symbols_above: bool, tmp_path: Path) -> None:
    fields, names = ["Close", "Close", "Volume", "Volume"], ["AAA", "BBB", "AAA", "BBB"]
    first, second = (names, fields) if symbols_above else (fields, names)
    frame = MEANT.pivot("symbol", index="timestamp", values=["close", "volume"])
    lines = [",".join(["Ticker" if symbols_above else "Price", *first]), ",".join(["Ticker", *second]), "Date,,,,"]
    lines += [",".join([f"{row[0]:%Y-%m-%d}", *map(str, row[1:])]) for row in frame.iter_rows()]
    (tmp_path / "y.csv").write_text("\n".join(lines))
    found, changes = converted(tmp_path / "y.csv", timezone="UTC")
    assert same(found)
    assert found["volume"].to_list() == [1000.0] * MEANT.height
    assert any("header lines" in one for one in changes)


def test_a_folder_of_one_file_a_market_takes_symbols_from_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("AAA", "BBB"):
        MEANT.filter(pl.col("symbol") == name).drop("symbol").write_csv(folder / f"{name}.csv")
    found, changes = converted(folder)
    assert same(found)
    assert any("symbol is 'AAA' in every row of AAA.csv, from its name" in one for one in changes)


def test_adjusted_closes_replace_closes_and_scale_the_other_prices(tmp_path: Path) -> None:
    half = MEANT.with_columns(high=pl.col("close") * 1.02, adj=pl.col("close") / 2).rename({"adj": "Adj Close"})
    half.write_csv(tmp_path / "a.csv")
    found, changes = converted(tmp_path / "a.csv")
    assert found["close"].to_list() == pytest.approx((MEANT["close"] / 2).to_list())
    assert found["high"].to_list() == pytest.approx((MEANT["close"] * 0.51).to_list())
    assert "Adj Close" not in found.columns
    assert any("close is 'Adj Close'" in one and "high" in one for one in changes)


def test_times_without_a_zone_are_placed_where_was_said_and_nowhere_else(tmp_path: Path) -> None:
    frame = MEANT.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT16:00:00"))
    frame.write_csv(tmp_path / "n.csv")
    with pytest.raises(ConfigurationError, match=r"no time zone.*--timezone UTC or.*nothing was written"):
        converted(tmp_path / "n.csv")
    assert not (tmp_path / "copy").exists()
    found, _ = converted(tmp_path / "n.csv", timezone="America/New_York")
    assert found["timestamp"][0] == datetime(2020, 1, 1, 21, tzinfo=UTC)


def test_two_dates_are_read_as_was_said(tmp_path: Path) -> None:
    early = MEANT.filter(pl.col("timestamp").dt.day() <= 12)
    day_first(early).write_csv(tmp_path / "d.csv")
    with pytest.raises(ConfigurationError, match="which is two dates"):
        converted(tmp_path / "d.csv", timezone="UTC")
    found, _ = converted(tmp_path / "d.csv", timezone="UTC", dates="day-first")
    assert same(found, early)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: pl.concat([f, f.head(1).with_columns(pl.col("close") + 1)]), "1 duplicate .timestamp, symbol. keys"),
        (lambda f: f.with_columns(close=-pl.col("close")), "close is missing, non-finite or not positive"),
        (lambda f: f.rename({"timestamp": "Open time"}), "openings of bars.*--stamp open"),
        (lambda f: f.rename({"close": "banana", "volume": "apple"}), "could be told by name"),
        (lambda f: f.clear(), "no rows"),
    ],
)
def test_what_could_be_two_things_or_is_wrong_is_refused_and_nothing_is_written(
    change, words: str, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    change(MEANT).write_csv(tmp_path / "x.csv")
    with pytest.raises(ConfigurationError, match=rf"(?s){words}.*nothing was written"):
        converted(tmp_path / "x.csv")
    assert not (tmp_path / "copy").exists()


def test_a_copy_replaces_nothing_without_force_and_never_its_source(tmp_path: Path) -> None:
    MEANT.write_parquet(tmp_path / "m.parquet")
    given = {"timezone": None, "dates": None, "symbol": None, "upper": False}
    with pytest.raises(ConfigurationError, match="would replace the file it is made from"):
        convert_bars(tmp_path / "m.parquet", tmp_path / "m.parquet", force=True, **given)  # type: ignore[arg-type]
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"is there already.*--force"):
        convert_bars(tmp_path / "m.parquet", tmp_path / "out.parquet", force=False, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"ends in .parquet"):
        convert_bars(tmp_path / "m.parquet", tmp_path / "out.csv", force=False, **given)  # type: ignore[arg-type]
    assert (tmp_path / "out.parquet").read_text() == "mine"
