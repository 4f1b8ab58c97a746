"""GO or NO-GO, with every reason: what an honest reader needs before money follows a model.

Not here: the statistics themselves (`sharpe`, `overfitting`).
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tft_pipeline.domain.overfitting import effective_trials, probability_of_backtest_overfitting
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
SPREAD = ("dsr", "pbo", "probability_of_loss", "degradation", "degradation_slope", "n_trials_effective")
"""Figures that one completed trial alone cannot give."""
OFTEN = 0.5
"""A baseline that holds something on a smaller share of the scored bars is noted."""
RULES = ("long_only", "momentum", "macd")
"""Baselines that learn nothing: a model that does not beat them on the same bars is not worth its risk."""
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


def research_evidence(
    tuned: TunedHyperparameters, *, bars_per_year: float, others: Mapping[str, float | None] = MappingProxyType({})
) -> dict[str, Any]:
    """What the tuning ledger says of the chosen trial: its Sharpe deflated by all trials started, and CSCV.

    DSR after Bailey & Lopez de Prado (2014), all ratios per bar: N counts every trial started on these bars, V is the
    variance of the Sharpe ratios of all of them that have returns, pruned ones on the bars they were scored on: leaving the
    worst out, or others, would make V small. CSCV runs on the study's completed trials, which share their bars.

    Args:
        others: trials beside the study's own: of its earlier versions and of other experiments; their Sharpe ratios per bar.
    Returns:
        dsr, expected_max_sharpe_annual, n_trials_started (all), n_other_trials, n_trials_effective, n_completed, n_left_out
        (of CSCV), pbo, probability_of_loss, degradation, degradation_slope; a statistic that cannot be computed is None and
        says why in `<name>_reason`.
    """
    completed = [trial for trial in tuned.trials if trial.state == "complete"]
    n_trials = tuned.n_trials_started + len(others)
    evidence: dict[str, Any] = {
        "n_trials_started": n_trials,
        "n_other_trials": len(others),
        "n_completed": len(completed),
        "n_left_out": tuned.n_trials_started - len(completed),  # one that was cut off and tried again was not left out
    }
    best = next(np.array(trial.returns) for trial in completed if trial.number == tuned.best_trial)
    ratio = sharpe_ratio(best)
    evidence |= {"n_bars": int(best.size), "sharpe_annual": annualise(ratio, bars_per_year)}
    if len(completed) < 2:
        reason = f"{len(completed)} completed trial(s): the spread of trials is unknown"
        return evidence | dict.fromkeys(SPREAD) | {f"{name}_reason": reason for name in SPREAD}
    ratios = [*(trial.sharpe for trial in tuned.trials), *others.values()]
    variance = float(np.var([one for one in ratios if one is not None], ddof=1))
    evidence["dsr"] = deflated_sharpe_ratio(
        ratio,
        best.size,
        trial_variance=variance,
        n_trials=n_trials,
        skew=skew(best),
        kurtosis=kurtosis(best),
    )
    evidence["expected_max_sharpe_annual"] = annualise(expected_max_sharpe(variance, n_trials), bars_per_year)
    table = np.column_stack([np.array(trial.returns) for trial in completed])
    cscv = probability_of_backtest_overfitting(table, n_blocks=min(CSCV_BLOCKS, 2 * (table.shape[0] // 8)))
    return evidence | {
        "n_trials_effective": effective_trials(table),
        "pbo": cscv.pbo,
        "probability_of_loss": cscv.probability_of_loss,
        "degradation": cscv.degradation,
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
    leaks: Sequence[str],
    statistics: dict[str, Any],
    psr_after_looks: float,
    looks: int,
    research: dict[str, Any],
    baselines: dict[str, dict[str, Any]],
    superior: Sequence[str],
    contaminated: bool,
    limits: EvaluationSection,
) -> tuple[str, ...]:
    """Every condition of GO that does not hold, in words; empty means GO as far as performance goes.

    A rule (`RULES`) is not beaten when its Sharpe ratio is as high. A learned peer vetoes only when a test says that it is
    superior: a peer with the same features finds what the network finds, and which of the two is ahead is often chance.

    Args:
        leaks: what failed in the leakage audit, in words.
        baselines: statistics by name; one that never held anything has `sharpe` None and a `reason`.
        superior: baselines that the StepM test names superior to the model.
        contaminated: features or settings were chosen on production bars.
    """
    reasons = [f"leakage audit: {leak}" for leak in leaks]
    if contaminated:
        reasons.append("contaminated: features or settings were chosen on bars that are scored")
    shown = f"Sharpe {statistics['sharpe_annual']:.2f} +- {statistics['se_annual']:.2f} a year, n {statistics['n']}"
    if not psr_after_looks >= limits.min_psr:  # so written that a ratio that is not a number is a reason too
        reasons.append(
            f"production: PSR {psr_after_looks:.3f} after {looks} look(s) at the period is below {limits.min_psr} ({shown})"
        )
    reasons += _research_reasons(research, limits)
    for name, row in baselines.items():
        if row["sharpe"] is None:
            continue
        figures = f"net Sharpe {statistics['sharpe_annual']:.2f}, {name} {row['sharpe_annual']:.2f}"
        if name in superior:
            reasons.append(f"production: {name} is superior at the {limits.alpha:.0%} level ({figures})")
        elif name in RULES and not statistics["sharpe"] > row["sharpe"]:
            reasons.append(f"production: the model does not beat {name} ({figures})")
    return tuple(reasons)


def _research_reasons(research: dict[str, Any], limits: EvaluationSection) -> list[str]:
    reasons = []
    if research["dsr"] is None:
        reasons.append(f"research: no deflated Sharpe ratio, {research['dsr_reason']}")
    elif not research["dsr"] >= limits.min_dsr:
        reasons.append(
            f"research: deflated Sharpe ratio {research['dsr']:.3f} of the chosen trial is below {limits.min_dsr} "
            f"({research['n_trials_started']} trials started)"
        )
    loss = research["probability_of_loss"]
    if loss is None and research["dsr"] is not None:
        reasons.append("research: the probability of loss of the best trial is not known (CSCV)")
    elif loss is not None and not loss <= limits.max_probability_of_loss:
        reasons.append(
            f"research: probability of loss {loss:.2f} of the best trial is above {limits.max_probability_of_loss} (CSCV)"
        )
    lost = research["degradation"]
    if lost is None and research["dsr"] is not None:
        reasons.append("research: the best trial earns nothing in sample (CSCV)")
    elif lost is not None and not lost <= limits.max_degradation:
        reasons.append(
            f"research: the best trial loses {lost:.0%} of its Sharpe ratio out of sample, more than "
            f"{limits.max_degradation:.0%} (CSCV)"
        )
    return reasons


def notes_on(
    *,
    statistics: dict[str, Any],
    research: dict[str, Any],
    baselines: dict[str, dict[str, Any]],
    superior: Sequence[str],
    unverified: Sequence[str],
) -> tuple[str, ...]:
    """What a reader should know and what does not veto.

    Args:
        unverified: what the leakage audit could not verify, in words.
    """
    notes = [f"the leakage audit could not verify {what}" for what in unverified]
    notes += [
        f"the learned peer {name}, on the same folds and features, has the higher net Sharpe ratio "
        f"({row['sharpe_annual']:.2f}): it is not shown that the network is needed"
        for name, row in baselines.items()
        if name not in RULES
        and name not in superior
        and row["sharpe"] is not None
        and statistics["sharpe"] <= row["sharpe"]
    ]
    notes += [f"baseline {name}: {row['reason']}" for name, row in baselines.items() if row["sharpe"] is None]
    if research["n_other_trials"]:
        notes.append(
            f"{research['n_other_trials']} of the {research['n_trials_started']} trials that deflate the chosen one were "
            "started by other studies on the same bars"
        )
    notes += [
        f"baseline {name} held a position on {row['held_share']:.0%} of the scored bars only: it is easy to beat"
        for name, row in baselines.items()
        if row["sharpe"] is not None and row["held_share"] < OFTEN
    ]
    if statistics["autocorrelated"]:
        by_lo = statistics["sharpe_annual_eta"]
        instead = "undefined" if by_lo is None else f"{by_lo:.2f}"
        p = "below 0.001" if statistics["ljung_box_p"] < 1e-3 else f"{statistics['ljung_box_p']:.3f}"
        notes.append(
            f"returns are autocorrelated (Ljung-Box p {p}): annualised by Lo's rule the Sharpe "
            f"ratio is {instead} instead of {statistics['sharpe_annual']:.2f} (square root)"
        )
    notes.append(
        "features and settings were chosen on overlapping research bars: the deflated Sharpe ratio counts trials, not features"
    )
    return tuple(notes)
