"""Walk-forward folds found by trial: every bar is tried as a first scored bar, every part is a set of bars."""

from typing import NamedTuple

import numpy as np
from skfolio.model_selection import WalkForward

from tft_pipeline.domain.folds import FoldPlan


class Parts(NamedTuple):
    """The bars of one fold."""

    train: list[int]
    validation: list[int]
    test: list[int]


def walk_forward(n_bars: int, plan: FoldPlan, *, first_bar: int, stop_bar: int) -> list[Parts]:
    """Folds of a calendar of `n_bars` bars, one bar at a time."""
    found: list[Parts] = []
    for first_scored in range(n_bars):
        if found and first_scored != found[-1].test[0] + plan.step:
            continue
        test = [first_scored + k for k in range(plan.test)]
        validation = [first_scored - plan.purge - plan.validation + k for k in range(plan.validation)]
        last_trained = validation[0] - plan.purge - 1
        expanding = list(range(first_bar, last_trained + 1))
        train = expanding if plan.window == "expanding" else expanding[-plan.train :]
        labels_known = test[-1] + plan.horizon <= n_bars - 1
        if len(expanding) >= plan.train and test[-1] < stop_bar and labels_known:
            found.append(Parts(train, validation, test))
    return found


def skfolio_windows(
    n_bars: int, *, train: int, test: int, purged: int, expanding: bool
) -> list[tuple[list[int], list[int]]]:
    """(train bars, test bars) of skfolio's walk forward; `purged` bars between the two."""
    cv = WalkForward(test_size=test, train_size=train, purged_size=purged, expand_train=expanding)
    return [(list(fitted), list(scored)) for fitted, scored in cv.split(np.zeros((n_bars, 1)))]
