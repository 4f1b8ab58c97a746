"""A panel for feature selection whose truth is known: three columns drive the returns, the rest do not.

The signal is strong on purpose, so that 20 small studies can tell whether the phases work: who knew the three columns would
earn a Sharpe ratio of 7 to 9 a year before costs (`oracle_sharpe_annual`; 8.15 with seed 0). It says nothing about weaker
signals: at 3.7 a year (`INFORMATION` 0.045) the short studies of seeds 0 and 1 each miss one of the three.

A panel is a function of its seed alone. `chosen` takes one through phases 1 to 3 by the functions that the assets call, without
the orchestrator. Not here: what must come out (`end_to_end.test_planted_panel`).

Axes: n bars, S symbols.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.experiment import parse_experiment
from tft_pipeline.domain.judging import prefiltered
from tft_pipeline.domain.panel import build_panel
from tft_pipeline.domain.planning import slice_for
from tft_pipeline.domain.pruning import pruned
from tft_pipeline.domain.reports import ExplorationFold, PrefilteredFeatures, SelectedFeatures

N_BARS, N_SYMBOLS = 1_180, 8
FIRST_DAY = "2010-01-04"
TRUE = ("true_a", "true_b", "true_c")
TWIN = "twin_of_a"
"""Stands before `true_a`, so that phase 1 keeps the twin and names it as the partner of the true one."""
N_NOISE = 97
NEARLY_EQUAL = ((0, 60), (7, 61), (20, 62), (33, 63), (34, 64), (51, 65))
"""Noise columns (earlier, later): the later one is the earlier one at |r| 0.99, of either sign; phase 1 must drop it."""
RELATED = ((1, 70), (8, 71), (21, 72), (35, 73))
"""The same at |r| 0.8: both are noise of their own and stay."""
EQUAL_R, RELATED_R = 0.99, 0.8
SLOW = range(40, 60)
"""Noise columns that move as slowly as the true ones; the others are drawn anew every bar."""
MARKET_WIDE = range(80, 90)
"""Noise columns that are the same for all symbols of a bar."""
PERSISTENCE = 0.9
INFORMATION = 0.1
"""Correlation of each true column with the next return in units of its volatility."""
DAILY_VOLATILITY = (0.008, 0.02)
COMMON_SHARE = 0.3
"""Of a symbol's unexplained variance that all symbols share."""


def noise_name(k: int) -> str:
    """Column of the k-th noise."""
    return f"noise_{k:02d}"


NOISE = tuple(noise_name(k) for k in range(N_NOISE))
COLUMNS = (*NOISE[:30], TWIN, *NOISE[30:50], *TRUE, *NOISE[50:])
"""As they stand in the source."""
SHORT_NOISE = {0, 1, 7, 8, 60, 61, 70, 71, *range(40, 52), *range(80, 86)}
SHORT_COLUMNS = tuple(name for name in COLUMNS if name not in NOISE or int(name[-2:]) in SHORT_NOISE)
"""For short studies: two pairs of each kind, slow and market-wide noise."""


def selection_panel(seed: int) -> pl.DataFrame:
    """Closes and `COLUMNS` of all symbols.

        r_{t+1} = s (c (a_t - b_t + d_t) + sqrt(1 - 3 c^2) u_{t+1}),    c = `INFORMATION`

    a, b, d are the true columns: independent first-order autoregressions of unit variance; s is the symbol's daily volatility;
    u is standard normal with a part common to all symbols.
    """
    rng = np.random.default_rng([20270314, seed])
    shape = (N_BARS, N_SYMBOLS)
    columns = {name: _slow(rng.standard_normal(shape)) for name in TRUE}
    columns[TWIN] = _blend(columns[TRUE[0]], rng.standard_normal(shape), EQUAL_R)
    for k, name in enumerate(NOISE):
        drawn = rng.standard_normal(shape)
        if k in SLOW:
            drawn = _slow(drawn)
        if k in MARKET_WIDE:
            drawn = np.repeat(_slow(drawn[:, :1]), N_SYMBOLS, axis=1)
        columns[name] = drawn
    for pairs, r in ((NEARLY_EQUAL, EQUAL_R), (RELATED, RELATED_R)):
        for n, (earlier, later) in enumerate(pairs):
            columns[noise_name(later)] = (-1.0) ** n * _blend(
                columns[noise_name(earlier)], columns[noise_name(later)], r
            )
    known = columns[TRUE[0]] - columns[TRUE[1]] + columns[TRUE[2]]
    unexplained = np.sqrt(1.0 - COMMON_SHARE) * rng.standard_normal(shape)
    unexplained += np.sqrt(COMMON_SHARE) * rng.standard_normal((N_BARS, 1))
    scores = INFORMATION * known[:-1] + np.sqrt(1.0 - 3.0 * INFORMATION**2) * unexplained[1:]
    returns = np.vstack([np.zeros((1, N_SYMBOLS)), rng.uniform(*DAILY_VOLATILITY, N_SYMBOLS) * scores])
    closes = 100.0 * np.exp(np.cumsum(np.log1p(np.clip(returns, -0.5, 0.5)), axis=0))
    days = np.busday_offset(FIRST_DAY, np.arange(N_BARS), roll="forward").astype("datetime64[D]")
    stamps = [datetime.fromisoformat(str(day)).replace(tzinfo=UTC) for day in days]
    return pl.concat(
        pl.DataFrame(
            {
                "timestamp": stamps,
                "symbol": f"S{s}",
                "close": closes[:, s],
                **{name: columns[name][:, s] for name in COLUMNS},
            }
        )
        for s in range(N_SYMBOLS)
    )


