"""Raw bars, their minutes and exogenous tables to an immutable snapshot: the only place where outside data enters."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.checked_bars import checked_bars
from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline.domain.minutes import join_minutes
from tft_pipeline.domain.tables import join_table, normalise_table
from tft_pipeline.pipeline.assets.plausible import plausible_bars
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.coverage_plots import coverage_metadata, source_rows
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.plots import line_picture, thinned_line
from tft_pipeline.storage.environment import environment_record, utc_now
from tft_pipeline.storage.experiments import ExperimentFile
from tft_pipeline.storage.snapshots import Snapshot, find_snapshot, read_snapshot
from tft_pipeline.storage.sources import read_source, scan_source, source_record, source_sha256

MINUTES = "data.minute_source"
TABLES = "data.tables"


@dataclass(frozen=True)
class TakenBars:
    """Bars with all that was joined to them, and a record of each source for the manifest."""

    bars: pl.DataFrame
    source: dict[str, Any]
    minute_source: dict[str, Any] | None
    tables: tuple[dict[str, Any], ...]


def snapshot_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`bars` (observed, outside), `snapshot` and its check `bars_look_plausible`."""
    data = graph.experiment.data

    @dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]  # Dagster leaves it without types
        name=f"{graph.name}__bars",
        specs=[
            dg.AssetSpec(
                graph.key("bars"),
                description="The researcher's own files: bars, and the minutes and tables joined to them. Observing them "
                "compares their hash with the last one; one row a symbol and bar.",
            )
        ],
    )
    def bars() -> dg.ObserveResult:
        return dg.ObserveResult(data_version=dg.DataVersion(sources_sha256(graph.file)[:16]))

    @dg.asset(
        key=graph.key("snapshot"),
        deps=[graph.key("bars")],
        io_manager_key="snapshots",
        code_version=graph.code_version("3", "data"),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "snapshot")
    def snapshot(context: dg.AssetExecutionContext) -> dg.Output[Snapshot]:
        """Bars, minutes and tables as they are in the source now, validated, joined and frozen with a manifest. Look at gaps by
        symbol and at the dates of the first and last bar; one row a symbol and bar."""
        try:
            taken = taken_bars(graph.file)
        except BarsError as error:
            raise dg.Failure(f"snapshot refused: {error}", allow_retries=False) from error
        manifest = snapshot_manifest(
            taken.bars,
            created_at=utc_now(),
            interval=data.interval,
            source=taken.source,
            minute_source=taken.minute_source,
            tables=taken.tables,
            environment=environment_record(),
        )
        frame = taken.bars
        before = find_snapshot(graph.layout.artifact(graph.name, "snapshot"), manifest["identity_sha256"])
        value = Snapshot(bars=frame, manifest=manifest) if before is None else read_snapshot(before)
        manifest = value.manifest
        context.log.info(
            f"snapshot {value.snapshot_id}: {frame.height} bars, {'new' if before is None else 'as before'}"
        )
        joined = _joined_metadata(taken, data.untraded, context.log.warning)
        closes = frame.group_by("symbol", maintain_order=True).agg("timestamp", "close")
        lines = {
            row["symbol"]: thinned_line(row["timestamp"], [price / row["close"][0] for price in row["close"]])
            for row in closes.head(6).iter_rows(named=True)
        }
        return content_output(
            value,
            {
                "snapshot_id": manifest["snapshot_id"],
                "first": manifest["event_range"]["start"],
                "last": manifest["event_range"]["end"],
                "sources": table(source_rows([taken.source, taken.minute_source, *taken.tables])),
                **coverage_metadata(frame, manifest),
                "prices": line_picture(lines, title="close, first bar = 1 (first symbols)", label="close", level=1.0),
                **joined,
            },
        )

    return [bars, snapshot, plausible_bars(graph)]


def sources_sha256(file: ExperimentFile) -> str:
    """One hash for the bytes of all sources of an experiment.

    Raises:
        BarsError: a source that is not there.
    """
    own = source_sha256(file.source)
    if file.minute_source is None and not file.tables:
        return own
    minutes = None if file.minute_source is None else source_sha256(file.minute_source, key=MINUTES)
    return json_sha256([own, minutes, [source_sha256(path, key=TABLES) for path in file.tables]])


def taken_bars(file: ExperimentFile) -> TakenBars:
    """Bars of an experiment as its snapshot freezes them.

    Raises:
        BarsError: bars, minutes or tables that cannot be used, or a market that is not in the source.
    """
    data = file.experiment.data
    record = source_record(file.source)
    raw = read_source(file.source)
    frame = checked_bars(data, raw)
    record |= {"rows": raw.height, "stamp": data.stamp}
    minutes = None
    if file.minute_source is not None:
        minutes = source_record(file.minute_source, key=MINUTES) | {"stamp": data.minute_stamp}
        with_minutes = join_minutes(
            frame,
            scan_source(file.minute_source, key=MINUTES),
            timezone=data.timezone,
            opened_before=data.minutes_opened_before,
        )
        frame = with_minutes.bars
        minutes |= with_minutes.about
    tables = []
    for section, path in zip(data.tables, file.tables, strict=True):
        about = source_record(path, key=TABLES)
        rows = normalise_table(read_source(path, key=TABLES), prefix=section.prefix, timezone=data.timezone)
        with_table = join_table(frame, rows, prefix=section.prefix, max_age_days=section.max_age_days)
        frame = with_table.bars
        tables.append(about | with_table.about)
    return TakenBars(bars=frame, source=record, minute_source=minutes, tables=tuple(tables))


def _joined_metadata(taken: TakenBars, untraded: Collection[str], warn: Callable[[str], None]) -> dict[str, Any]:
    """What minutes and tables brought, for the UI; what they lack for traded symbols is said in the log too."""
    found: dict[str, Any] = {}
    minutes = taken.minute_source
    if minutes is not None:
        found["minutes"] = table(
            [
                {
                    "source": minutes["name"],
                    "rows": minutes["rows"],
                    "inside bars": minutes["rows_used"],
                    "bars with minutes": minutes["bars_with_minutes"],
                    "bars": taken.bars.height,
                }
            ]
        )
        if minutes["left_out"]:
            absent = sorted({name for names in minutes["left_out"].values() for name in names})
            warn(f"the minute bars have no {', '.join(absent)}: left out are {', '.join(minutes['left_out'])}")
        absent = [symbol for symbol in minutes["symbols_without_minutes"] if symbol not in untraded]
        if absent:
            warn(f"no minute bars of {', '.join(absent)}: their intra and micro are missing")
        if minutes["bars_stamped_with_their_date"]:
            warn(
                "bars are stamped with their date alone and close when the day begins: each has the minutes of the day before; "
                "stamp them with the time of their close to use those of their own day"
            )
    for row in taken.tables:
        absent = [symbol for symbol in row["symbols_without_rows"] if symbol not in untraded]
        if absent:
            warn(f"table {row['prefix']!r} has no rows of {', '.join(absent)}: their {row['prefix']} is missing")
    if taken.tables:
        found["tables"] = table(
            [
                {
                    "prefix": row["prefix"],
                    "source": row["name"],
                    "rows": row["rows"],
                    "columns": ", ".join(row["columns"]),
                    "first used": row["first_available_at"],
                    "last used": row["last_available_at"],
                    "bars without value": max(row["bars_without_value"].values()),
                }
                for row in taken.tables
            ]
        )
    return found
