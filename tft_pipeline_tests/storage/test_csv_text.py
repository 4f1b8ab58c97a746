"""CSV files as text: what cannot be read as it is gets a sentence, what can is left alone."""

from pathlib import Path

import polars as pl
import pytest

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.storage.csv_text import csv_text
from tft_pipeline.storage.sources import read_source, scan_source

ROW = "timestamp,symbol,close\n2020-01-01T00:00:00Z,A,1.5\n"
REFUSED: dict[str, tuple[bytes, str]] = {
    "semicolons": (ROW.replace(",", ";").encode(), "separated by semicolons.*write commas"),
    "tabs": (ROW.replace(",", "\t").encode(), "separated by tabs"),
    "UTF-16": (ROW.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    "an old code page": (ROW.replace("A", "MÜNCHEN").encode("cp1252"), "no UTF-8 text; save it as UTF-8"),
    "a zip": (b"PK\x03\x04....", "zip archive or an Excel workbook; unpack it, or save the sheet as CSV"),
    "gzip": (b"\x1f\x8b....", "gzip archive; unpack it"),
    "Parquet by another name": (b"PAR1....", "a Parquet file; name it .parquet"),
    "zero bytes": (b"a,b\n\0\0\n", "zero bytes and is no text"),
    "empty": (b"", "it is empty; put the bars there"),
    "blank": (b" \n \n", "it is empty; put the bars there"),
    "a byte order mark alone": (b"\xef\xbb\xbf", "it is empty; put the bars there"),
    "a byte order mark of UTF-16 alone": (b"\xff\xfe", "it is empty; put the bars there"),
    "a web page": (b"<!DOCTYPE html><html>", "a web page, not a table"),
    "a name twice": (b"timestamp,symbol,close,close\n", "names 'close' twice; rename one"),
    "no header": (b"2020-01-01,A,1.5\n", "which is a row and no header"),
    "no header, numbers": (b"1577836800000,1.5,2.0\n", "which is a row and no header"),
    "levels of names": (
        b"Price,Close,Close\nTicker,AAPL,MSFT\nDate,,\n2020-01-02,1,2\n",
        "its header has 3 lines .'Price', 'Ticker', 'Date'.*one header line",
    ),
}
READ: dict[str, bytes] = {
    "plain": ROW.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + ROW.encode(),
    "letters of UTF-8": ROW.replace("A", "MÜNCHEN").encode(),
    "a wide table": b",GOLD,SILVER\n2020-01-01,1,2\n",
    "numbers as names": b"date,10107,14593\n2020-01-01,1,2\n",
    "quoted commas": b'timestamp,symbol,close\n2020-01-01T00:00:00Z,A,"1,234.5"\n',
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_file_that_would_be_misread_is_refused_with_the_remedy(case: str, tmp_path: Path) -> None:
    content, words = REFUSED[case]
    path = tmp_path / "bars.csv"
    path.write_bytes(content)
    for read in (read_source, scan_source):
        with pytest.raises(BarsError, match=rf"bars\.csv: cannot be read: .*{words}"):
            read(path)


@pytest.mark.parametrize("case", list(READ))
def test_a_file_that_is_read_rightly_is_left_alone(case: str, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(READ[case])
    found = read_source(path)
    assert found.height == 1
    assert "\ufeff" not in found.columns[0]
    assert found.equals(scan_source(path).collect())


def test_the_hint_of_a_copy_is_for_bars_alone(tmp_path: Path) -> None:
    path = tmp_path / "vix.csv"
    path.write_bytes(REFUSED["semicolons"][0])
    with pytest.raises(BarsError, match=r"tft init vix\.csv --convert"):
        read_source(path)
    with pytest.raises(BarsError) as told:
        read_source(path, key="data.tables")
    assert "tft init" not in str(told.value)


def test_a_character_cut_in_two_by_the_end_of_the_head_is_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    for shift in range(3):
        path.write_bytes(b"a" * shift + b"x,y\n" + "€".encode() * 200_000)
        assert csv_text(path).encoding == "utf-8-sig"


@pytest.mark.parametrize("suffix", [".xlsx", ".zip", ".txt", ".CSV", ".json"])
def test_a_file_of_another_kind_says_what_to_make_of_it(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"bars{suffix}"
    path.write_text(ROW)
    remedy = {".xlsx": "save the sheet as CSV", ".zip": "unpack it", ".json": "convert the file"}
    with pytest.raises(BarsError, match=remedy.get(suffix, "name it .csv")):
        read_source(path)


def test_a_text_of_numbers_in_a_column_says_how_it_is_written(tmp_path: Path) -> None:
    from tft_pipeline.domain.bars import normalise_bars

    frame = pl.DataFrame({"timestamp": ["2020-01-01T00:00:00Z"], "symbol": ["A"], "close": ["1,234.5"]})
    with pytest.raises(BarsError, match=r"close has type String.*thousands separators.*tft init DATA --convert"):
        normalise_bars(frame, timezone=None, symbols=None, start=None, end=None, min_bars=1)
