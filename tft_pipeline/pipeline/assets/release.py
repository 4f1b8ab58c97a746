"""The model card and the release of the newest fold's model."""

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
from tft_pipeline.domain.model_card import build_card
from tft_pipeline.domain.performance_targets import performance_targets
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.pipeline.assets.evaluation import all_production_folds, newest_fold
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.gates import (
    refuse_another_model,
    refuse_card_of_another_plan,
    refuse_leaks,
    refuse_outdated_verdict,
)
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.plots import bar_picture
from tft_pipeline.pipeline.releasing import current_deploy_target
from tft_pipeline.pipeline.usage import resource_tables
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.deployments import DeploymentLockedError
from tft_pipeline.storage.environment import environment_record, utc_now
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256
from tft_pipeline.storage.releases import CARD_FILE, DECISION_FILE, FACTS_FILE, WEIGHTS_FILE, write_release
from tft_pipeline.storage.snapshots import Snapshot

CARD_SECTIONS = (
    "description",
    "target",
    "periods",
    "data.market_symbol",
    "data.cross_markets",
    "evaluation.min_accuracy",
)


def release_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`model_card`, `release`."""
    group = f"{graph.name}_7_release"

    @dg.asset(
        key=graph.key("model_card"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "prefiltered": dg.AssetIn(graph.key("prefiltered_features")),
            "selected": dg.AssetIn(graph.key("selected_features")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
            "plan": dg.AssetIn(graph.key("production_plan")),
            "folds": all_production_folds(graph),
            "performance": dg.AssetIn(graph.key("oos_performance")),
            "audit": dg.AssetIn(graph.key("leakage_audit")),
            "latency": dg.AssetIn(graph.key("latency_benchmark")),
            "drift": dg.AssetIn(graph.key("drift_report")),
            "ensemble": dg.AssetIn(graph.key("ensemble_weights")),
        },
        io_manager_key="reports",
        group_name=group,
        code_version=graph.code_version("6", *CARD_SECTIONS),
        automation_condition=on_all_folds(),
    )
    def model_card(
        snapshot: Snapshot,
        catalogue: FeatureCatalogue,
        prefiltered: PrefilteredFeatures,
        selected: SelectedFeatures,
        tuned: TunedHyperparameters,
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        performance: OosPerformance,
        audit: LeakageAudit,
        latency: LatencyBenchmark,
        drift: DriftRecord,
        ensemble: EnsembleWeights,
    ) -> dg.Output[ModelCard]:
        """Everything a reader must know before using the model; one record, every figure from this run."""
        refuse_leaks(graph, audit, plan)
        refuse_outdated_verdict(graph, performance, plan)
        used = planned_folds(plan, folds)
        refuse_another_model(weights_sha256(newest_fold(plan, folds).fitted), latency, drift, plan)
        card = build_card(
            experiment=graph.experiment,
            created_at=utc_now(),
            manifest=snapshot.manifest,
            catalogue=catalogue,
            prefiltered=prefiltered,
            selected=selected,
            tuned=tuned,
            plan=plan,
            folds={key: _fold_facts(fold) for key, fold in used.items()},
            performance=performance,
            audit=audit,
            latency=latency,
            drift=drift,
            ensemble=ensemble,
            resources=resource_tables(
                graph, {"production_fold": list(used), "exploration_fold": list(selected.thresholds)}
            ),
            environment=environment_record(),
        )
        sources = (catalogue, prefiltered, selected, tuned, plan, performance, audit, latency, drift, ensemble)
        own = graph.experiment.section_fingerprint(*CARD_SECTIONS)
        content = json_sha256([own, snapshot.content_sha256(), *(source.content_sha256() for source in sources)])
        ratios = {"model": performance.net["sharpe_annual"]} | {
            name: row["sharpe_annual"]
            for name, row in performance.baselines.items()
            if row["sharpe_annual"] is not None
        }
        return content_output(
            ModelCard(content=content, card=card, plan_sha256=plan.content_sha256()),
            {
                "verdict": card["verdict"],
                "reasons": dg.MetadataValue.md("\n".join(f"* {reason}" for reason in card["reasons"]) or "none"),
                "card": dg.MetadataValue.json(card),
                "picture": bar_picture(ratios, title="net out-of-sample Sharpe a year", label="Sharpe"),
            },
        )

    @dg.asset(
        key=graph.key("release"),
        ins={
            "plan": dg.AssetIn(graph.key("production_plan")),
            "folds": all_production_folds(graph),
            "performance": dg.AssetIn(graph.key("oos_performance")),
            "audit": dg.AssetIn(graph.key("leakage_audit")),
            "latency": dg.AssetIn(graph.key("latency_benchmark")),
            "drift": dg.AssetIn(graph.key("drift_report")),
            "card": dg.AssetIn(graph.key("model_card")),
        },
        io_manager_key="reports",
        group_name=group,
        code_version=graph.code_version("4", "evaluation.min_accuracy"),
        automation_condition=on_all_folds(),
    )
    def release(
        context: dg.AssetExecutionContext,
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        performance: OosPerformance,
        audit: LeakageAudit,
        latency: LatencyBenchmark,
        drift: DriftRecord,
        card: ModelCard,
    ) -> dg.Output[ReleaseRecord]:
        """The newest fold's bundle, its timed form, card and targets behind the `current` link; NO-GO is a candidate."""
        refuse_leaks(graph, audit, plan)
        refuse_outdated_verdict(graph, performance, plan)
        refuse_card_of_another_plan(card, plan)
        fold = newest_fold(plan, folds)
        refuse_another_model(weights_sha256(fold.fitted), latency, drift, plan)
        bundle = read_artifact(graph.layout.artifact(graph.name, "production_fold", fold.key))
        created_at = utc_now()
        content = json_sha256([card.content, bundle.files[WEIGHTS_FILE]])
        release_id = f"{created_at:%Y-%m-%dT%H-%M-%SZ}-{content[:8]}"
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
        decision = _decision(fold, str(card.card["inference"]["form"]), seed=graph.experiment.seed)
        try:
            released = write_release(
                models, release_id=release_id, bundle=bundle, card=card.card, targets=targets, decision=decision
            )
        except DeploymentLockedError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        folder = released.version.folder
        table_rows = [*targets, current_deploy_target(models, released.note)]
        tell = context.log.warning if released.note else context.log.info
        tell(f"released {release_id}, verdict {card.card['verdict']}{released.note and f'; {released.note}'}")
        return content_output(
            ReleaseRecord(
                release_id=release_id,
                created_at=created_at.isoformat(),
                verdict=card.card["verdict"],
                fold=fold.key,
                path=str(folder),
                card_path=str(folder / CARD_FILE),
                files=released.version.files,
                content=content,
                live=released.deployment is not None,
                note=released.note,
                targets=tuple(table_rows),
            ),
            {
                "verdict": card.card["verdict"],
                "live": released.deployment is not None,
                "note": released.note,
                "performance_targets": table(table_rows),
                "release": dg.MetadataValue.path(str(folder)),
                "model_card": dg.MetadataValue.path(str(models / "best_tft_model_card.json")),
                "picture": _weights_picture(fold),
            },
        )

    return [model_card, release]


