"""Typed IO managers: frames to Parquet, records to JSON, folds to bundles, pages to HTML; atomic, hashed, verified on read.

One folder an asset and partition, one sub-folder a version (`storage.artifacts`). A damaged file is refused before it
is parsed. An input over all folds is always a dict; absent folds are refused by name.
"""

import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.reports import FoldPlanReport, FoldSpec, Report
from tft_pipeline.pipeline.column_words import COLUMN_SCHEMA, WORDS, column_schema, words_of_bars
from tft_pipeline.pipeline.report.page import HtmlPage
from tft_pipeline.pipeline.tracking import attach_file
from tft_pipeline.pipeline.transient import transient_faults_are_tried_again, until_stored
from tft_pipeline.storage.artifacts import CURRENT, Artifact, ArtifactMissingError, read_artifact, write_artifact
from tft_pipeline.storage.fold_bundles import FoldBundle, read_fold_bundle, write_fold_bundle
from tft_pipeline.storage.frames import FrameFile
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.snapshots import Snapshot, read_snapshot, write_snapshot

FRAME_FILE = "data.parquet"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"


class _ArtifactIOManager(dg.ConfigurableIOManager):
    home: str

    def _root(self, key: dg.AssetKey, partition: str | None) -> Path:
        name, asset = key.path
        return Layout(Path(self.home)).artifact(name, asset, partition)

    @abstractmethod
    def _store(self, root: Path, value: Any) -> tuple[Artifact, dict[str, Any]]:
        """Write one version of `value` below `root`; returns it with what to add to the asset's metadata. May be repeated."""

    @abstractmethod
    def _load(self, artifact: Artifact, kind: Any) -> Any:
        """Parse a verified version as the type the input is annotated with."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write one version and describe it in the asset's metadata. A fault that passes costs no second computing."""
        until_stored(lambda: self._write(context, obj), context.log)

    def _write(self, context: dg.OutputContext, obj: Any) -> None:
        # a run over one fold has a partition key for its unpartitioned assets too: ask the asset, not the run
        partition = context.asset_partition_key if context.has_asset_partitions else None
        artifact, about = self._store(self._root(context.asset_key, partition), obj)
        told = about.keys() & context.output_metadata.keys()  # the asset knows better what its columns are
        context.add_output_metadata(
            {
                "path": dg.MetadataValue.path(str(artifact.folder)),
                "version": artifact.version,
                "size_bytes": artifact.n_bytes,
                "sha256": dg.MetadataValue.json(artifact.files),
                **{name: value for name, value in about.items() if name not in told},
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the current version: of the asset, of one partition, or a dict over all of them."""
        with transient_faults_are_tried_again(context.step_context.previous_attempt_count, context.log):
            return self._loaded(context)

    def _loaded(self, context: dg.InputContext) -> Any:
        kind = context.dagster_type.typing_type
        if not context.has_asset_partitions:
            return self._load(self._read(context.asset_key, None), kind)
        keys = list(context.asset_partition_keys)
        if (context.definition_metadata or {}).get("all_folds"):
            return self._load_all(context.asset_key, keys, kind)
        if len(keys) != 1:
            raise dg.Failure(
                f"{context.asset_key.to_user_string()}: expected one fold, asked for {keys}", allow_retries=False
            )
        return self._load(self._read(context.asset_key, keys[0]), kind)

    def _load_all(self, key: dg.AssetKey, partitions: list[str], kind: Any) -> dict[str, Any]:
        name = key.to_user_string()
        if not partitions:
            raise dg.Failure(f"{name}: no folds are registered; materialise its plan first", allow_retries=False)
        missing = []
        found = {}
        for partition in sorted(partitions):
            try:
                artifact = read_artifact(self._root(key, partition))
            except ArtifactMissingError:
                missing.append(partition)
            else:
                found[partition] = self._load(artifact, kind)
        if missing:
            raise dg.Failure(
                f"{name}: folds {missing} have no result yet; an aggregate without them would be of other bars; "
                "materialise these partitions first",
                metadata={"missing": missing},
                allow_retries=False,
            )
        return found

    def _read(self, key: dg.AssetKey, partition: str | None) -> Artifact:
        return read_artifact(self._root(key, partition))


class FrameIOManager(_ArtifactIOManager):
    """polars frames as Parquet; one that was too large to hold comes as a file and is linked into place."""

    def _store(self, root: Path, value: pl.DataFrame | FrameFile) -> tuple[Artifact, dict[str, Any]]:
        def fill(folder: Path) -> None:
            if isinstance(value, FrameFile):
                os.link(value.path, folder / FRAME_FILE)  # not moved: another attempt needs it
            else:
                value.write_parquet(folder / FRAME_FILE)

        return write_artifact(root, fill), _describe(value)

    def _load(self, artifact: Artifact, kind: Any) -> pl.DataFrame | pl.LazyFrame:
        path = artifact.path(FRAME_FILE)
        return pl.scan_parquet(path) if kind is pl.LazyFrame else pl.read_parquet(path)


class SnapshotIOManager(_ArtifactIOManager):
    """Snapshots: bars and their manifest, one immutable folder a snapshot id."""

    def _store(self, root: Path, value: Snapshot) -> tuple[Artifact, dict[str, Any]]:
        return write_snapshot(root, value), _describe(value.bars, words_of_bars(value.bars.columns))

    def _load(self, artifact: Artifact, kind: Any) -> Snapshot:
        return read_snapshot(artifact)


class ReportIOManager(_ArtifactIOManager):
    """Records of `domain.reports` and `domain.findings` as JSON, read back as the type the input is annotated with."""

    def _store(self, root: Path, value: Report) -> tuple[Artifact, dict[str, Any]]:
        text = value.model_dump_json(indent=1)

        def fill(folder: Path) -> None:
            (folder / REPORT_FILE).write_text(text)

        return write_artifact(root, fill), {}

    def _load(self, artifact: Artifact, kind: Any) -> Report:
        kind = kind if isinstance(kind, type) and issubclass(kind, Report) else _value_type(kind)
        found: Report = kind.model_validate_json(artifact.path(REPORT_FILE).read_text())
        return found


class FoldBundleIOManager(_ArtifactIOManager):
    """Production folds as bundles of safetensors, JSON, text and Parquet."""

    def _store(self, root: Path, value: FoldBundle) -> tuple[Artifact, dict[str, Any]]:
        return write_artifact(root, lambda folder: write_fold_bundle(value, folder)), _describe(value.predictions)

    def _load(self, artifact: Artifact, kind: Any) -> FoldBundle:
        return read_fold_bundle(artifact)


class PageIOManager(_ArtifactIOManager):
    """Finished pages as HTML. What was stored, and nothing else, is attached to MLflow; when MLflow does not take it, the
    asset is done all the same and the page waits for the next one.
    """

    def handle_output(self, context: dg.OutputContext, obj: HtmlPage) -> None:
        """Write one version, describe it, attach it."""
        super().handle_output(context, obj)
        root = self._root(context.asset_key, None)
        unmirrored = attach_file(
            Layout(Path(self.home)),
            context.asset_key.path[0],
            read_artifact(root).path(PAGE_FILE),
            name=obj.subject,
            run_id=context.run_id,
            metrics=obj.figures,
            tags=obj.tags,
        )
        if unmirrored is not None:
            context.log.warning(f"MLflow did not take the report ({unmirrored}); it waits for the next fold or report")

    def _store(self, root: Path, value: HtmlPage) -> tuple[Artifact, dict[str, Any]]:
        def fill(folder: Path) -> None:
            (folder / PAGE_FILE).write_text(value.text, encoding="utf-8")

        artifact = write_artifact(root, fill)
        page = root / CURRENT / PAGE_FILE  # through the link: stays valid when a newer version replaces this one
        return artifact, {"report": dg.MetadataValue.path(str(page)), "open": dg.MetadataValue.url(page.as_uri())}

    def _load(self, artifact: Artifact, kind: Any) -> str:
        return artifact.path(PAGE_FILE).read_text(encoding="utf-8")


class FoldSpecIOManager(dg.ConfigurableIOManager):
    """Read-only: the spec of one fold, out of the stored plan of its phase."""

    home: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Refused: plans publish specs."""
        raise TypeError(f"{context.asset_key.to_user_string()} is published by its plan and never written here")

    def load_input(self, context: dg.InputContext) -> FoldSpec:
        """The spec of this partition.

        Raises:
            dagster.Failure: the current plan has no such fold.
        """
        name, asset = context.asset_key.path
        with transient_faults_are_tried_again(context.step_context.previous_attempt_count, context.log):
            artifact = read_artifact(Layout(Path(self.home)).artifact(name, asset.replace("_spec", "_plan")))
        plan = FoldPlanReport.model_validate_json(artifact.path(REPORT_FILE).read_text())
        key = context.asset_partition_key
        try:
            return plan.spec(key)
        except KeyError as error:
            raise dg.Failure(
                f"{error.args[0]}: the fold was retired by a newer plan; its files stay", allow_retries=False
            ) from error


def _describe(frame: pl.DataFrame | FrameFile, words: Mapping[str, str] = WORDS) -> dict[str, Any]:
    return {"dagster/row_count": frame.height, COLUMN_SCHEMA: column_schema(frame.schema, words)}


def _value_type(kind: Any) -> type[Report]:
    arguments: tuple[Any, ...] = getattr(kind, "__args__", ())
    if len(arguments) == 2 and isinstance(arguments[1], type) and issubclass(arguments[1], Report):
        return arguments[1]
    raise TypeError(f"an input of type {kind} cannot be read: annotate it with a report type or dict[str, report type]")


def io_managers(layout: Layout) -> dict[str, dg.ConfigurableIOManager]:
    """Every IO manager by its resource key."""
    home = str(layout.home)
    return {
        "frames": FrameIOManager(home=home),
        "snapshots": SnapshotIOManager(home=home),
        "reports": ReportIOManager(home=home),
        "fold_bundles": FoldBundleIOManager(home=home),
        "pages": PageIOManager(home=home),
        "fold_specs": FoldSpecIOManager(home=home),
    }
