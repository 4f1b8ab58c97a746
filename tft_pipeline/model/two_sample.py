"""Have the features changed together? A classifier that tries to tell recent rows from earlier ones.

A row is one bar of one symbol with V features; N reference bars, n recent ones, S symbols. Not here: one feature at a time
(`domain.drift`), which bars are reference and recent.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import lightgbm
import numpy as np

from tft_pipeline.domain.classification import auc_roc
from tft_pipeline.domain.drift_null import null_starts, windows_needed
from tft_pipeline.domain.verdict import json_ready

LEAST_ROWS = 50
"""Fewest recent rows to tell apart: five for each of ten bins, as for a PSI."""

FOLDS = 3
ROUNDS = 20
TOP = 10
"""Features that are named, at most."""


@dataclass(frozen=True, kw_only=True)
class MultivariateDrift:
    """How well recent rows can be told from earlier ones, against how well any window can.

    Attributes:
        auc: Mean area under the ROC curve over the time-blocked folds; 0.5 is chance. None where nothing was fitted.
        p_value: (1 + null windows with at least this AUC) / (1 + windows); None without a null.
        auc_null_median: Median AUC of the null windows; above 0.5 where features are persistent.
        n_null: Windows of the null.
        top_features: (name, share of the gain) of the features that told recent rows apart, largest first.
        n_reference, n_recent: Bars.
        rows_a_side: Rows drawn from a window, and as many from all other bars.
    """

    verdict: Literal["stable", "investigate", "insufficient_data"]
    reason: str
    auc: float | None
    p_value: float | None
    auc_null_median: float | None
    n_null: int
    top_features: tuple[tuple[str, float], ...]
    n_reference: int
    n_recent: int
    n_features: int
    rows_a_side: int
    alpha: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the top features as a list of {feature, share}."""
        record: dict[str, Any] = json_ready(asdict(self))
        return record | {"top_features": [{"feature": name, "share": share} for name, share in self.top_features]}


