"""What a finished run left on disk, read back as the leakage guards get it. Not here: runs (`conftest`), leaks."""

from typing import TypeVar

import polars as pl

from tft_pipeline.domain.reports import (
    ExplorationFold,
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    Report,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.pipeline.assets.audit import minute_rows, published_rows
from tft_pipeline.pipeline.evidence import Evidence
from tft_pipeline.pipeline.io_managers import FRAME_FILE, REPORT_FILE
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.fold_bundles import FoldBundle, read_fold_bundle
from tft_pipeline.storage.snapshots import read_snapshot
from tft_pipeline_tests.conftest import Workbench

Record = TypeVar("Record", bound=Report)


def stored_report(bench: Workbench, kind: type[Record], asset: str, partition: str | None = None) -> Record:
    """The current record of an asset."""
    return kind.model_validate_json((bench.artifact(asset, partition) / REPORT_FILE).read_text())


def stored_fold(bench: Workbench, key: str) -> FoldBundle:
    """The current bundle of a production fold."""
    return read_fold_bundle(read_artifact(bench.layout.artifact("small", "production_fold", key)))


def stored_evidence(bench: Workbench) -> Evidence:
    """All of it."""
    exploration_plan = stored_report(bench, FoldPlanReport, "exploration_plan")
    production_plan = stored_report(bench, FoldPlanReport, "production_plan")
    snapshot = read_snapshot(read_artifact(bench.layout.artifact("small", "snapshot")))
    return Evidence(
        experiment=bench.graph.experiment,
        source=published_rows(bench.graph, snapshot),
        minutes=minute_rows(bench.graph, snapshot),
        bars=snapshot.bars,
        catalogue=stored_report(bench, FeatureCatalogue, "feature_catalogue"),
        features=pl.scan_parquet(bench.artifact("features") / FRAME_FILE),
        targets=pl.read_parquet(bench.artifact("targets") / FRAME_FILE),
        prefiltered=stored_report(bench, PrefilteredFeatures, "prefiltered_features"),
        exploration_plan=exploration_plan,
        exploration_folds={
            spec.key: stored_report(bench, ExplorationFold, "exploration_fold", spec.key)
            for spec in exploration_plan.specs
        },
        selected=stored_report(bench, SelectedFeatures, "selected_features"),
        tuned=stored_report(bench, TunedHyperparameters, "tuned_hyperparameters"),
        production_plan=production_plan,
        production_folds={spec.key: stored_fold(bench, spec.key) for spec in production_plan.specs},
    )
