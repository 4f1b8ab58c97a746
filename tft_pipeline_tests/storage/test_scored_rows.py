"""Files of probabilities and labels that anybody made."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.scored_rows import read_keyed, read_rows

STAMPS = [datetime(2025, 1, day, 12, tzinfo=UTC) for day in (1, 2, 3)]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def csv(path: Path, *rows: str, header: str = "symbol,timestamp,proba") -> Path:
    return write(path, "\n".join([header, *rows]) + "\n")


def test_csv_and_parquet_of_the_same_rows_read_alike_and_other_columns_are_left(tmp_path):
    frame = pl.DataFrame(
        {"proba": [0.1, 0.5, 1.0], "symbol": ["A", "1", "B"], "timestamp": STAMPS, "note": ["x", "", "y"]}
    )
    frame.write_parquet(tmp_path / "p.parquet")
    text = csv(
        tmp_path / "p.csv",
        "A, 2025-01-01T12:00:00Z ,x,0.1",
        "1,2025-01-02T13:00:00+01:00,,.5",
        "B,2025-01-03T12:00:00Z,y,1",
        header="symbol,timestamp,note,proba",
    )
    (one, kind), (two, other) = read_keyed(tmp_path / "p.parquet", "proba"), read_keyed(text, "proba")
    assert one.equals(two)
    assert one.columns == ["timestamp", "symbol", "proba"]
    assert one["timestamp"].to_list() == STAMPS
    assert kind == other == "offset"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2025-01-01", "2025-01-02", "2025-01-03"], "naive"),
        (["20250101", "20250102", "20250103"], "number"),
        (["2025-01-01 12:00:00", "2025-01-01 12:01:00", "2025-01-01 12:02:00"], "naive"),
        (["1735732800000", "1735732860000", "1735732920000"], "number"),
        ([1735732800, 1735732860, 1735732920], "number"),
        ([date(2025, 1, day) for day in (1, 2, 3)], "naive"),
        ([stamp.astimezone(timezone(timedelta(hours=3))) for stamp in STAMPS], "offset"),
    ],
)
def test_times_may_be_iso_text_dates_or_whole_numbers(tmp_path, values, kind):
    frame = pl.DataFrame({"symbol": ["A"] * 3, "timestamp": values, "y_true": [0, 1, 1]})
    frame.write_parquet(tmp_path / "y.parquet")
    rows, found = read_keyed(tmp_path / "y.parquet", "y_true")
    assert found == kind
    assert rows["timestamp"].is_sorted()
    assert rows["timestamp"].n_unique() == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["A,2025-01-01,0.5", "A,2025-01-02,"], ["no finite number in 1 of 2 rows", "row 2: empty"]),
        (["A,2025-01-01,0.5", "A,2025-01-02,NaN"], ["1 of 2 rows", "'NaN'"]),
        (["A,2025-01-01,0.5", "A,2025-01-02,inf"], ["'inf'"]),
        (["A,2025-01-01,half"], ["'half'", "remove it from every file"]),
        (["A,2025-01-01,0.5", "A,2025-01-01,0.6"], ["1 keys occur more than once", "A 2025-01-01", "2 rows"]),
        ([",2025-01-01,0.5"], ["symbol is empty in 1 of 1 rows"]),
        (["A,,0.5"], ["timestamp is empty in 1 of 1 rows (first in row 1)"]),
        (["A,01/02/2025,0.5"], ["not ISO 8601"]),
        (["A,2025-01-01T00:00:00Z,0.5", "A,2025-01-02,0.5"], ["mixes time zones"]),
        ([], ["no rows"]),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, rows, words):
    with pytest.raises(ConfigurationError) as caught:
        read_keyed(csv(tmp_path / "p.csv", *rows), "proba")
    assert all(word in str(caught.value) for word in ["p.csv", *words]), caught.value


@pytest.mark.parametrize(
    "values",
    [
        pl.Series("timestamp", ["1", "9" * 25]),
        pl.Series("timestamp", [1, 2**63], dtype=pl.UInt64),
        pl.Series("timestamp", ["1", str(2**63)]),
    ],
)
def test_whole_numbers_that_cannot_be_ordered_are_refused_by_row(tmp_path, values):
    frame = pl.DataFrame([values, pl.Series("symbol", ["A", "A"]), pl.Series("proba", [0.5, 0.5])])
    frame.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(
        ConfigurationError,
        match=r"p.parquet: timestamp is a whole number beyond 9223372036854775807 in 1 of 2 rows \(first in row 2: 9",
    ):
        read_keyed(tmp_path / "p.parquet", "proba")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no such file"):
        read_keyed(tmp_path / "absent.csv", "proba")
    with pytest.raises(ConfigurationError, match="is a folder"):
        read_keyed(tmp_path, "proba")
    with pytest.raises(ConfigurationError, match="expected one of"):
        read_keyed(write(tmp_path / "p.txt", "x"), "proba")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keyed(write(tmp_path / "p.parquet", "x"), "proba")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keyed(write(tmp_path / "p.csv", ""), "proba")
    with pytest.raises(
        ConfigurationError, match=r"no column timestamp, proba; expected .* found symbol, p; .*--by-row"
    ):
        read_keyed(csv(tmp_path / "q.csv", "A,0.5", header="symbol,p"), "proba")
    pl.DataFrame({"symbol": ["A"], "timestamp": [[1]], "proba": [0.5]}).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(ConfigurationError, match="timestamp has type List"):
        read_keyed(tmp_path / "l.parquet", "proba")
    pl.DataFrame({"symbol": ["A"], "timestamp": STAMPS[:1], "proba": [[0.5]]}).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(ConfigurationError, match="proba has type List"):
        read_keyed(tmp_path / "l.parquet", "proba")


def test_numbers_alone_are_read_with_a_header_and_without(tmp_path):
    np.testing.assert_array_equal(read_rows(write(tmp_path / "a.csv", "0.5\n.25\n1\n"), "proba"), [0.5, 0.25, 1.0])
    np.testing.assert_array_equal(read_rows(write(tmp_path / "b.csv", "p\n0.5\n.25\n"), "proba"), [0.5, 0.25])
    np.testing.assert_array_equal(read_rows(write(tmp_path / "c.csv", "k,proba\n7,.5\n"), "proba"), [0.5])
    np.testing.assert_array_equal(read_rows(write(tmp_path / "d.csv", "0.5\n"), "proba"), [0.5])
    pl.DataFrame({"y": [True, False]}).write_parquet(tmp_path / "y.parquet")
    np.testing.assert_array_equal(read_rows(tmp_path / "y.parquet", "y_true"), [1.0, 0.0])
    with pytest.raises(ConfigurationError, match="columns k, p and none is proba"):
        read_rows(write(tmp_path / "e.csv", "k,p\n7,.5\n"), "proba")
    with pytest.raises(ConfigurationError, match="row 2: empty"):
        read_rows(write(tmp_path / "f.csv", 'p\n1\n""\n0\n'), "proba")
