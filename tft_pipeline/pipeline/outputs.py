"""One way to return an asset: the value, its content as data version, its metadata. Not here: storage."""

from typing import Any, Protocol

import dagster as dg
import polars as pl

from tft_pipeline.domain.content import frame_sha256


class HasContent(Protocol):
    """A value that knows its identity."""

    def content_sha256(self) -> str:
        """Hash of its content, without times and durations."""


def content_output(value: HasContent | pl.DataFrame, metadata: dict[str, Any] | None = None) -> dg.Output[Any]:
    """An output whose data version is its content: a re-run that finds the same changes nothing downstream."""
    digest = frame_sha256(value) if isinstance(value, pl.DataFrame) else value.content_sha256()
    return dg.Output(
        value, data_version=dg.DataVersion(digest[:16]), metadata={**(metadata or {}), "content_sha256": digest}
    )


def table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table in the UI; every row needs the same keys. No rows give a table without columns."""
    if not rows:
        return dg.MetadataValue.table(records=[], schema=dg.TableSchema(columns=[]))
    shown = [{key: _cell(value) for key, value in row.items()} for row in rows]
    return dg.MetadataValue.table(records=[dg.TableRecord(row) for row in shown])


def _cell(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str | int | bool) or value is None:
        return value
    return str(value)