def multivariate_drift(
    reference: np.ndarray,
    recent: np.ndarray,
    *,
    names: Sequence[str],
    alpha: float = 0.05,
    min_null_windows: int = 19,
    max_rows: int = 2000,
    seed: int = 0,
) -> MultivariateDrift:
    """Classifier two-sample test with a null of windows.

    Gradient-boosted trees tell the rows of a window from those of all other bars, both drawn at random and then cut, in time
    order, into three contiguous blocks: a model of two blocks of each side scores the third of each, and the window's figure
    is the mean AUC. The recent window and `min_null_windows` windows of its length taken out of the reference are treated
    alike, so that persistence, which lets any window be told apart, does not count. An alpha below 0.05 takes more windows.
    They do not overlap where the reference is long enough; else they start every half or third of their length.

    investigate: p <= alpha. insufficient_data: fewer windows than that, or fewer than 50 recent rows; not a pass. Which
    features moved, and how far, is for `domain.drift.drift_report`: this test asks for a look, never for a retraining.

    Args:
        reference: (N, S, V), bars in time order; NaN is missing. A row without any value (a symbol that is not there) is
            left out.
        recent: (n, S, V), the bars after them.
        names: V names.
        max_rows: most rows of a fit, half of them from the window. The time of a test is that of 3 (1 + min_null_windows)
            fits of so many rows, whatever N is.
        seed: of the draws. The same seed gives the same figures; one thread.
    Raises:
        ValueError: shapes that do not fit, alpha outside (0, 1), a limit below its least.
    Source: Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests; blocks in time and the null of windows are ours.
    """
    if not 0.0 < alpha < 1.0 or min_null_windows < 1 or max_rows < 2 * LEAST_ROWS:
        raise ValueError(
            f"alpha {alpha}, min_null_windows {min_null_windows}, max_rows {max_rows}: alpha must lie in (0, 1), the others "
            f"be at least 1 and {2 * LEAST_ROWS}"
        )
    if reference.ndim != 3 or recent.ndim != 3 or reference.shape[1:] != recent.shape[1:]:
        raise ValueError(
            f"reference {reference.shape} and recent {recent.shape}: expected (bars, symbols, features), the last two equal"
        )
    if reference.shape[2] != len(names):
        raise ValueError(f"{reference.shape[2]} features and {len(names)} names: every feature needs its own")
    N, n = len(reference), len(recent)
    rows = _Rows(reference, recent)
    needed = windows_needed(alpha, min_null_windows)
    starts = _windows(N, n, needed)
    m = min(rows.known(N, N + n).size, max_rows // 2)
    shortage = ""
    if m < LEAST_ROWS:
        shortage = f"{m} recent rows are fewer than {LEAST_ROWS}: take a longer recent window"
    elif len(starts) < needed:
        shortage = (
            f"the reference holds {len(starts)} null windows of the recent length, {needed} are needed: take a "
            "longer reference, a shorter recent window or a larger alpha"
        )
    auc = p_value = median = None
    top: tuple[tuple[str, float], ...] = ()
    verdict: Literal["stable", "investigate", "insufficient_data"] = "insufficient_data"
    reason = shortage
    if not shortage:
        auc, gains = _told_apart(rows, N, N + n, m, seed)
        null = np.array([_told_apart(rows, int(start), int(start) + n, m, seed)[0] for start in starts])
        p_value = float((1 + int((null >= auc).sum())) / (1 + null.size))
        median = float(np.median(null))
        top = _largest(gains, names)
        verdict = "investigate" if p_value <= alpha else "stable"
        reason = f"AUC {auc:.3f}, {median:.3f} for the median null window, p {p_value:.3f}" + (
            f": recent rows can be told apart, most by {', '.join(name for name, _ in top[:3])}"
            if verdict == "investigate"
            else f": not significant at {alpha:g}"
        )
    return MultivariateDrift(
        verdict=verdict,
        reason=reason,
        auc=auc,
        p_value=p_value,
        auc_null_median=median,
        n_null=len(starts),
        top_features=top,
        n_reference=N,
        n_recent=n,
        n_features=len(names),
        rows_a_side=m,
        alpha=alpha,
        seed=seed,
    )


class _Rows:
    """Reference and recent bars as one series of rows, neither of them copied; row = bar * S + symbol."""

    def __init__(self, reference: np.ndarray, recent: np.ndarray) -> None:
        self._parts = (reference, recent)
        self._n_symbols = reference.shape[1]
        there = [np.zeros(part.shape[:2], dtype=bool) for part in self._parts]
        for part, seen in zip(self._parts, there, strict=True):
            for v in range(part.shape[2]):  # a feature at a time: a mask of all values would be as long as they are
                seen |= ~np.isnan(part[:, :, v])
                if seen.all():
                    break
        self._rows = np.flatnonzero(np.concatenate([seen.ravel() for seen in there]))

    def known(self, start: int, stop: int) -> np.ndarray:
        """Rows with a value, of the bars in [start, stop), in time order."""
        first, last = np.searchsorted(self._rows, [start * self._n_symbols, stop * self._n_symbols])
        return self._rows[first:last]

    def others(self, start: int, stop: int) -> np.ndarray:
        """Rows with a value, of all other bars, in time order."""
        first, last = np.searchsorted(self._rows, [start * self._n_symbols, stop * self._n_symbols])
        return np.concatenate([self._rows[:first], self._rows[last:]])

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(k, V) of the rows, which are sorted."""
        bars, symbols = np.divmod(rows, self._n_symbols)
        N = len(self._parts[0])
        cut = int(np.searchsorted(bars, N))
        return np.concatenate(
            [self._parts[0][bars[:cut], symbols[:cut]], self._parts[1][bars[cut:] - N, symbols[cut:]]]
        )


def _windows(n_reference: int, window: int, wanted: int) -> np.ndarray:
    """First bars of `wanted` windows, evenly chosen from the loosest spacing that holds so many; fewer where none does."""
    starts = np.empty(0, dtype=np.int64)
    for a_window in (1, 2, 3):
        starts = null_starts(n_reference, window, a_window=a_window)
        if starts.size >= wanted:
            return starts[np.round(np.linspace(0, starts.size - 1, wanted)).astype(np.int64)]
    return starts


def _told_apart(rows: _Rows, start: int, stop: int, m: int, seed: int) -> tuple[float, np.ndarray]:
    """Mean AUC over the folds, and (V,) the gain of each feature over them, for the window of bars [start, stop)."""
    random = np.random.default_rng([seed, start])
    sides = [_drawn(random, pool, m) for pool in (rows.others(start, stop), rows.known(start, stop))]
    values = [rows.values(side) for side in sides]
    blocks = [np.arange(len(side)) * FOLDS // max(len(side), 1) for side in sides]
    x, label, block = np.concatenate(values), np.repeat([0.0, 1.0], [len(s) for s in sides]), np.concatenate(blocks)
    areas, gains = [], np.zeros(x.shape[1])
    for fold in range(FOLDS):
        train, test = block != fold, block == fold
        if len(np.unique(label[test])) < 2 or len(np.unique(label[train])) < 2:
            continue  # a null window with hardly a row: it cannot be told apart
        booster = lightgbm.train(_parameters(seed, int(train.sum())), lightgbm.Dataset(x[train], label[train]), ROUNDS)
        areas.append(auc_roc(label[test], np.asarray(booster.predict(x[test], num_threads=1))))
        gains += booster.feature_importance("gain")
    return float(np.mean(areas)) if areas else 0.5, gains


def _drawn(random: np.random.Generator, pool: np.ndarray, m: int) -> np.ndarray:
    return pool if pool.size <= m else np.sort(random.choice(pool, m, replace=False))


def _parameters(seed: int, rows: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": 7,
        "learning_rate": 0.2,
        "max_bin": 63,
        "min_data_in_leaf": max(5, min(20, rows // 20)),
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def _largest(gains: np.ndarray, names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    total = float(gains.sum())
    order = np.argsort(-gains, kind="stable")[:TOP]
    return tuple((names[v], float(gains[v] / total)) for v in order if gains[v] > 0.0)
