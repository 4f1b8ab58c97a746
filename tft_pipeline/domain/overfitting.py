"""Does the best trial in sample stay good out of sample? Combinatorially symmetric cross-validation over a trial table;
how many different trials a table holds.

Not here: the deflated Sharpe ratio, which answers the same question from one number a trial (`sharpe`).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True, kw_only=True)
class Overfitting:
    """What CSCV says about choosing the best of the trials; one entry a split in the arrays.

    Attributes:
        pbo: Share of splits in which the best trial in sample is at or below the median out of sample (logit <=
            0). Near 0.5 also when all trials are equally good, so it does not decide alone.
        logits: (splits,) ln(w / (1 - w)), w = rank out of sample / (trials + 1), 1 the worst; ties share the mean rank.
        probability_of_loss: Share of splits in which the chosen trial's Sharpe out of sample is negative.
        degradation_slope: Least-squares slope of the chosen trial's Sharpe out of sample on the one in sample.
        degradation_intercept: Its intercept, per bar.
        degradation: 1 - mean(out_of_sample) / mean(in_sample), the share of the chosen trial's Sharpe ratio that is lost: near
            0 with skill, 1 without, above 1 when it turns into a loss. None when the mean in sample is not above 0: not even
            the best trial earned anything, so there is nothing to lose.
        in_sample: (splits,) per-bar Sharpe of the chosen trial in sample.
        out_of_sample: (splits,) the same trial out of sample.
    """

    pbo: float
    logits: np.ndarray
    probability_of_loss: float
    degradation_slope: float
    degradation_intercept: float
    degradation: float | None
    in_sample: np.ndarray
    out_of_sample: np.ndarray


def probability_of_backtest_overfitting(returns: np.ndarray, *, n_blocks: int = 16) -> Overfitting:
    """Cut the bars into blocks, choose the best trial on every half of them, rank it on the other half.

    All C(n_blocks, n_blocks/2) splits, per-bar Sharpe (ddof 1); blocks are contiguous and differ by at most one bar.

    Args:
        returns: (T, trials) per-bar returns of all trials on the same bars.
        n_blocks: Even; 16 gives 12,870 splits.
    Raises:
        ValueError: fewer than 2 trials, blocks that are odd or shorter than 2 bars, a value that is not finite, a
            trial without variance in some half.
    Source: Bailey, Borwein, Lopez de Prado & Zhu (2017), Journal of Computational Finance 20(4).
    """
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise ValueError(f"returns {x.shape}: expected (bars, trials) with at least 2 trials to choose from")
    if n_blocks < 2 or n_blocks % 2:
        raise ValueError(
            f"n_blocks {n_blocks} is not an even number of at least 2: in and out of sample must be equal halves"
        )
    if x.shape[0] < 2 * n_blocks:
        raise ValueError(f"{x.shape[0]} bars in {n_blocks} blocks leave fewer than 2 bars a block: use fewer blocks")
    if not np.isfinite(x).all():
        raise ValueError("a return is not finite: give the trials on their common bars only")

    chosen = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    in_sample = np.zeros((len(chosen), n_blocks))
    np.put_along_axis(in_sample, chosen, 1.0, axis=1)
    sharpe_in = _half_sharpes(x, in_sample)
    sharpe_out = _half_sharpes(x, 1.0 - in_sample)

    best = sharpe_in.argmax(axis=1)[:, None]
    n_trials = x.shape[1]
    relative = np.take_along_axis(rankdata(sharpe_out, axis=1), best, axis=1)[:, 0] / (n_trials + 1)
    logits = np.log(relative / (1.0 - relative))
    picked_in = np.take_along_axis(sharpe_in, best, axis=1)[:, 0]
    picked_out = np.take_along_axis(sharpe_out, best, axis=1)[:, 0]
    spread = picked_in - picked_in.mean()
    slope = float(spread @ picked_out / (spread @ spread)) if np.ptp(picked_in) > 0.0 else 0.0
    return Overfitting(
        pbo=float((logits <= 0.0).mean()),
        logits=logits,
        probability_of_loss=float((picked_out < 0.0).mean()),
        degradation_slope=slope,
        degradation_intercept=float(picked_out.mean() - slope * picked_in.mean()),
        degradation=1.0 - float(picked_out.mean() / picked_in.mean()) if picked_in.mean() > 0.0 else None,
        in_sample=picked_in,
        out_of_sample=picked_out,
    )


def effective_trials(returns: np.ndarray) -> float:
    """How many independent trials would spread like these, from the correlation of their returns.

        N_eff = rho + (1 - rho) N,   rho the mean off-diagonal correlation; kept within [1, N]

    To be shown, not to deflate with: the deflated Sharpe ratio counts every trial started, which is the stricter number.

    Args:
        returns: (T, N) per-bar returns of all trials on the same bars.
    Raises:
        ValueError: a shape that is not (bars, trials), fewer than 3 bars, a value that is not finite, a trial that does not
            vary.
    Source: Bailey & Lopez de Prado (2014), Journal of Portfolio Management 40(5), appendix 3.
    """
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < 3 or x.shape[1] < 1:
        raise ValueError(f"returns {x.shape}: expected (bars, trials) with at least 3 bars to correlate")
    if not np.isfinite(x).all():
        raise ValueError("a return is not finite: give the trials on their common bars only")
    flat = np.ptp(x, axis=0) == 0.0
    if flat.any():
        raise ValueError(f"trial {int(flat.argmax())} does not vary, so it has no correlation: leave it out and say so")
    n_trials = x.shape[1]
    if n_trials == 1:
        return 1.0
    rho = float((np.corrcoef(x, rowvar=False).sum() - n_trials) / (n_trials * (n_trials - 1)))
    return float(min(max(rho + (1.0 - rho) * n_trials, 1.0), n_trials))


def _half_sharpes(x: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(splits, trials) per-bar Sharpe over the blocks with a 1 in `members` (splits, blocks), from block sums."""
    blocks = np.array_split(x - x.mean(axis=0), members.shape[1])
    count = members @ np.array([len(block) for block in blocks], dtype=np.float64)[:, None]
    mean = members @ np.array([block.sum(axis=0) for block in blocks]) / count
    square = members @ np.array([(block**2).sum(axis=0) for block in blocks])
    variance = (square - count * mean**2) / (count - 1.0)
    flat = (variance <= 1e-14 * square / count).any(axis=0)
    if flat.any():
        raise ValueError(
            f"trial {int(flat.argmax())} has no variance in some half of the blocks, so no Sharpe ratio there: "
            "leave it out and report that it was"
        )
    found: np.ndarray = (mean + x.mean(axis=0)) / np.sqrt(variance)
    return found
