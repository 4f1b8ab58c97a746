"""One study of an experiment, as its asset and any number of further workers open it.

Everything that names the study is computed here from the stored inputs, so that all of them work on the same one. Not here:
the search (`model.tuning`), what the asset records (`assets.tuning`).
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import panel_sha256, research_folds
from tft_pipeline.domain.reports import FeatureCatalogue, SelectedFeatures, TrialRow
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import FRAME_FILE, REPORT_FILE
from tft_pipeline.pipeline.ledgers import record_study
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.progress import Trials, Watch, search_stage
from tft_pipeline.storage.artifacts import Artifact, ArtifactMissingError, read_artifact
from tft_pipeline.storage.experiments import claim_name, read_experiment
from tft_pipeline.storage.layout import default_layout
from tft_pipeline.storage.slots import at_most, computing

if TYPE_CHECKING:
    from tft_pipeline.model.tuning_storage import Study

STORAGE_VARIABLE = "TFT_TUNING_STORAGE"
"""SQLAlchemy URL of a PostgreSQL database for studies, instead of a SQLite file an experiment."""
OBJECTIVE = (
    "tuning.folds",
    "tuning.epochs",
    "tuning.parallel_trials",
    "tuning.startup_trials",
    "tuning.pruner",
    "tuning.warmup_folds",
    "tuning.wilcoxon_p",
    "tuning.min_epochs",
    "tuning.reduction_factor",
    "tuning.space",
    "network",
    "training",
    "position",
    "periods",
    "target",
    "data.bars_per_year",
    "data.interval",
)
"""What a trial's value depends on; with the bars it names the study, so that more trials continue it."""
REVISION = "5"
"""Of the code that trains and scores a trial: trials of another one are not continued."""


@dataclass(frozen=True)
class PlannedStudy:
    """A study with what its trials are scored on: the research bars and folds counted from their first one."""

    graph: ExperimentGraph
    panel: Panel
    folds: tuple[Fold, ...]
    study: "Study"

    @property
    def first_scored(self) -> datetime:
        """First bar that any trial is scored on."""
        return self.panel.calendar[min(fold.test.start for fold in self.folds)]

    @property
    def last_scored(self) -> datetime:
        """Last bar that any trial is scored on."""
        return self.panel.calendar[max(fold.test.stop for fold in self.folds) - 1]

    def remember(self, trials: tuple[TrialRow, ...]) -> None:
        """Write trials into the ledger that all experiments share."""
        record_study(self.graph, self.study.name, self.panel.symbols, self.first_scored, self.last_scored, trials)


def planned_study(graph: ExperimentGraph, panel: Panel) -> PlannedStudy:
    """The study of an experiment on a panel.

    Raises:
        ValueError: the research period holds no fold.
    """
    from tft_pipeline.model.tuning_storage import Study

    experiment, layout = graph.experiment, graph.layout
    folds = research_folds(panel, experiment, experiment.tuning.folds)
    first = max(0, min(fold.train.start for fold in folds) - experiment.longest_lookback)
    research = panel.between(first, max(fold.test.stop for fold in folds)).listed()
    inputs = [REVISION, panel_sha256(research), experiment.section_fingerprint(*OBJECTIVE)]
    study = Study(
        name=f"{graph.name}-{json_sha256(inputs)[:16]}",
        database=layout.study(graph.name),
        control=layout.tuning_control(graph.name),
        control_log=layout.tuning_control_log(graph.name),
        url=os.environ.get(STORAGE_VARIABLE) or None,
    )
    return PlannedStudy(graph, research, tuple(fold.shifted(-first) for fold in folds), study)


def work_on_study(path: Path, report: Callable[[str], None], watch: Watch | None = None) -> dict[str, Any]:
    """Join the study of an experiment as one more worker; its asset records the result, this does not.

    Args:
        report: told a line for every trial.
        watch: told of the search; asked now and then, it knows the trials that had ended after this worker's last round.
    Returns:
        study, storage (without its password), trials by state, and the best Sharpe ratio a year so far (None without one).
    Raises:
        ConfigurationError: the experiment file does not validate, or what tuning reads is not materialised yet.
        StudyStorageError, ControlFileError, ValueError: as `model.tuning.tune`.
    """
    from tft_pipeline.model.tuning import work

    graph = ExperimentGraph(read_experiment(path), default_layout())
    claim_name(graph.layout.experiment(graph.name), graph.file.path)
    planned = planned_study(graph, _stored_panel(graph))
    report(f"study {planned.study.name} in {planned.study.shown_url}; steered by {planned.study.control}")
    wanted = graph.experiment.tuning.parallel_trials
    told: list[Trials] = []
    if watch is not None:
        watch(search_stage(graph, lambda: told[-1] if told else None))
    with computing(graph.layout.slots, wanted=wanted, waits=report) as slots, at_most(slots):
        trials = work(
            planned.panel,
            planned.folds,
            graph.experiment,
            planned.study,
            report=report,
            remember=planned.remember,
            on_round=lambda rows: told.append(_trials(rows)),
        )
    planned.remember(trials)
    return {
        "study": planned.study.name,
        "storage": planned.study.shown_url,
        "trials": dict(sorted(Counter(trial.state for trial in trials).items())),
        "best_sharpe_annual": _trials(trials).best,
    }


def _trials(rows: tuple[TrialRow, ...]) -> Trials:
    sharpes = [trial.sharpe_annual for trial in rows if trial.sharpe_annual is not None]
    return Trials(sum(trial.state != "running" for trial in rows), max(sharpes, default=None))


def _stored_panel(graph: ExperimentGraph) -> Panel:
    def stored(asset: str) -> Artifact:
        try:
            return read_artifact(graph.layout.artifact(graph.name, asset))
        except ArtifactMissingError as error:
            raise ConfigurationError(
                f"{asset} of {graph.name} is not materialised yet ({error}): there is nothing to tune on; run the experiment "
                "up to selected_features first"
            ) from error

    selected = SelectedFeatures.model_validate_json(stored("selected_features").path(REPORT_FILE).read_text())
    catalogue = FeatureCatalogue.model_validate_json(stored("feature_catalogue").path(REPORT_FILE).read_text())
    features = pl.scan_parquet(stored("features").path(FRAME_FILE))
    targets = pl.read_parquet(stored("targets").path(FRAME_FILE))
    return panel_of(features, targets, catalogue, selected.features)
