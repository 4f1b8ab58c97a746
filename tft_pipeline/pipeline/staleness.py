"""Is an asset current? By content: its code and configuration, what it was made from, its checks and its files.

Dagster's own staleness is one hop, costs much over many partitions and cannot be asked outside the UI; this asks the
event log and the stored files. Not here: what to do about it.
"""

from dataclasses import dataclass

import dagster as dg

from tft_pipeline.domain.findings import OosPerformance
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.ledgers import ledgers_have_moved
from tft_pipeline.pipeline.partitions import DATA_VERSION_TAG, published_version
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact

CODE_VERSION_TAG = "dagster/code_version"
INPUT_VERSION_TAG = "dagster/input_data_version/"
SPEC_SUFFIX = "_spec"


@dataclass(frozen=True)
class Staleness:
    """Answers for one experiment; reads the event log afresh at every question."""

    graph: ExperimentGraph
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def needs_run(self, asset: str, partition: str | None = None) -> bool:
        """Whether an asset, or one of its folds, is missing or outdated.

        It is outdated when
            its code version (which holds its configuration) changed,
            an input has another data version than the one it was made from,
            a blocking check on it did not pass,
            it is a verdict and the ledgers know looks or trials that it does not,
            or its stored files are gone or damaged.
        What reads from outside is always run: only reading tells whether the outside changed.
        """
        key = self.graph.key(asset)
        own = _latest(self.instance, key, partition)
        if own is None or own.asset_materialization is None:
            return True
        node = self.definitions.resolve_asset_graph().get(key)
        if (own.asset_materialization.tags or {}).get(CODE_VERSION_TAG) != node.code_version:
            return True
        if self._check_failed(key) or self._damaged(asset, partition) or self._ledgers_moved(asset):
            return True
        return any(self._input_changed(own, parent, partition) for parent in node.parent_keys)

    def _check_failed(self, key: dg.AssetKey) -> bool:
        assets = self.definitions.resolve_asset_graph()
        for check in assets.get_check_keys_for_assets({key}):
            record = self.instance.get_latest_asset_check_evaluation_record(check)
            evaluation = None if record is None or record.event is None else record.event.asset_check_evaluation
            if evaluation is None:
                return True
            # a gate that says no is an answer, not a failure: asking again would only write one more candidate
            if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
                return True
        return False

    def _damaged(self, asset: str, partition: str | None) -> bool:
        try:
            read_artifact(self.graph.layout.artifact(self.graph.name, asset, partition))
        except (ArtifactMissingError, IntegrityError):
            return True
        return False

    def _ledgers_moved(self, asset: str) -> bool:
        if asset != "oos_performance":
            return False
        artifact = read_artifact(self.graph.layout.artifact(self.graph.name, asset))
        record = OosPerformance.model_validate_json(artifact.path(REPORT_FILE).read_text())
        return ledgers_have_moved(self.graph, record)

    def _input_changed(self, own: dg.EventLogRecord, parent: dg.AssetKey, partition: str | None) -> bool:
        node = self.definitions.resolve_asset_graph().get(parent)
        made = own.asset_materialization
        assert made is not None
        if partition is not None and parent.path[-1].endswith(SPEC_SUFFIX):
            used = made.metadata.get("spec_sha256")
            return used is None or not str(used.value).startswith(
                published_version(self.instance, parent, partition) or "-"
            )
        if node.partitions_def is None:
            if not node.is_materializable:
                return True
            latest = published_version(self.instance, parent, None)
            return (made.tags or {}).get(INPUT_VERSION_TAG + parent.to_user_string()) != latest
        return any(self._fold_changed(own, parent, fold) for fold in self._folds(node))

    def _folds(self, node: object) -> list[str]:
        name = getattr(getattr(node, "partitions_def", None), "name", None)
        assert name is not None
        return list(self.instance.get_dynamic_partitions(name))

    def _fold_changed(self, own: dg.EventLogRecord, parent: dg.AssetKey, fold: str) -> bool:
        """An aggregate read every fold as it was when it was made: has one another content since?"""
        latest = _latest(self.instance, parent, fold)
        if latest is None:
            return True
        if latest.storage_id < own.storage_id:
            return False
        used = _latest(self.instance, parent, fold, before=own.storage_id)
        return used is None or _version(used) != _version(latest)


def _latest(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None, before: int | None = None
) -> dg.EventLogRecord | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=key,
            asset_partitions=None if partition is None else [partition],
            before_storage_id=before,
        ),
        limit=1,
    ).records
    return records[0] if records else None


def _version(record: dg.EventLogRecord) -> str | None:
    assert record.asset_materialization is not None
    return (record.asset_materialization.tags or {}).get(DATA_VERSION_TAG)
