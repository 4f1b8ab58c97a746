"""The feature catalogue: causal features from bars, one family a file, collected in `catalogue`."""

from tft_pipeline.domain.features.build import build_features
from tft_pipeline.domain.features.catalogue import FeatureSet, catalogue, feature_groups, resolve_features
from tft_pipeline.domain.features.causality import Violation, first_causality_violation, perturbed_after
from tft_pipeline.domain.features.feature import AcrossSymbols, Feature, OfMarket, PerSymbol

__all__ = [
    "AcrossSymbols",
    "Feature",
    "FeatureSet",
    "OfMarket",
    "PerSymbol",
    "Violation",
    "build_features",
    "catalogue",
    "feature_groups",
    "first_causality_violation",
    "perturbed_after",
    "resolve_features",
]
