"""Identity of content, apart from the bytes that store it: equal values give equal hashes across versions of writers.

Not here: hashes of files (`storage.artifacts`), which guard against damage.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl


def frame_sha256(frame: pl.DataFrame) -> str:
    """Hash per column of name, dtype, length, packed null bits and little-endian values; NaN and -0.0 are canonical.

    Row and column order count.

    Raises:
        TypeError: a column of a nested, categorical or other type without canonical bytes.
    """
    return columns_sha256(frame.iter_columns())


def columns_sha256(columns: Iterable[pl.Series]) -> str:
    """`frame_sha256` of a frame that is handed over column by column, in its order.

    Raises:
        TypeError: as there.
    """
    digest = hashlib.sha256()
    for series in columns:
        column = series.rechunk()
        digest.update(f"{column.name}\0{column.dtype}\0{len(column)}\0".encode())
        nulls = column.is_null().to_numpy()
        digest.update(np.packbits(nulls).tobytes())
        digest.update(_values_bytes(column))
    return digest.hexdigest()


def array_sha256(*arrays: np.ndarray) -> str:
    """Hash of arrays with their shapes and dtypes; NaN and -0.0 are canonical.

    Raises:
        TypeError: an array of anything but bools and real numbers.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}\0{array.dtype.str}\0".encode())
        digest.update(_canonical(array).tobytes())
    return digest.hexdigest()


def json_sha256(value: Any) -> str:
    """Hash of canonical JSON.

    Raises:
        ValueError: a non-finite number.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _values_bytes(column: pl.Series) -> bytes:
    if column.dtype == pl.String:
        texts = column.fill_null("").to_list()
        lengths = np.array([len(text.encode()) for text in texts], dtype="<i8")
        return lengths.tobytes() + "".join(texts).encode()
    if column.dtype.is_temporal():
        return column.to_physical().fill_null(0).to_numpy().astype("<i8").tobytes()
    if column.dtype.is_float():
        return _canonical(column.fill_null(0.0).to_numpy()).tobytes()
    if column.dtype.is_integer() or column.dtype == pl.Boolean:
        return column.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()
    raise TypeError(f"column {column.name!r} has dtype {column.dtype}, which has no canonical bytes; cast it first")


def _canonical(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an array of dtype {array.dtype} has no canonical bytes; cast it first")
    if array.dtype.kind != "f":
        return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    clean = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
    clean[np.isnan(clean)] = np.nan
    clean += 0.0  # -0.0 + 0.0 is +0.0
    return clean
