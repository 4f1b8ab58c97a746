"""Which event log an experiment's results in the store belong to: asked before anything is computed.

Not here: what is written in the store (`storage.experiments.claim_in_store`).
"""

import dagster as dg
from dagster._core.storage.runs import SqlRunStorage

from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.experiments import claim_in_store


def claim(graph: ExperimentGraph, instance: dg.DagsterInstance) -> None:
    """Refuse to compute where the store's results were recorded by another event log; nothing happens without a store.

    Raises:
        ConfigurationError, StoreError: as `storage.experiments.claim_in_store`.
    """
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)  # SQLite and PostgreSQL are: their random id names the log
    claim_in_store(graph.layout.experiment(graph.name), storage.get_run_storage_id())
