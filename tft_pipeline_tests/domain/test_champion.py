"""Champion against challenger: which bars count, how both are held, and what comes of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.champion import (
    CHAMPION,
    compared_returns,
    first_common_bar,
    last_bar_seen,
    paired_finding,
    reasons_incomparable,
)
from tft_pipeline.domain.paired import paired_sharpe_difference
from tft_pipeline.domain.reports import FeatureCatalogue, FeatureRow
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline_tests.builders import noise, small
from tft_pipeline_tests.conftest import business_days
from tft_pipeline_tests.domain.test_backtest import COSTLY, N_SYMBOLS, SYMBOLS, TARGET, grid, predictions
from tft_pipeline_tests.oracles.portfolio import book, held_positions
from tft_pipeline_tests.signatures import made_signature

DAY = timedelta(days=1)
FIRST = datetime(2021, 3, 1, tzinfo=UTC)


def catalogue(**versions: str) -> FeatureCatalogue:
    used = tuple(
        FeatureRow(name=name, group="g", formula="f", lookback=1, inputs=(), version=version)
        for name, version in ({"ret_1": "1"} | versions).items()
    )
    return FeatureCatalogue(used=used, skipped={}, user_columns=("own",), max_lookback=6)


def test_a_model_of_the_same_features_formulas_and_markets_can_be_asked():
    assert reasons_incomparable(made_signature(), experiment=small(), catalogue=catalogue(other="9")) == []


@pytest.mark.parametrize(
    ("stated", "built", "words"),
    [
        ({"experiment": "another"}, catalogue(), ["of the experiment 'another', not of 'small'"]),
        ({"features": ("ret_1", "gone", "own")}, catalogue(), ["not built any more: gone"]),
        ({}, catalogue(ret_1="2"), ["formulas", "ret_1 (1 -> 2)"]),
        (
            {"interval": "1h", "calendar": {"kind": "regular", "step_s": 3600, "words": "hours"}},
            catalogue(),
            ["data.interval was '1h' and is '1d'"],
        ),
        ({"timezone": "America/New_York"}, catalogue(), ["data.timezone was 'America/New_York' and is None"]),
        ({"market_symbol": "SPX"}, catalogue(), ["data.market_symbol was 'SPX' and is None"]),
        ({"cross_markets": {"crypto_btc": "BTC-USD"}}, catalogue(), ["data.cross_markets", "BTC-USD"]),
    ],
)
def test_another_input_than_the_live_model_learned_from_is_named(stated, built, words):
    found = "; ".join(reasons_incomparable(made_signature(**stated), experiment=small(), catalogue=built))
    assert all(word in found for word in words), found


def test_a_user_column_that_became_a_feature_of_the_catalogue_is_another_feature():
    built = catalogue(own="1").model_copy(update={"user_columns": ()})
    assert "own (a user column -> 1)" in reasons_incomparable(made_signature(), experiment=small(), catalogue=built)[0]


def test_many_absent_features_are_counted_and_the_first_ones_named():
    wide = made_signature(tuple(f"f{k}" for k in range(9)))
    (found,) = reasons_incomparable(wide, experiment=small(), catalogue=catalogue())
    assert "f0, f1, f2, f3, f4 and 4 more" in found


def card(*lasts: str, chosen: Any = "2020-12-31T00:00:00+00:00") -> dict[str, Any]:
    parts = ("train", "validation", "test")
    folds = [{part: {"first": "2020-01-01", "last": one} for part in parts} for one in lasts]
    return {"train": {"folds": folds, "research_last": chosen}}


def test_the_last_bar_seen_is_the_latest_of_any_part_of_any_fold():
    assert last_bar_seen(card("2021-01-05T00:00:00+00:00", "2021-01-04T00:00:00+00:00")) == datetime(
        2021, 1, 5, tzinfo=UTC
    )


def test_bars_that_features_and_settings_were_chosen_on_are_seen_too():
    fold, later = "2021-01-05T00:00:00+00:00", "2021-03-05T00:00:00+00:00"
    assert last_bar_seen(card(fold, chosen=later)) == datetime(2021, 3, 5, tzinfo=UTC)
    assert last_bar_seen(card(later, chosen=fold)) == datetime(2021, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize("chosen", [None, "soon", 5, "2021-01-05"])
def test_a_card_that_does_not_say_up_to_where_it_was_chosen_is_refused(chosen):
    with pytest.raises(ValueError, match="does not say up to which bar its features and settings were chosen"):
        last_bar_seen(card("2021-01-05T00:00:00+00:00", chosen=chosen))
    old = card("2021-01-05T00:00:00+00:00")
    del old["train"]["research_last"]
    with pytest.raises(ValueError, match="features and settings were chosen"):
        last_bar_seen(old)


@pytest.mark.parametrize(
    "broken", [{}, {"train": {"folds": []}}, {"train": {"folds": [{}]}}, {"train": []}, card("soon")]
)
def test_a_card_that_does_not_say_which_bars_were_seen_is_refused(broken):
    with pytest.raises(ValueError, match="does not say on which bars it was trained"):
        last_bar_seen(broken)


@given(
    seen=st.integers(-2, 25), horizon=st.integers(1, 6), test_start=st.integers(0, 19), gaps=st.sets(st.integers(0, 40))
)
def test_the_first_common_bar_is_the_first_whose_return_no_label_that_was_seen_reaches(seen, horizon, test_start, gaps):
    calendar = [FIRST + DAY * k for k in range(40) if k not in gaps][:20]
    found = first_common_bar(calendar, FIRST + DAY * seen, horizon=horizon, test_start=test_start)
    places = range(len(calendar) + horizon)
    known = [place for place in places if place < len(calendar) and calendar[place] <= FIRST + DAY * seen]
    # a label of bar b is known with the return of bar b + horizon, and a decision at t earns the return of bar t + 1
    reached = max((place + horizon for place in known), default=horizon - 1)
    oracle = next(t for t in places if t >= test_start and t + 1 > reached)
    assert found == oracle


def rows(seed: int = 0, silent: float = 0.0) -> pl.DataFrame:
    frame = predictions(seed, absent=0.1, unknown=0.1)
    rng = np.random.default_rng(seed + 1)
    said = pl.Series(CHAMPION, rng.uniform(-1, 1, frame.height))
    quiet = pl.Series(rng.random(frame.height) < silent)
    return frame.with_columns(pl.when(quiet).then(None).otherwise(said).alias(CHAMPION))


@pytest.mark.parametrize("silent", [0.0, 0.3])
@pytest.mark.parametrize("smooth", [0.0, 0.7])
def test_both_are_held_by_their_own_rule_and_pay_the_new_runs_costs(silent, smooth):
    frame, champion = rows(silent=silent), PositionSection(position_smooth=smooth, max_position=0.5, cost_bps=999.0)
    found = compared_returns(frame, challenger=COSTLY, champion=champion, target_volatility=TARGET, bars_per_year=252.0)

    def loop(column: str, most: float, smoothing: float) -> list[float]:
        held = held_positions(grid(frame, column), most, smoothing, [0.0] * N_SYMBOLS)
        made = book(
            held,
            grid(frame, "volatility"),
            grid(frame, "next_return"),
            TARGET,
            [COSTLY.symbol_cost_bps.get(name, COSTLY.cost_bps) + COSTLY.slippage_bps for name in SYMBOLS],
            [0.0] * N_SYMBOLS,
            0,
            max_weight=COSTLY.max_weight,
            borrow_bps=COSTLY.borrow_bps,
            funding_bps=COSTLY.funding_bps,
        )
        return [row.net for row in made if row.n_symbols]

    np.testing.assert_allclose(found["challenger"], loop("raw_position", 0.8, 0.6), atol=1e-15)
    np.testing.assert_allclose(found["champion"], loop(CHAMPION, 0.5, smooth), atol=1e-15)
    assert found["timestamp"].is_sorted()


def test_a_champion_that_says_the_same_earns_the_same_to_the_bit():
    frame = rows().with_columns(pl.col("raw_position").alias(CHAMPION))
    found = compared_returns(frame, challenger=COSTLY, champion=COSTLY, target_volatility=TARGET, bars_per_year=252.0)
    assert found["challenger"].equals(found["champion"])


def finding(one: np.ndarray, other: np.ndarray, min_bars: int = 20) -> Any:
    returns = pl.DataFrame({"timestamp": business_days(len(one)), "challenger": one, "champion": other})
    return paired_finding(returns, champion="r1", min_bars=min_bars, bars_per_year=252.0, seed=4)


def test_the_finding_is_the_paired_difference_of_the_two_series():
    one, other = noise(300, 1, 0.001), noise(300, 2)
    found = finding(one, other)
    assert found.difference == paired_sharpe_difference(one, other, bars_per_year=252.0, seed=4)
    assert (found.n_bars, found.champion, found.applies) == (300, "r1", True)
    assert f"against r1 on 300 common bars, {found.first} to {found.last}: Sharpe higher by" in found.why


def test_too_few_bars_and_none_are_said_and_never_pass_silently():
    for n in (0, 7, 19):
        found = finding(noise(n, 1) if n else np.array([]), np.zeros(n))
        assert found.difference is None
        assert found.applies
        assert f"{n} bar(s)" in found.why
        assert "challenger_min_bars asks for 20" in found.why
    assert finding(noise(20, 1), noise(20, 2)).difference is not None


@pytest.mark.parametrize(("one", "other"), [("flat", "moves"), ("moves", "flat"), ("flat", "flat")])
def test_a_model_that_held_nothing_has_no_sharpe_ratio_to_compare(one, other):
    series = {"flat": np.zeros(50), "moves": noise(50, 1)}
    found = finding(series[one], series[other])
    assert found.difference is None
    assert "no Sharpe ratio to compare" in found.why
    assert ("the new model" in found.why) is (one == "flat")
    assert ("the live one" in found.why) is (other == "flat")
