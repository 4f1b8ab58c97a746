"""The snippets of docs/strategies.md run as they stand, on a small release.

Slow: vectorbt compiles its simulation.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tft_pipeline.live.adapters.libraries import MissingLibraryError
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline_tests.live.candle_release import candle_release
from tft_pipeline_tests.live.test_replayed_signals import bars

PAGE = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
STRATEGY_FILE = "# user_data/strategies/"


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_the_snippets_of_the_page_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    folder = candle_release(models)
    (models / "versions" / "current").unlink(missing_ok=True)
    (models / "versions" / "current").symlink_to(folder.name)
    KillSwitch(tmp_path / "switch").arm("tester", "the page's snippets")
    prices = bars().with_columns(open=pl.col("close"), high=pl.col("close"), low=pl.col("close"))
    names: dict[str, Any] = {
        "models": str(models),
        "switch_folder": str(tmp_path / "switch"),
        "bars": prices,
        "symbol": "BTC",
        "release_folder": str(folder),
        "pairs": {"BTC/USDT:USDT": "BTC", "ETH/USDT:USDT": "ETH"},
    }
    ran = []
    for snippet in SNIPPETS:
        needs = [name for name in ("vectorbt", "backtesting", "freqtrade") if f"adapters.{name}" in snippet]
        if needs and importlib.util.find_spec(needs[0]) is None:
            with pytest.raises(MissingLibraryError, match=needs[0]):
                exec(compile(snippet, str(PAGE), "exec"), names)
            continue
        if "vectorbt" in needs:  # what a low volatility makes of a weight is no fault of the page
            names["targets"] = names["targets"].with_columns(pl.col("BTC", "ETH") / 10)
        exec(compile(snippet, str(PAGE), "exec"), names)
        ran.append(snippet)
    assert len(SNIPPETS) == 6
    assert names["targets"]["timestamp"].max() == prices["timestamp"].max()
    assert set(np.sign(names["kept"])) <= {0.0, 1.0}
    assert names["found"].fractions.keys() == {"BTC", "ETH"}
    assert any(STRATEGY_FILE in snippet for snippet in SNIPPETS)
