import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfolio import measures

from tft_pipeline.domain.track_record import drawdowns, monthly_returns, track_record
from tft_pipeline.domain.verdict import json_ready
from tft_pipeline_tests.conftest import business_days

RETURNS = st.lists(st.floats(-0.3, 0.3).filter(lambda r: r == 0 or abs(r) > 1e-6), min_size=2, max_size=60)


def loop(net: list[float], bars_per_year: float) -> dict[str, Any]:
    """The figures bar by bar."""
    equity = peak = 1.0
    deepest, run, longest = 0.0, 0, 0
    for r in net:
        equity *= 1.0 + r
        peak = max(peak, equity)
        deepest = max(deepest, (peak - equity) / peak)
        run = run + 1 if equity < peak else 0
        longest = max(longest, run)
    wins, losses = [r for r in net if r > 0], [r for r in net if r < 0]
    mean = sum(net) / len(net)
    growth = equity ** (bars_per_year / len(net)) - 1.0
    downside = math.sqrt(sum(min(r, 0.0) ** 2 for r in net) / len(net))
    return {
        "n": len(net),
        "total_return": equity - 1.0,
        "return_annual": growth,
        "volatility_annual": math.sqrt(sum((r - mean) ** 2 for r in net) / (len(net) - 1) * bars_per_year),
        "max_drawdown": deepest,
        "max_drawdown_bars": longest,
        "calmar": growth / deepest if deepest else None,
        "sortino_annual": mean / downside * math.sqrt(bars_per_year) if losses else None,
        "hit_rate": len(wins) / len(wins + losses) if wins + losses else None,
        "best_bar": max(net),
        "worst_bar": min(net),
        "average_win": sum(wins) / len(wins) if wins else None,
        "average_loss": sum(losses) / len(losses) if losses else None,
        "profit_factor": sum(wins) / -sum(losses) if losses else None,
        "ruin_bar": None,
    }


@given(net=RETURNS, bars_per_year=st.sampled_from([12.0, 52.0]))
def test_every_figure_equals_the_loop(net, bars_per_year):
    found, expected = track_record(np.array(net), bars_per_year=bars_per_year), loop(net, bars_per_year)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), name


@given(net=RETURNS)
def test_drawdowns_and_downside_equal_skfolio_compounded_and_biased(net):
    returns = np.array(net)
    np.testing.assert_allclose(drawdowns(returns), -measures.get_drawdowns(returns, compounded=True), atol=1e-14)
    found = track_record(returns, bars_per_year=252.0)
    assert found["max_drawdown"] == pytest.approx(
        measures.max_drawdown(measures.get_drawdowns(returns, compounded=True)), abs=1e-14
    )
    if found["sortino_annual"] is not None:
        downside = measures.semi_deviation(returns, min_acceptable_return=0.0, biased=True)
        assert found["sortino_annual"] == pytest.approx(returns.mean() / downside * 252**0.5, rel=1e-12)


@given(net=RETURNS)
def test_drawdowns_are_a_share_of_the_peak_and_a_first_loss_counts(net):
    found = drawdowns(np.array(net))
    assert (found >= 0.0).all()
    assert (found <= 1.0).all()
    assert found[0] == pytest.approx(max(0.0, -net[0]), abs=1e-15)


def test_figures_worked_by_hand():
    found = track_record(np.array([0.10, -0.20, 0.05, 0.0, 0.30]), bars_per_year=5.0)
    end = 1.1 * 0.8 * 1.05 * 1.3
    assert found["total_return"] == pytest.approx(end - 1.0)
    assert found["return_annual"] == pytest.approx(end - 1.0)  # five bars are one year
    assert found["max_drawdown"] == pytest.approx(0.2)
    assert found["max_drawdown_bars"] == 3
    assert found["calmar"] == pytest.approx((end - 1.0) / 0.2)
    assert found["sortino_annual"] == pytest.approx(0.05 / math.sqrt(0.04 / 5) * math.sqrt(5))
    assert (found["hit_rate"], found["best_bar"], found["worst_bar"]) == (0.75, 0.3, -0.2)
    assert (found["average_win"], found["average_loss"]) == (pytest.approx(0.15), -0.2)
    assert found["profit_factor"] == pytest.approx(2.25)


def test_a_series_that_never_loses_has_no_calmar_no_sortino_and_no_profit_factor():
    found = track_record(np.array([0.01, 0.02, 0.0]), bars_per_year=252.0)
    assert found["max_drawdown"] == found["max_drawdown_bars"] == 0
    for name in ("calmar", "sortino_annual", "average_loss", "profit_factor"):
        assert found[name] is None
    flat = track_record(np.zeros(3), bars_per_year=252.0)
    assert flat["hit_rate"] is None
    assert flat["return_annual"] == flat["volatility_annual"] == 0.0
    assert track_record(np.array([0.01]), bars_per_year=252.0)["volatility_annual"] is None


