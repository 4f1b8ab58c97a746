"""Returns in another order, no skill: over 20 seeds the mean out-of-sample Sharpe ratio is zero within its error.

Features and volatility are those of the sample; the returns that positions are trained on, and scored on, are permuted over
time, the same order for all symbols, each symbol's mean taken out. Gross of costs. Because the mean is zero over all bars, what
train has above it the rest has below: a network that learns the drift of train is expected a little under zero, not above.

Seeds, sizes and limits are fixed in this file and not adapted to results.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.folds import FoldPlan, plan_folds
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.inference import predict
from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.builders import small

pytestmark = pytest.mark.slow

SAMPLE = PROJECT_ROOT / "data" / "sample" / "us_equities_daily.parquet"
SEEDS = tuple(range(20260200, 20260220))
STANDARD_ERRORS = 2.0
SYMBOLS, BARS, EPOCHS = 8, 1800, 3
PLAN = FoldPlan(train=300, validation=60, test=350, step=350, purge=5, horizon=1, window="sliding")
TARGET_VOLATILITY = 0.15
CONTROL_SHARPE = 0.2
"""A bar; 3.2 a year: what a network must reach, and exceed, that is given the answer."""


@pytest.fixture(scope="module")
def panel() -> Panel:
    bars = pl.read_parquet(SAMPLE)
    names = sorted(name for name in bars["symbol"].unique() if name != "SP500")[:SYMBOLS]
    bars = normalise_bars(bars, timezone="UTC", symbols=names, start=None, end=None, min_bars=300)
    ticks = bars["timestamp"].unique().sort()
    bars = bars.filter(pl.col("timestamp") >= ticks[-BARS])
    chosen = resolve_features(bars.columns, groups=(), names=small().features.names, has_market=False)
    features = build_features(bars, chosen, market_symbol=None, bars_per_year=252)
    targets = build_targets(bars, horizon=1, volatility_span=60, bars_per_year=252, untraded=())
    return build_panel(features, targets, names=chosen.names, min_history=chosen.max_lookback)


def shuffled(panel: Panel, seed: int) -> Panel:
    """The same panel with its returns in another order, and labels made of them."""
    paid = np.flatnonzero(panel.scored.all(axis=0))
    returns = np.full(panel.next_return.shape, np.nan)
    mixed = panel.next_return[:, np.random.default_rng(seed).permutation(paid)]
    returns[:, paid] = mixed - mixed.mean(axis=1, keepdims=True)
    return replace(panel, next_return=returns, label=returns / (panel.volatility * (1.0 / 252.0) ** 0.5))


def out_of_sample_sharpe(panel: Panel, seed: int) -> tuple[float, int]:
    """Gross Sharpe ratio a bar of the walk forward, and its number of bars."""
    experiment = small()
    first = int(panel.scored.any(axis=0).argmax())
    earned = []
    for fold in plan_folds(panel.calendar, PLAN, first_bar=first, stop_bar=panel.n_bars, intraday=False):
        fitted = fit_fold(
            panel,
            fold,
            network=experiment.network,
            training=experiment.training,
            position=experiment.position,
            target_volatility=TARGET_VOLATILITY,
            horizon=1,
            bars_per_year=252,
            epochs=EPOCHS,
            seed=seed,
        )
        test = slice(*fold.test)
        weights = predict(fitted, panel, fold.test).raw_position * TARGET_VOLATILITY / panel.volatility[:, test]
        earned.append(np.nanmean(weights * panel.next_return[:, test], axis=0))
    returns = np.concatenate(earned)
    return float(returns.mean() / returns.std(ddof=1)), len(returns)


def test_shuffled_returns_earn_nothing_out_of_sample(panel: Panel) -> None:
    found = [out_of_sample_sharpe(shuffled(panel, seed), seed) for seed in SEEDS]
    ratios, n = np.array([ratio for ratio, _ in found]), found[0][1]
    limit = STANDARD_ERRORS / n**0.5 / len(SEEDS) ** 0.5  # the standard error of a Sharpe ratio of 0 is 1/sqrt(n)
    print(
        f"mean {ratios.mean():.5f} a bar, limit {limit:.5f}, spread {ratios.std(ddof=1):.5f}, 1/sqrt(n) {n**-0.5:.5f}"
    )
    assert abs(ratios.mean()) <= limit


def test_the_same_harness_sees_a_network_that_is_given_the_answer(panel: Panel) -> None:
    """Otherwise the test above would pass with a network that learns nothing."""
    told = shuffled(panel, SEEDS[0])
    values = told.values.copy()
    values[:, :, 0] = told.label
    ratio, _ = out_of_sample_sharpe(replace(told, values=values), SEEDS[0])
    assert ratio > CONTROL_SHARPE
