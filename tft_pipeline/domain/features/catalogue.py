"""The list of all features, and which of them a given set of columns can carry.

The static catalogue is the same for everybody. The markets of `data.cross_markets` bring features of their own, with the
prefixes chosen there; they are resolved together with it and stand behind it.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tft_pipeline.domain.bars import RESERVED_PREFIX
from tft_pipeline.domain.features.averages import AVERAGES
from tft_pipeline.domain.features.breadth import BREADTH
from tft_pipeline.domain.features.calendar import CALENDAR
from tft_pipeline.domain.features.calendar_turns import CALENDAR_TURNS
from tft_pipeline.domain.features.candles import CANDLES
from tft_pipeline.domain.features.change_scores import CHANGE_SCORES
from tft_pipeline.domain.features.cross_market import cross_market_features
from tft_pipeline.domain.features.cross_section import CROSS_SECTION
from tft_pipeline.domain.features.dependence import DEPENDENCE
from tft_pipeline.domain.features.directional import DIRECTIONAL
from tft_pipeline.domain.features.drawdown import DRAWDOWN
from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature
from tft_pipeline.domain.features.intraday import INTRADAY, MICROSTRUCTURE
from tft_pipeline.domain.features.liquidity import LIQUIDITY
from tft_pipeline.domain.features.market import MARKET
from tft_pipeline.domain.features.momentum import MOMENTUM
from tft_pipeline.domain.features.oscillators import OSCILLATORS
from tft_pipeline.domain.features.persistence import PERSISTENCE
from tft_pipeline.domain.features.pressure import PRESSURE
from tft_pipeline.domain.features.ranges import RANGES
from tft_pipeline.domain.features.raw import RAW
from tft_pipeline.domain.features.relative import RELATIVE
from tft_pipeline.domain.features.returns import RETURNS
from tft_pipeline.domain.features.slope import SLOPE
from tft_pipeline.domain.features.smoothed_momentum import SMOOTHED_MOMENTUM
from tft_pipeline.domain.features.spreads import LIQUIDITY_SPREADS
from tft_pipeline.domain.features.strength import STRENGTH
from tft_pipeline.domain.features.tails import TAILS
from tft_pipeline.domain.features.trend import TREND
from tft_pipeline.domain.features.true_range import TRUE_RANGES
from tft_pipeline.domain.features.variance_ratio import VARIANCE_RATIO
from tft_pipeline.domain.features.volatility import VOLATILITY
from tft_pipeline.domain.features.volume import VOLUME
from tft_pipeline.domain.features.volume_flow import VOLUME_FLOW
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
        *RETURNS, *TREND, *AVERAGES, *SLOPE, *MOMENTUM, *SMOOTHED_MOMENTUM, *PERSISTENCE, *VOLATILITY, *TAILS, *DEPENDENCE,
        *ZSCORE, *DRAWDOWN, *VARIANCE_RATIO, *CHANGE_SCORES, *MARKET, *RELATIVE, *STRENGTH, *BREADTH, *CROSS_SECTION,
        *CALENDAR, *CALENDAR_TURNS, *VOLUME, *VOLUME_FLOW, *RANGES, *TRUE_RANGES, *CANDLES,
        *LIQUIDITY, *LIQUIDITY_SPREADS, *OSCILLATORS, *DIRECTIONAL, *PRESSURE, *INTRADAY, *MICROSTRUCTURE, *RAW,
    )  # fmt: skip
    twice = [name for name, count in Counter(feature.name for feature in features).items() if count > 1]
    if twice:
        raise ValueError(f"feature names {twice} occur twice: one column would overwrite the other, rename one")
    return features


def feature_groups() -> tuple[str, ...]:
    """The groups a configuration may name, in catalogue order; raw columns have none and come by name."""
    return tuple(dict.fromkeys(feature.group for feature in catalogue() if not feature.on_request))


def resolve_features(
    columns: Collection[str],
    *,
    groups: Sequence[str] | None,
    names: Sequence[str] | None,
    has_market: bool,
    cross_markets: Mapping[str, str] | None = None,
) -> FeatureSet:
    """Choose the features by group and name and leave out those whose inputs are absent.

    Args:
        columns: Columns of the bars.
        groups: Groups to use; None is every group, an empty sequence none.
        names: Features to add by name, whatever their group; the only way to get the raw `close` and `volume`.
        has_market: Whether the bars hold a market index.
        cross_markets: Prefix -> symbol of other markets that the bars hold; `cross_market_features` of each is on offer.
    Returns:
        The union of both choices in catalogue order, cross markets last; what cannot be computed is in `skipped` with the
        reason.
    Raises:
        ValueError: an unknown group or name; the message lists the valid ones. A prefix that is not free.
    """
    foreign = tuple(
        feature for prefix, symbol in (cross_markets or {}).items() for feature in cross_market_features(prefix, symbol)
    )
    on_offer = (*catalogue(), *foreign)
    known_groups = tuple(dict.fromkeys((*feature_groups(), *(feature.group for feature in foreign))))
    _refuse_unknown("group", groups or (), known_groups)
    _refuse_unknown("name", names or (), tuple(feature.name for feature in on_offer))
    chosen_groups, chosen_names = set(known_groups if groups is None else groups), set(names or ())

    used, skipped = [], []
    for feature in on_offer:
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
    of_minutes = [name for name in absent if name.startswith(RESERVED_PREFIX)]
    if of_minutes and not any(name.startswith(RESERVED_PREFIX) for name in columns):
        reasons.append("there are no minute bars (data.minute_source)")
    elif absent:
        reasons.append(f"the bars have no column {', '.join(absent)}")
    if MARKET_CLOSE in feature.inputs and not has_market:
        reasons.append("there is no market index")
    return "; ".join(reasons)


def _refuse_unknown(kind: str, given: Sequence[str], valid: Sequence[str]) -> None:
    unknown = [value for value in given if value not in valid]
    if unknown:
        raise ValueError(f"unknown feature {kind} {unknown}: nothing would be computed for it, use {', '.join(valid)}")
