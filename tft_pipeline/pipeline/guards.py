"""The table of leakage guards: what each claims, and how it is put to the evidence.

Not here: how a guard decides (`domain.leakage`, `domain.leakage_periods`, `model.leakage`), what it may look at (`evidence`),
the asset (`assets.audit`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import user_columns
from tft_pipeline.domain.leakage import (
    Finding,
    inputs_do_not_see_later_bars,
    outcomes_lie_after_the_decision,
    positions_earn_the_next_bar,
    publications_are_not_used_early,
    segments_know_the_past_only,
    telling_cuts,
)
from tft_pipeline.domain.leakage_periods import Research, purge_problems, research_ends_before_production
from tft_pipeline.domain.reports import LeakageAudit
from tft_pipeline.pipeline.evidence import TAIL_BARS, Evidence

CUTS, BOOK_BARS = 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One line of the audit."""

    name: str
    claim: str
    examine: Callable[[Evidence], Finding]


def audit(evidence: Evidence) -> LeakageAudit:
    """Put every guard of `GUARDS` to the evidence; one row a guard, in their order.

    Raises:
        ValueError: there is no guard.
    """
    if not GUARDS:
        raise ValueError("there is no guard: an empty table would pass without anything having been tried")
    rows = []
    for guard in GUARDS:
        found = guard.examine(evidence)
        rows.append(
            {
                "guard": guard.name,
                "claim": guard.claim,
                "tried": found.tried,
                "passed": found.passed,
                "detail": found.detail,
            }
        )
    return LeakageAudit(rows=tuple(rows), passed=all(row["passed"] is not False for row in rows))


def _inputs(evidence: Evidence) -> Finding:
    bars = evidence.tail
    return inputs_do_not_see_later_bars(evidence.inputs, bars, telling_cuts(evidence.inputs(bars), CUTS))


def _volatility(evidence: Evidence) -> Finding:
    def volatility(bars: pl.DataFrame) -> pl.DataFrame:
        return evidence.outcomes(bars).select("timestamp", "symbol", "volatility")

    bars = evidence.tail
    return inputs_do_not_see_later_bars(volatility, bars, telling_cuts(volatility(bars), CUTS))


