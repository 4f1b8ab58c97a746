"""Is an asset current, and if not, why? By content: its code and configuration, what it was made from, its checks, its files.

Dagster's own staleness is one hop, costs much over many partitions and cannot be asked outside the UI; this asks the
event log and the stored files. Not here: what to do about it (`pipeline.driver`), what a run would do (`pipeline.rerun_plan`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import ValidationError

from tft_pipeline.domain.findings import OosPerformance, ReleaseRecord
from tft_pipeline.pipeline.deciding_records import OTHER_SHAPE
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.ledgers import ledgers_have_moved
from tft_pipeline.pipeline.partitions import DATA_VERSION_TAG, published_version
from tft_pipeline.pipeline.sections_read import sections_read
from tft_pipeline.storage.artifacts import (
    ArtifactMissingError,
    IntegrityError,
    linked_version,
    place_in_store,
    read_artifact,
)
from tft_pipeline.storage.releases import RollbackRefusedError, fetch_version

CODE_VERSION_TAG = "dagster/code_version"
INPUT_VERSION_TAG = "dagster/input_data_version/"
INPUT_POINTER_TAG = "dagster/input_event_pointer/"
"""Newest event of an input, whichever fold's, when the step began, before it read any."""
SPEC_SUFFIX = "_spec"
VERSION = "version"
"""Metadata of a materialisation: the stored version that it made (`pipeline.io_managers`)."""
NAMED_FOLDS = 8
"""Folds that a sentence names at most."""


