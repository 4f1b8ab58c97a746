"""Phase 4: hyper-parameters, searched over mini walk-forward folds inside the research period."""

import dagster as dg
import polars as pl

from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.planning import panel_sha256, research_folds
from tft_pipeline.domain.reports import FeatureCatalogue, SelectedFeatures, TrialRow, TunedHyperparameters
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.ledgers import record_study
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.plots import bar_picture

OBJECTIVE = (
    "tuning.folds",
    "tuning.epochs",
    "tuning.parallel_trials",
    "tuning.startup_trials",
    "tuning.warmup_folds",
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
REVISION = "3"
"""Of the code that trains and scores a trial: trials of another one are not continued."""


def tuning_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`tuned_hyperparameters`."""
    experiment = graph.experiment

    @dg.asset(
        key=graph.key("tuned_hyperparameters"),
        ins={
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "selected": dg.AssetIn(graph.key("selected_features")),
        },
        io_manager_key="reports",
        group_name=f"{graph.name}_4_tuning",
        code_version=graph.code_version(REVISION, "tuning.n_trials", *OBJECTIVE),
        automation_condition=on_content_change(),
        kinds={"optuna"},
    )
    def tuned_hyperparameters(
        context: dg.AssetExecutionContext,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
        selected: SelectedFeatures,
    ) -> dg.Output[TunedHyperparameters]:
        """Phase 4: the best trial of the study and every trial that was started; one row a trial."""
        from tft_pipeline.model.tuning import NoTrialCompletedError, Study, tune

        panel = panel_of(features, targets, catalogue, selected.features)
        try:
            folds = research_folds(panel, experiment, experiment.tuning.folds)
            first = max(0, min(fold.train.start for fold in folds) - experiment.training.lookback)
            research = panel.between(first, max(fold.test.stop for fold in folds)).listed()
            local = tuple(fold.shifted(-first) for fold in folds)
            inputs = [REVISION, panel_sha256(research), experiment.section_fingerprint(*OBJECTIVE)]
            study = Study(
                database=graph.layout.study(graph.name),
                name=f"{graph.name}-{json_sha256(inputs)[:16]}",
                control=graph.layout.tuning_control(graph.name),
            )
            first_scored = research.calendar[min(fold.test.start for fold in local)]
            last_scored = research.calendar[max(fold.test.stop for fold in local) - 1]

            def remember(trials: tuple[TrialRow, ...]) -> None:
                record_study(graph, study.name, research.symbols, first_scored, last_scored, trials)

            tuned = tune(research, local, experiment, study, report=context.log.info, on_round=remember)
            remember(tuned.trials)  # a study that was complete has no round
            tuned = tuned.model_copy(
                update={"research_first": first_scored.isoformat(), "research_last": last_scored.isoformat()}
            )
        except (ValueError, NoTrialCompletedError) as error:
            raise dg.Failure(f"tuning: {error}", allow_retries=False) from error
        values = {f"trial {trial.number} ({trial.state})": trial.sharpe_annual or 0.0 for trial in tuned.trials}
        rows = [
            {"trial": t.number, "state": t.state, "sharpe_annual": t.sharpe_annual, "params": str(t.params)}
            for t in tuned.trials
        ]
        return content_output(
            tuned,
            {
                "best_trial": tuned.best_trial,
                "best_sharpe_annual": tuned.best_sharpe_annual,
                "n_trials_started": tuned.n_trials_started,
                "trials": table(rows),
                "picture": bar_picture(
                    values, title="net Sharpe a year of each trial (research period)", label="Sharpe"
                ),
                "control_file": dg.MetadataValue.path(str(study.control)),
            },
        )

    return [tuned_hyperparameters]
