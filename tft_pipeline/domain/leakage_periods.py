"""Guards over periods: research has ended before production starts, and folds are purged. They read what is stored.

The dates are counted again from the calendar, the choices of features and settings are made again from the stored rows, folds
and trials, and the plan is made again by the pipeline's own function from bars that end where production starts.
Not here: guards that run computations on bars (`leakage`) and fits (`model.leakage`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.features.causality import perturbed_after
from tft_pipeline.domain.folds import fold_key
from tft_pipeline.domain.leakage import MOMENT, Finding, judged
from tft_pipeline.domain.prefilter import prefilter
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FoldPlanReport,
    FoldSpec,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.domain.selection import select_features

OVERLAP_DECLARED = "periods.overlap is allowed: features and settings were chosen on bars up to "
"""How the finding of a declared overlap begins; where it is the only finding, no `;` follows."""


@dataclass(frozen=True, kw_only=True)
class Research:
    """What is stored of phases 1-4, and the production plan that was made of it.

    Attributes:
        calendar: timestamps of all traded symbols' bars, sorted.
        folds: exploration folds by key.
        judged: timestamp, symbol and features of the catalogue: the rows that the prefilter names, of symbols with enough
            history, sorted by symbol and timestamp.
        train_ends: last train bars of the exploration and tuning folds, as the pipeline plans them.
    """

    experiment: Experiment
    calendar: Sequence[datetime]
    prefiltered: PrefilteredFeatures
    exploration_plan: FoldPlanReport
    folds: Mapping[str, ExplorationFold]
    judged: pl.DataFrame
    train_ends: Sequence[datetime]
    selected: SelectedFeatures
    tuned: TunedHyperparameters
    production_plan: FoldPlanReport

    @property
    def production_start(self) -> int:
        """The first bar that may be scored as production."""
        start = self.experiment.periods.production_start
        return next(bar for bar, stamp in enumerate(self.calendar) if stamp.date() >= start)


def research_ends_before_production(
    research: Research, plan_again: Callable[[pl.DataFrame], Sequence[FoldSpec]], bars: pl.DataFrame
) -> Finding:
    """No bar that research trained on, validated on or scored lies within a purge of production's first bar, or behind it.

    Nor did anything else choose them: the prefilter gives the same from the rows it names, the features are those that the
    stored exploration folds give, production uses the settings of the best completed trial, and the stored exploration folds
    are those planned from bars that end where production starts.

    Args:
        plan_again: bars -> exploration specs, as the pipeline plans them.
        bars: all raw bars.
    Raises:
        ValueError: a stored plan speaks of bars that are not stored.
    """
    wrong = _prefilter(research) + _choice(research) + _settings(research)
    if (
        research.experiment.periods.overlap == "allowed"
    ):  # that research goes into production follows from it, date by date
        wrong.insert(0, _overlap(research))
    else:
        wrong = _dates(research) + wrong + _plan(research, plan_again, bars)
    n_folds = len(research.exploration_plan.specs) + len(research.tuned.fold_keys)
    return judged(
        f"dates of {n_folds} research folds; {research.judged.width - 2} features judged again on the prefilter's rows and "
        f"chosen again from {len(research.folds)} folds; settings of {len(research.production_plan.specs)} folds held against "
        f"{research.tuned.n_trials_started} trials; plan made again from bars that end where production starts",
        wrong,
    )


def purge_problems(plan: FoldPlanReport) -> list[str]:
    """Folds of which a label reaches a scored bar: the last label of train behind validation's first bar, or of validation
    behind the first test bar."""
    wrong = []
    for spec in plan.specs:
        for earlier, later in (("train", "validation"), ("validation", "test")):
            end, first = spec.spans[earlier][1] - 1 + spec.horizon, spec.spans[later][0]
            last, start = spec.dates[earlier]["last"], spec.dates[later]["first"]
            if end > first or last >= start:
                wrong.append(
                    f"{plan.phase} fold {spec.key}: labels of {earlier} end behind {start}, where {later} starts"
                )
    return wrong


def _overlap(research: Research) -> str:
    last = max(spec.dates["test"]["last"] for spec in research.exploration_plan.specs)
    return (
        f"{OVERLAP_DECLARED}{last}, and production starts at {research.production_plan.specs[0].dates['test']['first']}"
    )


def _dates(research: Research) -> list[str]:
    experiment, calendar = research.experiment, list(research.calendar)
    start = research.production_start
    limit = start - experiment.periods.purge - 1  # the last bar that research may score
    intraday = experiment.data.interval != "1d"
    place = {stamp.isoformat(): bar for bar, stamp in enumerate(calendar)}
    first_of = {fold_key(stamp, intraday=intraday): bar for bar, stamp in reversed(list(enumerate(calendar)))}
    wrong: list[str] = []

    def bar_of(name: str) -> int:
        known = place if name in place else first_of
        if name not in known:
            raise ValueError(
                f"{name} is in the stored plans and not among the stored bars: their folds would be dated wrongly; plan again"
            )
        return known[name]

    def judge(who: str, last: int) -> None:
        if last > limit:
            wrong.append(
                f"{who} goes to {calendar[min(last, len(calendar) - 1)].isoformat()}, and research ends at "
                f"{calendar[limit].isoformat()}, a purge before production"
            )

    judge("the prefilter", bar_of(research.prefiltered.last))
    for spec in research.exploration_plan.specs:
        judge(f"exploration fold {spec.key}", max(bar_of(spec.dates["test"]["last"]), bar_of(spec.last)))
    for key in research.tuned.fold_keys:
        judge(f"tuning fold {key}", bar_of(key) + experiment.tuning.folds.test - 1)
    first = bar_of(research.production_plan.specs[0].dates["test"]["first"])
    if first < start:
        wrong.append(f"production scores {calendar[first].isoformat()}, before {calendar[start].isoformat()}")
    return wrong


def _prefilter(research: Research) -> list[str]:
    """Features are kept and dropped as the rows of the first fold's train, and no later ones, say."""
    stored, limits = research.prefiltered, research.experiment.prefilter
    if datetime.fromisoformat(stored.last) > min(research.train_ends):
        return [
            f"the prefilter goes to {stored.last}, behind {min(research.train_ends).isoformat()}, where the first train ends"
        ]
    names = research.judged.columns[2:]
    again = prefilter(
        research.judged.select(names).to_numpy(),
        names,
        max_missing=limits.max_missing,
        max_correlation=limits.max_correlation,
    )
    reasons = [
        {row["feature"]: row["reason"] for row in stored.dropped},
        {row.feature: row.reason for row in again.dropped},
    ]
    if stored.kept != again.kept or reasons[0] != reasons[1] or stored.n_rows != research.judged.height:
        differ = sorted(set(stored.kept) ^ set(again.kept))
        return [
            f"the prefilter keeps {len(stored.kept)} features by {stored.n_rows} rows; the {research.judged.height} rows of "
            f"{stored.first} to {stored.last}, which it names, keep {len(again.kept)}, and differ in {differ[:5]}"
        ]
    return []


