"""Shared fixtures: a small experiment that runs the whole graph in seconds, and one finished run of it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import settings

from tft_pipeline.pipeline.commands import run_experiment
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.runs import open_instance
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.faults.required import (  # noqa: F401, hooks
    pytest_collection_modifyitems,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

LONGEST = (
    "test_walk.py",
    "test_planted_panel.py",
    "test_power.py",
    "test_acceptance.py",
    "test_tutorial.py",
    "test_intraday.py",
)
"""Files whose tests take most of ten minutes: begun last, they would leave the other cores idle at the end."""


@pytest.hookimpl(specname="pytest_collection_modifyitems")
def pytest_longest_first(items: list[pytest.Item]) -> None:
    """Order of `make test-slow`, where a file is tested by one process."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


# the same examples in every run, and no time limit for one: machines differ
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

N_BARS = 420
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
# what a production fold leads to
DOWNSTREAM = {
    "leakage_audit",
    "oos_portfolio",
    "oos_performance",
    "latency_benchmark",
    "drift_report",
    "ensemble_weights",
    "model_card",
    "report",
    "release",
}
SERVERS = ("TFT_STORE", "TFT_LOCKS", "TFT_TUNING_STORAGE", "MLFLOW_TRACKING_URI")
"""Variables that name what other machines share: a test that wants one names it itself."""
FOLDS = {"train": 120, "validation": 30, "test": 40, "step": 40, "window": "sliding"}
SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "data": {"source": "bars.parquet", "interval": "1d", "bars_per_year": 252, "min_bars": 100},
    "features": {"groups": [], "names": ["ret_1", "ret_5", "z_21", "sma_20_gap", "mom_rsi_14", "cal_weekday_sin"]},
    "target": {"volatility_span": 20},
    "periods": {"production_start": "2021-01-15", "purge": 5},
    "network": {"hidden": 4, "heads": 2, "variable_hidden": 4},
    "training": {"lookback": 16, "warmup_bars": 4, "batch_blocks": 4, "patience": 2},
    "exploration": {"folds": {**FOLDS, "max_folds": 2}, "epochs": 1, "seeds": 3, "shadow_features": 3},
    "pruning": {"min_features": 3},
    "tuning": {
        "folds": {**FOLDS, "max_folds": 2},
        "epochs": 1,
        "n_trials": 3,
        "space": {"training.learning_rate": {"low": 0.001, "high": 0.01, "log": True}},
    },
    "production": {"folds": FOLDS, "epochs": 2},
    "evaluation": {"momentum_lookback": 60},
    "ensemble": {"lightgbm_rounds": 10, "lightgbm_leaves": 4},
    "drift": {"recent_bars": 10},
    "latency": {"warmup": 2, "n": 20, "forms": [], "rate_per_s": 200, "cold_start": False},
}


def business_days(n: int, first: str = "2020-01-01") -> list[datetime]:
    """n weekdays, midnight UTC."""
    days = np.busday_offset(first, np.arange(n), roll="forward").astype("datetime64[D]")
    return [datetime.fromisoformat(str(day)).replace(tzinfo=UTC) for day in days]


