"""Reading the user's own files: bars, minutes, tables, each a Parquet or CSV file or a folder of them.

Not here: what they must hold (`domain.bars`, `domain.minutes`, `domain.tables`).
"""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.storage.artifacts import sha256_file
from tft_pipeline.storage.csv_text import refuse_unusual

SUFFIXES = (".parquet", ".csv")
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
    scans: list[tuple[Path, pl.LazyFrame, pl.Schema]] = []
    for path in source_files(source, key=key):
        _refuse_unusual(path, key)
        try:
            scan = (
                pl.scan_parquet(path)
                if path.suffix == ".parquet"
                else pl.scan_csv(path, try_parse_dates=False, infer_schema_length=10_000)
            )
            scans.append((path, scan, scan.collect_schema()))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BarsError(f"{path}: cannot be read: {error}") from error
    _refuse_other_columns([(path, schema) for path, _, schema in scans])
    return pl.concat([scan for _, scan, _ in scans])


def read_source(source: Path, *, key: str = "data.source") -> pl.DataFrame:
    """All rows of a source, as stored.

    Raises:
        BarsError: a file cannot be read, or files have different columns.
    """
    frames = []
    for path in source_files(source, key=key):
        _refuse_unusual(path, key)
        try:
            frame = (
                pl.read_parquet(path)
                if path.suffix == ".parquet"
                else pl.read_csv(path, try_parse_dates=False, infer_schema_length=10_000)
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BarsError(f"{path}: cannot be read: {error}") from error
        frames.append((path, frame))
    _refuse_other_columns([(path, frame.schema) for path, frame in frames])
    return pl.concat([frame for _, frame in frames])


def _refuse_unusual(path: Path, key: str) -> None:
    if path.suffix == ".csv":
        try:
            refuse_unusual(path, convertible=key == "data.source")
        except OSError as error:
            raise BarsError(f"{path}: cannot be read: {error}") from error


def _refuse_other_columns(files: list[tuple[Path, pl.Schema]]) -> None:
    first_path, first = files[0]
    for path, schema in files[1:]:
        if schema != first:
            raise BarsError(
                f"{path} has columns {dict(schema)}, {first_path.name} has {dict(first)}: the files of one source share "
                "columns and types; convert one of them"
            )
