"""Which tuning sections are refused, and why; that each limit does something is shown beside the pruners."""

import pytest
import yaml

from tft_pipeline.domain.experiment import ConfigurationError, parse_experiment
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.domain.test_experiment import EXPERIMENTS


def refusal(changes: dict) -> str:
    with pytest.raises(ConfigurationError) as caught:
        small({f"tuning.{key}": value for key, value in changes.items()})
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pruner": "mean"}, ["tuning.pruner", "'median'", "'mean'"]),
        ({"pruner": "wilcoxon"}, ["wilcoxon with 2 folds", "fewer than 5"]),
        ({"pruner": "wilcoxon", "folds.max_folds": 3, "wilcoxon_p": 0.5}, ["with 3 folds", "fewer than 4"]),
        ({"pruner": "wilcoxon", "folds.max_folds": 4}, ["wilcoxon_p 0.1", "fewer than 5"]),
        ({"pruner": "wilcoxon", "folds.max_folds": 6, "warmup_folds": 5}, ["warmup_folds 5", "fewer than 7"]),
        ({"pruner": "wilcoxon", "folds.max_folds": 6, "wilcoxon_p": 0.6}, ["tuning.wilcoxon_p", "0.5"]),
        ({"pruner": "hyperband"}, ["min_epochs 1 >= epochs 1", "prunes nothing"]),
        ({"pruner": "hyperband", "epochs": 9, "reduction_factor": 1}, ["tuning.reduction_factor", "2"]),
        ({"pruner": "hyperband", "epochs": 9, "warmup_folds": 3}, ["warmup_folds is 3", "pruner is hyperband"]),
        ({"pruner": "hyperband", "epochs": 9, "reduction_factor": 9}, ["leaves the budgets [1, 9]", "needs three"]),
        ({"pruner": "hyperband", "epochs": 9, "min_epochs": 5}, ["leaves the budgets [5, 9]"]),
        ({"warmup_folds": 1}, ["warmup_folds 1 of 2 folds", "set pruner to none"]),
        ({"warmup_folds": 5, "folds.max_folds": 6}, ["warmup_folds 5 of 6 folds"]),
        ({"startup_trials": 3}, ["startup_trials 3 >= n_trials 3", "prunes nothing"]),
        ({"pruner": "none", "warmup_folds": 3}, ["warmup_folds is 3 and pruner is none", "changes nothing"]),
        ({"pruner": "none", "wilcoxon_p": 0.2}, ["wilcoxon_p is 0.2 and pruner is none"]),
        ({"space": {"training.learning_rate": {"choices": [0.01, 0.01]}}}, ["choices hold 0.01 twice"]),
        ({"space": {"network.dropout": {"choices": [0, 0.2, 0.0]}}}, ["choices hold 0.0 twice"]),
        ({"min_epochs": 2}, ["min_epochs is 2 and pruner is median", "changes nothing"]),
        ({"reduction_factor": 2}, ["reduction_factor is 2 and pruner is median"]),
        ({"wilcoxon_p": 0.2}, ["wilcoxon_p is 0.2 and pruner is median", "set pruner to wilcoxon"]),
    ],
)
def test_a_section_that_cannot_do_what_it_says_is_refused(changes, words):
    message = refusal(changes)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(("enough", "more"), [(5, {}), (4, {"wilcoxon_p": 0.2}), (7, {"warmup_folds": 5})])
def test_as_many_folds_as_the_message_asks_for_are_enough_and_one_less_is_not(enough: int, more: dict):
    wilcoxon = {"pruner": "wilcoxon"} | more
    assert f"fewer than {enough}" in refusal(wilcoxon | {"folds.max_folds": enough - 1})
    accepted = small({f"tuning.{key}": value for key, value in (wilcoxon | {"folds.max_folds": enough}).items()})
    assert accepted.tuning.folds.max_folds == enough


def test_without_a_limit_of_folds_only_the_bars_can_tell_whether_they_are_enough():
    section = small({"tuning.pruner": "wilcoxon", "tuning.folds.max_folds": None}).tuning
    section.refuse_too_few_folds(5)
    with pytest.raises(ValueError, match="with 4 folds"):
        section.refuse_too_few_folds(4)


def test_what_cannot_act_is_refused_only_where_the_file_states_it():
    assert "warmup_folds 2 of 2 folds" in small().tuning.why_idle(2)
    small({"tuning.pruner": "none", "tuning.startup_trials": 50})  # the sampler's, too: a random search
    small({"tuning.warmup_folds": 4, "tuning.folds.max_folds": 6})
    several = small({"tuning.n_trials": 6, "tuning.folds.max_folds": 4}).tuning
    assert several.why_idle(4) == "" != several.why_idle(3)


@pytest.mark.parametrize("name", ["demo", "intraday"])
def test_experiments_with_too_few_folds_for_a_pruner_say_so(name):
    raw = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())
    assert parse_experiment(raw, origin=name).tuning.pruner == "none"


def test_the_longest_lookback_is_the_largest_that_is_searched():
    assert small().longest_lookback == 16
    for knob in ({"choices": [12, 20, 8]}, {"low": 12, "high": 20}):
        assert small({"tuning.space": {"training.lookback": knob}}).longest_lookback == 20


@pytest.mark.parametrize("key", ["network.n_context", "network.static_symbol"])
def test_a_searched_input_that_the_family_has_not_is_refused(key):
    with pytest.raises(ConfigurationError, match=f"tuning.space: {key} is searched and network.family is lstm"):
        small({"network.family": "lstm", "tuning.space": {key: {"choices": [0, 1]}}})


def test_the_daily_experiment_keeps_the_default_pruner_and_leaves_the_largest_position_to_risk():
    tuning = parse_experiment(yaml.safe_load((EXPERIMENTS / "daily.yaml").read_text()), origin="daily.yaml").tuning
    assert tuning.pruner == "median"
    assert "position.max_position" not in tuning.space
