"""Phase 1 on the bars that no research fold validates or scores."""

from dataclasses import replace

import numpy as np
import pytest

from tft_pipeline.domain.judging import prefiltered
from tft_pipeline.domain.planning import research_folds
from tft_pipeline.domain.prefilter import prefilter
from tft_pipeline_tests.builders import FEATURES, small, toy_panel
from tft_pipeline_tests.conftest import random_bars


def test_rows_are_those_of_the_shortest_train_and_later_bars_have_no_say() -> None:
    experiment = small({"tuning.folds.train": 100})
    panel = toy_panel(random_bars(), experiment)
    found = prefiltered(panel, experiment)
    ends = [
        fold.train.stop
        for section in (experiment.exploration, experiment.tuning)
        for fold in research_folds(panel, experiment, section.folds)
    ]
    assert found.last == panel.calendar[min(ends) - 1].isoformat()
    assert found.kept == FEATURES
    stop = min(ends)
    later = panel.values.copy()
    later[:, stop:] = 7.0
    assert prefiltered(replace(panel, values=later), experiment) == found
    first = next(i for i, stamp in enumerate(panel.calendar) if stamp.isoformat() == found.first)
    rows = panel.values[:, first:stop][panel.observed[:, first:stop]]
    assert found.n_rows == len(rows)
    assert found.kept == prefilter(rows, FEATURES).kept


def test_the_limits_of_the_experiment_are_those_that_count() -> None:
    panel = toy_panel(random_bars(), small())
    values = panel.values.copy()
    values[..., 1] = values[..., 0] + 0.4 * np.nanstd(values[..., 0]) * np.random.default_rng(0).normal(
        size=values.shape[:2]
    )
    close = replace(panel, values=values)
    assert prefiltered(close, small()).kept == FEATURES
    strict = prefiltered(close, small({"prefilter": {"max_correlation": 0.8}}))
    (drop,) = strict.dropped
    assert (drop["feature"], drop["partner"], drop["reason"]) == ("mean_5", "past_return", "collinear")
    values[:, ::3, 2] = np.nan
    gaps = replace(panel, values=values)
    reasons = {
        row["feature"]: row["reason"] for row in prefiltered(gaps, small({"prefilter": {"max_missing": 0.2}})).dropped
    }
    assert reasons["range_10"] == "missing"


def test_features_that_are_all_degenerate_are_an_error() -> None:
    panel = toy_panel(random_bars(), small())
    with pytest.raises(ValueError, match="all 3 features are degenerate"):
        prefiltered(replace(panel, values=np.zeros_like(panel.values)), small())
