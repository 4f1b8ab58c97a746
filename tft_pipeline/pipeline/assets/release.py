"""The release of the newest fold's model: staged, asked, held against its gates, written, and made live where all pass.

Not here: the card (`assets.card`), the files of a bundle (`pipeline.bundling`), the gates (`pipeline.release_gates`), writing
and deploying (`storage.deploying`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.findings import (
    DriftRecord,
    EnsembleWeights,
    LatencyBenchmark,
    LeakageAudit,
    ModelCard,
    OosPerformance,
    ReleaseRecord,
)
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.performance_targets import deploy_target, performance_targets
from tft_pipeline.domain.release_gates import gate_document, why_not_live
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport
from tft_pipeline.pipeline.assets.card import card_asset
from tft_pipeline.pipeline.assets.evaluation import all_production_folds, newest_fold
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.bundling import StagedBundle, fill_version, stage_bundle, told_by_forms
from tft_pipeline.pipeline.card import card_html, card_markdown, complete_card, validate_card
from tft_pipeline.pipeline.card.made import live_card
from tft_pipeline.pipeline.gate_claims import CLAIMS, gate_checks
from tft_pipeline.pipeline.gate_plots import gates_picture
from tft_pipeline.pipeline.gates import (
    refuse_another_model,
    refuse_card_of_another_plan,
    refuse_leaks,
    refuse_outdated_verdict,
)
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.judgement_metadata import gate_metadata
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.registry import follow
from tft_pipeline.pipeline.release_gates import release_gate_rows
from tft_pipeline.storage.artifacts import Artifact, IntegrityError, read_artifact
from tft_pipeline.storage.atomic import canonical_json, stage_beside
from tft_pipeline.storage.deploying import release_candidate
from tft_pipeline.storage.deployments import DeploymentLockedError, linked_release
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256
from tft_pipeline.storage.gate_files import DeployRefusedError
from tft_pipeline.storage.release_bundle import CARD_FILE, CARD_HTML, CARD_MARKDOWN, GATE_FILE
from tft_pipeline.storage.releases import (
    TARGETS_FILE,
    Release,
    RollbackRefusedError,
    deploy_problems,
    release_ids,
    release_stamp,
)
from tft_pipeline.storage.snapshots import Snapshot

RELEASE_SECTIONS = (
    "evaluation",
    "gates",
    "target.volatility_span",
    "data.interval",
    "data.stamp",
    "data.timezone",
    "data.market_symbol",
    "data.cross_markets",
)
"""What a release takes from the experiment file itself: signature and gates."""


def release_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`model_card`, `release`."""

    @dg.asset(
        key=graph.key("release"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "plan": dg.AssetIn(graph.key("production_plan")),
            "folds": all_production_folds(graph),
            "performance": dg.AssetIn(graph.key("oos_performance")),
            "audit": dg.AssetIn(graph.key("leakage_audit")),
            "latency": dg.AssetIn(graph.key("latency_benchmark")),
            "drift": dg.AssetIn(graph.key("drift_report")),
            "ensemble": dg.AssetIn(graph.key("ensemble_weights")),
            "card": dg.AssetIn(graph.key("model_card")),
        },
        # a check a gate: what a failed one blocks is the deployment, which asks the gates by itself, and not the run
        check_specs=gate_checks(graph),
        io_manager_key="reports",
        code_version=graph.code_version("7", *RELEASE_SECTIONS),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "release", measured=False)
    def release(
        context: dg.AssetExecutionContext,
        snapshot: Snapshot,
        catalogue: FeatureCatalogue,
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        performance: OosPerformance,
        audit: LeakageAudit,
        latency: LatencyBenchmark,
        drift: DriftRecord,
        ensemble: EnsembleWeights,
        card: ModelCard,
    ) -> Iterator[dg.Output[Any] | dg.AssetCheckResult]:
        """The newest fold's model as one bundle with its gates: live when every gate passes, else a candidate for the job
        deploy. Look at the gates that failed; one record."""
        refuse_leaks(graph, audit, plan)
        refuse_outdated_verdict(graph, performance, plan)
        refuse_card_of_another_plan(card, plan)
        fold = newest_fold(plan, folds)
        refuse_another_model(weights_sha256(fold.fitted), latency, drift, plan)
        models = graph.layout.models(graph.name)
        targets = performance_targets(
            evaluation=graph.experiment.evaluation,
            drift_limits=graph.experiment.drift,
            performance=performance,
            audit=audit,
            latency=latency,
            drift=drift,
            validation_accuracy=fold.fitted.history[fold.fitted.best_epoch].get("validation_accuracy"),
        )
        stored = read_artifact(graph.layout.artifact(graph.name, "production_fold", fold.key))
        with stage_beside(models) as stage:
            staged = _staged(
                graph, stage / "bundle", plan, fold, stored, catalogue, ensemble, snapshot, card, latency.form
            )
            rows = release_gate_rows(
                graph,
                plan=plan,
                folds=folds,
                performance=performance,
                audit=audit,
                latency=latency,
                drift=drift,
                problems=staged.problems,
            )
            rows = told_by_forms(rows, staged)
            created_at = utc_now()
            content = json_sha256([card.content, staged.bundle.signature.weights_sha256])
            release_id = f"{release_stamp(models, created_at)}-{content[:8]}"
            gates = gate_document(
                rows,
                release_id=release_id,
                weights_sha256=staged.bundle.signature.weights_sha256,
                fold=fold.key,
                created_at=created_at.isoformat(),
            )
            whole, cards = _cards(models, card.card, gates, staged, release_id)
            documents = {GATE_FILE: canonical_json(gates), TARGETS_FILE: canonical_json(list(targets)), **cards}
            released = _released(
                graph, release_id, fill_version(staged, documents), why_not_live(rows, graph.experiment.gates)
            )
        folder, live = released.version.folder, released.deployment is not None
        deployment = deploy_target(
            deploy_problems(models),
            release=linked_release(models),
            note=released.note,
            candidate=None if live else release_id,
        )
        table_rows = [*targets, deployment]
        tell = context.log.warning if released.note else context.log.info
        tell(f"released {release_id}, verdict {whole['verdict']}{released.note and f'; {released.note}'}")
        untold = follow(graph.layout, graph.name)
        if untold is not None:
            context.log.warning(f"MLflow was not told of {release_id} ({untold}): the next deployment or run tells it")
        yield content_output(
            ReleaseRecord(
                release_id=release_id,
                created_at=created_at.isoformat(),
                verdict=whole["verdict"],
                fold=fold.key,
                path=str(folder),
                card_path=str(folder / CARD_FILE),
                files=released.version.files,
                content=content,
                live=live,
                note=released.note,
                targets=tuple(table_rows),
                gates=tuple(gates["gates"]),
                deployed=None if released.deployment is None else released.deployment.to_dict(),
                forms=dict(staged.bundle.signature.forms),
                left_out=dict(staged.bundle.signature.left_out),
            ),
            {
                "verdict": whole["verdict"],
                "went_live": live,
                "note": released.note,
                "gates": table([_shown(row) for row in gates["gates"]]),
                "performance_targets": table(table_rows),
                "forms": dg.MetadataValue.json({**staged.bundle.signature.forms, **staged.bundle.signature.left_out}),
                "release": dg.MetadataValue.path(str(folder)),
                "model_card": dg.MetadataValue.path(str(folder / CARD_FILE)),
                "picture": gates_picture(gates["gates"]),
            },
        )
        yield from (_check(row) for row in rows)

    return [card_asset(graph), release]


