"""examples/: each script runs as a person starts it, and prints what another computation finds."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.stored import stored_fold

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("0*.py"))
SAMPLE = ROOT / "data" / "sample" / "us_equities_daily.parquet"
LONGEST = 60


def run(folder: Path, text: str) -> str:
    """What a script prints when it is started in a folder that holds the sample and nothing else."""
    (folder / "data").mkdir()
    (folder / "data" / "sample").symlink_to(SAMPLE.parent)
    script = folder / "script.py"
    script.write_text(text)
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["data", "script.py"]
    return done.stdout


def source(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def test_every_script_is_tested_listed_and_short() -> None:
    assert SCRIPTS == ["01_honest_sharpe.py", "02_walk_forward.py", "03_load_and_predict.py"]
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    for name in SCRIPTS:
        assert f"(../examples/{name})" in page
        assert len(source(name).splitlines()) <= LONGEST
        assert source(name).count("\n# %%") >= 3, "cells, so that it opens as a notebook"


def test_the_best_of_many_worthless_strategies_is_seen_through(tmp_path: Path) -> None:
    printed = run(tmp_path, source("01_honest_sharpe.py"))
    tried = np.random.default_rng(11).normal(0.0, 0.01, size=(100, 1260))
    best = max(row.mean() / row.std(ddof=1) for row in tried) * 252**0.5
    alone = float(re.findall(r"only one: ([\d.]+)", printed)[0])
    deflated = float(re.findall(r"best of 100: +([\d.]+)", printed)[0])
    assert f"Sharpe ratio a year   {best:.2f} +- " in printed
    assert alone > 0.95 > 0.5 > deflated
    again = np.random.default_rng(1).normal(
        0.0, 0.01, size=(400, 100, 1260 // 20)
    )  # shorter: in units of its own error
    luck = (again.mean(axis=2) / again.std(axis=2, ddof=1)).max(axis=1).mean() * 63**0.5 / 1260**0.5 * 252**0.5
    assert float(re.findall(r"expected at +([\d.]+)", printed)[0]) == pytest.approx(luck, abs=0.15)


@pytest.mark.slow
def test_a_walk_forward_prints_what_its_bars_earned(tmp_path: Path) -> None:
    printed = run(tmp_path, source("02_walk_forward.py"))
    days = pl.read_parquet(SAMPLE)["timestamp"].unique().sort()
    scored = days.filter(days.dt.year() >= 2018)[:756]
    spans = [f"{scored[k]:%Y-%m-%d} to {scored[k + 251]:%Y-%m-%d}" for k in (0, 252, 504)]
    assert re.findall(r"fold (\d) of 3, (.*?): \d epochs", printed) == [
        (str(k), span) for k, span in enumerate(spans, 1)
    ]
    line = r"^(\w+) +Sharpe a year +(-?[\d.]+), 95 .*DSR ([\d.]+)$"
    rows = {name: (float(ratio), float(dsr)) for name, ratio, dsr in re.findall(line, printed, re.M)}
    assert list(rows) == ["net", "long_only_net", "momentum_net", "ridge_net"]
    assert rows["long_only_net"][0] == pytest.approx(long_only_sharpe(), abs=0.006)
    assert all(0.0 <= dsr <= 1.0 for _, dsr in rows.values())


def long_only_sharpe() -> float:
    """Six stocks, each at 15 % a year over its own 60-bar EWM volatility, rebalanced daily at 5 bp; with pandas."""
    import pandas as pd

    symbols = ["AAPL", "GE", "JNJ", "JPM", "KO", "XOM"]
    bars = pl.read_parquet(SAMPLE).filter(pl.col("symbol").is_in(symbols)).sort("timestamp")
    close = bars.pivot("symbol", index="timestamp", values="close").to_pandas().set_index("timestamp")
    close = close["2012-01-03":"2021-01-31"]
    returns = close.pct_change()
    volatility = returns.ewm(span=60, adjust=True, min_periods=60).std() * 252**0.5
    weights = (0.15 / volatility).clip(upper=10.0)
    days = close.index[close.index >= pd.Timestamp("2018-01-02", tz="UTC")][:756]
    held = weights.loc[days]
    traded = held.diff().abs().fillna(held.abs())
    net = (held * returns.shift(-1).loc[days] - 5e-4 * traded).mean(axis=1)
    return float(net.mean() / net.std() * 252**0.5)


def test_a_released_model_is_asked_for_the_newest_days(finished: Workbench, tmp_path: Path) -> None:
    text = source("03_load_and_predict.py")
    bars = finished.folder / "bars.parquet"
    changed = text.replace('EXPERIMENT = "demo"', 'EXPERIMENT = "small"').replace(
        "data/sample/us_equities_daily.parquet", str(bars)
    )
    assert changed.count("small") == 1
    assert changed.count(str(bars)) == 1
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    printed = run(folder, changed)
    newest = max(finished.folds())
    spec = stored_fold(finished, newest)
    assert f"4 symbols, {len(spec.fitted.scaler.names)} features, windows of 16" in printed
    days = pl.read_parquet(bars)["timestamp"].unique().sort()[-5:]
    assert all(f"{day:%Y-%m-%d}" in printed for day in days)
    assert f"valid from {days[-1] + timedelta(days=1):%Y-%m-%d}" in printed, "a daily bar is known when its day is over"
    held = [float(cell) for cell in re.findall(r"^│ [A-D]{3} .*┆ +(-?[\d.]+) +│$", printed, re.M)]
    assert len(held) == 4
    assert float(re.findall(r"risk budget: ([+-][\d.]+)", printed)[0]) == pytest.approx(sum(held) / 4, abs=0.0011)