@dataclass(frozen=True)
class Staleness:
    """Answers for one experiment; reads the event log afresh at every question."""

    graph: ExperimentGraph
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def needs_run(self, asset: str, partition: str | None = None) -> bool:
        """Whether an asset, or one of its folds, is missing or outdated: whether there is a reason (`why`)."""
        return self.why(asset, partition) is not None

    def why(self, asset: str, partition: str | None = None) -> str | None:
        """Why an asset, or one of its folds, is missing or outdated, in one sentence; None where it is current.

        It is outdated when
            its code version (which holds its configuration) changed,
            a blocking check on it did not pass,
            its stored files are gone, damaged, or not those that the event log says were made,
            it is a verdict and the ledgers know other looks or trials than it does,
            or an input has another data version than the one it was made from.
        What reads from outside is always run: only reading tells whether the outside changed.
        """
        own = self.own_reason(asset, partition)
        return own if own is not None else next(iter(self.changed_inputs(asset, partition).values()), None)

    def own_reason(self, asset: str, partition: str | None = None) -> str | None:
        """A reason that lies in the asset itself, which nothing that runs before it can take away; None without one."""
        key = self.graph.key(asset)
        made = self._made(key, partition)
        if made is None:
            return "it was never computed"
        return (
            self._other_code((made.tags or {}).get(CODE_VERSION_TAG), key)
            or self._failed_check(key)
            or self._lost_files(made, asset, partition)
            or self._lost_release(asset)
            or self._moved_ledgers(asset)
        )

    def changed_inputs(self, asset: str, partition: str | None = None) -> dict[str, str]:
        """Inputs whose content is not the one the asset was made from, each with the sentence that says so.

        Sorted by name. An asset that was never computed has none.
        """
        key = self.graph.key(asset)
        own = _latest(self.instance, key, partition)
        if own is None or own.asset_materialization is None:
            return {}
        parents = sorted(self.definitions.resolve_asset_graph().get(key).parent_keys)
        found = {parent.path[-1]: self._changed_input(own, parent, partition) for parent in parents}
        return {name: sentence for name, sentence in found.items() if sentence is not None}

    def _made(self, key: dg.AssetKey, partition: str | None) -> dg.AssetMaterialization | None:
        record = _latest(self.instance, key, partition)
        return None if record is None else record.asset_materialization

    def _other_code(self, then: str | None, key: dg.AssetKey) -> str | None:
        now = self.definitions.resolve_asset_graph().get(key).code_version
        if then == now:
            return None
        code, configuration = (
            _revision(then) != _revision(now),
            (then or "").partition("-")[2] != (now or "").partition("-")[2],
        )
        what = " and ".join(word for word, changed in (("code", code), ("configuration", configuration)) if changed)
        read = sections_read(self.graph).get(now or "") if configuration else None
        return f"its {what} changed: code version {then or 'not recorded'} then, {now or 'none'} now" + (
            "" if read is None else f"; it reads {_sections_in_words(read, self.graph)}"
        )

    def _failed_check(self, key: dg.AssetKey) -> str | None:
        assets = self.definitions.resolve_asset_graph()
        for check in sorted(assets.get_check_keys_for_assets({key})):
            record = self.instance.get_latest_asset_check_evaluation_record(check)
            evaluation = None if record is None or record.event is None else record.event.asset_check_evaluation
            if evaluation is None:
                return f"its check {check.name} was never made"
            # a gate that says no is an answer, not a failure: asking again would only write one more candidate
            if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
                return f"its blocking check {check.name} failed" + (
                    f": {evaluation.description}" if evaluation.description else ""
                )
        return None

    def _lost_files(self, made: dg.AssetMaterialization, asset: str, partition: str | None) -> str | None:
        root = self.graph.layout.artifact(self.graph.name, asset, partition)
        try:
            stored = read_artifact(root).version
        except ArtifactMissingError:
            place, here = place_in_store(root), linked_version(root)
            if place is not None and here is not None:
                return (
                    f"its files are not in the store ({place.store.where(place.key)}), though this machine has version {here}: "
                    "is it the right store, and mounted? `tft push` brings them there"
                )
            return f"its files are gone: {root} holds no current version"
        except IntegrityError as error:
            return f"its files are damaged: {error}"
        recorded = made.metadata.get(VERSION)
        logged = "none that it names" if recorded is None else str(recorded.value)
        if stored == logged:
            return None
        # written by another event log, by hand, or by a run that was killed before it was recorded: nobody knows from what
        place = place_in_store(root)
        where = str(root) if place is None else f"the store ({place.store.where(place.key)})"
        return f"its files are not those that were recorded: {where} holds version {stored}, this log made {logged}"

    def _lost_release(self, asset: str) -> str | None:
        if asset != "release":
            return None
        artifact = read_artifact(self.graph.layout.artifact(self.graph.name, asset))
        try:
            record = ReleaseRecord.model_validate_json(artifact.path(REPORT_FILE).read_text())
            fetch_version(self.graph.layout.models(self.graph.name), record.release_id)
        except ValidationError:
            return OTHER_SHAPE
        except (RollbackRefusedError, IntegrityError) as error:
            return f"the version it released cannot be had: {error}"
        return None

    def _moved_ledgers(self, asset: str) -> str | None:
        if asset != "oos_performance":
            return None
        artifact = read_artifact(self.graph.layout.artifact(self.graph.name, asset))
        try:
            record = OosPerformance.model_validate_json(artifact.path(REPORT_FILE).read_text())
        except ValidationError:
            return OTHER_SHAPE
        if not ledgers_have_moved(self.graph, record):
            return None
        return "the ledgers know other looks at its bars, or other trials on them, than when it was made"

    def _changed_input(self, own: dg.EventLogRecord, parent: dg.AssetKey, partition: str | None) -> str | None:
        node, name = self.definitions.resolve_asset_graph().get(parent), parent.path[-1]
        made = own.asset_materialization
        assert made is not None
        if partition is not None and name.endswith(SPEC_SUFFIX):
            used = made.metadata.get("spec_sha256")
            published = published_version(self.instance, parent, partition)
            if used is not None and published is not None and str(used.value).startswith(published):
                return None
            return f"{name.removesuffix(SPEC_SUFFIX)}_plan published another spec for it than the one it was made from"
        if node.partitions_def is None:
            if not node.is_materializable:
                return f"it reads {name} from outside, and only reading tells whether that changed"
            then = (made.tags or {}).get(INPUT_VERSION_TAG + parent.to_user_string())
            now = published_version(self.instance, parent, None)
            if then == now:
                return None
            return (
                f"{name} has another content than the one it was made from ({then or 'none'} then, {now or 'none'} now)"
            )
        changed = [fold for fold in self._folds(node) if self._fold_changed(own, parent, fold)]
        if not changed:
            return None
        return f"{name} has folds that it was not made from as they are now: {named_folds(changed)}"

    def _folds(self, node: object) -> list[str]:
        name = getattr(getattr(node, "partitions_def", None), "name", None)
        assert name is not None
        return sorted(self.instance.get_dynamic_partitions(name))

    def _fold_changed(self, own: dg.EventLogRecord, parent: dg.AssetKey, fold: str) -> bool:
        """An aggregate read every fold as it was when it began: has one another content since?

        One that was stored while the aggregate was computed is not in it, though it is older than the aggregate.
        """
        latest = _latest(self.instance, parent, fold)
        if latest is None:
            return True
        assert own.asset_materialization is not None
        pointer = (own.asset_materialization.tags or {}).get(INPUT_POINTER_TAG + parent.to_user_string(), "")
        began = int(pointer) + 1 if pointer.isdigit() else own.storage_id
        if latest.storage_id < began:
            return False
        used = _latest(self.instance, parent, fold, before=began)
        return used is None or _version(used) != _version(latest)


def named_folds(folds: Sequence[str]) -> str:
    """Folds in words, at most `NAMED_FOLDS` of them."""
    more = len(folds) - NAMED_FOLDS
    return ", ".join(folds[:NAMED_FOLDS]) + (f" and {more} more" if more > 0 else "")


def _revision(code_version: str | None) -> str:
    return (code_version or "").partition("-")[0]


def _sections_in_words(sections: Sequence[str], graph: ExperimentGraph) -> str:
    everything = set(sections) >= set(type(graph.experiment).model_fields)
    return "the whole experiment file" if everything else "seed, " + ", ".join(sections)


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
