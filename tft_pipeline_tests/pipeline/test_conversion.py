"""`tft init --convert`: the copy holds the bars that the file meant, every change is listed, the file stays as it is."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.conversion import converted_bars, write_copy
from tft_pipeline.storage.sources import read_source
from tft_pipeline_tests.conftest import random_bars

MEANT = random_bars(30, ("AAA", "BBB")).with_columns(pl.col("close").round(2) * 100, volume=1000.0)
"""Prices above 1,000, so that separators show."""
MEANT = MEANT.with_columns(pl.col("close").round(1)).sort("symbol", "timestamp")


def converted(source: Path, **options) -> tuple[pl.DataFrame, tuple[str, ...]]:  # type: ignore[no-untyped-def]
    output = source.parent / "copy" / "out.parquet"
    before = {path: path.read_bytes() for path in (source.iterdir() if source.is_dir() else [source])}
    given = {"timezone": None, "dates": None, "symbol": None, "upper": False, "force": False} | options
    copy = converted_bars(source, output, **given)
    write_copy(output, copy.bars)
    assert {path: path.read_bytes() for path in before} == before
    return read_source(output), copy.changes


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
        converted_bars(tmp_path / "m.parquet", tmp_path / "m.parquet", force=True, **given)  # type: ignore[arg-type]
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"is there already.*--force"):
        converted_bars(tmp_path / "m.parquet", tmp_path / "out.parquet", force=False, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"ends in .parquet"):
        converted_bars(tmp_path / "m.parquet", tmp_path / "out.csv", force=False, **given)  # type: ignore[arg-type]
    assert (tmp_path / "out.parquet").read_text() == "mine"


def test_a_copy_never_joins_the_folder_it_is_made_from(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    MEANT.write_parquet(folder / "m.parquet")
    given = {"timezone": None, "dates": None, "symbol": None, "upper": False, "force": False}
    with pytest.raises(ConfigurationError, match="would be one of its files: name another place"):
        converted_bars(folder, folder / "all.parquet", **given)  # type: ignore[arg-type]
    converted_bars(folder, folder / "copies" / "all.parquet", **given)  # type: ignore[arg-type]
    converted_bars(folder / "m.parquet", folder / "all.parquet", **given)  # type: ignore[arg-type]


def text_file(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_ticker_that_is_named_like_a_field_is_not_lost(tmp_path: Path) -> None:
    path = text_file(tmp_path / "w.csv", ["Date,AAPL,MSFT,V", "2020-01-01,1.5,2.5,3.5", "2020-01-02,1.6,2.6,3.6"])
    found, _ = converted(path, timezone="UTC")
    assert found["symbol"].unique().sort().to_list() == ["AAPL", "MSFT", "V"]
    assert found.filter(pl.col("symbol") == "V")["close"].to_list() == [3.5, 3.6]
    path = text_file(tmp_path / "c.csv", ["Date,AAPL,MSFT,C,V", "2020-01-01,1.5,2.5,3.5,4.5"])
    with pytest.raises(ConfigurationError, match=r"'C' .close., 'V' .volume. can be fields of one table or markets"):
        converted(path, timezone="UTC", force=True)


def test_points_of_a_file_with_decimal_commas_group_thousands(tmp_path: Path) -> None:
    rows = ["Date;Symbol;Close;Volume", "13.01.2012;SAP;100,67;454.780", "16.01.2012;SAP;1.101,5;999"]
    found, changes = converted(text_file(tmp_path / "g.csv", rows), timezone="UTC", force=True)
    assert (found["close"].to_list(), found["volume"].to_list()) == ([100.67, 1101.5], [454_780.0, 999.0])
    assert any("points such as in '454.780' group thousands" in one for one in changes)
    rows[1] = "13.01.2012;SAP;100,346;1.000.000"
    rows[2] = "16.01.2012;SAP;101,346;1.000.000"
    found, _ = converted(text_file(tmp_path / "g.csv", rows), timezone="UTC", force=True)
    assert found["close"].to_list() == [100.346, 101.346]
    rows[2] = "16.01.2012;SAP;101,5;12.5"
    rows[1] = "13.01.2012;SAP;100,67;454.780"
    with pytest.raises(ConfigurationError, match=r"Volume is written otherwise .such as '454.780'."):
        converted(text_file(tmp_path / "g.csv", rows), timezone="UTC", force=True)


def test_codes_keep_their_zeros_and_numbers_can_be_symbols(tmp_path: Path) -> None:
    path = text_file(tmp_path / "z.csv", ["Date,Code,Close", "2020-01-01,000001,1.5", "2020-01-02,000001,1.6"])
    assert converted(path, timezone="UTC", upper=True)[0]["symbol"].to_list() == ["000001", "000001"]
    MEANT.with_columns(symbol=pl.lit(10107)).unique("timestamp").write_parquet(tmp_path / "i.parquet")
    found, _ = converted(tmp_path / "i.parquet", upper=True, force=True)
    assert found["symbol"].unique().to_list() == ["10107"]


def test_two_digits_of_a_year_to_come_are_refused(tmp_path: Path) -> None:
    path = text_file(tmp_path / "y.csv", ["Date,Symbol,Close", "01/13/65,A,1.5", "01/14/65,A,1.6"])
    with pytest.raises(ConfigurationError, match=r"2065-01-14 from text such as '01/13/65'.*write four digits"):
        converted(path, timezone="UTC")


def test_dates_alone_keep_their_day_whatever_the_zone(tmp_path: Path) -> None:
    path = text_file(tmp_path / "t.csv", ["Date,Symbol,Close", "2020-01-06,A,1.5", "2020-01-07,A,1.6"])
    for zone in ("Asia/Tokyo", "America/New_York"):
        found, changes = converted(path, timezone=zone, force=True)
        assert found["timestamp"].to_list() == [datetime(2020, 1, 6, tzinfo=UTC), datetime(2020, 1, 7, tzinfo=UTC)]
        assert any(f"placed at 00:00 UTC, not {zone}" in one for one in changes)


@pytest.mark.parametrize(
    ("date", "clock"), [("2020.01.06", "09:30"), ("20200106", "093000"), ("06/01/2020", "9:30:00")]
)
def test_a_date_and_a_time_of_day_in_two_columns_are_one_time(date: str, clock: str, tmp_path: Path) -> None:
    path = text_file(tmp_path / "m.csv", ["<DATE>,<TIME>,<CLOSE>", f"{date},{clock},1.5", f"{date},100000,1.6"][:2])
    found, changes = converted(path, timezone="UTC", dates="day-first" if "/" in date else None)
    assert found["timestamp"].to_list() == [datetime(2020, 1, 6, 9, 30, tzinfo=UTC)]
    assert any("joined '<DATE>' and '<TIME>'" in one for one in changes)


def test_hours_alone_are_not_read_as_minutes(tmp_path: Path) -> None:
    rows = [f"2022-01-03,{hour},1.5" for hour in range(24)]
    path = text_file(tmp_path / "h.csv", ["Date,Time,Close", *rows])
    with pytest.raises(ConfigurationError, match=r"Time holds 1: hours or minutes\? write 09:00; nothing was written"):
        converted(path, timezone="UTC")
    path = text_file(tmp_path / "d.csv", ["Date,Time,Close", "2022-01-03,0,1.5", "2022-01-04,00,1.6"])
    assert converted(path, timezone="UTC")[0]["timestamp"][0] == datetime(2022, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ragged.csv", "Date,Symbol,Close\n2020-01-01,A,1.5,9\n", "line 2 has 4 fields"),
        ("cut.parquet", "PAR1xxxx", "no whole Parquet file"),
        ("twice.csv", "Date,AAPL,AAPL\n2020-01-01,1,2\n", "names 'AAPL' twice"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_refused_in_one_sentence(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=rf"{words}.*nothing was written") as told:
        converted(tmp_path / name, timezone="UTC")
    assert "\n" not in str(told.value)


def test_a_word_for_nothing_far_down_is_no_close(tmp_path: Path) -> None:
    rows = [f"{at:%Y-%m-%d},S{k},1.5" for k in range(40) for at in MEANT["timestamp"].unique().sort()] * 10
    path = text_file(tmp_path / "late.csv", ["Date,Symbol,Close", *rows, "2021-01-01,S1,null"])
    found, changes = converted(path, timezone="UTC")
    assert found["close"].null_count() == 0
    assert any("removed 1 rows without a close" in one for one in changes)


def test_files_of_one_folder_may_have_whole_and_broken_volumes(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, volume in (("AAA", 5), ("BBB", 5.5)):
        MEANT.filter(pl.col("symbol") == name).with_columns(volume=volume).write_parquet(folder / f"{name}.parquet")
    assert converted(folder)[0]["volume"].unique().sort().to_list() == [5.0, 5.5]
