"""What a report is made of: the records of one finished run, as their assets stored them. Not here: what is shown of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import polars as pl

from tft_pipeline.domain.content import frame_sha256, json_sha256
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import (
    DriftRecord,
    EnsembleWeights,
    LatencyBenchmark,
    LeakageAudit,
    ModelCard,
    OosPerformance,
    PurgeComparison,
    ReleaseRecord,
    ResearchPaths,
)
from tft_pipeline.domain.reports import ExplorationFold, FoldPlanReport, Report, SelectedFeatures, TunedHyperparameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRecords:
    """Everything the page shows.

    Attributes:
        manifest: of the snapshot.
        plan: of the production folds.
        exploration: phase 2, by fold; oldest first once sorted by key.
        portfolio: one row a scored bar, as `backtest` gives it.
        research_paths: None when the experiment asks for none.
        purge_comparison: None when it was never run.
    """

    experiment: Experiment
    manifest: Mapping[str, Any]
    plan: FoldPlanReport
    exploration: Mapping[str, ExplorationFold]
    selected: SelectedFeatures
    tuned: TunedHyperparameters
    portfolio: pl.DataFrame
    performance: OosPerformance
    audit: LeakageAudit
    latency: LatencyBenchmark
    drift: DriftRecord
    ensemble: EnsembleWeights
    card: ModelCard
    release: ReleaseRecord
    research_paths: ResearchPaths | None = None
    purge_comparison: PurgeComparison | None = None

    def content_sha256(self) -> str:
        """Hash of what is shown, without times, durations and latencies: two runs that find the same have one."""
        hashes: list[Any] = [self.experiment.model_dump(mode="json"), self.manifest["identity_sha256"]]
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Report):
                hashes.append([field.name, value.content_sha256()])
        hashes.append([[key, fold.content_sha256()] for key, fold in sorted(self.exploration.items())])
        return json_sha256([*hashes, frame_sha256(self.portfolio)])
