"""Which features and targets an experiment builds from its bars. Not here: formulas (`features`), which of them are kept."""

from collections.abc import Sequence

import polars as pl

from tft_pipeline.domain.bars import user_columns
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.features import Feature, FeatureSet, resolve_features
from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.domain.reports import FeatureCatalogue, FeatureRow
from tft_pipeline.domain.sentiment import refuse_absent_sentiment
from tft_pipeline.domain.targets import build_targets


def catalogue_of(experiment: Experiment, columns: Sequence[str]) -> FeatureCatalogue:
    """The features an experiment builds from bars with some columns, and those it leaves out, with the reason.

    Raises:
        ValueError: a column carries the name of a feature; nothing can be built; no column of `ensemble.sentiment_column`.
    """
    data = experiment.data
    chosen = resolve_features(
        columns,
        groups=experiment.features.groups,
        names=experiment.features.names,
        has_market=data.market_symbol is not None,
        cross_markets=data.cross_markets,
    )
    own = user_columns(columns) if experiment.features.user_columns else ()
    sentiment = experiment.ensemble.sentiment_column
    if sentiment is not None:  # it is blended with what the models say, so no model may see it
        refuse_absent_sentiment(columns, sentiment)
        own = tuple(name for name in own if name != sentiment)
    clash = sorted(set(own) & {feature.name for feature in chosen.features})
    if clash:
        raise ValueError(
            f"columns {clash} of the source carry names of the catalogue: rename them, for which is meant is unclear"
        )
    record = FeatureCatalogue(
        used=tuple(feature_row(feature) for feature in chosen.features),
        skipped=dict(chosen.skipped),
        user_columns=own,
        max_lookback=max(chosen.max_lookback, 1),
    )
    if not record.names:
        raise ValueError(
            "not one feature can be built from these columns: there is nothing to learn from; choose other groups"
        )
    return record


def feature_row(feature: Feature) -> FeatureRow:
    """A feature of the catalogue as it is recorded and listed."""
    return FeatureRow(
        name=feature.name,
        group=feature.group,
        formula=feature.formula,
        lookback=feature.lookback,
        inputs=tuple(feature.inputs),
        version=feature.version,
        units=feature.units,
        lag=feature.lag,
    )


def feature_build(experiment: Experiment, bars: pl.DataFrame, catalogue: FeatureCatalogue) -> FeatureBuild:
    """The features of a catalogue from some bars, to be computed block by block."""
    return FeatureBuild.of(
        bars,
        _feature_set(experiment, bars, catalogue),
        market_symbol=experiment.data.market_symbol,
        cross_symbols=tuple(experiment.data.cross_markets.values()),
        user_columns=catalogue.user_columns,
        bars_per_year=experiment.data.bars_per_year,
        timezone=experiment.data.timezone,
    )


def _feature_set(experiment: Experiment, bars: pl.DataFrame, catalogue: FeatureCatalogue) -> FeatureSet:
    return resolve_features(
        bars.columns,
        groups=(),
        names=[row.name for row in catalogue.used] or None,
        has_market=experiment.data.market_symbol is not None,
        cross_markets=experiment.data.cross_markets,
    )


def computed_targets(experiment: Experiment, bars: pl.DataFrame) -> pl.DataFrame:
    """The targets of some bars, by the experiment's sections `target` and `data`; see `targets.build_targets`."""
    return build_targets(
        bars,
        horizon=experiment.target.horizon,
        volatility_span=experiment.target.volatility_span,
        bars_per_year=experiment.data.bars_per_year,
        untraded=experiment.data.untraded,
    )
