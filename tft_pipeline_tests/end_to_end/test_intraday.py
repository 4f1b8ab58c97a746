"""Cuts of `experiments/intraday.yaml`, made and run by `tft train`: a planted edge is found, no edge is not, real minutes work.

The cuts keep every section, the features, the lookback and the network's family; they have fewer days, epochs and trials, and
a narrower network.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.intervals import BAR_LENGTHS
from tft_pipeline.pipeline.training import TEMPLATE
from tft_pipeline.storage.frozen import write_frozen
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.minute_experiment import frozen, minutes

RECORDED = Path(os.environ.get("TFT_RECORDED_MINUTES", "no such file"))
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
CUT: dict[str, dict[str, Any]] = {
    "exploration": {"epochs": 1},
    "tuning": {"epochs": 1, "n_trials": 2},
    "training": {"batch_blocks": 4, "learning_rate": 0.003},
}
Trained = Callable[[str], dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the commands use."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TFT_HOME", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    return folder


@pytest.fixture
def trained(home: Path, tmp_path: Path) -> Trained:
    """`tft train` on a snapshot with the cut."""
    content = yaml.safe_load(TEMPLATE.read_text())
    for section, values in CUT.items():
        content[section] |= values
    template = tmp_path / "intraday.yaml"
    template.write_text(yaml.safe_dump(content))

    def train(snapshot: str) -> dict[str, Any]:
        flags = ["--hidden", "16", "--max-epochs", "3", "--patience", "2", "--template", str(template), "--json"]
        done = CliRunner().invoke(app, ["train", "--snapshot", snapshot, *flags])
        assert done.exit_code == 0, done.output
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return train


def check_card(answer: dict[str, Any]) -> dict[str, Any]:
    """What the guide's card has, and what makes its accuracy believable; returns the card."""
    card: dict[str, Any] = json.loads(Path(answer["model_card"]).read_text())
    assert card["architecture"]["seq_len"] == 64
    assert card["architecture"]["loss"] == "bce"
    assert set(card["architecture"]["features"]) == {"close", "volume", "ret_1m", "sma_20_gap", "sma_50_gap"}
    balance = card["train"]["class_balance"]
    assert balance["pos"] + balance["neg"] <= card["train"]["rows"]
    own = card["metrics"]["direction"]["tft"]
    assert card["metrics"]["accuracy"] == own["accuracy"]
    assert own["accuracy_ci_bars"][0] < own["accuracy_ci"][0] < own["accuracy"] < own["accuracy_ci"][1]
    assert 0.5 < card["metrics"]["val_loss"] < 0.75
    assert own["ece"] < 0.2
    assert card["leakage_audit"]["passed"] is True
    return card


@pytest.mark.slow
def test_a_planted_edge_is_found_and_the_interval_of_its_accuracy_lies_above_the_base_rate(
    home: Path, trained: Trained
) -> None:
    """The sign of a move is that of the last one with probability 0.65: nobody is right more often than that."""
    answer = trained(frozen(home, minutes(12, symbols=SYMBOLS, edge=0.15)))
    check_card(answer)
    assert answer["accuracy_ci_bars"][0] > answer["majority_rate"]
    assert answer["accuracy"] < 0.66


@pytest.mark.slow
def test_without_an_edge_the_interval_of_the_accuracy_covers_the_base_rate(home: Path, trained: Trained) -> None:
    answer = trained(frozen(home, minutes(12, symbols=SYMBOLS)))
    check_card(answer)
    low, high = answer["accuracy_ci_bars"]
    assert low < answer["majority_rate"] < high or low < 0.5 < high
    assert answer["verdict"] == "NO-GO"


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_file(), reason="TFT_RECORDED_MINUTES names no file")
def test_the_recorded_minutes_of_march_2023_run_to_a_card(home: Path, trained: Trained) -> None:
    bars = normalise_bars(
        pl.read_parquet(RECORDED),
        timezone=None,
        symbols=None,
        start=None,
        end=None,
        min_bars=1,
        opened_before=BAR_LENGTHS["1m"],
    )
    answer = trained(write_frozen(Layout(home), bars, interval="1m", source={"name": "recorded"})[1].snapshot_id)
    card = check_card(answer)
    assert card["train"]["production_start"] == "2023-03-15"
    first, *others = card["train"]["folds"]
    assert first["test"]["first"].startswith("2023-03-15T00:00")
    assert len(others) == 2
    assert answer["verdict"] == "NO-GO"
