"""The shipped `demo.yaml`, unmodified, on doctored copies of the sample: no skill is invented, planted skill is found.

The limits stand here before any run; nothing in the experiment is adapted to them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.panel import build_panel
from tft_pipeline.domain.portfolio import portfolio_returns
from tft_pipeline.domain.sharpe import sharpe_ratio
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.doctored import MARKET, permuted, planted

pytestmark = pytest.mark.slow

SAMPLE = PROJECT_ROOT / "data" / "sample" / "us_equities_daily.parquet"
STANDARD_ERRORS = 2.0
ORACLE_SHARPE = (2.5, 3.5)
RECOVERED_SHARPE = 1.5
PRODUCTION_BARS = 2000
BEST_RANKS = 3


def run_demo(folder: Path, doctor: Callable[[pl.DataFrame], pl.DataFrame]) -> tuple[dict[str, Any], Path]:
    """`tft run demo.yaml --json` in a folder of its own, on a doctored sample; the answer and the experiment's files."""
    (folder / "experiments").mkdir(parents=True)
    (folder / "data" / "sample").mkdir(parents=True)
    shutil.copyfile(PROJECT_ROOT / "experiments" / "demo.yaml", folder / "experiments" / "demo.yaml")
    doctor(pl.read_parquet(SAMPLE)).write_parquet(folder / "data" / "sample" / SAMPLE.name)
    done = subprocess.run(
        [Path(sys.executable).parent / "tft", "run", "experiments/demo.yaml", "--json"],
        cwd=folder,
        env={**os.environ, "TFT_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return json.loads(done.stdout), folder / "home" / "experiments" / "demo"


def report(files: Path, asset: str) -> dict[str, Any]:
    return json.loads((files / asset / "current" / "report.json").read_text())


def oracle_sharpe() -> float:
    """Gross annual Sharpe ratio over the production period of holding the planted signal, clipped to one."""
    bars = planted(pl.read_parquet(SAMPLE))
    targets = build_targets(bars, horizon=1, volatility_span=60, bars_per_year=252, untraded=(MARKET,))
    signal = bars.filter(pl.col("symbol") != MARKET).select("timestamp", "symbol", pl.col("planted_signal"))
    panel = build_panel(signal, targets, names=["planted_signal"], min_history=1)
    first = next(k for k, stamp in enumerate(panel.calendar) if stamp.year >= 2010)
    production = panel.between(first, panel.n_bars - 1)
    held = np.clip(production.values[:, :, 0].astype(float), -1.0, 1.0)
    series = portfolio_returns(
        held,
        production.volatility,
        production.next_return,
        target_volatility=0.15,
        terms=BookTerms(trading_bps=0.0),
    )
    return sharpe_ratio(series.net) * 252**0.5


def test_permuted_returns_show_no_skill(tmp_path: Path) -> None:
    result, files = run_demo(tmp_path, permuted)
    performance = report(files, "oos_performance")
    gross = performance["gross"]
    assert gross["n"] >= PRODUCTION_BARS
    assert abs(gross["sharpe_annual"]) <= STANDARD_ERRORS * gross["se_annual"]
    assert result["verdict"] == "NO-GO"
    assert result["reasons"]


def test_a_planted_signal_is_found(tmp_path: Path) -> None:
    assert ORACLE_SHARPE[0] <= oracle_sharpe() <= ORACLE_SHARPE[1]
    result, files = run_demo(tmp_path, planted)
    assert result["n_bars"] >= PRODUCTION_BARS
    assert result["sharpe_annual"] > RECOVERED_SHARPE
    selected = report(files, "selected_features")
    rank = next(row["rank"] for row in selected["rows"] if row["feature"] == "planted_signal")
    assert rank <= BEST_RANKS
    assert "planted_signal" in selected["features"]
