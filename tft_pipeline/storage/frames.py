"""Frames that are too large to hold: written row group by row group, hashed column by column.

Not here: versions and what makes them valid (`artifacts`), what the columns mean.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tft_pipeline.domain.content import columns_sha256

READ_BYTES = 256 * 2**20
"""About what is in memory at once while the content is hashed."""


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A frame in a Parquet file that does not belong to an artifact yet.

    Attributes:
        path: the file.
        schema, height: of the frame.
        null_counts: nulls of each column.
        content: what `frame_sha256` gives for the frame.
    """

    path: Path
    schema: pl.Schema
    height: int
    null_counts: dict[str, int]
    content: str

    def content_sha256(self) -> str:
        """Identity of the frame, however it was cut."""
        return self.content


def write_frames(path: Path, frames: Iterable[pl.DataFrame]) -> FrameFile:
    """Write frames below each other into one Parquet file, one row group each; one of them is in memory at a time.

    How the rows are cut does not change the content's hash.

    Raises:
        ValueError: there is no frame, or two have different columns or types.
    """
    import pyarrow.parquet

    schema: pl.Schema | None = None
    height, nulls = 0, Counter[str]()
    writer = None
    try:
        for frame in frames:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if schema is None or writer is None:
                schema = frame.schema
                texts = [name for name, dtype in schema.items() if dtype == pl.String]
                # noise does not compress: statistics and dictionaries of it would cost more than the bytes
                writer = pyarrow.parquet.ParquetWriter(
                    path, table.schema, compression="lz4", use_dictionary=texts, write_statistics=False
                )
            if frame.schema != schema:
                raise ValueError(
                    f"{path.name}: a frame of columns {frame.schema} follows one of {schema}; cut one frame"
                )
            writer.write_table(table, row_group_size=max(frame.height, 1))
            height += frame.height
            nulls.update(frame.null_count().row(0, named=True))
    finally:
        if writer is not None:
            writer.close()
    if schema is None:
        raise ValueError(f"{path.name}: there is no frame to write, not even an empty one; nothing says which columns")
    digest = columns_sha256(_columns(path, schema, height))
    return FrameFile(path=path, schema=schema, height=height, null_counts=dict(nulls), content=digest)


def _columns(path: Path, schema: pl.Schema, height: int) -> Iterator[pl.Series]:
    """The stored columns, a few at a time."""
    names = schema.names()
    together = max(1, READ_BYTES // max(8 * height, 1))
    for first in range(0, len(names), together):
        part = names[first : first + together]
        yield from pl.scan_parquet(path).select(part).collect().iter_columns()
