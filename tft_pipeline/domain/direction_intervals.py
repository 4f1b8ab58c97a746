"""How sure the figures of a direction are: 95 % intervals over bars, in blocks. Not here: the figures (`classification`)."""

from typing import Any

import numpy as np

from tft_pipeline.domain.bar_bootstrap import BarBlocks, auc_interval, blocks_for, mean_interval, per_bar, percentiles
from tft_pipeline.domain.ensemble_draws import row_losses

FIGURES = ("f1", "auc_roc", "log_loss", "brier", "ece")


def direction_intervals(
    y: np.ndarray, probability: np.ndarray, bar: np.ndarray, *, horizon: int, seed: int, n_bins: int = 10
) -> dict[str, Any]:
    """Intervals of the figures of `classification.describe_probabilities`, from bars drawn in blocks.

    F1 and ECE are functions of sums over rows, so a draw needs the sums of its bars alone:

        F1* = 2 TP* / (2 TP* + FP* + FN*)        ECE* = sum_b |sum_b* (p - y)| / n*

    Bins hold |noise| as well as error, so the interval of a small ECE lies above zero and may lie above the figure itself.
    Draws in which F1 is 0/0 are left out; none is left where nothing is labelled or predicted 1.

    Args:
        y: (n,) 0 or 1.
        probability: (n,) of a 1.
        bar: (n,) 0 .. T-1, the bar of each row.
        horizon: bars a label looks ahead; blocks are no shorter.
    Returns:
        f1, auc_roc, log_loss, brier, ece, each [low, high] or None; reasons: why one is None, by name; block_bars (None
        without intervals).
    """
    truth, p = np.asarray(y).astype(np.float64), np.asarray(probability, dtype=np.float64)
    losses = row_losses(y, p)
    try:
        blocks = blocks_for([per_bar(losses, bar)[:, 0]], least=horizon, seed=seed)
    except ValueError as error:
        return dict.fromkeys(FIGURES) | {"reasons": dict.fromkeys(FIGURES, str(error)), "block_bars": None}
    found: dict[str, Any] = {
        "f1": _f1(truth, p, bar, blocks),
        "auc_roc": auc_interval(y, p, bar, blocks) if np.unique(truth).size == 2 else None,
        "log_loss": mean_interval(losses, bar, blocks),
        "brier": mean_interval((p - truth) ** 2, bar, blocks),
        "ece": _ece(truth, p, bar, blocks, n_bins),
    }
    why = {"f1": "no row is labelled or predicted 1", "auc_roc": f"all {truth.size} labels are of one class"}
    reasons = {name: words for name, words in why.items() if found[name] is None}
    return found | {"reasons": reasons, "block_bars": blocks.block_length}


def _f1(truth: np.ndarray, p: np.ndarray, bar: np.ndarray, blocks: BarBlocks) -> list[float] | None:
    guess = (p >= 0.5).astype(np.float64)
    sums = blocks.sums(per_bar(np.stack([truth * guess, truth + guess], axis=1), bar))
    defined = sums[:, 1] > 0.0
    return percentiles(2.0 * sums[defined, 0] / sums[defined, 1]) if defined.any() else None


def _ece(truth: np.ndarray, p: np.ndarray, bar: np.ndarray, blocks: BarBlocks, n_bins: int) -> list[float]:
    which = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    terms = np.zeros((p.size, n_bins + 1))
    terms[np.arange(p.size), which] = p - truth
    terms[:, n_bins] = 1.0
    sums = blocks.sums(per_bar(terms, bar))
    return percentiles(np.abs(sums[:, :n_bins]).sum(axis=1) / sums[:, n_bins])
