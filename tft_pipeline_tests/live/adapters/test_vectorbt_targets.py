"""Targets through the real vectorbt: its account earns what our book earns, and no bar moves before its signal.

Slow: vectorbt compiles its simulation once, for a quarter of a minute.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.portfolio import PortfolioSeries, portfolio_returns
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.live.adapters.vectorbt_targets import vectorbt_portfolio
from tft_pipeline.live.strategy import TFTStrategy
from tft_pipeline_tests.live.test_strategy import replayed

START, DAY, N = datetime(2026, 1, 5, 21, tzinfo=UTC), timedelta(days=1), 400
SYMBOLS = ("AAA", "BBB", "CCC")
TARGET, CAP = 0.15, 0.8
STRATEGY = TFTStrategy(symbols=SYMBOLS, target_volatility=TARGET, max_weight=CAP)


class Market:
    """Closes, predictions over them, and what each adapter and our book make of it."""

    def __init__(self, *, gaps: bool = False, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        shape = (len(SYMBOLS), N)
        self.close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.3 / 252**0.5, shape), axis=1))
        self.volatility = rng.uniform(0.1, 0.5, shape)
        raw = rng.uniform(-1, 1, shape)
        present = np.ones(shape, dtype=bool)
        if gaps:
            present[0, :40] = present[1, 300:] = present[2, 100:120] = False
        self.present = present
        keys = {
            "timestamp": [START + k * DAY for k in range(N) for _ in SYMBOLS],
            "symbol": list(SYMBOLS) * N,
        }
        rows = pl.DataFrame(
            keys
            | {
                "close": self.close.T.reshape(-1),
                "raw_position": raw.T.reshape(-1),
                "volatility": self.volatility.T.reshape(-1),
            },
            schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
        ).filter(pl.Series(present.T.reshape(-1)))
        self.bars = rows.select("timestamp", "symbol", "close")
        self.table = replayed(rows)
        self.targets = STRATEGY.by_bar(self.table)

    def series(self, cost_bps: float = 0.0, delay: int = 0) -> PortfolioSeries:
        """Our backtest of the same signals."""
        held = self.table.pivot("symbol", index="ts", values="target_position").sort("ts").select(SYMBOLS).to_numpy().T
        following = np.full(self.close.shape, np.nan)
        following[:, :-1] = self.close[:, 1:] / self.close[:, :-1] - 1.0
        following[:, :-1][~self.present[:, 1:]] = 0.0  # the last close stands
        return portfolio_returns(
            held,
            np.where(self.present, self.volatility, np.nan),
            following,
            target_volatility=TARGET,
            terms=BookTerms(trading_bps=cost_bps, max_weight=CAP),
            delay_bars=delay,
        )

    def earned(self, *, fees: float = 0.0, delay: int = 0, targets: pl.DataFrame | None = None) -> np.ndarray:
        """(N-1,) return of vectorbt's account over each bar."""
        account = vectorbt_portfolio(
            self.targets if targets is None else targets, self.bars, fees=fees, delay_bars=delay
        )
        value = account.value().to_numpy()
        paid = np.zeros(N)
        for order in account.orders.records_arr:
            paid[order["idx"]] += order["fees"]
        before = value + paid
        return before[1:] / before[:-1] - 1.0


pytestmark = pytest.mark.slow
pytest.importorskip("vectorbt", reason="vectorbt is not installed: pip install 'tft-pipeline[adapters]'")


@pytest.mark.parametrize("delay", [0, 1])
def test_without_fees_its_return_over_every_bar_is_that_of_our_backtest(delay: int) -> None:
    market = Market()
    np.testing.assert_allclose(market.earned(delay=delay), market.series(delay=delay).gross[:-1], atol=1e-12)


def test_symbols_that_come_go_and_pause_earn_the_same() -> None:
    market = Market(gaps=True)
    np.testing.assert_allclose(market.earned(), market.series().gross[:-1], atol=1e-12)


def test_with_fees_it_is_our_backtest_net_but_for_the_drift_between_two_bars() -> None:
    """5 bp, three symbols of 30 %: what drift costs shows in the sixth digit of a bar and the third of the Sharpe ratio."""
    market, cost = Market(seed=2), 5.0
    theirs, ours = market.earned(fees=cost * 1e-4), market.series(cost).net[:-1]
    np.testing.assert_allclose(theirs, ours, atol=2e-5)
    free = market.series().net[:-1]
    assert abs(ours - free).mean() > 20 * abs(theirs - ours).mean()
    assert abs(annualise(sharpe_ratio(theirs), 252.0) - annualise(sharpe_ratio(ours), 252.0)) < 0.005


def test_a_target_of_one_bar_changes_nothing_at_or_before_it() -> None:
    market = Market()
    plain = vectorbt_portfolio(market.targets, market.bars).value().to_numpy()
    for bar in (5, 200, N - 2):
        here = pl.col("timestamp") == START + bar * DAY
        other = market.targets.with_columns(AAA=pl.when(here).then(-pl.col("AAA") + 0.1).otherwise("AAA"))
        moved = vectorbt_portfolio(other, market.bars).value().to_numpy()
        assert (moved[:bar] == plain[:bar]).all()
        assert moved[bar] == pytest.approx(plain[bar], rel=1e-14)  # other orders at the same price
        assert moved[bar + 1] != pytest.approx(plain[bar + 1], rel=1e-9)


def test_the_account_is_in_the_books_own_time_and_symbols() -> None:
    market = Market()
    account = vectorbt_portfolio(market.targets, market.bars, cash=5e5)
    assert account.value().index[0] == START.replace(tzinfo=None)
    assert list(account.close.columns) == list(SYMBOLS)
    assert account.value().iloc[0] == pytest.approx(5e5)


def test_what_sold_shorts_pay_for_is_bought_whole() -> None:
    market = Market()
    heavy = market.targets.with_columns(AAA=pl.lit(2.0), BBB=pl.lit(-1.9), CCC=pl.lit(0.0))
    account = vectorbt_portfolio(heavy, market.bars)
    value, close = account.value().iloc[0], account.close.iloc[0]
    np.testing.assert_allclose(account.assets().iloc[0] * close / value, [2.0, -1.9, 0.0], atol=1e-9)


def test_targets_that_no_cash_pays_for_are_refused() -> None:
    market = Market()
    heavy = market.targets.with_columns(AAA=pl.lit(0.8), BBB=pl.lit(0.3), CCC=pl.lit(0.0))
    with pytest.raises(ValueError, match=r"add up to 1\.100 of the capital"):
        vectorbt_portfolio(heavy, market.bars)


def test_targets_without_bars_and_impossible_delays_are_refused() -> None:
    market = Market()
    with pytest.raises(ValueError, match=r"no bars of \['CCC'\]"):
        vectorbt_portfolio(market.targets, market.bars.filter(pl.col("symbol") != "CCC"))
    with pytest.raises(ValueError, match="1 targets have no bar"):
        vectorbt_portfolio(market.targets, market.bars.filter(pl.col("timestamp") > START))
    with pytest.raises(ValueError, match="delay_bars -1"):
        vectorbt_portfolio(market.targets, market.bars, delay_bars=-1)
