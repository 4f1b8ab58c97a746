"""How much the chosen settings owe to the bars they were scored on: combinatorial purged cross-validation, on request."""

import dagster as dg
import polars as pl

from tft_pipeline.domain.findings import ResearchPaths
from tft_pipeline.domain.reports import FeatureCatalogue, SelectedFeatures, TunedHyperparameters
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import EVERY_FREE_SLOT, guarded
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.plots import histogram_picture

REVISION = "1"


def path_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`research_paths`, where the experiment has a section of that name; nothing depends on it."""
    experiment = graph.experiment
    if experiment.research_paths is None:
        return []

    @dg.asset(
        key=graph.key("research_paths"),
        ins={
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "selected": dg.AssetIn(graph.key("selected_features")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
        },
        io_manager_key="reports",
        code_version=graph.code_version(REVISION, "research_paths", "periods", "target", "data.bars_per_year"),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "research_paths", slots=EVERY_FREE_SLOT)
    def research_paths(
        context: dg.AssetExecutionContext,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
        selected: SelectedFeatures,
        tuned: TunedHyperparameters,
    ) -> dg.Output[ResearchPaths]:
        """Net Sharpe ratio of the chosen settings along paths of left-out research bars (combinatorial purged
        cross-validation). Look at how far the paths lie apart; one row a path."""
        from tft_pipeline.model.paths import fit_paths

        panel = panel_of(features, targets, catalogue, selected.features)
        try:
            found = fit_paths(panel, experiment, tuned, report=context.log.info)
        except (ValueError, FloatingPointError) as error:
            raise dg.Failure(f"research paths: {error}", allow_retries=False) from error
        ratios = [row["sharpe_annual"] for row in found.paths]
        return content_output(
            found,
            {
                "n_splits": len(found.splits),
                **found.spread,
                "paths": table([{**row, "splits": str(row["splits"])} for row in found.paths]),
                "splits": table([{**row, "left_out": str(row["left_out"])} for row in found.splits]),
                "picture": histogram_picture(
                    ratios,
                    title="net Sharpe a year of each path of left-out research bars",
                    label="Sharpe",
                    marks={"median": found.spread["median"], "tuned on": tuned.best_sharpe_annual},
                ),
            },
        )

    return [research_paths]