def _settings(research: Research) -> list[str]:
    """Production uses the settings of the tuning, and those are the best completed trial's."""
    tuned, wrong = research.tuned, []
    chosen = (tuned.network, tuned.training, tuned.position)
    other = [s.key for s in research.production_plan.specs if (s.network, s.training, s.position) != chosen]
    if other:
        wrong.append(f"{len(other)} production folds ({other[0]} first) have settings that the tuning did not choose")
    ratios = {trial.number: trial.sharpe_annual for trial in tuned.trials if trial.state == "complete"}
    best = max((ratio for ratio in ratios.values() if ratio is not None), default=None)
    if best is None or ratios.get(tuned.best_trial) != best or tuned.best_sharpe_annual != best:
        wrong.append(
            f"trial {tuned.best_trial} was chosen, with a Sharpe ratio of {tuned.best_sharpe_annual}; the best of "
            f"{len(ratios)} completed trials has {best}: something else than the study chose"
        )
    else:
        (params,) = (trial.params for trial in tuned.trials if trial.number == tuned.best_trial)
        if research.experiment.with_overrides(params) != chosen:
            wrong.append(f"the chosen settings are not those of trial {tuned.best_trial}, the best: {params}")
    return wrong


def _choice(research: Research) -> list[str]:
    """The features chosen are those that the stored exploration folds, and no others, give."""
    planned = {spec.key: spec.content_sha256() for spec in research.exploration_plan.specs}
    found = {key: research.folds[key].spec_sha256 for key in sorted(research.folds) if key in planned}
    if found != planned or set(research.selected.thresholds) != set(planned):
        return [
            f"features were chosen on folds {sorted(research.selected.thresholds)}, the plan has {sorted(planned)}: results "
            "are missing, or made of another plan"
        ]
    folds = [research.folds[key] for key in planned]
    pruning = research.experiment.pruning
    names = tuple(folds[0].weights)
    chosen = select_features(
        np.array([[fold.weights[name] for name in names] for fold in folds]),
        np.array([list(fold.shadow_weights.values()) for fold in folds]),  # each fold permutes other features
        names,
        threshold=pruning.threshold,
        shadow_quantile=pruning.shadow_quantile,
        min_stability=pruning.min_stability,
        max_features=pruning.max_features,
        min_features=pruning.min_features,
    ).kept
    used = {spec.features for spec in research.production_plan.specs} | {research.selected.features}
    if used != {chosen}:
        return [
            f"the exploration folds choose {len(chosen)} features, production uses others: "
            f"{sorted(set().union(*used) ^ set(chosen))[:5]}"
        ]
    return []


def _plan(
    research: Research, plan_again: Callable[[pl.DataFrame], Sequence[FoldSpec]], bars: pl.DataFrame
) -> list[str]:
    """The stored folds and their contents are those planned when every bar behind production's first is removed, and that one
    is noise."""
    start = research.calendar[research.production_start]
    blind = perturbed_after(bars.filter(pl.col("timestamp") <= start), start - MOMENT)
    again = [spec.content_sha256() for spec in plan_again(blind)]
    if [spec.content_sha256() for spec in research.exploration_plan.specs] != again:
        return [f"the stored exploration plan is another one than without the bars from {start.isoformat()} on"]
    return []
