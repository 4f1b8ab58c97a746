"""A cut of `experiments/daily.yaml`: phases 1 to 4 on the sample, unattended, killed in the middle of tuning, resumed.

The cut keeps every section, every feature and the whole search space; it has fewer symbols, folds, epochs and trials.
"""

import json
import os
import signal
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.reports import SelectedFeatures, TunedHyperparameters
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout

DAILY = PROJECT_ROOT / "experiments" / "daily.yaml"
PATIENCE_SECONDS = 1200.0
FOLDS = {"train": 378, "validation": 105, "test": 42, "step": 42, "window": "sliding"}
CUT: dict[str, dict[str, Any]] = {
    "data": {
        "source": str(PROJECT_ROOT / "data" / "sample" / "us_equities_daily.parquet"),
        "symbols": ["AAPL", "AMD", "BAC", "BBY"],
        "start": "2007-06-01",
        "end": "2016-06-30",
    },
    "exploration": {"folds": FOLDS | {"max_folds": 2}, "epochs": 2},
    "tuning": {"folds": FOLDS | {"max_folds": 4}, "epochs": 2, "n_trials": 4},
    "pruning": {"max_features": 24},
}


def cut(folder: Path) -> Path:
    """The shipped file with the values of `CUT`."""
    content = yaml.safe_load(DAILY.read_text())
    for section, values in CUT.items():
        content[section] = content[section] | values
    for name in ("start", "end"):
        content["data"][name] = date.fromisoformat(content["data"][name])
    path = folder / "daily.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_phases_one_to_four_of_the_daily_experiment_run_unattended_and_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "home")
    monkeypatch.setenv("TFT_HOME", str(layout.home))
    monkeypatch.setenv("DAGSTER_HOME", str(layout.dagster_home))
    monkeypatch.setenv("TFT_WORKERS", "2")  # the kill is to meet workers
    file = cut(tmp_path)
    arguments = ["run", str(file), "--until", "tuned_hyperparameters", "--background", "--json"]
    first = json.loads(CliRunner().invoke(app, arguments).stdout)
    _wait(lambda: "selected_features: done" in Path(first["log"]).read_text(), first)
    _wait(lambda: layout.study("daily").exists(), first)
    os.killpg(first["pid"], signal.SIGKILL)
    os.waitpid(first["pid"], 0)

    second = json.loads(CliRunner().invoke(app, [*arguments, "--resume"]).stdout)
    _wait(lambda: os.waitpid(second["pid"], os.WNOHANG)[0] == second["pid"], second)
    log = Path(second["log"]).read_text()
    assert "exploration_fold: 2 of 2 folds are current" in log, log
    assert "tuned_hyperparameters: done" in log, log
    experiment = read_experiment(file).experiment
    tuned = TunedHyperparameters.model_validate_json(_report(layout, "tuned_hyperparameters"))
    states = [trial.state for trial in tuned.trials]
    assert "running" not in states
    assert sum(state != "fail" for state in states) == experiment.tuning.n_trials, states
    selected = SelectedFeatures.model_validate_json(_report(layout, "selected_features"))
    assert 5 <= len(selected.features) <= 24


def _report(layout: Layout, asset: str) -> str:
    return (layout.artifact("daily", asset) / "current" / "report.json").read_text()


def _wait(happened: Any, run: dict[str, Any]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < until, Path(run["log"]).read_text()
        time.sleep(0.5)
