"""The table of leakage guards: what each claims, and how it is put to the evidence.

Not here: how a guard decides (the `leakage` modules of domain and model), what it may look at (`evidence`), the asset
(`assets.audit`).
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import user_columns
from tft_pipeline.domain.findings import LeakageAudit
from tft_pipeline.domain.leakage import (
    Finding,
    inputs_do_not_see_later_bars,
    judged,
    leverage_problems,
    outcomes_lie_after_the_decision,
    positions_earn_the_next_bar,
    telling_cuts,
)
from tft_pipeline.domain.leakage_minutes import minutes_are_not_used_early, newest_with_minutes
from tft_pipeline.domain.leakage_periods import Research, purge_problems, research_ends_before_production
from tft_pipeline.domain.leakage_segments import segments_know_the_past_only
from tft_pipeline.domain.leakage_stored import (
    predictions_are_paid_by_the_stored_targets,
    predictions_know_the_past_only,
    publications_are_not_used_early,
)
from tft_pipeline.domain.sentiment import PREDICTED
from tft_pipeline.pipeline.evidence import TAIL_BARS, Evidence

CUTS, BOOK_BARS = 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One line of the audit."""

    name: str
    claim: str
    examine: Callable[[Evidence], Finding]


def audit(evidence: Evidence) -> LeakageAudit:
    """Put every guard of `GUARDS` to the evidence; one row a guard, in their order, with its state and whether it passed.

    Raises:
        ValueError: there is no guard.
    """
    if not GUARDS:
        raise ValueError("there is no guard: an empty table would pass without anything having been tried")
    rows = []
    evidence = copy(evidence)  # what guards share is computed for one audit
    for guard in GUARDS:
        found = guard.examine(evidence)
        rows.append(
            {
                "guard": guard.name,
                "claim": guard.claim,
                "tried": found.tried,
                "state": found.state,
                "passed": found.passed,
                "detail": found.detail,
            }
        )
    return LeakageAudit(
        rows=tuple(rows),
        passed=all(row["passed"] is not False for row in rows),
        plan_sha256=evidence.production_plan.content_sha256(),
    )


def _all_of(*found: Finding) -> Finding:
    """One line of parts: a leak where one is, not verifiable where one is not, else held."""
    wrong = [part.detail for part in found if part.state == "leak"]
    return judged(
        "; ".join(part.tried for part in found), wrong, [part.detail for part in found if part.passed is None]
    )


def _inputs(evidence: Evidence) -> Finding:
    bars = evidence.tail
    cuts = telling_cuts(evidence.inputs(bars), CUTS, since=evidence.untraded_since)
    found = inputs_do_not_see_later_bars(evidence.inputs, bars, cuts)
    kept, dropped = len(evidence.prefiltered.kept), len(evidence.prefiltered.dropped)
    return replace(found, tried=f"{found.tried}: {kept} features, without the {dropped} that phase 1 dropped")


def _volatility(evidence: Evidence) -> Finding:
    def volatility(bars: pl.DataFrame) -> pl.DataFrame:
        return evidence.outcomes(bars).select("timestamp", "symbol", "volatility")

    bars = evidence.tail
    cuts = telling_cuts(volatility(bars), CUTS, since=evidence.untraded_since)
    known = inputs_do_not_see_later_bars(volatility, bars, cuts)
    outcomes = evidence.outcomes(bars)
    scaled = judged(
        f"leverage of {outcomes['leverage_in_loss'].is_finite().sum()} outcomes of the loss compared with it",
        leverage_problems(outcomes, evidence.newest.target_volatility),
    )
    return _all_of(known, scaled)


