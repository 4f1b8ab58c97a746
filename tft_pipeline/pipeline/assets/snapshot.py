"""Raw bars to an immutable snapshot: the only place where outside data enters."""

import dagster as dg

from tft_pipeline.domain.bars import BarsError, normalise_bars, publish_in_time
from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.plots import line_picture
from tft_pipeline.storage.environment import environment_record, utc_now
from tft_pipeline.storage.snapshots import Snapshot, find_snapshot, read_snapshot
from tft_pipeline.storage.sources import read_source, source_files, source_sha256


def snapshot_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """`bars` (observed, outside) and `snapshot`."""
    data = graph.experiment.data
    group = f"{graph.name}_1_data"

    @dg.observable_source_asset(
        key=graph.key("bars"), group_name=group, description="The researcher's own files; one row a symbol and bar."
    )
    def bars() -> dg.DataVersion:
        return dg.DataVersion(source_sha256(graph.file.source)[:16])

    @dg.asset(
        key=graph.key("snapshot"),
        deps=[graph.key("bars")],
        io_manager_key="snapshots",
        group_name=group,
        code_version=graph.code_version("1", "data"),
        automation_condition=on_content_change(),
        kinds={"polars", "parquet"},
    )
    def snapshot(context: dg.AssetExecutionContext) -> dg.Output[Snapshot]:
        """Validated bars, frozen with a manifest; one row a symbol and bar."""
        try:
            source = source_sha256(graph.file.source)
            frame = normalise_bars(
                read_source(graph.file.source),
                timezone=data.timezone,
                symbols=None if data.symbols is None else _with_market(data.symbols, data.market_symbol),
                start=data.start,
                end=data.end,
                min_bars=data.min_bars,
            )
            frame = publish_in_time(frame)
            if data.market_symbol is not None and data.market_symbol not in frame["symbol"].unique().to_list():
                raise BarsError(
                    f"data.market_symbol {data.market_symbol!r} has no bars in the source; correct it, or remove the key to "
                    "go without market features"
                )
        except BarsError as error:
            raise dg.Failure(f"snapshot refused: {error}", allow_retries=False) from error
        manifest = snapshot_manifest(
            frame,
            created_at=utc_now(),
            interval=data.interval,
            source={
                "name": graph.file.source.name,
                "files": len(source_files(graph.file.source)),
                "sha256": source,
            },
            environment=environment_record(),
        )
        taken = find_snapshot(graph.layout.artifact(graph.name, "snapshot"), manifest["identity_sha256"])
        value = Snapshot(bars=frame, manifest=manifest) if taken is None else read_snapshot(taken)
        manifest = value.manifest
        context.log.info(
            f"snapshot {value.snapshot_id}: {frame.height} bars, {'new' if taken is None else 'as before'}"
        )
        closes = frame.group_by("symbol", maintain_order=True).agg("timestamp", "close")
        lines = {
            row["symbol"]: (row["timestamp"], [price / row["close"][0] for price in row["close"]])
            for row in closes.head(6).iter_rows(named=True)
        }
        quality = manifest["quality"]
        rows = [
            {"symbol": name, "bars": count, "gaps": quality["gaps_per_symbol"][name]}
            for name, count in quality["rows_per_symbol"].items()
        ]
        return content_output(
            value,
            {
                "snapshot_id": manifest["snapshot_id"],
                "first": manifest["event_range"]["start"],
                "last": manifest["event_range"]["end"],
                "symbols": table(rows),
                "prices": line_picture(lines, title="close, first bar = 1 (first symbols)", label="close"),
            },
        )

    return [bars, snapshot]


def _with_market(symbols: tuple[str, ...], market: str | None) -> tuple[str, ...]:
    return symbols if market is None or market in symbols else (*symbols, market)
