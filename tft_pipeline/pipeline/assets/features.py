"""Snapshot to features and targets, then phase 1: the degenerate ones are dropped."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.experiment_features import catalogue_of, computed_targets, feature_build
from tft_pipeline.domain.features import first_causality_violation
from tft_pipeline.domain.judging import prefiltered
from tft_pipeline.domain.leakage import all_have_begun
from tft_pipeline.domain.reports import FeatureCatalogue, PrefilteredFeatures
from tft_pipeline.domain.sentiment import refuse_impossible_sentiment
from tft_pipeline.model.feature_stream import feature_frames, workers_for
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.column_words import COLUMN_SCHEMA, column_schema, words_of_features
from tft_pipeline.pipeline.feature_plots import catalogue_metadata, label_metadata, missing_metadata
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import EVERY_FREE_SLOT, guarded
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline.pipeline.judgement_metadata import check_metadata
from tft_pipeline.pipeline.outputs import content_output
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.selection_metadata import prefilter_metadata
from tft_pipeline.storage.atomic import stage_beside
from tft_pipeline.storage.frames import FrameFile, write_frames
from tft_pipeline.storage.snapshots import Snapshot

CAUSALITY_TAIL_BARS = 700
CAUSALITY_CUTS = 3


def computed_features(experiment: Experiment, bars: pl.DataFrame, catalogue: FeatureCatalogue) -> pl.DataFrame:
    """The features of a catalogue from some bars at once: the frames that the asset stores, for its guards to try."""
    return pl.concat(feature_frames(feature_build(experiment, bars, catalogue), Path(), workers=1))


def feature_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`feature_catalogue`, `features`, `targets`, `prefiltered_features`."""
    experiment = graph.experiment
    data = experiment.data

    @dg.asset(
        key=graph.key("feature_catalogue"),
        ins={"snapshot": dg.AssetIn(graph.key("snapshot"))},
        io_manager_key="reports",
        code_version=graph.code_version("4", "features", "data", "ensemble.sentiment_column"),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "feature_catalogue")
    def feature_catalogue(snapshot: Snapshot) -> dg.Output[FeatureCatalogue]:
        """Which features the snapshot's columns allow, with formula, lookback, units and lag, and which are left out and why;
        one row a feature."""
        try:
            record = catalogue_of(experiment, snapshot.bars.columns)
            sentiment = experiment.ensemble.sentiment_column
            if sentiment is not None:
                refuse_impossible_sentiment(snapshot.bars, sentiment, untraded=data.untraded)
        except ValueError as error:
            raise dg.Failure(f"feature catalogue: {error}", allow_retries=False) from error
        return content_output(record, catalogue_metadata(record))

    @dg.asset(
        key=graph.key("features"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
        },
        io_manager_key="frames",
        code_version=graph.code_version("2", "features", "data"),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "features", slots=EVERY_FREE_SLOT)
    def features(snapshot: Snapshot, catalogue: FeatureCatalogue) -> Iterator[dg.Output[FrameFile]]:
        """Features of the snapshot, each from bars up to its own close; the check tries whether one sees later bars. One row a
        traded symbol and bar, one Float32 column a feature."""
        build = feature_build(experiment, snapshot.bars, catalogue)
        workers = workers_for(build)
        # the stage lives until the IO manager has moved the file out of it
        with stage_beside(graph.layout.artifact(graph.name, "features")) as stage:
            stored = write_frames(stage / FRAME_FILE, feature_frames(build, stage, workers=workers))
            yield content_output(
                stored,
                {
                    "n_features": len(catalogue.names),
                    "workers": workers,
                    COLUMN_SCHEMA: column_schema(stored.schema, words_of_features(catalogue)),
                    **missing_metadata(stored, catalogue.names),
                },
            )

    @dg.asset_check(
        asset=graph.key("features"),
        additional_ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
        },
        blocking=True,
        name="features_do_not_see_later_bars",
    )
    def causal(features: pl.LazyFrame, snapshot: Snapshot, catalogue: FeatureCatalogue) -> dg.AssetCheckResult:
        """Removing or perturbing the bars after a cut leaves every feature up to it as it was, to the bit."""
        # other markets may have timestamps between the bars, on which no decision is taken
        untraded = pl.col("symbol").is_in(list(data.untraded))
        ticks = snapshot.bars.filter(~untraded)["timestamp"].unique().sort()
        inside = ticks[-min(len(ticks), max(CAUSALITY_TAIL_BARS, 2 * catalogue.max_lookback)) :]
        bars = snapshot.bars.filter((pl.col("timestamp") >= inside[0]) | untraded)
        # features about a market that has not begun cannot be built
        tried = inside.filter(inside >= all_have_begun(snapshot.bars, data.untraded))
        if len(tried) <= CAUSALITY_CUTS:
            too_few = (
                f"{len(tried)} bars since all of {', '.join(data.untraded)} have begun are too few to try whether "
                "features depend on later bars; bring more bars, or drop the market that begins so late"
            )
            return dg.AssetCheckResult(
                passed=False,
                description=too_few,
                metadata=check_metadata(len(tried), CAUSALITY_CUTS + 1, unit="bars to try it on", finding=too_few),
            )
        cuts = [tried[len(tried) * (k + 1) // (CAUSALITY_CUTS + 1)] for k in range(CAUSALITY_CUTS)]
        violation = first_causality_violation(lambda frame: computed_features(experiment, frame, catalogue), bars, cuts)
        found = "no feature depends on later bars" if violation is None else str(violation)
        return dg.AssetCheckResult(
            passed=violation is None,
            description=found,
            metadata={
                **check_metadata(
                    int(violation is not None), 0, unit="features that changed; it ends at the first", finding=found
                ),
                "bars": len(inside),
                "cuts": len(cuts),
                "user_columns": "not verifiable: computed elsewhere",
            },
        )

    @dg.asset(
        key=graph.key("targets"),
        ins={"snapshot": dg.AssetIn(graph.key("snapshot"))},
        io_manager_key="frames",
        code_version=graph.code_version("1", "target", "data"),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "targets")
    def targets(snapshot: Snapshot) -> dg.Output[pl.DataFrame]:
        """What is to be learned, from the snapshot: next return, volatility known before it, and the label over the horizon.
        Look at the label's distribution in the research period; one row a traded symbol and bar."""
        frame = computed_targets(experiment, snapshot.bars)
        shown = label_metadata(frame, experiment.target.horizon, experiment.periods.production_start)
        return content_output(frame, shown)

    @dg.asset(
        key=graph.key("prefiltered_features"),
        ins={
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
        },
        io_manager_key="reports",
        code_version=graph.code_version(
            "2", "prefilter", "periods", "target.horizon", "exploration.folds", "tuning.folds", "data.interval"
        ),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "prefiltered_features", slots=1)
    def prefiltered_features(
        features: pl.LazyFrame, targets: pl.DataFrame, catalogue: FeatureCatalogue
    ) -> dg.Output[PrefilteredFeatures]:
        """Phase 1: drops features that are constant, mostly missing or copies of others, judged on bars before any research
        fold's validation. Look at what was dropped and why; one row a dropped feature."""
        panel = panel_of(features, targets, catalogue, catalogue.names)
        try:
            record = prefiltered(panel, experiment)
        except ValueError as error:
            raise dg.Failure(f"research period: {error}", allow_retries=False) from error
        return content_output(record, prefilter_metadata(record))

    return [feature_catalogue, features, causal, targets, prefiltered_features]
