import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.returns import read_returns

RETURNS = [0.01, -0.02, 0.003, 0.0, -1e-05, 0.04, -0.011, 0.02, 0.5]
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=k) for k in range(len(RETURNS))]


def csv(folder: Path, *lines: str, name: str = "r.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def dated(values: list[object] = RETURNS) -> list[str]:
    return ["date,ret", *(f"{day},{value}" for day, value in zip(DAYS, values, strict=True))]


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_returns(path, column=column)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_a_timestamp_column_and_a_numeric_one(tmp_path: Path) -> None:
    found = read_returns(csv(tmp_path, *dated()))
    assert (found.column, found.first, found.last) == ("ret", "2024-01-01", "2024-01-09")
    np.testing.assert_array_equal(found.values, RETURNS)
    assert found.left_out == found.warnings == ()


def test_a_single_column_with_and_without_a_header_and_with_spaces_and_blank_lines_at_the_end(tmp_path: Path) -> None:
    bare = read_returns(csv(tmp_path, *map(str, RETURNS)))
    named = read_returns(csv(tmp_path, "ret", *(f" {value} " for value in RETURNS), "", ""))
    assert (bare.column, named.column) == ("column_1", "ret")
    for found in (bare, named):
        np.testing.assert_array_equal(found.values, RETURNS)
        assert found.first is found.last is None


def test_dates_and_numbers_without_a_header(tmp_path: Path) -> None:
    found = read_returns(csv(tmp_path, *dated()[1:]))
    assert (found.column, found.first) == ("column_2", "2024-01-01")
    np.testing.assert_array_equal(found.values, RETURNS)


def test_parquet_with_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    frame = pl.DataFrame({"when": DAYS, "symbol": ["book"] * 9, "ret": np.array(RETURNS, dtype=np.float32)})
    frame.write_parquet(path)
    found = read_returns(path)
    assert (found.column, found.first, found.left_out) == ("ret", "2024-01-01", ("symbol",))
    np.testing.assert_allclose(found.values, RETURNS, rtol=1e-6)
    frame.with_columns(pl.when(pl.col("ret") > 0.3).then(None).otherwise(pl.col("ret")).alias("ret")).write_parquet(
        path
    )
    assert "ret is empty or not finite in row 9" in refusal(path)
    frame.with_columns(pl.lit(DAYS[0]).alias("when")).write_parquet(path)
    assert "when repeats at 2024-01-01 in rows 2, 3, 4, 5, 6 and 3 more" in refusal(path)


def test_a_named_column_is_read_from_among_several_and_the_others_are_told(tmp_path: Path) -> None:
    lines = ["date,gross,net,note"]
    lines += [f"{day},{value},{value / 2},x" for day, value in zip(DAYS, RETURNS, strict=True)]
    path = csv(tmp_path, *lines)
    assert "2 numeric columns (gross, net); name the returns with --column net" in refusal(path)
    found = read_returns(path, column="gross")
    np.testing.assert_array_equal(found.values, RETURNS)
    assert found.left_out == ("net", "note")
    assert "no column 'nett'; there are date, gross, net, note" in refusal(path, "nett")
    assert "column 'note' holds no numbers" in refusal(path, "note")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(-0.99, 0.9, allow_subnormal=False), min_size=8, max_size=30))
def test_any_returns_come_back_to_the_bit(values: list[float], tmp_path: Path) -> None:
    if min(values) >= 0.0:
        values[0] = -0.1
    np.testing.assert_array_equal(read_returns(csv(tmp_path, "r", *map(repr, values))).values, values)


def test_a_gain_above_all_and_an_unknown_order_are_told_but_allowed(tmp_path: Path) -> None:
    found = read_returns(
        csv(tmp_path, "day,ret", *(f"1/{k}/2024,{value}" for k, value in enumerate([*RETURNS, 1.5], 1)))
    )
    assert found.left_out == ("day",)
    assert "1 return(s) are above 1" in found.warnings[0]
    assert "order of the rows is taken as it is" in found.warnings[1]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "ret is empty or not finite in row 4"),
        ("nan", "ret is empty or not finite in row 4"),
        ("inf", "ret is empty or not finite in row 4"),
        ("n/a", "ret holds 'n/a', which is no number, in row 4"),
        ("1_0", "ret holds '1_0', which is no number, in row 4"),
        ("1.2%", "ret has percent signs in row 4; divide by 100"),
        ("-1", "ret is -1 in row 4; no simple return is -1 or less"),
        ("-12.5", "ret is -12.5 in row 4"),
    ],
)
def test_a_cell_that_is_no_return_is_named_by_its_line(tmp_path: Path, cell: str, message: str) -> None:
    values: list[object] = [*RETURNS]
    values[2] = cell
    assert message in refusal(csv(tmp_path, *dated(values)))


def test_prices_percents_and_short_series_are_refused(tmp_path: Path) -> None:
    assert "look like prices" in refusal(csv(tmp_path, *dated([100.0 + k for k in range(9)])))
    assert "look like prices" in refusal(csv(tmp_path, *dated([1.0 + k / 100 for k in range(9)])))
    assert "has percent signs in rows 2, 3, 4, 5, 6 and 4 more" in refusal(
        csv(tmp_path, *dated([f"{100 * value}%" for value in RETURNS]))
    )
    assert "7 return(s) in ret; statistics need at least 8" in refusal(csv(tmp_path, *dated()[:8]))


def test_timestamps_that_repeat_run_backwards_mix_zones_or_are_absent_are_refused(tmp_path: Path) -> None:
    lines = dated()
    assert "date repeats at 2024-01-03 in row 5" in refusal(csv(tmp_path, *lines[:4], lines[3], *lines[4:]))
    assert "date runs backwards at 2024-01-02 in row 4" in refusal(
        csv(tmp_path, *lines[:2], lines[3], lines[2], *lines[4:])
    )
    assert "no ISO timestamp in row 4" in refusal(csv(tmp_path, *lines[:3], "soon,0.01", *lines[3:]))
    stamps = [f"{day}T00:00:00{'Z' if k else ''},{k / 100 - 0.03}" for k, day in enumerate(DAYS)]
    assert "some timestamps in column_1 have a time zone" in refusal(csv(tmp_path, *stamps))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("\n\n", "the file is empty"),
        ("\nret\n0.1\n", "line 1 is empty"),
        ("a,a\n0.1,0.2\n", "column names ['a'] occur more than once"),
        ("a,b\nx,y\n", "no numeric column among a, b"),
        ("a;b\n0,1;0,2\n0,1;0,2\n", "line 1 has a semicolon between its columns; write commas"),
        ("a;b\n1;0\n1;2\n", "line 1 has a semicolon between its columns; write commas"),
        ("2024-01-01;0,01\n2024-01-02;0,02\n", "line 1 has a semicolon between its columns; write commas"),
        ("a,b\n1,2,3\n", "cannot be read"),
    ],
)
def test_files_that_are_no_table_of_returns_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(content)
    assert message in refusal(path)


def test_a_file_that_is_absent_of_another_kind_or_damaged_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "r.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder; name a .csv or .parquet file" in refusal(tmp_path / "folder.csv")
    (tmp_path / "r.xlsx").write_text("x")
    assert "expected one of ('.csv', '.parquet'), found '.xlsx'" in refusal(tmp_path / "r.xlsx")
    (tmp_path / "r.parquet").write_text("x")
    assert "cannot be read" in refusal(tmp_path / "r.parquet")
