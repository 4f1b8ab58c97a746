"""The catalogue itself, and the choice of features for a set of columns."""

import re

import pytest

from tft_pipeline.domain.features import Feature, PerSymbol, catalogue, feature_groups, resolve_features
from tft_pipeline.domain.features.feature import MARKET_CLOSE, OfSymbol
from tft_pipeline.domain.features.groups import GROUPS
from tft_pipeline.domain.features.raw import raw_column

CLOSES = ("timestamp", "symbol", "close")
OHLCV = (*CLOSES, "open", "high", "low", "volume")
OF_MINUTES = {"intra", "micro"}


def needs(feature: Feature) -> set[str]:
    return set(feature.inputs) - {MARKET_CLOSE}


def test_names_are_unique_and_fit_for_a_column() -> None:
    names = [feature.name for feature in catalogue()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)


@pytest.mark.parametrize("feature", catalogue(), ids=lambda feature: feature.name)
def test_every_feature_says_what_it_is_made_of_and_when_it_is_known(feature: Feature) -> None:
    assert feature.formula
    assert feature.units
    assert feature.version
    assert feature.lookback >= 1
    assert feature.lag >= 0
    assert len(set(feature.inputs)) == len(feature.inputs)
    minutes = feature.group in OF_MINUTES
    assert all(column.startswith("minute_") if minutes else column in OHLCV for column in needs(feature))
    assert feature.inputs or feature.group == "cal", "only the calendar reads nothing but the timestamp"
    assert not isinstance(feature.source, OfSymbol), "no symbol is known to the static catalogue"


def test_the_order_is_the_same_every_time() -> None:
    assert catalogue() == catalogue()
    assert (catalogue()[0].name, catalogue()[-1].name) == ("ret_1", "volume")


def test_every_group_is_described_and_every_described_group_has_features() -> None:
    assert set(feature_groups()) == set(GROUPS)
    for group, sentence in GROUPS.items():
        assert re.fullmatch("[a-z]+", group)
        assert re.fullmatch(r"[A-Z].*\.", sentence), group


def test_bars_with_volume_and_an_index_carry_at_least_276_features() -> None:
    full = resolve_features(OHLCV, groups=None, names=None, has_market=True)
    assert len(full.features) >= 276
    assert {name.partition("_")[0] for name, _ in full.skipped} <= OF_MINUTES
    assert full.max_lookback == max(feature.lookback for feature in full.features)


def test_with_every_column_nothing_is_left_out_but_the_raw_ones() -> None:
    columns = {*OHLCV, *(column for feature in catalogue() for column in needs(feature))}
    everything = resolve_features(tuple(columns), groups=None, names=None, has_market=True)
    assert everything.skipped == ()
    assert {feature.name for feature in catalogue()} - set(everything.names) == {"close", "volume"}


def test_closes_and_an_index_carry_the_features_of_closes_and_of_the_surroundings() -> None:
    closes, full = (resolve_features(columns, groups=None, names=None, has_market=True) for columns in (CLOSES, OHLCV))
    assert len(closes.features) >= 190
    assert set(closes.names) < set(full.names)
    assert {name for name, _ in closes.skipped} - {name for name, _ in full.skipped} == set(full.names) - set(
        closes.names
    )
    assert all(needs(feature) <= {"close"} for feature in closes.features)


@pytest.mark.parametrize("prefix", ["mkt", "beta", "corr", "rs"])
def test_without_an_index_its_groups_are_left_out(prefix: str) -> None:
    chosen = resolve_features(OHLCV, groups=(prefix,), names=None, has_market=False)
    assert chosen.features == ()
    assert {reason for _, reason in chosen.skipped} == {"there is no market index"}


def test_what_cannot_be_computed_is_left_out_with_the_reason() -> None:
    skipped = dict(resolve_features(CLOSES, groups=None, names=("volume",), has_market=False).skipped)
    assert skipped["vlm_z_21"] == skipped["volume"] == "the bars have no column volume"
    assert skipped["range_parkinson_21"] == skipped["xs_range_21"] == "the bars have no column high, low"
    assert skipped["mkt_ret_1"] == skipped["beta_63"] == skipped["xs_beta_252"] == "there is no market index"
    assert all(reason for reason in skipped.values())


def test_the_guides_five_features_come_by_name() -> None:
    guide = ("close", "volume", "ret_1m", "sma_20_gap", "sma_50_gap")
    chosen = resolve_features(OHLCV, groups=(), names=guide, has_market=False)
    assert set(chosen.names) == set(guide)
    assert chosen.max_lookback == 50


def test_groups_and_names_are_joined_in_catalogue_order() -> None:
    chosen = resolve_features(CLOSES, groups=("dd",), names=("close", "ret_1m", "dd_63"), has_market=False)
    wanted = [f.name for f in catalogue() if f.group == "dd" or f.name in ("close", "ret_1m")]
    assert list(chosen.names) == wanted
    assert (wanted[0], wanted[-1]) == ("ret_1m", "close")


def test_an_empty_choice_is_an_empty_set() -> None:
    nothing = resolve_features(CLOSES, groups=(), names=None, has_market=True)
    assert (nothing.features, nothing.skipped, nothing.max_lookback) == ((), (), 1)


@pytest.mark.parametrize("group", ["momentum", "close", "re"])
def test_an_unknown_group_is_refused_with_the_valid_ones(group: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown feature group \['{group}'\].*{', '.join(feature_groups())}"):
        resolve_features(CLOSES, groups=("ret", group), names=None, has_market=True)


def test_an_unknown_name_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown feature name \['ret_3m'\].*ret_5.*close, volume"):
        resolve_features(CLOSES, groups=None, names=("ret_3m",), has_market=True)


def test_a_feature_without_its_own_bar_is_refused() -> None:
    with pytest.raises(ValueError, match="lookback 0 of 'x_y' < 1"):
        Feature(name="x_y", formula="x", lookback=0, inputs=(), source=PerSymbol(raw_column))