def _outcomes(evidence: Evidence) -> Finding:
    ticks = evidence.tail_ticks
    cuts = [ticks[len(ticks) * (k + 1) // (CUTS + 1)] for k in range(CUTS)]
    horizon = evidence.experiment.target.horizon
    lie = outcomes_lie_after_the_decision(evidence.outcomes, evidence.tail, cuts, horizon=horizon)
    predictions = evidence.production_folds[evidence.newest.key].predictions
    earn = positions_earn_the_next_bar(evidence.book, predictions, n_bars=BOOK_BARS)
    return _all_of(lie, earn)


def _predictions(evidence: Evidence) -> Finding:
    stored = evidence.production_folds[evidence.newest.key].predictions
    stored = stored.drop(PREDICTED, strict=False)  # told by the source, decided by no model
    ticks = stored["timestamp"].unique().sort()
    cuts = [ticks[len(ticks) * (k + 1) // (CUTS + 1)] for k in range(CUTS)]
    return predictions_know_the_past_only(evidence.predicted, stored, cuts)


def _paid(evidence: Evidence) -> Finding:
    predictions = {key: bundle.predictions for key, bundle in evidence.production_folds.items()}
    return predictions_are_paid_by_the_stored_targets(predictions, evidence.production_plan, evidence.targets)


def _scaler(evidence: Evidence) -> Finding:
    from tft_pipeline.model.leakage import scaler_knows_training_bars_only

    return scaler_knows_training_bars_only(
        evidence.small_fits,
        scalers={key: bundle.fitted.scaler for key, bundle in evidence.production_folds.items()},
        plan=evidence.production_plan,
        features=evidence.features,
    )


def _weights(evidence: Evidence) -> Finding:
    from tft_pipeline.model.leakage import weights_learn_from_training_dates_only

    problems = purge_problems(evidence.exploration_plan) + purge_problems(evidence.production_plan)
    return weights_learn_from_training_dates_only(evidence.small_fits, evidence.validation_loss, problems=problems)


def _context(evidence: Evidence) -> Finding:
    from tft_pipeline.model.leakage_context import context_labels_are_resolved

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
        judged=evidence.judged,
        train_ends=evidence.research_train_ends,
        selected=evidence.selected,
        tuned=evidence.tuned,
        production_plan=evidence.production_plan,
    )
    return research_ends_before_production(research, evidence.plan_again, evidence.bars)


def _publications(evidence: Evidence) -> Finding:
    own = user_columns(evidence.bars.columns)
    if not own:
        return Finding(tried="nothing", state="not_used", detail="the source has no feature columns of its own")
    tables = {table.prefix for table in evidence.experiment.data.tables}
    stated = "available_at" in evidence.bars.columns
    dated = [name for name in own if stated or name.partition("_")[0] in tables]
    undated = ", ".join(name for name in own if name not in dated)
    if not dated:
        why = f"the source does not say when {undated} were published (available_at)"
        return Finding(tried="nothing", state="not_verifiable", detail=why)
    if evidence.source is None:
        why = f"a source is not the one that was taken: when {', '.join(dated)} were published is not known any more"
        return Finding(tried="nothing", state="not_verifiable", detail=why)
    found = publications_are_not_used_early(evidence.bars, evidence.source(), dated)
    if undated and found.state == "held":
        why = f"the source does not say when {undated} were published (available_at)"
        return Finding(tried=found.tried, state="not_verifiable", detail=why)
    return found


def _minutes(evidence: Evidence) -> Finding:
    data = evidence.experiment.data
    if data.minute_source is None:
        return Finding(tried="nothing", state="not_used", detail="bars have no minutes: no data.minute_source")
    if evidence.minutes is None:
        why = "data.minute_source is not the one that was taken: which minutes belong to a bar cannot be looked up any more"
        return Finding(tried="nothing", state="not_verifiable", detail=why)
    bars = newest_with_minutes(evidence.bars)
    if bars.is_empty():
        return Finding(tried="nothing", state="not_verifiable", detail="no bar has a value of its minutes")
    return minutes_are_not_used_early(evidence.joined, bars, evidence.minutes(bars), data.timezone)


def _columns_computed_elsewhere(evidence: Evidence) -> Finding:
    told = evidence.experiment.ensemble.sentiment_column  # blended, and no feature
    own = (*evidence.catalogue.user_columns, *([] if told is None else [told]))
    why = f"{', '.join(own)} came with the source; whether they know later bars cannot be tried here"
    return judged("names of all features", [], [why] if own else [])


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
        name="predictions_know_the_past_only",
        claim="Stored positions and forecasts are what the stored models give, and no later bar changes one.",
        examine=_predictions,
    ),
    Guard(
        name="predictions_are_paid_by_the_stored_targets",
        claim="Stored predictions are all bars of the test dates, each once, with the targets of that bar.",
        examine=_paid,
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
        claim="Features and settings were chosen by the study, on bars that end a purge before production.",
        examine=_research,
    ),
    Guard(
        name="publications_are_not_used_early",
        claim="A value with a date of publication is not used before that date.",
        examine=_publications,
    ),
    Guard(
        name="minutes_are_not_used_early",
        claim="What a bar says of its minutes comes from minutes that closed by its own close.",
        examine=_minutes,
    ),
    Guard(
        name="columns_are_computed_here",
        claim="Every input is computed here, from raw bars.",
        examine=_columns_computed_elsewhere,
    ),
)
"""What the audit tries, in the order a reader meets the data; `audit` reads it anew at every call."""
