"""A small experiment on made-up minutes, and snapshots of them: what `tft train` starts from, in seconds."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tft_pipeline.domain.bars import normalise_bars
from tft_pipeline.domain.minute_generator import generate_minute_bars
from tft_pipeline.storage.frozen import write_frozen
from tft_pipeline.storage.layout import Layout

LAST_DAY = date(2025, 10, 14)
FOLDS = {"train": 960, "validation": 240, "test": 240, "step": 240, "window": "sliding", "max_folds": 1}
TEMPLATE: dict[str, Any] = {
    "name": "template",
    "seed": 3,
    "data": {"source": "nowhere.parquet", "interval": "1m", "bars_per_year": 525600, "min_bars": 500},
    "features": {"groups": [], "names": ["close", "volume", "ret_1m", "sma_20_gap"], "user_columns": False},
    "target": {"volatility_span": 60},
    "periods": {"production_start": date(2020, 1, 1), "purge": 5},
    "network": {"hidden": 8, "heads": 2, "variable_hidden": 4},
    "training": {"lookback": 16, "warmup_bars": 8, "batch_blocks": 16, "loss_mode": "bce", "patience": 2},
    "exploration": {"folds": FOLDS, "epochs": 1, "seeds": 3, "shadow_features": 2},
    "pruning": {"min_features": 3},
    "tuning": {
        "folds": FOLDS,
        "epochs": 1,
        "n_trials": 2,
        "pruner": "none",
        "space": {
            "training.learning_rate": {"low": 0.001, "high": 0.01, "log": True},
            "network.hidden": {"choices": [4, 8]},
        },
    },
    "production": {
        "folds": {"train": 960, "validation": 240, "test": 480, "step": 480, "window": "expanding"},
        "epochs": 2,
    },
    "evaluation": {"momentum_lookback": 60},
    "ensemble": {"lightgbm_rounds": 10, "lightgbm_leaves": 4},
    "drift": {"recent_bars": 60},
    "latency": {"warmup": 2, "n": 20, "forms": [], "cold_start": False},
}


def write_template(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """Write `template.yaml`; `changes` replaces sections' keys by dotted name."""
    content = yaml.safe_load(yaml.safe_dump(TEMPLATE))
    for key, value in (changes or {}).items():
        *sections, name = key.split(".")
        part = content
        for section in sections:
            part = part.setdefault(section, {})
        part[name] = value
    path = folder / "template.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def minutes(days: int, *, symbols: tuple[str, ...] = ("AAA", "BBB"), edge: float = 0.0, seed: int = 7) -> pl.DataFrame:
    """Whole days of minutes that end with `LAST_DAY`."""
    return generate_minute_bars(symbols, start=LAST_DAY - timedelta(days=days), days=days, seed=seed, edge=edge)


def frozen(home: Path, bars: pl.DataFrame, interval: str = "1m") -> str:
    """Freeze bars below a home as `tft snapshot` does; the snapshot's id."""
    bars = normalise_bars(bars, timezone=None, symbols=None, start=None, end=None, min_bars=1)
    return write_frozen(Layout(home), bars, interval=interval, source={"name": "made up"})[1].snapshot_id
