"""GO or NO-GO, with every reason: what an honest reader needs before money follows a model.

Not here: the statistics themselves (`sharpe`, `overfitting`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tft_pipeline.domain.overfitting import probability_of_backtest_overfitting
from tft_pipeline.domain.phases import EvaluationSection
from tft_pipeline.domain.portfolio import VARIANCE_ROUNDING
from tft_pipeline.domain.reports import TunedHyperparameters
from tft_pipeline.domain.sharpe import (
    annualise,
    deflated_sharpe_ratio,
    expected_max_sharpe,
    kurtosis,
    sharpe_ratio,
    skew,
)

CSCV_BLOCKS = 16
GO, NO_GO = "GO", "NO-GO"


def json_ready(value: Any) -> Any:
    """Plain JSON values: numpy scalars unwrapped, tuples to lists, non-finite numbers to None."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def annual_sharpe_or_none(returns: np.ndarray, bars_per_year: float) -> float | None:
    """Annual Sharpe ratio of the finite returns; None where it is undefined (fewer than two, or all alike)."""
    kept = returns[np.isfinite(returns)]
    if kept.size < 2 or float(kept.var()) <= VARIANCE_ROUNDING * float(np.square(kept).mean()):
        return None
    return annualise(sharpe_ratio(kept), bars_per_year)


def research_evidence(tuned: TunedHyperparameters, *, bars_per_year: float) -> dict[str, Any]:
    """What the tuning ledger says of the chosen trial: its Sharpe deflated by all trials started, and CSCV.

    DSR after Bailey & Lopez de Prado (2014), all ratios per bar: V is the variance of the completed trials' Sharpe
    ratios, N counts every trial started. CSCV runs on the completed trials, which share their bars.

    Returns:
        dsr, expected_max_sharpe_annual, n_trials_started, n_completed, n_left_out, pbo, probability_of_loss,
        degradation_slope; a statistic that cannot be computed is None and says why in `<name>_reason`.
    """
    completed = [trial for trial in tuned.trials if trial.state == "complete"]
    evidence: dict[str, Any] = {
        "n_trials_started": tuned.n_trials_started,
        "n_completed": len(completed),
        "n_left_out": len(tuned.trials) - len(completed),
    }
    best = next(np.array(trial.returns) for trial in completed if trial.number == tuned.best_trial)
    ratio = sharpe_ratio(best)
    evidence |= {"n_bars": int(best.size), "sharpe_annual": annualise(ratio, bars_per_year)}
    if len(completed) < 2:
        reason = f"{len(completed)} completed trial(s): the spread of trials is unknown"
        names = ("dsr", "pbo", "probability_of_loss", "degradation_slope")
        return evidence | dict.fromkeys(names) | {f"{name}_reason": reason for name in names}
    ratios = np.array([sharpe_ratio(np.array(trial.returns)) for trial in completed])
    variance = float(ratios.var(ddof=1))
    evidence["dsr"] = deflated_sharpe_ratio(
        ratio,
        best.size,
        trial_variance=variance,
        n_trials=tuned.n_trials_started,
        skew=skew(best),
        kurtosis=kurtosis(best),
    )
    expected = expected_max_sharpe(variance, tuned.n_trials_started)
    evidence["expected_max_sharpe_annual"] = annualise(expected, bars_per_year)
    table = np.column_stack([np.array(trial.returns) for trial in completed])
    cscv = probability_of_backtest_overfitting(table, n_blocks=min(CSCV_BLOCKS, 2 * (table.shape[0] // 8)))
    return evidence | {
        "pbo": cscv.pbo,
        "probability_of_loss": cscv.probability_of_loss,
        "degradation_slope": cscv.degradation_slope,
    }


def deflated_by_looks(statistics: dict[str, Any], looks: int) -> float:
    """PSR of the production series after so many looks at the period: PSR(E[max of `looks` null series]).

    A null Sharpe ratio on n bars has variance 1/n; one look leaves PSR(0).
    """
    n = int(statistics["n"])
    return deflated_sharpe_ratio(
        float(statistics["sharpe"]),
        n,
        trial_variance=1.0 / n,
        n_trials=looks,
        skew=float(statistics["skew"]),
        kurtosis=float(statistics["kurtosis"]),
    )


def reasons_against(
    *,
    statistics: dict[str, Any],
    psr_after_looks: float,
    looks: int,
    research: dict[str, Any],
    baselines: dict[str, dict[str, Any]],
    limits: EvaluationSection,
) -> tuple[str, ...]:
    """Every condition of GO that does not hold, in words; empty means GO as far as performance goes."""
    reasons = []
    if psr_after_looks < limits.min_psr:
        reasons.append(
            f"production: PSR {psr_after_looks:.3f} after {looks} look(s) at the period is below {limits.min_psr} "
            f"(Sharpe {statistics['sharpe_annual']:.2f} +- {statistics['se_annual']:.2f} a year, n {statistics['n']})"
        )
    if research["dsr"] is None:
        reasons.append(f"research: no deflated Sharpe ratio, {research['dsr_reason']}")
    elif research["dsr"] < limits.min_dsr:
        reasons.append(
            f"research: deflated Sharpe ratio {research['dsr']:.3f} of the chosen trial is below {limits.min_dsr} "
            f"({research['n_trials_started']} trials started)"
        )
    loss = research["probability_of_loss"]
    if loss is not None and loss > limits.max_probability_of_loss:
        reasons.append(
            f"research: probability of loss {loss:.2f} of the best trial is above {limits.max_probability_of_loss} (CSCV)"
        )
    reasons += [
        f"production: net Sharpe {statistics['sharpe_annual']:.2f} does not beat {name} ({row['sharpe_annual']:.2f})"
        for name, row in baselines.items()
        if statistics["sharpe"] <= row["sharpe"]
    ]
    return tuple(reasons)


def validation_gap(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean validation and out-of-sample Sharpe over folds (annual); the gap is the mean difference over the folds that
    have both.
    """
    defined = [fold for fold in folds if fold["oos_sharpe_annual"] is not None]
    if not defined:
        return {"validation": None, "out_of_sample": None, "gap": None}
    scored = float(np.mean([fold["oos_sharpe_annual"] for fold in defined]))
    both = [
        (fold["validation_sharpe_annual"], fold["oos_sharpe_annual"])
        for fold in defined
        if fold["validation_sharpe_annual"] is not None
    ]
    if not both:
        return {"validation": None, "out_of_sample": scored, "gap": None}
    validation, out_of_sample = np.mean(both, axis=0)
    return {
        "validation": float(validation),
        "out_of_sample": scored,
        "gap": float(validation - out_of_sample),
    }
