"""Reading the user's own files: bars, minutes, tables, each a Parquet or CSV file or a folder of them.

Not here: what they must hold (`domain.bars`, `domain.minutes`, `domain.tables`).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline.storage.csv_text import refusal, refuse_unusual

T = TypeVar("T")
SUFFIXES = (".parquet", ".csv")
OF_BARS = ("data.source", "DATA")
"""What names a source of bars, which `tft init --convert` can write in the form they must have."""
MOST_REFUSED = 10
"""Files of a folder that cannot be read and are named."""
AS_TEXT = {"symbol": pl.String}
"""Names of symbols are read as they are written: 000001 is no number."""
REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".zip", ".gz", ".7z", ".tar", ".bz2"), "unpack it"),
    **dict.fromkeys((".txt", ".tsv", ".CSV", ".dat"), "if it is a table of text, name it .csv"),
}


def source_files(source: Path, *, key: str = "data.source") -> list[Path]:
    """The files a source stands for, sorted by name.

    Args:
        source: file or folder.
        key: of the experiment file that names it, for messages.
    Raises:
        BarsError: nothing there, or no Parquet or CSV file.
    """
    if source.is_file():
        if source.suffix not in SUFFIXES:
            remedy = REMEDIES.get(source.suffix, "convert the file")
            raise BarsError(f"{source}: expected one of {SUFFIXES}, found {source.suffix!r}; {remedy}")
        return [source]
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES and path.is_file())
        if not files:
            raise BarsError(f"{source}: the folder holds no .parquet or .csv file; put the files of {key} there")
        return files
    raise BarsError(f"{source}: no such file or folder; correct {key}, which is relative to the experiment file")


def source_sha256(source: Path, *, key: str = "data.source") -> str:
    """One hash for all bytes of a source.

    Raises:
        BarsError: see `source_files`.
    """
    digest = hashlib.sha256()
    for path in source_files(source, key=key):
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def source_record(source: Path, *, key: str = "data.source") -> dict[str, Any]:
    """Name, number of files and hash of a source, for the manifest; no machine path.

    Raises:
        BarsError: see `source_files`.
    """
    return {
        "name": source.name,
        "files": len(source_files(source, key=key)),
        "sha256": source_sha256(source, key=key),
    }


def scan_source(source: Path, *, key: str = "data.source") -> pl.LazyFrame:
    """All rows of a source, not read yet; a damaged file may show only when they are.

    Raises:
        BarsError: a file cannot be read, or files have different columns.
    """

    def scanned(path: Path) -> tuple[Path, pl.LazyFrame, pl.Schema]:
        scan = (
            pl.scan_parquet(path)
            if path.suffix == ".parquet"
            else pl.scan_csv(path, try_parse_dates=False, infer_schema_length=10_000, schema_overrides=AS_TEXT)
        )
        return path, scan, scan.collect_schema()

    scans = _of_each(source, key, scanned)
    widened = floats_where_files_differ([schema for _, _, schema in scans])
    _refuse_other_columns([(path, pl.Schema({**schema, **widened})) for path, _, schema in scans])
    return pl.concat([scan.cast(widened) if widened else scan for _, scan, _ in scans])


def read_source(source: Path, *, key: str = "data.source") -> pl.DataFrame:
    """All rows of a source, as stored.

    Raises:
        BarsError: a file cannot be read, or files have different columns.
    """

    def whole(path: Path) -> tuple[Path, pl.DataFrame]:
        if path.suffix == ".parquet":
            return path, pl.read_parquet(path)
        return path, pl.read_csv(path, try_parse_dates=False, infer_schema_length=10_000, schema_overrides=AS_TEXT)

    frames = _of_each(source, key, whole)
    widened = floats_where_files_differ([frame.schema for _, frame in frames])
    frames = [(path, frame.cast(widened) if widened else frame) for path, frame in frames]
    _refuse_other_columns([(path, frame.schema) for path, frame in frames])
    return pl.concat([frame for _, frame in frames])


def _of_each(source: Path, key: str, read: Callable[[Path], T]) -> list[T]:
    """What is read of each file of a source; all files that cannot be read are named at once."""
    found: list[T] = []
    refused: list[BarsError] = []
    files = source_files(source, key=key)
    for path in files:
        try:
            _refuse_unusual(path, key)
            found.append(read(path))
        except BarsError as error:
            refused.append(error)
        except (pl.exceptions.PolarsError, OSError) as error:
            refused.append(BarsError(refusal(path, error)))
    if len(refused) > 1:
        more = f"\n  - and {len(refused) - MOST_REFUSED} more" if len(refused) > MOST_REFUSED else ""
        raise BarsError(
            f"{source}: {len(refused)} of {len(files)} files cannot be read:\n  - "
            + "\n  - ".join(map(str, refused[:MOST_REFUSED]))
            + more
        )
    if refused:
        raise refused[0]
    return found


def floats_where_files_differ(schemas: Sequence[pl.Schema]) -> pl.Schema:
    """Columns of numbers that are whole in some files and broken in others, as volumes are: what to cast them to."""
    first = schemas[0]
    differ = [name for name in first if any(schema.get(name, first[name]) != first[name] for schema in schemas)]
    numeric = [name for name in differ if all(name in schema and schema[name].is_numeric() for schema in schemas)]
    return pl.Schema(dict.fromkeys(numeric, pl.Float64()))


def _refuse_unusual(path: Path, key: str) -> None:
    if path.suffix == ".csv":
        try:
            refuse_unusual(path, convertible=key in OF_BARS)
        except OSError as error:
            raise BarsError(f"{path}: cannot be read: {error}") from error


def _refuse_other_columns(files: list[tuple[Path, pl.Schema]]) -> None:
    first_path, first = files[0]
    for path, schema in files[1:]:
        if schema != first:
            raise BarsError(
                f"{path} has columns {in_words(schema)}, {first_path.name} has {in_words(first)}: the files of one source "
                "share columns, their order and types; convert one of them"
            )


def in_words(schema: pl.Schema) -> str:
    """Names and types of columns."""
    return ", ".join(f"{name} ({kind})" for name, kind in schema.items())
