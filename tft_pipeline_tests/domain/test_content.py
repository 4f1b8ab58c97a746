import struct
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.content import array_sha256, frame_sha256, json_sha256

NAN, INF = float("nan"), float("inf")


def every_type() -> pl.DataFrame:
    stamps = [datetime(2024, 1, 1, tzinfo=UTC), None, datetime(2024, 1, 3, tzinfo=UTC)]
    return pl.DataFrame(
        {
            "float": [1.5, None, NAN],
            "single": pl.Series([1.5, None, INF], dtype=pl.Float32),
            "whole": [1, None, -3],
            "flag": [True, None, False],
            "text": ["a", None, "gü"],
            "stamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
            "day": [date(2024, 1, 1), None, date(2024, 1, 3)],
            "span": [timedelta(days=1), None, timedelta(0)],
        }
    )


def test_chunks_do_not_count():
    frame = every_type()
    pieces = pl.concat([frame.slice(k, 1) for k in range(3)], rechunk=False)
    assert pieces.n_chunks() == 3
    assert frame_sha256(pieces) == frame_sha256(frame)


def test_a_slice_is_its_own_content_and_not_its_buffers():
    frame = every_type()
    longer = pl.concat([frame, frame])
    assert frame_sha256(longer.slice(3, 3)) == frame_sha256(frame)
    assert frame_sha256(longer.slice(1, 3)) != frame_sha256(frame)


def test_what_parquet_gives_back_has_the_same_content(tmp_path):
    frame = every_type()
    frame.write_parquet(tmp_path / "f.parquet", row_group_size=1)
    assert frame_sha256(pl.read_parquet(tmp_path / "f.parquet")) == frame_sha256(frame)


@pytest.mark.parametrize("name", every_type().columns)
@pytest.mark.parametrize("row", [0, 1, 2])
def test_every_cell_counts(name, row):
    frame = every_type()
    other = {
        "float": 2.0,
        "single": 2.0,
        "whole": 9,
        "flag": row == 2,
        "text": "b",
        "stamp": datetime(2030, 1, 1, tzinfo=UTC),
        "day": date(2030, 1, 1),
        "span": timedelta(days=9),
    }[name]
    values = frame[name].to_list()
    values[row] = other
    changed = frame.with_columns(pl.Series(name, values, dtype=frame.schema[name]))
    assert frame_sha256(changed) != frame_sha256(frame)


def one(*values: object, dtype: pl.DataType | type[pl.DataType] = pl.Float64) -> str:
    return frame_sha256(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}))


def test_null_nan_and_zero_are_three_things():
    assert len({one(None), one(NAN), one(0.0)}) == 3
    assert len({one(None, dtype=pl.String), one("", dtype=pl.String)}) == 2
    assert len({one(None, dtype=pl.Int64), one(0, dtype=pl.Int64)}) == 2
    assert len({one(None, dtype=pl.Boolean), one(False, dtype=pl.Boolean)}) == 2


def test_minus_zero_is_zero():
    assert one(-0.0) == one(0.0)
    assert one(-0.0, dtype=pl.Float32) == one(0.0, dtype=pl.Float32)
    assert array_sha256(np.array([-0.0])) == array_sha256(np.array([0.0]))


def test_every_nan_is_the_same_nan():
    payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    negative = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
    arrays = [np.array([1.0, value]) for value in (NAN, payload, negative)]
    assert len({array.tobytes() for array in arrays}) == 3
    assert len({array_sha256(array) for array in arrays}) == 1
    assert len({frame_sha256(pl.DataFrame({"x": array})) for array in arrays}) == 1


def test_infinities_are_told_apart():
    assert len({one(INF), one(-INF), one(NAN)}) == 3


def test_names_types_lengths_and_order_count():
    frame = every_type()
    variants = [
        frame,
        frame.rename({"float": "flaot"}),
        frame.with_columns(pl.col("single").cast(pl.Float64)),
        frame.with_columns(pl.col("whole").cast(pl.Int32)),
        frame.with_columns(pl.col("stamp").dt.convert_time_zone("Asia/Tokyo")),
        frame.with_columns(pl.col("stamp").dt.cast_time_unit("ms")),
        frame.select(sorted(frame.columns)),
        frame.reverse(),
        frame.head(2),
        frame.drop("flag"),
    ]
    assert len({frame_sha256(variant) for variant in variants}) == len(variants)


def test_texts_are_not_run_together():
    assert one("ab", "c", dtype=pl.String) != one("a", "bc", dtype=pl.String)
    assert one("abc", "", dtype=pl.String) != one("", "abc", dtype=pl.String)


def test_a_type_without_canonical_bytes_is_refused_by_name():
    with pytest.raises(TypeError, match="'x' has dtype List"):
        frame_sha256(pl.DataFrame({"x": [[1, 2]]}))
    with pytest.raises(TypeError, match="object"):
        array_sha256(np.array([None, "a"], dtype=object))


def test_arrays_count_with_shape_and_type_and_not_with_memory_layout():
    array = np.arange(12.0).reshape(3, 4)
    assert array_sha256(np.asfortranarray(array)) == array_sha256(array)
    assert array_sha256(array[::-1][::-1]) == array_sha256(array)
    variants = [array, array.T, array.reshape(4, 3), array.astype(np.float32), array.astype(np.int64), array + 1e-12]
    assert len({array_sha256(variant) for variant in variants}) == len(variants)
    assert array_sha256(array, array) != array_sha256(np.concatenate([array, array]))
    assert array_sha256(np.zeros((0, 3))) != array_sha256(np.zeros((3, 0)))


def test_hashing_leaves_the_array_as_it_was():
    array = np.array([-0.0, NAN])
    before = array.tobytes()
    array_sha256(array)
    assert array.tobytes() == before


@settings(max_examples=50, deadline=None)
@given(values=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=6))
def test_the_order_of_keys_in_json_does_not_count(values):
    assert json_sha256(dict(reversed(values.items()))) == json_sha256(values)
    assert json_sha256([values]) != json_sha256(values)


@pytest.mark.parametrize("value", [NAN, INF])
def test_json_without_a_form_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_sha256({"a": [value]})


def test_hashes_are_those_of_the_first_release():
    assert one(1.5, None, NAN) == "4cf4ebf49b38d30089a627bb99b150042dd88e43beaa9cf39b7cbf1167317b51"
    assert (
        array_sha256(np.array([[1.5, -0.0], [NAN, 2.0]]))
        == "17134c7d589f5bd1be193b282c846e71367734c54ca112ac37bf67d06fc16973"
    )
    assert json_sha256({"b": [1, None], "a": "x"}) == "8ea2c0f31b799f047143f378da67a94ebb441c583de11ffabd21ff6fbc9bfde4"
