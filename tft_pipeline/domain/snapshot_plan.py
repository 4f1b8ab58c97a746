"""From an experiment that serves as a template to one for given bars: its periods and folds are made to fit their calendar.

The rule. C bars of the common calendar are usable, from the first one with a label on. Research first, production last:

    1. Production starts with the date whose first bar lies closest to two thirds of the C bars; at most `PRODUCTION_FOLDS`
       folds of equal length score all of it but a rest shorter than the number of folds, and the horizon.
    2. f is the largest scale, 1 at most, at which the template's exploration and tuning folds, and the training and validation
       of its first production fold, find room in the research bars; purges are not scaled. Every length of exploration, tuning
       and research paths is multiplied by f, and so are production's training and validation, data.min_bars and
       drift.recent_bars; evaluation.momentum_lookback is no longer than the history that is left.
    3. A length that f makes too short for the lookback is refused, with the number of bars that would do.

Nothing is stretched: more bars than the template needs lengthen production, and the training of a window that expands.
Not here: reading the bars, writing the file, running it (`pipeline.training`).
"""

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from tft_pipeline.domain.experiment import ConfigurationError, Experiment
from tft_pipeline.domain.sections import FoldsSection

PRODUCTION_SHARE = 1.0 / 3.0
PRODUCTION_FOLDS = 3
LEAST_TRAIN_WINDOWS = 4
"""Lookbacks that the shortest training part of a fold holds, or an epoch would be a step or two."""
FIXED_BY_FLAGS = ("network.hidden", "training.lookback", "training.patience")
"""Keys that the flags of `tft train` state: a search would try other values than those that were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCalendar:
    """What the rule needs to know of the bars.

    Attributes:
        dates: (N,) datetime64[D], the UTC date of each bar of the common calendar, in time order.
        first: first bar with features, volatility and a label.
    """

    dates: np.ndarray
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPlan:
    """What the rule found.

    Attributes:
        changes: dotted key to value; those of an experiment that is the template otherwise.
        scale: f.
        production_folds: how many.
    """

    changes: dict[str, Any]
    scale: float
    production_folds: int


def fit_to_calendar(template: Experiment, calendar: SnapshotCalendar, *, lookback: int) -> FittedPlan:
    """Periods and folds of `template` for these bars; see the rule above.

    Args:
        lookback: of the network that will be trained, in place of the template's.
    Raises:
        ConfigurationError: too few bars; the message says how many are needed.
    """
    usable = len(calendar.dates) - calendar.first
    needed = bars_needed(template, lookback=lookback, bars_a_day=_bars_a_day(calendar.dates))
    refusal = (
        f"the snapshot has {len(calendar.dates)} bars of a symbol and {calendar.first + needed} are needed for a lookback of "
        f"{lookback}: parts of a fold would be shorter than {LEAST_TRAIN_WINDOWS} windows of training or one of validation; "
        "freeze more days (tft snapshot --days), or lower --seq-len"
    )
    if usable < needed:
        raise ConfigurationError(refusal)
    start, first_date = _production_start(calendar)
    research, production = start - calendar.first, len(calendar.dates) - start - template.target.horizon
    scale = _scale(template, research)
    folds = min(PRODUCTION_FOLDS, production // lookback)
    if scale < _least_scale(template, lookback) or folds < 1:  # days of very unequal numbers of bars
        raise ConfigurationError(refusal)
    test = production // folds

    def scaled(bars: int) -> int:
        return max(1, math.floor(bars * scale))

    changes: dict[str, Any] = {
        "periods.production_start": first_date,
        "data.min_bars": scaled(template.data.min_bars),
        "drift.recent_bars": scaled(template.drift.recent_bars),
        "production.folds.train": scaled(template.production.folds.train),
        "production.folds.validation": scaled(template.production.folds.validation),
        "production.folds.test": test,
        "production.folds.step": test,
    }
    for phase, section in _research_sections(template).items():
        for part in ("train", "validation", "test", "step"):
            changes[f"{phase}.folds.{part}"] = scaled(getattr(section, part))
    if template.research_paths is not None:
        changes["research_paths.validation"] = scaled(template.research_paths.validation)
    changes["evaluation.momentum_lookback"] = min(
        template.evaluation.momentum_lookback,
        changes["production.folds.train"] + changes["production.folds.validation"],
    )
    return FittedPlan(changes=changes, scale=scale, production_folds=folds)


def bars_needed(template: Experiment, *, lookback: int, bars_a_day: int) -> int:
    """Usable bars that are enough for every part of a fold, whichever date production starts on.

    Raises:
        ConfigurationError: no number of bars is enough, for the template's own lengths are too short for the lookback.
    """
    least = _least_scale(template, lookback)
    if least > 1.0:
        raise ConfigurationError(
            f"a lookback of {lookback} needs {lookback + 1} bars of validation and {LEAST_TRAIN_WINDOWS * lookback} of "
            "training in every fold, and the template has shorter ones, which are never stretched; lower --seq-len, or take a "
            "template with longer folds"
        )
    research = math.ceil(max(least * lengths + purges for lengths, purges in _phases(template)))
    production = lookback + template.target.horizon
    whole = max(research / (1.0 - PRODUCTION_SHARE), production / PRODUCTION_SHARE)
    return math.ceil(whole + 1.5 * bars_a_day)  # the date may begin half a day off, which is 3/2 of it in research


def _research_sections(template: Experiment) -> dict[str, FoldsSection]:
    return {"exploration": template.exploration.folds, "tuning": template.tuning.folds}


def _phases(template: Experiment) -> list[tuple[int, int]]:
    """Bars that each phase takes before production starts: those that are scaled, and the purges, which are not."""
    purge, first = template.periods.purge, template.production.folds
    taken = [(first.train + first.validation, 2 * purge)]
    for folds in _research_sections(template).values():
        more = (folds.max_folds or 1) - 1
        taken.append((folds.train + folds.validation + folds.test + more * folds.step, 3 * purge))
    return taken


def _scale(template: Experiment, research: int) -> float:
    """f for so many research bars; below 0 where there are not even the purges."""
    return min(1.0, *((research - purges) / lengths for lengths, purges in _phases(template)))


def _least_scale(template: Experiment, lookback: int) -> float:
    """The f below which a part is too short."""
    parts = [template.production.folds, *_research_sections(template).values()]
    validations = [folds.validation for folds in parts]
    if template.research_paths is not None:
        validations.append(template.research_paths.validation)
    return max(
        *((lookback + 1) / validation for validation in validations),
        *(LEAST_TRAIN_WINDOWS * lookback / folds.train for folds in parts),
        *(1.0 / folds.test for folds in parts),
    )


def _production_start(calendar: SnapshotCalendar) -> tuple[int, date]:
    """Bar and date with which production starts."""
    dates = calendar.dates
    target = calendar.first + (len(dates) - calendar.first) * (1.0 - PRODUCTION_SHARE)
    begins = np.flatnonzero(np.diff(dates).astype(np.int64) > 0) + 1
    begins = begins[begins > calendar.first]  # never empty: there are more bars than those of one date and a half
    start = int(begins[np.argmin(np.abs(begins - target))])
    return start, dates[start].item()


def _bars_a_day(dates: np.ndarray) -> int:
    """Most bars of one date; a date is where production may start."""
    return int(np.unique(dates, return_counts=True)[1].max())