def oracle_sharpe_annual(panel: pl.DataFrame) -> float:
    """Of the book that holds a - b + d in each symbol, scaled by its volatility over the panel, next-bar returns, before costs.

    mean_t R_t / sd_t R_t (ddof 1) * sqrt(252),    R_t = mean_s (a - b + d)_st r_s,t+1 / sd_s
    """
    ordered = panel.sort("symbol", "timestamp")
    closes, a, b, d = (ordered[name].to_numpy().reshape(N_SYMBOLS, N_BARS) for name in ("close", *TRUE))
    returns = np.diff(np.log(closes), axis=1)
    earned = ((a - b + d)[:, :-1] * returns / returns.std(axis=1, keepdims=True)).mean(axis=0)
    return float(earned.mean() / earned.std(ddof=1) * np.sqrt(252.0))


@dataclass(frozen=True)
class Chosen:
    """What phases 1 to 3 made of a panel."""

    prefiltered: PrefilteredFeatures
    folds: tuple[ExplorationFold, ...]
    selected: SelectedFeatures


def selection_experiment(seed: int, *, short: bool = False) -> dict[str, Any]:
    """The experiment as its file would be decoded; phases 1 and 3, and the seeds and shadows of phase 2, are the defaults.

    Args:
        short: one fold of few epochs, for tests that only need to see the phases at work.
    """
    folds = {"train": 504, "validation": 126, "test": 63, "step": 63}
    return {
        "name": "small",
        "seed": seed,
        "data": {"source": "bars.parquet", "interval": "1d", "bars_per_year": 252},
        "features": {"groups": []},
        "periods": {"production_start": date(2014, 5, 1)},
        "network": {"hidden": 16, "heads": 2, "variable_hidden": 4},
        "training": {"lookback": 21, "warmup_bars": 5, "batch_blocks": 4, "learning_rate": 0.01, "mle_weight": 2.0},
        "exploration": {"folds": {**folds, "max_folds": 1 if short else 4}, "epochs": 4 if short else 8},
        "tuning": {
            "folds": {**folds, "max_folds": 2},
            "epochs": 1,
            "n_trials": 1,
            "space": {"training.learning_rate": {"low": 0.001, "high": 0.01, "log": True}},
        },
        "production": {"folds": {"train": 504, "validation": 126, "test": 21, "step": 21}, "epochs": 1},
        "evaluation": {"momentum_lookback": 60},
    }


def chosen(seed: int, *, short: bool = False) -> Chosen:
    """Phases 1 to 3 on the panel of a seed; the experiment's own seed is the same, so that no two panels share first weights.

    Args:
        short: of `selection_experiment`, with `SHORT_COLUMNS` alone.
    """
    from tft_pipeline.model.exploration import explore_fold
    from tft_pipeline.pipeline.assets.exploration import exploration_specs
    from tft_pipeline.pipeline.assets.features import computed_targets

    experiment = parse_experiment(selection_experiment(seed, short=short), origin="small.yaml")
    names = SHORT_COLUMNS if short else COLUMNS
    bars = selection_panel(seed).sort("symbol", "timestamp")
    features = bars.select("timestamp", "symbol", *(pl.col(name).cast(pl.Float32) for name in names))
    panel = build_panel(features, computed_targets(experiment, bars), names=names, min_history=1)
    first = prefiltered(panel, experiment)
    panel = panel.with_features(first.kept)
    folds = tuple(
        explore_fold(slice_for(panel, spec), spec, permutations=experiment.exploration.permutations).record
        for spec in exploration_specs(panel, experiment, min_history=1)
    )
    return Chosen(first, folds, pruned(folds, first, experiment.pruning))


def _slow(steps: np.ndarray) -> np.ndarray:
    """(n, ..) independent standard normal steps -> autoregressions of unit variance."""
    out = steps.copy()
    for t in range(1, len(steps)):
        out[t] = PERSISTENCE * out[t - 1] + np.sqrt(1.0 - PERSISTENCE**2) * steps[t]
    return out


def _blend(column: np.ndarray, own: np.ndarray, r: float) -> np.ndarray:
    """A column that correlates r with another."""
    return r * column + np.sqrt(1.0 - r**2) * own
