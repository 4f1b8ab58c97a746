import polars as pl
import pytest

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.storage.sources import read_source, scan_source, source_files, source_record, source_sha256

ONE = pl.DataFrame({"timestamp": ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"], "symbol": "A", "close": [1.0, 2.5]})
TWO = ONE.with_columns(symbol=pl.lit("B"))


def test_a_parquet_file_and_a_csv_file_give_the_same_rows(tmp_path):
    ONE.write_parquet(tmp_path / "a.parquet")
    ONE.write_csv(tmp_path / "a.csv")
    assert read_source(tmp_path / "a.parquet").equals(ONE)
    assert read_source(tmp_path / "a.csv").equals(ONE)


def test_a_folder_is_all_its_files_in_order_of_name(tmp_path):
    TWO.write_csv(tmp_path / "b.csv")
    ONE.write_csv(tmp_path / "a.csv")
    (tmp_path / "notes.md").write_text("not bars")
    (tmp_path / "old.csv").mkdir()
    assert [path.name for path in source_files(tmp_path)] == ["a.csv", "b.csv"]
    assert read_source(tmp_path).equals(pl.concat([ONE, TWO]))


def test_timestamps_in_csv_stay_text_until_their_zone_is_checked(tmp_path):
    ONE.write_csv(tmp_path / "a.csv")
    assert read_source(tmp_path / "a.csv").schema["timestamp"] == pl.String


@pytest.mark.parametrize(
    "other",
    [TWO.rename({"close": "last"}), TWO.with_columns(volume=1.0), TWO.with_columns(pl.col("close").cast(pl.String))],
    ids=["renamed", "added", "other type"],
)
def test_files_with_other_columns_are_refused_by_name(tmp_path, other):
    ONE.write_parquet(tmp_path / "a.parquet")
    other.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(BarsError, match=r"b\.parquet has columns .*a\.parquet has .*convert one of them"):
        read_source(tmp_path)


def test_a_lazy_source_has_the_rows_of_one_that_is_read_and_refuses_the_same_files(tmp_path):
    ONE.write_csv(tmp_path / "a.csv")
    TWO.write_csv(tmp_path / "b.csv")
    assert scan_source(tmp_path).collect(engine="streaming").equals(read_source(tmp_path))
    TWO.with_columns(volume=1.0).write_csv(tmp_path / "b.csv")
    with pytest.raises(BarsError, match=r"b\.csv has columns .*a\.csv has .*convert one of them"):
        scan_source(tmp_path)
    (tmp_path / "b.csv").write_bytes(b"")
    with pytest.raises(BarsError, match=r"b\.csv: cannot be read"):
        scan_source(tmp_path)


def test_a_missing_source_names_the_key_it_belongs_to(tmp_path):
    for read in (source_files, source_sha256, scan_source, read_source, source_record):
        with pytest.raises(BarsError, match=r"no such file or folder; correct data\.tables, which is relative"):
            read(tmp_path / "absent.csv", key="data.tables")


def test_the_record_of_a_source_holds_no_path(tmp_path):
    ONE.write_csv(tmp_path / "a.csv")
    assert source_record(tmp_path) == {"name": tmp_path.name, "files": 1, "sha256": source_sha256(tmp_path)}


def test_a_file_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "bars.xlsx").write_text("x")
    with pytest.raises(BarsError, match=r"bars\.xlsx: expected one of .*found '\.xlsx'"):
        source_files(tmp_path / "bars.xlsx")


def test_a_missing_source_says_what_it_is_relative_to(tmp_path):
    with pytest.raises(BarsError, match=r"no such file or folder; correct data\.source, which is relative to the exp"):
        read_source(tmp_path / "absent.csv")


def test_a_folder_without_bars_is_refused(tmp_path):
    (tmp_path / "notes.md").write_text("not bars")
    with pytest.raises(BarsError, match=r"the folder holds no \.parquet or \.csv file"):
        read_source(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b"PAR1 not really"), ("a.csv", b""), ("a.parquet", b"")])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BarsError, match=rf"{name}: cannot be read"):
        read_source(tmp_path)


def test_the_hash_follows_every_byte_and_name_of_a_source(tmp_path):
    seen = []
    ONE.write_csv(tmp_path / "a.csv")
    seen.append(source_sha256(tmp_path))
    assert source_sha256(tmp_path) == seen[0]
    TWO.write_csv(tmp_path / "b.csv")
    seen.append(source_sha256(tmp_path))
    (tmp_path / "b.csv").rename(tmp_path / "c.csv")
    seen.append(source_sha256(tmp_path))
    content = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(content.replace(b"2.5", b"2.6"))
    seen.append(source_sha256(tmp_path))
    assert len(set(seen)) == 4
    (tmp_path / "notes.md").write_text("no bars")
    assert source_sha256(tmp_path) == seen[-1]


def test_symbols_are_read_as_they_are_written(tmp_path):
    (tmp_path / "a.csv").write_text("timestamp,symbol,close\n2024-01-01T00:00:00Z,000001,1.5\n")
    for found in (read_source(tmp_path / "a.csv"), scan_source(tmp_path / "a.csv").collect()):
        assert found["symbol"].to_list() == ["000001"]


def test_numbers_that_are_whole_in_one_file_and_broken_in_another_are_one_column(tmp_path):
    ONE.with_columns(volume=5).write_csv(tmp_path / "a.csv")
    TWO.with_columns(volume=5.5).write_csv(tmp_path / "b.csv")
    for found in (read_source(tmp_path), scan_source(tmp_path).collect()):
        assert found["volume"].to_list() == [5.0, 5.0, 5.5, 5.5]


def test_a_file_that_cannot_be_parsed_gets_one_sentence_that_names_what_is_wrong(tmp_path):
    rows = "".join(f"2024-01-01T00:00:00Z,S{k},1.5\n" for k in range(11_000))
    cases = {
        "late.csv": (rows + "2024-01-01T00:00:00Z,X,null\n", "column 'close' holds 'null' where numbers stand"),
        "ragged.csv": ("2024-01-01T00:00:00Z,A,1.5,9,9\n", "line 2 has 5 fields, and the header names 3"),
        "cut.parquet": ("PAR1" + 100 * "x", "it is no whole Parquet file"),
    }
    for name, (text, words) in cases.items():
        (tmp_path / name).write_text(text if name.endswith("parquet") else "timestamp,symbol,close\n" + text)
        with pytest.raises(BarsError, match=words) as told:
            read_source(tmp_path / name)
        assert "\n" not in str(told.value)
        assert "infer_schema_length" not in str(told.value)