def random_bars(n: int = N_BARS, symbols: tuple[str, ...] = SYMBOLS, seed: int = 0) -> pl.DataFrame:
    """Random walks; the first bars do not change when more are asked for."""
    stamps = business_days(n)
    frames = []
    for k, symbol in enumerate(symbols):
        steps = np.random.default_rng([seed, k]).normal(0.0003, 0.01, 5000)[:n]
        frames.append(pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": 100.0 * np.exp(np.cumsum(steps))}))
    return pl.concat(frames)


def small_experiment(folder: Path, bars: pl.DataFrame | None = None, changes: dict[str, Any] | None = None) -> Path:
    """Write bars and an experiment file; `changes` replaces keys by dotted name."""
    folder.mkdir(parents=True, exist_ok=True)
    (random_bars() if bars is None else bars).write_parquet(folder / "bars.parquet")
    return write_experiment(folder, changes)


def write_experiment(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """Write `small.yaml` next to the bars."""
    content = yaml.safe_load(yaml.safe_dump(SMALL))
    for key, value in (changes or {}).items():
        *sections, name = key.split(".")
        part = content
        for section in sections:
            part = part.setdefault(section, {})
        part[name] = value
    content["periods"]["production_start"] = datetime.fromisoformat(str(content["periods"]["production_start"])).date()
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Workbench:
    """One experiment in one home, as a test uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "small.yaml"
        self.layout = Layout(folder / "home")
        self.lines: list[str] = []

    @property
    def graph(self) -> ExperimentGraph:
        """The experiment as it stands on disk."""
        return ExperimentGraph(read_experiment(self.file), self.layout)

    @property
    def definitions(self) -> dg.Definitions:
        """Its Dagster definitions."""
        return build_definitions([self.graph.file], self.layout)

    def instance(self) -> dg.DagsterInstance:
        """The instance of this home."""
        return open_instance(self.layout)

    def run(self, *, resume: bool = False) -> dict[str, Any]:
        """`tft run`."""
        return run_experiment(self.file, resume=resume, report=self.lines.append)

    def artifact(self, asset: str, partition: str | None = None) -> Path:
        """Folder of the current version."""
        return (self.layout.artifact("small", asset, partition) / "current").resolve()

    def folds(self, phase: str = "production") -> list[str]:
        """Registered folds of a phase."""
        with self.instance() as instance:
            return sorted(instance.get_dynamic_partitions(f"small_{phase}_folds"))

    def versions(self) -> dict[str, str]:
        """Current version of every artifact, by `asset` or `asset/partition`."""
        root = self.layout.experiment("small")
        return {str(link.parent.relative_to(root)): link.readlink().name for link in sorted(root.rglob("current"))}

    def materialisations(self) -> dict[tuple[str, str | None], int]:
        """How often each asset and partition was materialised, from the event log."""
        counts: dict[tuple[str, str | None], int] = {}
        with self.instance() as instance:
            for key in instance.all_asset_keys():
                for record in instance.fetch_materializations(key, limit=1000).records:
                    materialisation = record.asset_materialization
                    assert materialisation is not None
                    name = (key.path[-1], materialisation.partition)
                    counts[name] = counts.get(name, 0) + 1
        return counts


@pytest.fixture(autouse=True)
def _no_store_of_another_test() -> Iterator[None]:
    """fsspec keeps a file system for a bucket, whatever server the environment names by then."""
    yield
    if (s3fs := sys.modules.get("s3fs")) is not None:
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run of the small experiment, in this process; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("finished")
    small_experiment(folder)
    with pytest.MonkeyPatch.context() as patch:
        _on_this_machine_alone(folder, patch)
        result = Workbench(folder).run()
    assert not result["failed"], result
    return folder


@pytest.fixture
def workbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workbench]:
    """A fresh experiment: `workbench(bars, changes)`."""

    def make(bars: pl.DataFrame | None = None, changes: dict[str, Any] | None = None) -> Workbench:
        small_experiment(tmp_path / "fresh", bars, changes)
        return _open(tmp_path / "fresh", monkeypatch)

    return make


@pytest.fixture
def finished(_finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A private copy of a finished run."""
    shutil.copytree(_finished, tmp_path / "finished", symlinks=True, ignore=shutil.ignore_patterns("owner.txt"))
    return _open(tmp_path / "finished", monkeypatch)


def _open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    _on_this_machine_alone(folder, monkeypatch)
    return Workbench(folder)


def _on_this_machine_alone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("TFT_HOME", str(folder / "home"))
    patch.setenv("TFT_WORKERS", "1")
    patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
    for shared in SERVERS:
        patch.delenv(shared, raising=False)
