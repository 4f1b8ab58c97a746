"""Convex weights for the probabilities of several models, and Caruana's selection as their cross-check.

K sources, n rows. Rows of all sources are the same (symbol, timestamp) in the same order: join first. A source
that is absent is passed as None; it keeps its key with weight 0.0. Not here: scoring on later folds (`forward_chaining`),
how sure the weights are (`ensemble_draws`), the record (`blending`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from tft_pipeline.domain.classification import MARGIN, log_loss

Probabilities = Mapping[str, np.ndarray | None]
LARGEST_GAP = 1e-5
"""Nats, a share of the loss where that is above 1: how far the weights may provably be from the best ones."""
MOST_L2 = 1e6
"""Largest pull: long before it the weights are equal, and beyond it the loss is lost in rounding."""


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
        rows, _ = present_columns({name: probabilities[name] for name in used}, None)
        return np.asarray(rows @ np.array(list(used.values())))

    def to_dict(self) -> dict[str, object]:
        """JSON-ready: weights, available, log_loss, n."""
        return {
            "weights": dict(self.weights),
            "available": dict(self.available),
            "log_loss": self.log_loss,
            "n": self.n,
        }


def present_columns(probabilities: Probabilities, y: np.ndarray | None) -> tuple[np.ndarray, list[str]]:
    """(n, K) columns of the sources that are there, `MARGIN` away from 0 and 1, and their names.

    Raises:
        ValueError: no source is there, one has another number of rows than the others or `y`, or holds a value outside [0, 1]
            or NaN.
    """
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

        min_w  f(w) = -mean[ y ln(P w) + (1 - y) ln(1 - P w) ] + l2 |w - 1/K|^2      w >= 0, sum w = 1

    Convex, so the optimum is global (unique when l2 > 0); SLSQP with the analytic gradient g from equal weights. Beside
    the optimiser's own word the result is checked: f(w) - min f <= g(w) w - min_k g_k(w), and this gap must be small.

    Args:
        probabilities: Source -> (n,) out-of-fold probabilities, or None when absent.
        y: (n,) 0 or 1.
        l2: Pull towards equal weights.
    Raises:
        ValueError: no source, rows that do not fit, a probability outside [0, 1], l2 outside 0 .. `MOST_L2`.
        RuntimeError: the optimiser did not converge.
    """
    if not 0.0 <= l2 <= MOST_L2:
        raise ValueError(
            f"l2 {l2:g} is outside 0 to {MOST_L2:g}: below it pushes weights apart, above it drowns the loss; from 1e4 on "
            "weights are equal"
        )
    columns, names = present_columns(probabilities, y)
    truth = np.asarray(y)
    equal = np.full(len(names), 1.0 / len(names))
    log_loss(truth, columns @ equal)  # raises on labels that are not 0 and 1
    right_columns = np.where((truth == 1)[:, None], columns, 1.0 - columns)  # (n, K) probability of what happened

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        right = np.maximum(right_columns @ w, MARGIN)  # SLSQP may step out of the simplex for a moment
        value = -np.log(right).mean() + l2 * ((w - equal) ** 2).sum()
        gradient = -(right_columns / right[:, None]).mean(axis=0) + 2.0 * l2 * (w - equal)
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
    best = np.where(found.x < 1e-9, 0.0, found.x)
    best /= best.sum()
    value, gradient = objective(best)
    gap = float(gradient @ best - gradient.min())
    if not found.success or not gap <= LARGEST_GAP * max(1.0, value):
        raise RuntimeError(
            f"ensemble weights did not converge after {found.nit} steps ({found.message}): the loss may be {gap:.2g} nats "
            "above the best; probabilities of exactly 0 and 1 that are wrong make it so, calibrate the sources first"
        )
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
    columns, names = present_columns(probabilities, y)
    truth = np.asarray(y)
    log_loss(truth, columns[:, 0])  # raises on labels that are not 0 and 1
    right = np.where((truth == 1)[:, None], columns, 1.0 - columns)
    counts = np.zeros(len(names))
    total = np.zeros(columns.shape[0])
    for _ in range(n_rounds):
        gains = [np.log(total + right[:, k]).sum() for k in range(len(names))]  # the divisor is the same for all
        best = int(np.argmax(gains))
        counts[best] += 1.0
        total += right[:, best]
    return dict.fromkeys(probabilities, 0.0) | {
        name: float(count / n_rounds) for name, count in zip(names, counts, strict=True)
    }
