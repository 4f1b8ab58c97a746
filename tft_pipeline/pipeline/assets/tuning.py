"""Phase 4: hyper-parameters, searched over mini walk-forward folds inside the research period."""

from typing import Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.reports import FeatureCatalogue, SelectedFeatures, TrialRow, TunedHyperparameters
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.tuning_plots import tuning_pictures
from tft_pipeline.pipeline.tuning_worker import OBJECTIVE, REVISION, PlannedStudy, planned_study

SHOWN_CHANGES = 50


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
        code_version=graph.code_version(REVISION, "tuning.n_trials", *OBJECTIVE),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "tuned_hyperparameters", slots=experiment.tuning.parallel_trials)
    def tuned_hyperparameters(
        context: dg.AssetExecutionContext,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
        selected: SelectedFeatures,
    ) -> dg.Output[TunedHyperparameters]:
        """Phase 4: the settings with the best validation score on research folds, and every trial that was started, for the
        statistics count them. Look at the best value by trial; one row a trial."""
        from tft_pipeline.model.tuning import NoTrialCompletedError, tune
        from tft_pipeline.model.tuning_storage import StudyStorageError

        panel = panel_of(features, targets, catalogue, selected.features)
        try:
            planned = planned_study(graph, panel)

            def on_round(trials: tuple[TrialRow, ...]) -> None:
                context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=progress(graph, trials)))

            tuned = tune(
                planned.panel,
                planned.folds,
                experiment,
                planned.study,
                report=context.log.info,
                remember=planned.remember,
                on_round=on_round,
            )
            planned.remember(tuned.trials)  # a study that was complete has no round
            tuned = tuned.model_copy(
                update={
                    "research_first": planned.first_scored.isoformat(),
                    "research_last": planned.last_scored.isoformat(),
                }
            )
        except (ValueError, NoTrialCompletedError, StudyStorageError) as error:
            raise dg.Failure(f"tuning: {error}", allow_retries=False) from error
        return content_output(tuned, metadata(graph, planned, tuned))

    return [tuned_hyperparameters]


def progress(graph: ExperimentGraph, trials: tuple[TrialRow, ...]) -> dict[str, Any]:
    """How far a search is: trials by state, what was wanted, the best so far."""
    states = [trial.state for trial in trials]
    best = max(
        ((trial.sharpe_annual, -trial.number) for trial in trials if trial.sharpe_annual is not None), default=None
    )
    found: dict[str, Any] = {
        "trials_complete": states.count("complete"),
        "trials_pruned": states.count("pruned"),
        "trials_failed": states.count("fail"),
        "trials_running": states.count("running"),
        "trials_wanted": graph.experiment.tuning.n_trials,
    }
    if best is not None:
        found |= {"best_sharpe_annual": best[0], "best_trial": -best[1]}
    return found


def metadata(graph: ExperimentGraph, planned: PlannedStudy, tuned: TunedHyperparameters) -> dict[str, Any]:
    """What the UI shows of a finished search."""
    from tft_pipeline.model.tuning_control import read_control_log

    rows = [
        {
            "trial": trial.number,
            "state": trial.state,
            "sharpe_annual": trial.sharpe_annual,
            "folds": len(trial.fold_sharpes),
            "params": str(trial.params),
            "note": trial.note,
        }
        for trial in tuned.trials
    ]
    changes = [
        {"at": line["at"], "study": line["study"], "before": str(line["before"]), "after": str(line["after"])}
        for line in read_control_log(planned.study.control_log)[-SHOWN_CHANGES:]
    ]
    return {
        **progress(graph, tuned.trials),
        "n_trials_started": tuned.n_trials_started,
        "study": tuned.study,
        "storage": planned.study.shown_url,
        "trials": table(rows),
        **tuning_pictures(tuned, graph.experiment.tuning.space),
        "control_file": dg.MetadataValue.path(str(planned.study.control)),
        "control_changes": table(changes),
    }
