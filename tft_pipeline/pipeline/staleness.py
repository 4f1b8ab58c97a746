"""Is an asset current? By content: its code and configuration, and the data versions it was made from.

Dagster's own staleness is one hop, costs much over many partitions and cannot be asked outside the UI; this asks the
event log directly. Not here: what to do about it.
"""

import dagster as dg

from tft_pipeline.pipeline.partitions import DATA_VERSION_TAG

CODE_VERSION_TAG = "dagster/code_version"


def needs_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey, *, partition: str | None = None
) -> bool:
    """Whether an asset, or one of its partitions, is missing or outdated.

    It is outdated when its code version changed, or when the data version of a dependency differs from the one that was
    current when it was made. What reads from outside is always run: only reading tells whether the outside changed.
    """
    own = _latest(instance, key, partition)
    if own is None:
        return True
    materialisation = own.asset_materialization
    assert materialisation is not None
    assets = definitions.resolve_asset_graph()
    node = assets.get(key)
    if (materialisation.tags or {}).get(CODE_VERSION_TAG) != node.code_version:
        return True
    for parent in node.parent_keys:
        parent_node = assets.get(parent)
        if not parent_node.is_materializable and not parent_node.is_partitioned:
            return True
        for parent_partition in _partitions(instance, parent_node, partition):
            latest = _latest(instance, parent, parent_partition)
            if latest is None:
                return True
            if latest.storage_id < own.storage_id:
                continue
            used = _latest(instance, parent, parent_partition, before=own.storage_id)
            if used is None or _version(used) != _version(latest):
                return True
    return False


def _partitions(instance: dg.DagsterInstance, parent: object, partition: str | None) -> list[str | None]:
    """The partitions of a dependency: the same one for a fold, all for an aggregate, none for a plain asset."""
    partitions_def = getattr(parent, "partitions_def", None)
    if partitions_def is None:
        return [None]
    if partition is not None:
        return [partition]
    return list(instance.get_dynamic_partitions(partitions_def.name))


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
