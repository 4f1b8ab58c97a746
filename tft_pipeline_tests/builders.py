"""Small experiments, bars and panels that several tests start from. Not here: fixtures (`conftest`), oracles."""

import copy
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.experiment import Experiment, parse_experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.planning import fold_specs
from tft_pipeline.domain.reports import FoldSpec
from tft_pipeline.domain.targets import build_targets
from tft_pipeline_tests.conftest import SMALL, random_bars

REMOVED = object()
FEATURES = ("past_return", "mean_5", "range_10")
MIN_HISTORY = 11


def raw_experiment(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The decoded small experiment; `changes` replaces keys by dotted name, `REMOVED` takes one away."""
    raw = copy.deepcopy(SMALL)
    raw["periods"]["production_start"] = date.fromisoformat(raw["periods"]["production_start"])
    for key, value in (changes or {}).items():
        *sections, name = key.split(".")
        part = raw
        for section in sections:
            part = part.setdefault(section, {})
        if value is REMOVED:
            del part[name]
        else:
            part[name] = value
    return raw


def small(changes: dict[str, Any] | None = None) -> Experiment:
    """The small experiment, validated."""
    return parse_experiment(raw_experiment(changes), origin="small.yaml")


def ragged_bars(n: int = 420, seed: int = 0) -> pl.DataFrame:
    """Random walks of four symbols: one starts late, one ends early, one pauses for 9 bars, one for a single bar."""
    bars = random_bars(n, seed=seed).sort("symbol", "timestamp")
    order = pl.int_range(pl.len()).over("symbol")
    keep = (
        ((pl.col("symbol") == "AAA") & (order >= 40))
        | ((pl.col("symbol") == "BBB") & (order < n - 30))
        | ((pl.col("symbol") == "CCC") & ((order < 200) | (order >= 209)))
        | ((pl.col("symbol") == "DDD") & (order != 300))
    )
    return bars.filter(keep)


def toy_features(bars: pl.DataFrame) -> pl.DataFrame:
    """Three causal features, Float32, in the order of `FEATURES`."""
    past = (pl.col("close") / pl.col("close").shift(1) - 1.0).over("symbol")
    framed = bars.sort("symbol", "timestamp").with_columns(past_return=past)
    return framed.select(
        "timestamp",
        "symbol",
        pl.col("past_return").cast(pl.Float32),
        mean_5=pl.col("past_return").rolling_mean(5).over("symbol").cast(pl.Float32),
        range_10=(pl.col("close").rolling_max(10) / pl.col("close").rolling_min(10)).over("symbol").cast(pl.Float32),
    )


def toy_panel(bars: pl.DataFrame, experiment: Experiment, names: Sequence[str] = FEATURES) -> Panel:
    """Bars to a panel of `toy_features` and the experiment's targets."""
    bars = bars.sort("symbol", "timestamp")
    targets = build_targets(
        bars,
        horizon=experiment.target.horizon,
        volatility_span=experiment.target.volatility_span,
        bars_per_year=experiment.data.bars_per_year,
        untraded=experiment.data.untraded,
    )
    return build_panel(toy_features(bars), targets, names=names, min_history=MIN_HISTORY)


def planned(
    panel: Panel, experiment: Experiment, folds: Sequence[Fold], *, production: bool = False
) -> tuple[FoldSpec, ...]:
    """`fold_specs` with the experiment's own sections and one epoch."""
    return fold_specs(
        panel,
        folds,
        experiment,
        network=experiment.network,
        training=experiment.training,
        position=experiment.position,
        epochs=1,
        n_seeds=1 if production else 3,
        shadow_features=0 if production else 2,
        min_history=MIN_HISTORY,
        production=production,
    )


def noise(n: int, seed: int, mean: float = 0.0) -> np.ndarray:
    """n returns of 1 % deviation around an exact mean."""
    drawn = np.random.default_rng(seed).normal(0.0, 0.01, n)
    return drawn - drawn.mean() + mean
