"""Boosted trees on the same bars."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.boosting import STOPPING_ROUNDS, boosting_probability, fit_boosting
from tft_pipeline_tests.oracles.model_panels import random_panel

FOLD = Fold(key="f", train=Span(0, 300), validation=Span(305, 395), test=Span(400, 499))


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel(n_symbols=5, n_bars=500, edge=0.4)


@pytest.fixture(scope="module")
def text(panel: Panel) -> str:
    return fit_boosting(panel, FOLD, rounds=40, leaves=7, seed=3)


def test_a_planted_feature_is_found_out_of_sample(panel: Panel, text: str) -> None:
    probability = boosting_probability(text, panel, FOLD.test)
    cut = panel.between(*FOLD.test)
    assert roc_auc_score(cut.label[cut.scored] > 0, probability[cut.scored]) > 0.6


def test_the_same_seed_gives_the_same_text(panel: Panel, text: str) -> None:
    assert fit_boosting(panel, FOLD, rounds=40, leaves=7, seed=3) == text


def test_nothing_after_validation_is_read(panel: Panel, text: str) -> None:
    values, label = panel.values.copy(), panel.label.copy()
    values[:, 395:], label[:, 395:] = 3.0, 1.0
    assert fit_boosting(replace(panel, values=values, label=label), FOLD, rounds=40, leaves=7, seed=3) == text


def test_only_the_trees_up_to_the_best_round_on_validation_are_kept(panel: Panel) -> None:
    noise = replace(panel, label=np.random.default_rng(0).permutation(panel.label, axis=1))
    text = fit_boosting(noise, FOLD, rounds=200, leaves=31, seed=3)
    assert text.count("Tree=") < STOPPING_ROUNDS


def test_leaves_limit_the_trees(panel: Panel) -> None:
    text = fit_boosting(panel, FOLD, rounds=5, leaves=3, seed=3)
    assert "num_leaves=3" in text
    assert "num_leaves=7" not in text


def test_probabilities_are_missing_where_a_symbol_is_not_observed(panel: Panel, text: str) -> None:
    probability = boosting_probability(text, panel, Span(50, 300))
    observed = panel.observed[:, 50:300]
    assert (~observed).any()
    assert np.array_equal(np.isnan(probability), ~observed)
    inside = probability[observed]
    assert ((inside > 0) & (inside < 1)).all()


def test_features_are_taken_by_name(panel: Panel, text: str) -> None:
    shuffled = panel.with_features(panel.features[::-1])
    one, other = (boosting_probability(text, p, FOLD.test) for p in (panel, shuffled))
    assert np.array_equal(one, other, equal_nan=True)


def test_any_name_of_a_column_will_do_and_is_read_back(panel: Panel, text: str) -> None:
    names = ('mood<script>"', "a,b:c", "[d] {e}", "über 100%", "%2C", "f_6")[: len(panel.features)]
    names += panel.features[len(names) :]
    named = replace(panel, features=names)
    other = fit_boosting(named, FOLD, rounds=40, leaves=7, seed=3)
    shuffled = named.with_features(names[::-1])
    for one in (named, shuffled):
        found = boosting_probability(other, one, FOLD.test)
        assert np.array_equal(found, boosting_probability(text, panel, FOLD.test), equal_nan=True)
    with pytest.raises(ValueError, match="not in the panel"):
        boosting_probability(other, panel, FOLD.test)


@pytest.mark.fault("bad_bars")
def test_one_direction_alone_in_train_is_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match=r"f: train has \d+ scored labels, .* both directions"):
        fit_boosting(replace(panel, label=np.abs(panel.label)), FOLD, rounds=5, leaves=3, seed=3)


@pytest.mark.parametrize(("sign", "words"), [(1.0, "above"), (-1.0, "not above")])
def test_a_validation_of_one_direction_trains_all_rounds_and_says_so(panel: Panel, sign: float, words: str) -> None:
    label = panel.label.copy()
    label[:, slice(*FOLD.validation)] = sign * np.abs(label[:, slice(*FOLD.validation)])
    said: list[str] = []
    text = fit_boosting(replace(panel, label=label), FOLD, rounds=30, leaves=4, seed=3, warn=said.append)
    assert text.count("Tree=") == 30
    (sentence,) = said
    assert f"validation labels are {words} zero" in sentence
    assert "all 30 are kept" in sentence
    with pytest.warns(UserWarning, match="all 5 are kept"):
        fit_boosting(replace(panel, label=label), FOLD, rounds=5, leaves=4, seed=3)


def test_a_validation_without_a_label_is_refused(panel: Panel) -> None:
    label = panel.label.copy()
    label[:, slice(*FOLD.validation)] = np.nan
    with pytest.raises(ValueError, match="validation has no scored label"):
        fit_boosting(replace(panel, label=label), FOLD, rounds=5, leaves=4, seed=3)
