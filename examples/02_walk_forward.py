"""A walk forward over a frame in memory: six US stocks, three folds of a year, a small network; ten seconds."""

# %%
from datetime import date
from pathlib import Path

import polars as pl

from tft_pipeline import honest_sharpe, new_experiment, walk_forward

SAMPLE = Path("data/sample/us_equities_daily.parquet")
SYMBOLS = ["AAPL", "GE", "JNJ", "JPM", "KO", "XOM"]
bars = pl.read_parquet(SAMPLE).filter(
    pl.col("symbol").is_in(SYMBOLS) & pl.col("timestamp").dt.date().is_between(date(2012, 1, 3), date(2021, 1, 31))
)

# %% The same keys as an experiment file; what is left out takes the default given there.
experiment = new_experiment(
    interval="1d",
    bars_per_year=252,
    production_start=date(2018, 1, 2),
    train=1008,
    validation=126,
    test=252,
    epochs=3,
    sections={
        "features": {"groups": [], "names": ["ret_1", "ret_5", "ret_21", "z_21", "sma_50_gap", "mom_rsi_14"]},
        "network": {"hidden": 8, "heads": 2, "variable_hidden": 4},
        "training": {"lookback": 21, "warmup_bars": 5, "learning_rate": 0.01},
        "position": {"cost_bps": 5.0},
    },
)
found = walk_forward(bars, experiment, report=print)

# %% Every row is out of sample: the fold's model saw nothing of its test bars.
print(found.folds.select("fold", "train_first", "train_last", "test_first", "test_last", "best_epoch"))

# %% After costs, beside books that need no network. Three settings were tried before this one was kept, so there are four.
for name in ("net", "long_only_net", "momentum_net", "ridge_net"):
    trials = 4 if name == "net" else 1
    honest = honest_sharpe(found.returns[name], bars_per_year=found.bars_per_year, trials=trials)
    low, high = honest.interval_annual
    print(f"{name:14} Sharpe a year {honest.sharpe_annual:5.2f}, 95 % {low:5.2f} to {high:5.2f}, DSR {honest.dsr:.2f}")