def _decision(fold: FoldBundle, form: str, *, seed: int) -> dict[str, bytes]:
    """Files of the form that the card's latency is of, where it has its own; held against eager torch before anything is
    written."""
    from tft_pipeline.model.released_form import EXPORTED, export_form
    from tft_pipeline.model.smoke import BrokenModelError

    wanted = next((name for name in EXPORTED if name == form), None)
    if wanted is None:
        return {}
    try:
        exported, facts = export_form(fold.fitted, wanted, seed=seed)
    except BrokenModelError as error:
        raise dg.Failure(f"{error}: materialise latency_benchmark again", allow_retries=False) from error
    return {DECISION_FILE: exported, FACTS_FILE: canonical_json(facts).encode()}


def _weights_picture(fold: FoldBundle) -> dg.MarkdownMetadataValue:
    sizes = {name: float(value.abs().mean()) for name, value in fold.fitted.state.items()}
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:20])
    return bar_picture(largest, title="released weights, mean size (largest 20 tensors)", label="mean |weight|")


def _fold_facts(fold: FoldBundle) -> dict[str, Any]:
    fitted = fold.fitted
    return {
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "validation_loss": float(fitted.history[fitted.best_epoch]["validation_loss"]),
        "n_train_labels": fitted.n_train_labels,
        "train_rows": sum(fold.class_balance.values()),
        "n_parameters": fitted.n_parameters,
        "imputed_values": sum(fitted.missing.values()),
        "weights_sha256": weights_sha256(fitted),
        "seconds": fold.seconds,
        "seed": fitted.seed,
        "class_balance": fold.class_balance,
    }