def _staged(
    graph: ExperimentGraph,
    stage: Path,
    plan: FoldPlanReport,
    fold: FoldBundle,
    stored: Artifact,
    catalogue: FeatureCatalogue,
    ensemble: EnsembleWeights,
    snapshot: Snapshot,
    card: ModelCard,
    form: str,
) -> StagedBundle:
    """The model's own files, asked as live code will ask them, before card and gates are written."""
    from tft_pipeline.model.smoke import BrokenModelError

    try:
        return stage_bundle(
            stage,
            experiment=graph.experiment,
            spec=plan.specs[-1],
            stored=stored,
            fold=fold,
            catalogue=catalogue,
            ensemble=ensemble,
            bars=snapshot.bars,
            symbols=card.card["train"]["symbols"],
            form=form,
        )
    except BrokenModelError as error:
        raise dg.Failure(f"{error}: materialise latency_benchmark again", allow_retries=False) from error
    except (IntegrityError, ValueError) as error:
        raise dg.Failure(f"the bundle of fold {fold.key}: {error}", allow_retries=False) from error


def _cards(
    models: Path, card: dict[str, Any], gates: dict[str, Any], staged: StagedBundle, release_id: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The completed card, and its renderings by file."""
    signature, live = staged.bundle.signature.to_dict(), live_card(models)
    try:
        whole = complete_card(
            card,
            gates=gates,
            files=staged.bundle.artifact.files,
            release_id=release_id,
            signature=signature,
            previous=live,
        )
        validate_card(whole)
    except ValueError as error:
        raise dg.Failure(f"the card of {release_id}: {error}; nothing was written", allow_retries=False) from error
    texts = {CARD_FILE: canonical_json(whole), CARD_MARKDOWN: card_markdown(whole), CARD_HTML: card_html(whole)}
    return whole, texts


def _released(graph: ExperimentGraph, release_id: str, fill: Callable[[Path], None], why_not: str) -> Release:
    """Write the version, and make it live unless something says no.

    Args:
        why_not: what does, in words; empty where nothing does.
    """
    models = graph.layout.models(graph.name)
    try:
        return release_candidate(models, release_id=release_id, fill=fill, why_not=why_not)
    except (DeploymentLockedError, FileExistsError) as error:
        raise dg.Failure(f"{release_id} was not written: {error}", allow_retries=False) from error
    except (DeployRefusedError, RollbackRefusedError, IntegrityError, OSError) as error:
        raise dg.Failure(_how_far(models, release_id, error), allow_retries=False) from error


def _how_far(models: Path, release_id: str, error: Exception) -> str:
    """What there is of a release after something failed, and why it did."""
    if release_id not in release_ids(models):
        return f"{release_id} was not written: {error}"
    if linked_release(models) == release_id:
        return (
            f"candidate {release_id} was written and the link was swapped: it is live, and the next deployment writes that "
            f"down; {error}"
        )
    return f"candidate {release_id} was written, not deployed because {error}; `tft deploy {release_id}` makes it live"


def _check(row: GateRow) -> dg.AssetCheckResult:
    """A gate as the UI shows it; a failed one warns, for the run is whole and a candidate is what it is to make."""
    return dg.AssetCheckResult(
        check_name=CLAIMS[row.name][0],
        passed=not row.blocks,
        severity=dg.AssetCheckSeverity.WARN,
        description=row.why,
        metadata=gate_metadata(row),
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A gate as a row of the UI's table."""
    return {name: row[name] for name in ("name", "verdict", "value", "rule", "threshold", "unit", "why")}
