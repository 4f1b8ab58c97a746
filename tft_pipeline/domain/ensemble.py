"""Blend the probabilities of several models: convex weights, Platt calibration, and a score on folds neither has seen.

K sources, n rows. Rows of all sources are the same (symbol, timestamp) in the same order: join first. A source
that is absent is passed as None; it keeps its key with weight 0.0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from tft_pipeline.domain.calibration import MARGIN, Calibration, calibrate
from tft_pipeline.domain.classification import describe_probabilities, log_loss
from tft_pipeline.domain.resolved import checked_bars, resolved_rows

__all__ = [
    "Calibration",
    "EnsembleFit",
    "ForwardChained",
    "Probabilities",
    "calibrate",
    "ensemble_weights",
    "forward_chained",
    "greedy_weights",
]

Probabilities = Mapping[str, np.ndarray | None]


@dataclass(frozen=True, kw_only=True)
class EnsembleFit:
    """Weights of the blend.

    Attributes:
        weights: One a source, sum 1; 0.0 for an absent one.
        available: Whether the source was there.
        log_loss: Of the blend on the rows it was fitted to, without the penalty.
        n: Rows.
    """

    weights: dict[str, float]
    available: dict[str, bool]
    log_loss: float
    n: int

    def blend(self, probabilities: Probabilities) -> np.ndarray:
        """(n,) P w. Raises ValueError when a source with weight is absent: its weight cannot be given away silently."""
        used = {name: weight for name, weight in self.weights.items() if weight > 0.0}
        absent = [name for name in used if probabilities.get(name) is None]
        if absent:
            raise ValueError(
                f"source(s) {', '.join(absent)} carry weight but are absent: fit weights without them first"
            )
        rows, _ = _present({name: probabilities[name] for name in used}, None)
        return np.asarray(rows @ np.array(list(used.values())))

    def to_dict(self) -> dict[str, object]:
        """JSON-ready: weights, available, log_loss, n."""
        return {
            "weights": dict(self.weights),
            "available": dict(self.available),
            "log_loss": self.log_loss,
            "n": self.n,
        }


def _present(probabilities: Probabilities, y: np.ndarray | None) -> tuple[np.ndarray, list[str]]:
    """(n, K) columns of the sources that are there, and their names; checked for range and length."""
    names = [name for name, p in probabilities.items() if p is not None]
    if not names:
        raise ValueError(
            f"none of the sources {', '.join(probabilities) or '(none given)'} is available: nothing to blend"
        )
    columns = [np.asarray(probabilities[name], dtype=np.float64) for name in names]
    n = columns[0].size if y is None else np.asarray(y).size
    for name, column in zip(names, columns, strict=True):
        if column.shape != (n,):
            raise ValueError(
                f"source {name} has shape {column.shape}, expected ({n},): join on (symbol, timestamp) first"
            )
        if not ((column >= 0.0) & (column <= 1.0)).all():
            raise ValueError(f"source {name} holds a probability outside [0, 1] or NaN: drop rows it did not score")
    return np.clip(np.stack(columns, axis=1), MARGIN, 1.0 - MARGIN), names


def ensemble_weights(probabilities: Probabilities, y: np.ndarray, *, l2: float = 0.0) -> EnsembleFit:
    """Convex weights that minimise the log loss of the blend.

        min_w  -mean[ y ln(P w) + (1 - y) ln(1 - P w) ] + l2 |w - 1/K|^2      w >= 0, sum w = 1

    Convex, so the optimum is global (unique when l2 > 0); SLSQP with the analytic gradient from equal weights.

    Args:
        probabilities: Source -> (n,) out-of-fold probabilities, or None when absent.
        y: (n,) 0 or 1.
        l2: Pull towards equal weights.
    Raises:
        ValueError: no source, rows that do not fit, a probability outside [0, 1], l2 < 0.
        RuntimeError: the optimiser did not converge.
    """
    if not l2 >= 0.0:
        raise ValueError(f"l2 {l2} is negative: it would push weights apart")
    columns, names = _present(probabilities, y)
    truth = np.asarray(y)
    equal = np.full(len(names), 1.0 / len(names))
    log_loss(truth, columns @ equal)  # raises on labels that are not 0 and 1
    signed = np.where(truth == 1, 1.0, -1.0)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        blend = columns @ w
        right = np.where(truth == 1, blend, 1.0 - blend)
        right = np.maximum(right, MARGIN)
        value = -np.log(right).mean() + l2 * ((w - equal) ** 2).sum()
        gradient = -(columns * (signed / right)[:, None]).mean(axis=0) + 2.0 * l2 * (w - equal)
        return float(value), gradient

    found = minimize(
        objective,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(names),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones_like(w)},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    if not found.success:
        raise RuntimeError(f"ensemble weights did not converge after {found.nit} steps: {found.message}")
    best = np.where(found.x < 1e-9, 0.0, found.x)
    best /= best.sum()
    weights = dict.fromkeys(probabilities, 0.0) | {name: float(w) for name, w in zip(names, best, strict=True)}
    return EnsembleFit(
        weights=weights,
        available={name: p is not None for name, p in probabilities.items()},
        log_loss=log_loss(truth, columns @ best),
        n=int(truth.size),
    )


def greedy_weights(probabilities: Probabilities, y: np.ndarray, *, n_rounds: int = 100) -> dict[str, float]:
    """Cross-check: add, with replacement, the source that lowers the log loss of the average most; weight = share
    of rounds.

    Ties go to the source named first. Within 1/n_rounds of the convex optimum on two sources.

    Source: Caruana, Niculescu-Mizil, Crew & Ksikes (2004), ICML.
    """
    if n_rounds < 1:
        raise ValueError(f"n_rounds {n_rounds} < 1: nothing would be chosen")
    columns, names = _present(probabilities, y)
    counts = np.zeros(len(names))
    total = np.zeros(columns.shape[0])
    for done in range(n_rounds):
        losses = [log_loss(y, (total + columns[:, k]) / (done + 1)) for k in range(len(names))]
        best = int(np.argmin(losses))
        counts[best] += 1.0
        total += columns[:, best]
    return dict.fromkeys(probabilities, 0.0) | {
        name: float(count / n_rounds) for name, count in zip(names, counts, strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class ForwardChained:
    """A blend scored on folds that neither its calibration nor its weights have seen.

    Attributes:
        folds: One record a scored fold: fold, n, weights, log_loss of the blend, log_loss_by_source (calibrated),
            and the other keys of `describe_probabilities`.
        probabilities: Blend of every scored fold, (n_k,) each.
        pooled: `describe_probabilities` over all scored folds.
        pooled_by_source: The same for each calibrated source, over the folds it was used in.
        final: Weights from all folds, to be used next.
        calibrations: Per source that `final` uses, from all its folds.
        greedy: `greedy_weights` on the rows of `final`.
    """

    folds: list[dict[str, object]]
    probabilities: list[np.ndarray]
    pooled: dict[str, object]
    pooled_by_source: dict[str, dict[str, object]]
    final: EnsembleFit
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    greedy: dict[str, float] = field(default_factory=dict)


def _fit_on(
    earlier: Sequence[Probabilities],
    labels: Sequence[np.ndarray],
    allowed: Sequence[str],
    names: Sequence[str],
    l2: float,
) -> tuple[EnsembleFit, dict[str, Calibration], dict[str, float]]:
    """Calibrate each allowed source on the earlier folds it has, then weigh on the unbroken run of latest folds
    all share.
    """
    calibrations = {}
    for name in allowed:
        has = [i for i, fold in enumerate(earlier) if fold.get(name) is not None]
        calibrations[name] = calibrate(
            np.concatenate([np.asarray(earlier[i][name]) for i in has]), np.concatenate([labels[i] for i in has])
        )
    first = len(earlier)
    while first > 0 and all(earlier[first - 1].get(name) is not None for name in allowed):
        first -= 1
    shared: dict[str, np.ndarray | None] = dict.fromkeys(names)
    for name in allowed:
        raw = np.concatenate([np.asarray(fold[name]) for fold in earlier[first:]])
        shared[name] = calibrations[name].apply(raw)
    y = np.concatenate(list(labels[first:]))
    return ensemble_weights(shared, y, l2=l2), calibrations, greedy_weights(shared, y)


def _rows_of(fold: Probabilities, kept: np.ndarray) -> Probabilities:
    return {name: None if p is None else np.asarray(p)[kept] for name, p in fold.items()}


def forward_chained(
    folds: Sequence[Probabilities],
    y: Sequence[np.ndarray],
    *,
    l2: float = 0.0,
    n_unresolved: int = 0,
    bars: Sequence[np.ndarray] | None = None,
) -> ForwardChained:
    """For each fold from the second on: calibrate and weigh on the folds before it, score on it.

    A source is used for a fold when both that fold and the one before it have it. Calibration uses every earlier
    fold of a source, the weights the latest unbroken run of folds that all used sources share.

    A label over h bars is known h bars after its own. At the first decision of fold k the labels of the last h - 1 bars
    before it are not, so their rows are left out of what fold k is calibrated and weighed on; they stay in what is
    scored, and in the final weights, which are used when all are known. An earlier fold that lies in those bars as a
    whole counts as absent, and a fold with no earlier label resolved is not scored.

    Args:
        folds: In time order; source -> (n_k,) raw out-of-fold probabilities, or None when absent.
        y: One (n_k,) row of 0 and 1 a fold.
        l2: Pull towards equal weights.
        n_unresolved: h - 1, bars before a fold whose labels its first decision cannot know.
        bars: (n_k,) bar index of each row on the calendar of all folds; needed for `n_unresolved` > 0.
    Raises:
        ValueError: fewer than 2 folds, folds that do not fit, no source that two neighbouring folds share,
            `n_unresolved` without bars, bars that are not in time order, or no fold with an earlier label resolved.
    """
    if len(folds) < 2 or len(folds) != len(y):
        raise ValueError(
            f"{len(folds)} folds and {len(y)} label rows: need at least 2 of each to score one after the other"
        )
    names = list(dict.fromkeys(name for fold in folds for name in fold))
    labels = [np.asarray(row) for row in y]
    for fold, row in zip(folds, labels, strict=True):
        _present(fold, row)
    calendar = checked_bars(bars, labels, n_unresolved)
    records: list[dict[str, object]] = []
    blends: list[np.ndarray] = []
    scored: list[np.ndarray] = []
    by_source: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in names}
    for k in range(1, len(folds)):
        rows = resolved_rows(k, labels, calendar, n_unresolved)
        earlier = [_rows_of(fold, kept) for fold, kept in zip(folds[:k], rows, strict=True) if kept.any()]
        known = [row[kept] for row, kept in zip(labels[:k], rows, strict=True) if kept.any()]
        if not earlier:
            continue
        allowed = [n for n in names if folds[k].get(n) is not None and earlier[-1].get(n) is not None]
        if not allowed:
            raise ValueError(
                f"folds {k - 1} and {k} share no source: nothing fitted before fold {k} can be scored on it"
            )
        fit, calibrations, _ = _fit_on(earlier, known, allowed, names, l2)
        calibrated = {name: calibrations[name].apply(np.asarray(folds[k][name])) for name in allowed}
        blend = fit.blend(calibrated)
        losses = {name: log_loss(labels[k], p) for name, p in calibrated.items()}
        record: dict[str, object] = {"fold": k, "weights": fit.weights, "log_loss_by_source": losses}
        records.append(record | describe_probabilities(labels[k], blend))
        blends.append(blend)
        scored.append(labels[k])
        for name, p in calibrated.items():
            by_source[name].append((p, labels[k]))
    if not scored:
        raise ValueError(
            f"no fold has an earlier row whose label is resolved {n_unresolved} bars before it: nothing can be scored; "
            "lengthen the folds or shorten the horizon"
        )
    last = [name for name in names if folds[-1].get(name) is not None]
    final, calibrations, greedy = _fit_on(folds, labels, last, names, l2)
    return ForwardChained(
        folds=records,
        probabilities=blends,
        pooled=describe_probabilities(np.concatenate(scored), np.concatenate(blends)),
        pooled_by_source={
            name: describe_probabilities(np.concatenate([t for _, t in rows]), np.concatenate([p for p, _ in rows]))
            for name, rows in by_source.items()
            if rows
        },
        final=final,
        calibrations=calibrations,
        greedy=greedy,
    )
