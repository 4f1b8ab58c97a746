"""How much of a validation Sharpe ratio is the luck of choosing the best epoch, fold by fold. Not here: pictures.

The best of E epochs on n bars looks good without any skill; what it is expected to show stands beside what it showed, and
beside what came out of sample. All ratios here are annual (sqrt rule).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from tft_pipeline.domain.sharpe import annualise, best_of_null_epochs, sharpe_standard_error

NO_VALIDATION = "no validation Sharpe"


def inflation_row(
    *,
    fold: str,
    n_validation_bars: int,
    epochs: int,
    validation_sharpe_annual: float | None,
    n_oos_bars: int,
    oos_sharpe_annual: float | None,
    bars_per_year: float,
) -> dict[str, Any]:
    """One fold: validation beside out of sample, and what the best of as many epochs without skill would show.

    The standard error is that of normal returns, for the moments of the validation bars are not kept.
    P(the best of E null epochs reaches SR) = 1 - Phi(SR sqrt(n))^E, SR per bar. Epochs of one fit resemble each other,
    so both null numbers are upper bounds.

    Args:
        epochs: E, epochs trained and compared, the length of the fold's history; not the limit.
        validation_sharpe_annual: of the best epoch; None where undefined.
    Returns:
        fold, n_validation_bars, epochs, validation_sharpe_annual, validation_se_annual, null_best_annual,
        null_probability, within_noise (validation not above null_best_annual; None without one), oos_sharpe_annual,
        n_oos_bars, finding (words).
    Raises:
        ValueError: epochs < 1, n_validation_bars < 2, a ratio that is not finite.
    """
    if epochs < 1:
        raise ValueError(f"fold {fold}: epochs {epochs} < 1: nothing was trained, so nothing was chosen")
    for name, ratio in (("validation", validation_sharpe_annual), ("oos", oos_sharpe_annual)):
        if ratio is not None and not math.isfinite(ratio):
            raise ValueError(
                f"fold {fold}: {name}_sharpe_annual {ratio} is not finite; pass None where it is undefined"
            )
    null_best = annualise(best_of_null_epochs(epochs, n_validation_bars), bars_per_year)
    row: dict[str, Any] = {
        "fold": fold,
        "n_validation_bars": n_validation_bars,
        "epochs": epochs,
        "validation_sharpe_annual": validation_sharpe_annual,
        "validation_se_annual": None,
        "null_best_annual": null_best,
        "null_probability": None,
        "within_noise": None,
        "oos_sharpe_annual": oos_sharpe_annual,
        "n_oos_bars": n_oos_bars,
        "finding": NO_VALIDATION,
    }
    if validation_sharpe_annual is None:
        return row
    per_bar = validation_sharpe_annual / math.sqrt(bars_per_year)
    error = annualise(sharpe_standard_error(per_bar, n_validation_bars), bars_per_year)
    chance = -math.expm1(epochs * float(norm.logcdf(per_bar * math.sqrt(n_validation_bars))))
    within = validation_sharpe_annual <= null_best
    return row | {
        "validation_se_annual": error,
        "null_probability": chance,
        "within_noise": within,
        "finding": _finding(validation_sharpe_annual, null_best, chance, epochs, n_validation_bars),
    }


def _finding(ratio: float, null_best: float, chance: float, epochs: int, n_bars: int) -> str:
    """The comparison in words."""
    if epochs == 1:
        null = f"one epoch without skill on {n_bars} bars would show {null_best:.2f} a year"
    else:
        null = f"the best of {epochs} epochs without skill on {n_bars} bars would show {null_best:.2f} a year"
    if ratio <= null_best:
        return f"noise: {null}; {ratio:.2f} is not above it"
    return f"above what noise shows: {null}, and {ratio:.2f} or more in {chance:.0%} of such fits"


def inflation_summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the folds: how many are within noise, and how far validation stands above out of sample.

    Args:
        rows: of `inflation_row`.
    Returns:
        n_folds, n_with_validation, n_within_noise, n_both, mean_validation_annual, mean_oos_annual and mean_gap_annual
        (over the folds that have both; None without one), gap_se_annual (standard deviation of the folds' gaps over
        sqrt of their number; None for fewer than 2), sentence.
    """
    judged = [row for row in rows if row["within_noise"] is not None]
    both = [row for row in judged if row["oos_sharpe_annual"] is not None]
    found: dict[str, Any] = {
        "n_folds": len(rows),
        "n_with_validation": len(judged),
        "n_within_noise": sum(bool(row["within_noise"]) for row in judged),
        "n_both": len(both),
        "mean_validation_annual": None,
        "mean_oos_annual": None,
        "mean_gap_annual": None,
        "gap_se_annual": None,
    }
    if both:
        validation = np.array([row["validation_sharpe_annual"] for row in both])
        scored = np.array([row["oos_sharpe_annual"] for row in both])
        found["mean_validation_annual"], found["mean_oos_annual"] = float(validation.mean()), float(scored.mean())
        found["mean_gap_annual"] = float((validation - scored).mean())
        if len(both) > 1:
            found["gap_se_annual"] = float((validation - scored).std(ddof=1) / math.sqrt(len(both)))
    return found | {"sentence": _sentence(found)}


def _sentence(found: dict[str, Any]) -> str:
    if not found["n_with_validation"]:
        return f"none of {found['n_folds']} fold(s) has a validation Sharpe ratio."
    words = (
        f"{found['n_within_noise']} of {found['n_with_validation']} fold(s) show no more on validation than the best epoch "
        "without skill would"
    )
    if found["mean_gap_annual"] is None:
        return words + "; no fold has both ratios to compare."
    error = "" if found["gap_se_annual"] is None else f" +- {found['gap_se_annual']:.2f}"
    return (
        f"{words}; validation averages {found['mean_validation_annual']:.2f} a year, out of sample "
        f"{found['mean_oos_annual']:.2f}: a gap of {found['mean_gap_annual']:.2f}{error}."
    )
