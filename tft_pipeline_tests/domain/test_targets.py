from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.targets import TARGET_COLUMNS, build_targets
from tft_pipeline_tests.builders import ragged_bars
from tft_pipeline_tests.conftest import business_days, random_bars
from tft_pipeline_tests.oracles.targets import targets as slow_targets


def targets(bars: pl.DataFrame, *, horizon: int = 1, span: int = 5, untraded: tuple[str, ...] = ()) -> pl.DataFrame:
    return build_targets(
        bars.sort("symbol", "timestamp"),
        horizon=horizon,
        volatility_span=span,
        bars_per_year=252.0,
        untraded=untraded,
    )


def closes(bars: pl.DataFrame) -> dict[str, dict[datetime, float]]:
    found: dict[str, dict[datetime, float]] = {}
    for row in bars.iter_rows(named=True):
        found.setdefault(row["symbol"], {})[row["timestamp"]] = row["close"]
    return found


def assert_equals_the_loop(bars: pl.DataFrame, horizon: int, span: int) -> None:
    slow = slow_targets(closes(bars), horizon=horizon, span=span, bars_per_year=252.0)
    fast = targets(bars, horizon=horizon, span=span)
    assert fast.columns == list(TARGET_COLUMNS)
    assert fast.height == len(slow)
    for row in fast.iter_rows(named=True):
        expected = slow[row["timestamp"], row["symbol"]]
        assert row["label_end"] == expected.label_end
        for name in ("next_return", "volatility", "label"):
            wanted = getattr(expected, name)
            assert (row[name] is None) == (wanted is None), (name, row)
            assert wanted is None or row[name] == pytest.approx(wanted, rel=1e-9, abs=1e-13), (name, row)


@pytest.mark.parametrize("horizon", [1, 3])
def test_targets_of_ragged_symbols_equal_the_loop(horizon):
    bars = ragged_bars(340, seed=2)
    assert_equals_the_loop(bars, horizon, span=20)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    present=st.lists(st.booleans(), min_size=32, max_size=32).filter(any),
    horizon=st.integers(1, 4),
    span=st.integers(2, 6),
)
def test_targets_equal_the_loop_whatever_bars_are_absent(seed, present, horizon, span):
    close = np.random.default_rng(seed).uniform(50.0, 150.0, 32)
    rows = {"timestamp": business_days(16) * 2, "symbol": ["A"] * 16 + ["B"] * 16, "close": close}
    assert_equals_the_loop(pl.DataFrame(rows).filter(pl.Series(present)), horizon, span)


def test_volatility_equals_pandas_ewm_std():
    bars = random_bars(200).sort("symbol", "timestamp")
    fast = targets(bars, span=20)
    for symbol in ("AAA", "DDD"):
        prices = pd.Series(bars.filter(pl.col("symbol") == symbol)["close"].to_numpy())
        expected = prices.pct_change().ewm(span=20, min_periods=20).std() * np.sqrt(252.0)
        found = fast.filter(pl.col("symbol") == symbol)["volatility"].fill_null(float("nan")).to_numpy()
        np.testing.assert_allclose(found, expected.to_numpy(), rtol=1e-10)
        assert np.isfinite(found).sum() == 180


@pytest.mark.parametrize("horizon", [1, 3])
def test_closes_after_the_label_end_change_nothing_and_the_one_at_it_does(horizon):
    bars = random_bars(80).sort("symbol", "timestamp")
    stamps = business_days(80)
    t = 40
    before = targets(bars, horizon=horizon)

    def changed_from(k: int) -> pl.DataFrame:
        close = pl.when(pl.col("timestamp") >= stamps[k]).then(pl.col("close") * 1.7).otherwise(pl.col("close"))
        return targets(bars.with_columns(close), horizon=horizon)

    def until(frame: pl.DataFrame, k: int) -> pl.DataFrame:
        return frame.filter(pl.col("timestamp") <= stamps[k])

    assert until(changed_from(t + horizon + 1), t).equals(until(before, t))
    at_the_end = until(changed_from(t + horizon), t)["label"]
    assert (at_the_end != until(before, t)["label"]).sum() == 4
    names = ["volatility", "close"]
    assert until(changed_from(t + 1), t).select(names).equals(until(before, t).select(names))


@pytest.mark.fault("bad_bars")
def test_a_label_never_reaches_across_a_pause_of_its_symbol():
    bars = ragged_bars(420)
    stamps = business_days(420)
    fast = targets(bars, horizon=3)
    reach = {stamp: k for k, stamp in enumerate(stamps)}
    for row in fast.drop_nulls("label").iter_rows(named=True):
        assert reach[row["label_end"]] - reach[row["timestamp"]] == 3
    paused = fast.filter(pl.col("symbol") == "CCC", pl.col("timestamp").is_between(stamps[195], stamps[215]))
    by_bar = {reach[row["timestamp"]]: row for row in paused.iter_rows(named=True)}
    assert by_bar[196]["label"] is not None
    assert [by_bar[k]["label"] for k in (197, 198, 199)] == [None] * 3
    assert by_bar[199]["next_return"] is None
    assert by_bar[198]["next_return"] is not None
    assert by_bar[209]["label"] is not None