def _outcomes(evidence: Evidence) -> Finding:
    ticks = evidence.tail["timestamp"].unique().sort()
    cuts = [ticks[len(ticks) * (k + 1) // (CUTS + 1)] for k in range(CUTS)]
    horizon = evidence.experiment.target.horizon
    lie = outcomes_lie_after_the_decision(evidence.outcomes, evidence.tail, cuts, horizon=horizon)
    predictions = evidence.production_folds[evidence.newest.key].predictions
    earn = positions_earn_the_next_bar(evidence.book, predictions, n_bars=BOOK_BARS)
    found = [part.passed for part in (lie, earn)]
    return Finding(
        tried=f"{lie.tried}; {earn.tried}",
        passed=False if False in found else None if None in found else True,
        detail="; ".join(part.detail for part in (lie, earn) if part.detail),
    )


def _scaler(evidence: Evidence) -> Finding:
    from tft_pipeline.model.leakage import scaler_knows_training_bars_only

    panel, fold = evidence.small()
    return scaler_knows_training_bars_only(
        evidence.fit,
        panel,
        fold,
        scalers={key: bundle.fitted.scaler for key, bundle in evidence.production_folds.items()},
        plan=evidence.production_plan,
        features=evidence.features,
    )


def _weights(evidence: Evidence) -> Finding:
    from tft_pipeline.model.leakage import weights_learn_from_training_dates_only

    panel, fold = evidence.small()
    problems = purge_problems(evidence.exploration_plan) + purge_problems(evidence.production_plan)
    return weights_learn_from_training_dates_only(evidence.fit, panel, fold, problems=problems)


def _context(evidence: Evidence) -> Finding:
    from tft_pipeline.model.leakage import context_labels_are_resolved

    fitted = {key: bundle.fitted for key, bundle in evidence.production_folds.items()}
    return context_labels_are_resolved(evidence.newest_slice, evidence.production_plan, fitted)


def _segments(evidence: Evidence) -> Finding:
    from tft_pipeline.model import context_pool

    panel = evidence.newest_slice
    ahead = np.where(panel.scored, panel.next_return / panel.volatility, np.nan)
    returns = np.concatenate((np.full((len(ahead), 1), np.nan), ahead[:, :-1]), axis=1)[:, -TAIL_BARS:]
    cuts = [returns.shape[1] * (k + 1) // (CUTS + 1) for k in range(CUTS)]
    return segments_know_the_past_only(context_pool.closed_segments, returns, cuts)


def _research(evidence: Evidence) -> Finding:
    research = Research(
        experiment=evidence.experiment,
        calendar=evidence.targets["timestamp"].unique().sort().to_list(),
        prefiltered=evidence.prefiltered,
        exploration_plan=evidence.exploration_plan,
        folds=evidence.exploration_folds,
        selected=evidence.selected,
        tuned=evidence.tuned,
        production_plan=evidence.production_plan,
    )
    return research_ends_before_production(research, evidence.plan_again, evidence.bars)


def _publications(evidence: Evidence) -> Finding:
    bars, own = evidence.tail, user_columns(evidence.bars.columns)
    if not own:
        return Finding(tried="nothing", passed=None, detail="not used: the source has no feature columns of its own")
    if "available_at" not in bars.columns:
        return Finding(
            tried="nothing",
            passed=None,
            detail=f"not verifiable: the source does not say when {', '.join(own)} were published (available_at)",
        )
    return publications_are_not_used_early(bars, own, telling_cuts(bars.select("timestamp", "symbol", *own), CUTS))


def _columns_computed_elsewhere(evidence: Evidence) -> Finding:
    own = evidence.catalogue.user_columns
    if not own:
        return Finding(tried="names of all features", passed=True, detail="")
    return Finding(
        tried="names of all features",
        passed=None,
        detail=f"not verifiable: {', '.join(own)} came with the source; whether they know later bars cannot be tried here",
    )


GUARDS: tuple[Guard, ...] = (
    Guard(
        name="inputs_do_not_see_later_bars",
        claim="What a model is given at a bar is computed from that bar and older ones; nothing is filled from behind.",
        examine=_inputs,
    ),
    Guard(
        name="volatility_is_known_at_the_bar",
        claim="The volatility that scales positions and labels holds no return after its bar.",
        examine=_volatility,
    ),
    Guard(
        name="outcomes_lie_after_the_decision",
        claim="A decision at bar t is paid and judged by bars after t alone, and earns bar t+1.",
        examine=_outcomes,
    ),
    Guard(
        name="scaler_knows_training_bars_only",
        claim="Means and deviations that scale the inputs are those of the fold's train rows.",
        examine=_scaler,
    ),
    Guard(
        name="weights_learn_from_training_dates_only",
        claim="Weights learn from dates before the purge; validation is later dates of all symbols.",
        examine=_weights,
    ),
    Guard(
        name="context_labels_are_resolved",
        claim="Past sequences that a window reads had their last label before the window's first scored bar.",
        examine=_context,
    ),
    Guard(
        name="segments_know_the_past_only",
        claim="Where a segment of a price ends is decided by the bars up to its end.",
        examine=_segments,
    ),
    Guard(
        name="research_ends_before_production",
        claim="Features and settings were chosen on bars that end a purge before production.",
        examine=_research,
    ),
    Guard(
        name="publications_are_not_used_early",
        claim="A value with a date of publication is used from that date on.",
        examine=_publications,
    ),
    Guard(
        name="columns_are_computed_here",
        claim="Every input is computed here, from raw bars.",
        examine=_columns_computed_elsewhere,
    ),
)
"""What the audit tries, in the order a reader meets the data; `audit` reads it anew at every call."""
