"""The best of 100 worthless strategies looks good. How many were tried decides how much of that is left."""

# %%
import numpy as np

from tft_pipeline import honest_sharpe

BARS_PER_YEAR = 252
rng = np.random.default_rng(11)
tried = rng.normal(0.0, 0.01, size=(100, 5 * BARS_PER_YEAR))  # 100 strategies, five years of days; the true mean is 0
ratios = tried.mean(axis=1) / tried.std(axis=1, ddof=1)
best = tried[ratios.argmax()]

# %% As if it were the only one: what a backtest usually shows.
alone = honest_sharpe(best, bars_per_year=BARS_PER_YEAR, trials=1)
low, high = alone.interval_annual
print(
    f"Sharpe ratio a year   {alone.sharpe_annual:.2f} +- {alone.se_annual:.2f}, 95 % interval {low:.2f} to {high:.2f}"
)
print(f"sure that it is above 0, had it been the only one: {alone.psr:.3f}")

# %% As the best of all that were tried, with the spread that their ratios really had.
deflated = honest_sharpe(best, bars_per_year=BARS_PER_YEAR, trials=100, trial_variance=float(ratios.var(ddof=1)))
expected = deflated.expected_max_sharpe * BARS_PER_YEAR**0.5
print(f"sure that it is above 0, as the best of 100:       {deflated.dsr:.3f}")
print(f"the best of 100 worthless ones is expected at      {expected:.2f} a year")
print(f"years below which that happens by luck             {deflated.min_btl_years:.1f}, and there are 5")

# %% One sentence to paste below the equity curve.
print(deflated.verdict)