def test_a_return_is_known_again_one_bar_after_a_pause_and_the_jump_enters_the_volatility():
    bars = ragged_bars(420)
    stamps = business_days(420)
    jumped = bars.with_columns(
        pl.when((pl.col("symbol") == "CCC") & (pl.col("timestamp") >= stamps[209]))
        .then(pl.col("close") * 3.0)
        .otherwise(pl.col("close"))
        .alias("close")
    )

    def volatility(frame: pl.DataFrame) -> float:
        row = targets(frame).filter(pl.col("symbol") == "CCC", pl.col("timestamp") == stamps[209])
        return float(row["volatility"][0])

    assert volatility(jumped) > 10 * volatility(bars)


@pytest.mark.parametrize("context", [("INDEX",), ("INDEX", "BTC-USD")])
def test_context_symbols_get_no_target_and_their_own_bars_do_not_count_as_the_calendar(context):
    bars = random_bars(60)
    stamps = business_days(60)
    extra = [
        pl.DataFrame({"timestamp": [*stamps, *(s.replace(hour=12) for s in stamps)], "symbol": name, "close": 10.0})
        for name in context
    ]
    assert targets(pl.concat([bars, *extra]), untraded=context).equals(targets(bars))
    assert not targets(pl.concat([bars, *extra]), untraded=context[:-1]).equals(targets(bars))


@pytest.mark.fault("bad_bars")
def test_a_price_that_does_not_move_has_neither_volatility_nor_label():
    stamps = business_days(30)
    still = pl.DataFrame({"timestamp": stamps, "symbol": "A", "close": 100.0})
    found = targets(still)
    assert found["volatility"].null_count() == 30
    assert found["label"].null_count() == 30
    assert found["next_return"].to_list() == [0.0] * 29 + [None]


def flat_spell(n: int, start: int, stop: int, seed: int = 6) -> pl.DataFrame:
    """Two symbols; the price of A stands still from bar `start` to bar `stop`."""
    returns = np.random.default_rng(seed).normal(0.0, 0.02, (2, n))
    returns[0, start:stop] = 0.0
    close = 100.0 * np.exp(np.cumsum(returns, axis=1))
    stamps = business_days(n)
    return pl.DataFrame({"timestamp": stamps * 2, "symbol": ["A"] * n + ["B"] * n, "close": close.ravel()})


@pytest.mark.parametrize("span", [10, 60])
def test_a_price_that_stands_still_after_normal_trading_has_no_volatility_until_it_moves_again(span):
    bars = flat_spell(1500, 500, 1300)
    found = targets(bars, span=span)
    still = found.filter(pl.col("symbol") == "A")
    usual = still["volatility"][499]
    assert still["volatility"].min() > 0.005 * usual
    absent = [k for k, value in enumerate(still["volatility"]) if value is None and k > span]
    assert absent == list(range(absent[0], 1300))
    assert 500 + 2 * span < absent[0] < 500 + 6 * span
    assert still["label"][absent[0] : 1300].null_count() == 1300 - absent[0]
    assert still["label"][1300:-1].null_count() == 0
    other = found.filter(pl.col("symbol") == "B")
    assert other["volatility"].null_count() == span


def test_a_flat_spell_equals_the_loop():
    assert_equals_the_loop(flat_spell(260, 80, 220), 2, span=8)


def test_targets_known_at_a_bar_are_the_same_bits_whatever_bars_follow():
    bars = flat_spell(1100, 300, 800)
    stamps = business_days(1100)
    names = ["timestamp", "symbol", "close", "volatility"]
    whole = targets(bars, span=30).select(names)
    for stop in (31, 120, 420, 520, 700, 801, 900):
        prefix = targets(bars.filter(pl.col("timestamp") < stamps[stop]), span=30).select(names)
        assert prefix.equals(whole.filter(pl.col("timestamp") < stamps[stop]))


@pytest.mark.parametrize("growth", [1.01, 1.0002, 0.97])
def test_a_price_that_grows_by_the_same_share_each_bar_has_only_rounding_for_a_volatility(growth):
    close = 37.0 * np.cumprod(np.full(300, growth))
    found = targets(pl.DataFrame({"timestamp": business_days(300), "symbol": "A", "close": close}))
    assert found["volatility"].null_count() == 300
    assert found["label"].null_count() == 300


def test_labels_of_noise_have_unit_variance_over_any_horizon():
    for horizon in (1, 5):
        labels = targets(random_bars(3000), horizon=horizon, span=60)["label"].drop_nulls()
        assert 0.9 < float(labels.std()) < 1.15  # type: ignore[arg-type]
