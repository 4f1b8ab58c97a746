"""Reading the user's own bars: a Parquet or CSV file, or a folder. Not here: what bars must be (`domain.bars`)."""

import hashlib
from pathlib import Path

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.storage.artifacts import sha256_file

SUFFIXES = (".parquet", ".csv")


def source_files(source: Path) -> list[Path]:
    """The files a source stands for, sorted by name.

    Raises:
        BarsError: nothing there, or no Parquet or CSV file.
    """
    if source.is_file():
        if source.suffix not in SUFFIXES:
            raise BarsError(f"{source}: expected one of {SUFFIXES}, found {source.suffix!r}; convert the file")
        return [source]
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES and path.is_file())
        if not files:
            raise BarsError(f"{source}: the folder holds no .parquet or .csv file; put the bars there")
        return files
    raise BarsError(f"{source}: no such file or folder; correct data.source, which is relative to the experiment file")


def source_sha256(source: Path) -> str:
    """One hash for all bytes of a source.

    Raises:
        BarsError: see `source_files`.
    """
    digest = hashlib.sha256()
    for path in source_files(source):
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def read_source(source: Path) -> pl.DataFrame:
    """All rows of a source, as stored.

    Raises:
        BarsError: a file cannot be read, or files have different columns.
    """
    frames = []
    for path in source_files(source):
        try:
            frame = (
                pl.read_parquet(path)
                if path.suffix == ".parquet"
                else pl.read_csv(path, try_parse_dates=False, infer_schema_length=10_000)
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BarsError(f"{path}: cannot be read: {error}") from error
        frames.append((path, frame))
    first_path, first = frames[0]
    for path, frame in frames[1:]:
        if frame.schema != first.schema:
            raise BarsError(
                f"{path} has columns {dict(frame.schema)}, {first_path.name} has {dict(first.schema)}: bars of one "
                "source share columns and types; convert one of them"
            )
    return pl.concat([frame for _, frame in frames])
