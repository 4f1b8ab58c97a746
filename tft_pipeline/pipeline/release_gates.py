"""The gates of a release, from the records of its run and what is stored. Not here: the gates (`domain.release_gates`)."""

from collections.abc import Sequence

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.release_gates import gate_rows
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.champion import compare_with_champion, without_folders
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError, read_artifact
from tft_pipeline.storage.deployments import WEIGHTS_FILE
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256


def release_gate_rows(
    graph: ExperimentGraph,
    *,
    plan: FoldPlanReport,
    folds: dict[str, FoldBundle],
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    drift: DriftRecord,
    problems: Sequence[str] = (),
) -> list[GateRow]:
    """Every gate for the newest fold's model, in order.

    The live version is read once, verified. What is deployed while this run works is not seen here: a deployment holds the
    comparison against what is live then (`deploy_gate.judged_against_live`).

    Args:
        folds: all production folds.
        problems: what is wrong with files that are released beside the fold's own, such as an exported form that says something
            else, in words.
    Raises:
        dagster.Failure: folds are missing or of another plan.
        ArtifactMissingError, IntegrityError: this run's features, targets or catalogue.
    """
    used, newest = planned_folds(plan, folds), plan.specs[-1]
    weights = weights_sha256(used[newest.key].fitted)
    files, wrong = _verified(graph, newest.key, weights)
    wrong += [
        f"{name} is of the weights {judged[:12]}, the fold's are {weights[:12]}"
        for name, judged in (("latency_benchmark", latency.weights_sha256), ("drift_report", drift.weights_sha256))
        if judged != weights
    ]
    off = graph.experiment.gates.challenger == "off"
    return list(
        gate_rows(
            experiment=graph.experiment,
            plan=plan,
            performance=performance,
            audit=audit,
            latency=latency,
            drift=drift,
            files=files,
            problems=[*wrong, *problems],
            checkpoints={key: _unkept(fold) for key, fold in used.items()},
            challenger=None if off else compare_with_champion(graph, newest, used[newest.key]),
        )
    )


def _verified(graph: ExperimentGraph, key: str, weights: str) -> tuple[int, list[str]]:
    """Files of the fold's stored bundle, and what is wrong with them."""
    try:
        stored = read_artifact(graph.layout.artifact(graph.name, "production_fold", key))
    except (ArtifactMissingError, IntegrityError) as error:
        return 0, [without_folders(error, graph.layout.models(graph.name))]
    if stored.files.get(WEIGHTS_FILE) != weights:
        return len(stored.files), [f"the stored weights of {key} are not those that were judged; fit the fold again"]
    return len(stored.files), []


def _unkept(fold: FoldBundle) -> str:
    if fold.checkpoint_status == "ok":
        return ""
    return fold.checkpoint_reason or "it is marked as failed without a reason"