@pytest.mark.parametrize("loss", [-1.0, -1.7])
def test_ruin_is_the_end_and_later_returns_bring_nothing_back(loss):
    net = np.array([0.1, loss, 0.5, -1.5])
    found = track_record(net, bars_per_year=252.0)
    assert found["ruin_bar"] == 1
    assert found["total_return"] == found["return_annual"] == -1.0
    assert found["max_drawdown"] == 1.0
    assert found["calmar"] == -1.0
    np.testing.assert_array_equal(drawdowns(net), [0.0, 1.0, 1.0, 1.0])
    stamps = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)]
    assert [row["net_return"] for row in monthly_returns(stamps, net)] == [pytest.approx(0.1), -1.0, None, None]


def test_a_lucky_hour_of_minutes_is_a_year_beyond_a_float_and_the_record_stays_json():
    found = track_record(np.full(60, 0.01), bars_per_year=98_280.0)
    assert found["return_annual"] == math.inf
    assert json_ready(found)["return_annual"] is None
    json.dumps(json_ready(found), allow_nan=False)


def test_a_tiny_rest_of_capital_keeps_its_digits_over_many_years():
    found = track_record(np.full(400, -0.5), bars_per_year=1.0)
    assert found["return_annual"] == pytest.approx(-0.5, rel=1e-12)


@pytest.mark.parametrize("as_series", [False, True])
def test_months_equal_pandas_and_multiply_to_the_total(as_series):
    rng = np.random.default_rng(7)
    stamps, net = business_days(300), rng.normal(0.0, 0.02, 300)
    found = monthly_returns(pl.Series(stamps) if as_series else stamps, net)
    frame = pl.DataFrame({"at": stamps, "net": net}).to_pandas()
    keys = [frame["at"].dt.year, frame["at"].dt.month]
    expected = (1.0 + frame["net"]).groupby(keys).prod() - 1.0
    assert [(row["year"], row["month"]) for row in found] == list(expected.index)
    np.testing.assert_allclose([row["net_return"] for row in found], expected, atol=1e-13)
    total = track_record(net, bars_per_year=252.0)["total_return"]
    assert math.prod(1.0 + row["net_return"] for row in found) - 1.0 == pytest.approx(total, abs=1e-13)


def test_a_month_of_the_next_year_is_another_month_and_a_month_without_bars_has_no_row():
    stamps = [datetime(2020, 1, 31, tzinfo=UTC), datetime(2020, 3, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)]
    found = monthly_returns(stamps, np.array([0.01, 0.02, 0.03]))
    assert [(row["year"], row["month"]) for row in found] == [(2020, 1), (2020, 3), (2021, 1)]
    assert [row["net_return"] for row in found] == pytest.approx([0.01, 0.02, 0.03])


def test_series_without_a_track_record_are_refused():
    for net, message in (
        (np.array([]), "at least one bar"),
        (np.zeros((2, 2)), "expected one series"),
        (np.array([0.1, np.nan]), "1 of 2 returns are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            track_record(net, bars_per_year=252.0)
        with pytest.raises(ValueError, match=message):
            drawdowns(net)
    with pytest.raises(ValueError, match="bars_per_year"):
        track_record(np.array([0.1, -0.1]), bars_per_year=0.0)
    stamps = business_days(3)
    with pytest.raises(ValueError, match="3 timestamps and 2 returns"):
        monthly_returns(stamps, np.zeros(2))
    with pytest.raises(ValueError, match="not in time order"):
        monthly_returns(stamps[::-1], np.zeros(3))


@pytest.mark.slow
def test_figures_equal_those_of_vectorbt():
    """Slow: vectorbt compiles its functions. It counts the capital before the first bar as a peak, too."""
    import vectorbt.returns.nb as peer

    for seed in range(5):
        net = np.random.default_rng(seed).normal(0.0005, 0.02, 400)
        found = track_record(net, bars_per_year=252.0)
        assert found["total_return"] == pytest.approx(peer.cum_returns_final_1d_nb(net, 0.0), rel=1e-10)
        assert found["return_annual"] == pytest.approx(peer.annualized_return_1d_nb(net, 252.0), rel=1e-10)
        assert found["volatility_annual"] == pytest.approx(peer.annualized_volatility_1d_nb(net, 252.0), rel=1e-10)
        assert found["max_drawdown"] == pytest.approx(-peer.max_drawdown_1d_nb(net), rel=1e-10)
        assert found["calmar"] == pytest.approx(peer.calmar_ratio_1d_nb(net, 252.0), rel=1e-10)
        assert found["sortino_annual"] == pytest.approx(peer.sortino_ratio_1d_nb(net, 252.0), rel=1e-10)
