"""The list of all features, and which of them a given set of columns can carry."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

from tft_pipeline.domain.features.breadth import BREADTH
from tft_pipeline.domain.features.calendar import CALENDAR
from tft_pipeline.domain.features.cross_section import CROSS_SECTION
from tft_pipeline.domain.features.drawdown import DRAWDOWN
from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature
from tft_pipeline.domain.features.market import MARKET
from tft_pipeline.domain.features.momentum import MOMENTUM
from tft_pipeline.domain.features.ranges import RANGES
from tft_pipeline.domain.features.raw import RAW
from tft_pipeline.domain.features.relative import RELATIVE
from tft_pipeline.domain.features.returns import RETURNS
from tft_pipeline.domain.features.trend import TREND
from tft_pipeline.domain.features.volatility import VOLATILITY
from tft_pipeline.domain.features.volume import VOLUME
from tft_pipeline.domain.features.zscore import ZSCORE


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features to compute, in catalogue order, and those that were left out, each with the reason."""

    features: tuple[Feature, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features used."""
        return tuple(feature.name for feature in self.features)

    @property
    def max_lookback(self) -> int:
        """Bars until the slowest feature has its first value; 1 for an empty set."""
        return max((feature.lookback for feature in self.features), default=1)


@cache
def catalogue() -> tuple[Feature, ...]:
    """Every feature there is, in a fixed order.

    Raises:
        ValueError: two features share a name.
    """
    features = (
        *RETURNS, *TREND, *MOMENTUM, *VOLATILITY, *ZSCORE, *DRAWDOWN, *MARKET, *RELATIVE, *BREADTH, *CROSS_SECTION,
        *CALENDAR, *VOLUME, *RANGES, *RAW,
    )  # fmt: skip
    twice = [name for name, count in Counter(feature.name for feature in features).items() if count > 1]
    if twice:
        raise ValueError(f"feature names {twice} occur twice: one column would overwrite the other, rename one")
    return features


def feature_groups() -> tuple[str, ...]:
    """The groups a configuration may name, in catalogue order; raw columns have none and come by name."""
    return tuple(dict.fromkeys(feature.group for feature in catalogue() if not feature.on_request))


def resolve_features(
    columns: Collection[str], *, groups: Sequence[str] | None, names: Sequence[str] | None, has_market: bool
) -> FeatureSet:
    """Choose the features by group and name and leave out those whose inputs are absent.

    Args:
        columns: Columns of the bars.
        groups: Groups to use; None is every group, an empty sequence none.
        names: Features to add by name, whatever their group; the only way to get the raw `close` and `volume`.
        has_market: Whether the bars hold a market index.
    Returns:
        The union of both choices in catalogue order; what cannot be computed is in `skipped` with the reason.
    Raises:
        ValueError: an unknown group or name; the message lists the valid ones.
    """
    known_groups, known_names = feature_groups(), tuple(feature.name for feature in catalogue())
    _refuse_unknown("group", groups or (), known_groups)
    _refuse_unknown("name", names or (), known_names)
    chosen_groups, chosen_names = set(known_groups if groups is None else groups), set(names or ())

    used, skipped = [], []
    for feature in catalogue():
        if feature.group not in chosen_groups and feature.name not in chosen_names:
            continue
        reason = _absent_inputs(feature, columns, has_market)
        if reason:
            skipped.append((feature.name, reason))
        else:
            used.append(feature)
    return FeatureSet(features=tuple(used), skipped=tuple(skipped))


def _absent_inputs(feature: Feature, columns: Collection[str], has_market: bool) -> str:
    """Why a feature cannot be computed; empty when it can."""
    reasons = []
    absent = [name for name in feature.inputs if name != MARKET_CLOSE and name not in columns]
    if absent:
        reasons.append(f"the bars have no column {', '.join(absent)}")
    if MARKET_CLOSE in feature.inputs and not has_market:
        reasons.append("there is no market index")
    return "; ".join(reasons)


def _refuse_unknown(kind: str, given: Sequence[str], valid: Sequence[str]) -> None:
    unknown = [value for value in given if value not in valid]
    if unknown:
        raise ValueError(f"unknown feature {kind} {unknown}: nothing would be computed for it, use {', '.join(valid)}")
