"""What a file may say of gates: limits within their bounds, and no key that changes nothing."""

from typing import Any

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline_tests.builders import small


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        small(changes)
    return str(caught.value)


def test_every_key_is_described():
    assert all(field.description for field in GatesSection.model_fields.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("deploy", "always"),
        ("min_sharpe_ci_low", -0.1),
        ("min_sharpe_ci_low", float("inf")),
        ("min_accuracy_ci_low", 0.49),
        ("min_accuracy_ci_low", 1.0),
        ("drift", "retrain"),
        ("drift", "insufficient_data"),
        ("challenger", "worse"),
        ("challenger_min_bars", 19),
        ("keep_candidates", -1),
        ("keep_candidates", 2.0),
        ("override", "yes"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_by_name(key, value):
    message = refusal({f"gates.{key}": value})
    assert f"gates.{key}" in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gates.min_accuracy_ci_low": 0.52}, ["gates.min_accuracy_ci_low is 0.52", "joint_mle", "drop it"]),
        (
            {"gates.min_sharpe_ci_low": 0.5, "training.loss_mode": "bce"},
            ["gates.min_sharpe_ci_low is 0.5", "bce", "drop it"],
        ),
        ({"gates.challenger": "off", "gates.challenger_min_bars": 30}, ["challenger_min_bars is 30", "off"]),
        ({"gates.challenger_min_bars": 41}, ["challenger_min_bars 41", "> 40 bars", "production.folds.test"]),
        ({"gates.challenger_min_bars": 40, "target.horizon": 2}, ["challenger_min_bars 40", "> 39 bars", "horizon"]),
    ],
)
def test_a_key_that_changes_nothing_and_one_that_no_model_could_meet_are_refused(changes, words):
    message = refusal(changes)
    assert all(word in message for word in words), message


def test_a_limit_counts_where_some_trial_may_have_its_loss():
    either = {"tuning.space": {"training.loss_mode": {"choices": ["bce", "sharpe"]}}}
    assert (
        small({**either, "gates.min_accuracy_ci_low": 0.52, "gates.min_sharpe_ci_low": 0.1}).gates.deploy == "on_pass"
    )
    never = {"tuning.space": {"training.loss_mode": {"choices": ["joint_mle", "sharpe"]}}, "training.loss_mode": "bce"}
    assert "joint_mle or sharpe" in refusal({**never, "gates.min_accuracy_ci_low": 0.52})


def test_bars_that_a_fold_has_are_enough_and_without_a_comparison_none_are_asked_for():
    assert small({"gates.challenger_min_bars": 40}).gates.challenger_min_bars == 40
    folds = {"production.folds.test": 10, "production.folds.step": 10}
    assert "challenger_min_bars 20 > 10" in refusal(folds)
    assert small({**folds, "gates.challenger": "off"}).gates.challenger == "off"
