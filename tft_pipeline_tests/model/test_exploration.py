"""One exploration fold from its spec, without the orchestrator."""

from typing import Any

import numpy as np
import pytest

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import research_folds, slice_for
from tft_pipeline.domain.reports import FoldSpec
from tft_pipeline.domain.shadows import with_shadow_features
from tft_pipeline.model import exploration, inference
from tft_pipeline.model.exploration import explore_fold
from tft_pipeline_tests.builders import planned, small, toy_panel
from tft_pipeline_tests.conftest import random_bars


@pytest.fixture(scope="module")
def planned_fold() -> tuple[Panel, FoldSpec]:
    experiment: Experiment = small()
    panel = toy_panel(random_bars(), experiment)
    spec = planned(panel, experiment, research_folds(panel, experiment, experiment.exploration.folds))[0]
    return slice_for(panel, spec), spec


def test_a_fold_weighs_features_and_shadows_by_every_seed(planned_fold: tuple[Panel, FoldSpec]) -> None:
    panel, spec = planned_fold
    rows: list[tuple[int, int]] = []
    lines: list[str] = []
    explored = explore_fold(
        panel,
        spec,
        permutations=1,
        on_epoch=lambda k, row: rows.append((k, row["epoch"])),
        on_seed=lines.append,
    )
    record = explored.record
    shadows = with_shadow_features(panel, spec.shadow_features, spec.fold, seed=spec.seeds[0]).features[3:]
    assert tuple(record.weights) == spec.features
    assert tuple(record.shadow_weights) == shadows  # the same shadows for all seeds
    assert len(record.weights_by_seed) == len(spec.seeds) == len(lines) == 3
    for by_seed in record.weights_by_seed:
        assert sum(by_seed.values()) == pytest.approx(1.0)
    for name in (*spec.features, *shadows):
        mean = np.mean([row[name] for row in record.weights_by_seed])
        assert (record.weights | record.shadow_weights)[name] == pytest.approx(mean)
    assert rows == [(0, 0), (1, 0), (2, 0)]
    assert tuple(record.importance) == spec.features
    assert record.n_permutations == 1
    assert 0.0 < explored.importance_seconds < record.seconds


def test_the_number_of_permutations_moves_the_importance_and_nothing_else(planned_fold: tuple[Panel, FoldSpec]) -> None:
    panel, spec = planned_fold
    none, one, two = (explore_fold(panel, spec, permutations=n).record for n in (0, 1, 2))
    assert none.importance == {}
    assert one.importance != two.importance
    for record in (one, two):
        same = record.model_copy(update={"importance": {}, "n_permutations": 0})
        assert same.content_sha256() == none.content_sha256()
    assert explore_fold(panel, spec, permutations=1).record.content_sha256() == one.content_sha256()


def test_more_shadows_than_features_train_along(planned_fold: tuple[Panel, FoldSpec]) -> None:
    panel, spec = planned_fold
    record = explore_fold(panel, spec.model_copy(update={"shadow_features": 8}), permutations=0).record
    assert len(record.shadow_weights) == 8 > len(record.weights)


def test_weights_that_are_not_numbers_end_the_fold(
    planned_fold: tuple[Panel, FoldSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, spec = planned_fold
    honest = inference.selection_weights

    def without_a_weight(*args: Any) -> Any:
        found = honest(*args)
        found[1] = np.nan
        return found

    monkeypatch.setattr(exploration.inference, "selection_weights", without_a_weight)
    with pytest.raises(FloatingPointError, match=r"1 of 5 selection weights are not finite \(mean_5 first\): the fold"):
        explore_fold(panel, spec, permutations=0)
