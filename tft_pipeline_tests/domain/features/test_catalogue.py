"""The catalogue itself, and the choice of features for a set of columns."""

import re

import pytest

from tft_pipeline.domain.features import Feature, PerSymbol, catalogue, feature_groups, resolve_features
from tft_pipeline.domain.features.raw import raw_column

CLOSES = ("timestamp", "symbol", "close")
OHLCV = (*CLOSES, "open", "high", "low", "volume")


def test_names_are_unique_and_fit_for_a_column() -> None:
    names = [feature.name for feature in catalogue()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)
    assert all(feature.formula and feature.version for feature in catalogue())


def test_the_order_is_the_same_every_time() -> None:
    assert catalogue() == catalogue()
    assert [feature.name for feature in catalogue()][:2] == ["ret_1", "ret_5"]


def test_closes_and_an_index_carry_at_least_sixty_features() -> None:
    chosen = resolve_features(CLOSES, groups=None, names=None, has_market=True)
    assert len(chosen.features) >= 60
    assert chosen.max_lookback == 347
    assert not {"close", "volume"} & set(chosen.names)


def test_ohlcv_adds_at_least_twelve_and_leaves_nothing_out() -> None:
    closes, full = (resolve_features(columns, groups=None, names=None, has_market=True) for columns in (CLOSES, OHLCV))
    assert len(full.features) >= len(closes.features) + 12
    assert full.skipped == ()
    assert {name for name, _ in closes.skipped} == set(full.names) - set(closes.names)


def test_what_cannot_be_computed_is_left_out_with_the_reason() -> None:
    skipped = dict(resolve_features(CLOSES, groups=None, names=("volume",), has_market=False).skipped)
    assert skipped["vlm_z_21"] == skipped["volume"] == "the bars have no column volume"
    assert skipped["range_parkinson_21"] == "the bars have no column high, low"
    assert skipped["mkt_ret_1"] == skipped["beta_63"] == "there is no market index"


def test_the_guides_five_features_come_by_name() -> None:
    guide = ("close", "volume", "ret_1m", "sma_20_gap", "sma_50_gap")
    chosen = resolve_features(OHLCV, groups=(), names=guide, has_market=False)
    assert set(chosen.names) == set(guide)
    assert chosen.max_lookback == 50


def test_groups_and_names_are_joined_in_catalogue_order() -> None:
    chosen = resolve_features(CLOSES, groups=("dd",), names=("close", "ret_1m", "dd_63"), has_market=False)
    assert chosen.names == ("ret_1m", "dd_63", "dd_252", "dd_since_start", "dd_recovery_252", "close")
    assert {feature.group for feature in chosen.features} == {"ret", "dd", "close"}


def test_an_empty_choice_is_an_empty_set() -> None:
    nothing = resolve_features(CLOSES, groups=(), names=None, has_market=True)
    assert (nothing.features, nothing.skipped, nothing.max_lookback) == ((), (), 1)


@pytest.mark.parametrize("group", ["momentum", "close", "re"])
def test_an_unknown_group_is_refused_with_the_valid_ones(group: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown feature group \['{group}'\].*ret, macd, sma, mom"):
        resolve_features(CLOSES, groups=("ret", group), names=None, has_market=True)


def test_an_unknown_name_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown feature name \['ret_2'\].*ret_5.*close, volume"):
        resolve_features(CLOSES, groups=None, names=("ret_2",), has_market=True)


def test_the_groups_are_the_prefixes() -> None:
    assert feature_groups() == (
        "ret", "macd", "sma", "mom", "vol", "z", "dd", "mkt", "beta", "corr", "rs", "brd", "xs", "cal",
        "vlm", "range", "bar",
    )  # fmt: skip


def test_a_feature_without_its_own_bar_is_refused() -> None:
    with pytest.raises(ValueError, match="lookback 0 of 'x_y' < 1"):
        Feature(name="x_y", formula="x", lookback=0, inputs=(), source=PerSymbol(raw_column))
