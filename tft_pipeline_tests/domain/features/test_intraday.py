"""Features of minutes on bars that were really joined: the first bar has no minutes, so lookbacks count from the second."""

from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.minutes import join_minutes
from tft_pipeline_tests.oracles.minute_bars import daily_bars, minute_bars

N = 26
MINUTES = minute_bars(N, ("AAA",)).lazy()


def test_the_first_value_of_a_joined_bar_stands_exactly_where_the_lookback_says() -> None:
    bars = join_minutes(daily_bars(N, ("AAA",)), MINUTES, timezone=None).bars
    chosen = resolve_features(bars.columns, groups=("intra", "micro"), names=None, has_market=False)
    assert {feature.lookback for feature in chosen.features} == {2, 22}
    frame = build_features(bars, chosen, market_symbol=None, bars_per_year=252.0)
    first = {name: frame[name].is_not_null().arg_max() for name in chosen.names}
    assert first == {feature.name: feature.lookback - 1 for feature in chosen.features}
    for feature in chosen.features:
        newest = bars.tail(feature.lookback)
        joined = join_minutes(newest.select("timestamp", "symbol", "close"), MINUTES, timezone=None).bars
        alone = build_features(
            joined,
            resolve_features(joined.columns, groups=(), names=(feature.name,), has_market=False),
            market_symbol=None,
            bars_per_year=252.0,
        )
        assert alone[feature.name][-1] == frame[feature.name][-1], feature.name
