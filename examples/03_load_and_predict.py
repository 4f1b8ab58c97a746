"""A released model asked for the newest five days: run `make demo` first."""

# %%
from pathlib import Path

import polars as pl

from tft_pipeline import load_bundle

EXPERIMENT = "demo"
BARS = Path("data/sample/us_equities_daily.parquet")

# %% The newest release, live or not. A model that a gate held back is one to look at, not to trade.
model = load_bundle(EXPERIMENT, release="newest")
print(
    f"{model.model_id}: {len(model.symbols)} symbols, {len(model.features)} features, windows of {model.signature.lookback}"
)

# %% The frame brings the history too; features are computed from it by the model's own formulas.
decisions = model.predict(pl.read_parquet(BARS), n_bars=5)
days = decisions.frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%d"), pl.col("position").round(3))
with pl.Config(tbl_rows=-1):
    print(days.pivot("timestamp", index="symbol", values="position"))

# %% What the numbers may hang on, in sentences; none where the frame was long enough.
for sentence in decisions.history_short:
    print(sentence)
newest = decisions.frame.filter(pl.col("timestamp") == pl.col("timestamp").max())
print(f"valid from {newest['valid_from'][0]} until {newest['valid_until'][0]}")
print(f"net exposure of the risk budget: {newest['position'].mean():+.3f}")
