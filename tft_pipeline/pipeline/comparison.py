"""What the command `tft purge-comparison` does, and what it answers. Not here: the comparison itself (`assets.purge`)."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tft_pipeline.domain.findings import PurgeComparison
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.progress import Watch, stage_of
from tft_pipeline.pipeline.reaping import reap
from tft_pipeline.pipeline.runs import materialise, open_instance
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.experiments import claim_name, read_experiment
from tft_pipeline.storage.layout import default_layout

ASSET = "purge_comparison"


def comparison_config(graph: ExperimentGraph, *, overlap: bool) -> dict[str, Any]:
    """Run configuration of a run that makes `purge_comparison`."""
    return {"ops": {"__".join(graph.key(ASSET).path): {"config": {"overlap": overlap}}}}


def compare_purge(
    path: Path, *, overlap: bool, report: Callable[[str], None], watch: Watch | None = None
) -> dict[str, Any]:
    """Fit the production folds without purge, run the overlapping experiment if wanted, and compare.

    Returns:
        experiment, run_id, findings (in words), variants and differences by name as `reports.PurgeComparison` holds them, and
        failed, which is empty; or, after a failure, failed (asset, partition, reason, run_id) and resume, the command
        that makes what may be missing.
    Raises:
        ConfigurationError: the experiment file does not validate, or its folder is that of another one.
    """
    graph = ExperimentGraph(read_experiment(path), default_layout())
    claim_name(graph.layout.experiment(graph.name), graph.file.path)
    definitions = build_definitions([graph.file], graph.layout)
    report("fits every production fold again without purge" + (", then runs all with overlap" if overlap else ""))
    with open_instance(graph.layout) as instance:
        for line in reap(instance):
            report(line)
        if watch is not None:
            watch(stage_of(graph, instance, ASSET))
        config = comparison_config(graph, overlap=overlap)
        outcome = materialise(definitions, instance, [graph.key(ASSET)], run_config=config)
    if not outcome.ok:
        failed = {"asset": outcome.asset, "partition": None, "reason": outcome.reason, "run_id": outcome.run_id}
        return {"failed": [failed], "resume": f"tft run {shlex.quote(str(graph.file.path))} --resume"}
    stored = read_artifact(graph.layout.artifact(graph.name, ASSET))
    record = PurgeComparison.model_validate_json(stored.path(REPORT_FILE).read_text())
    return {
        "experiment": graph.name,
        "run_id": outcome.run_id,
        "findings": [str(row["words"]) for row in record.differences],
        "variants": {str(row["name"]): row for row in record.variants},
        "differences": {str(row["name"]): row for row in record.differences},
        "failed": [],
    }
