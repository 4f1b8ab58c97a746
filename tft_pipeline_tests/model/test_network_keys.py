"""Every key of the network's and the training's section moves a fit, or is refused, or is known to change nothing.

Not here: how much each moves it, or that it moves it the right way; limits of single values (`domain/test_experiment`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.sections import NetworkSection, TrainingSection, idle_keys
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit, small_fold


@dataclass(frozen=True)
class Case:
    """A section, and which of its keys are refused a change or change nothing; every other key must move the fit."""

    keys: dict[str, Any]
    refused: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()


INPUTS_OF_THE_TFT = frozenset({"static_symbol", "n_context"})
KEYS_OF_THE_CONTEXT = frozenset({"context_bars", "context_choice"})
KEYS_OF_THE_TFT = frozenset({"heads", "variable_hidden"})

NETWORK_CHANGES: dict[str, Any] = {
    "family": {"tft": "lstm", "lstm": "pytorch_forecasting", "pytorch_forecasting": "tft"},
    "hidden": 12,
    "heads": 4,
    "lstm_layers": 3,
    "dropout": 0.4,
    "variable_hidden": 6,
    "static_symbol": True,
    "n_context": 5,
    "context_bars": 9,
    "context_choice": "time_equivalent",
}
"""One line a key of the section: a value that none of the cases has; of the family, one for each that a case has."""
NETWORK_CASES = {
    "tft": Case({"family": "tft"}, idle=KEYS_OF_THE_CONTEXT),
    "tft with a context set": Case({"family": "tft", "n_context": 3, "context_bars": 6}, refused=frozenset({"family"})),
    "lstm of two layers": Case(
        {"family": "lstm", "lstm_layers": 2}, refused=INPUTS_OF_THE_TFT, idle=KEYS_OF_THE_TFT | KEYS_OF_THE_CONTEXT
    ),
    "lstm of one layer": Case(
        {"family": "lstm", "lstm_layers": 1},
        refused=INPUTS_OF_THE_TFT,
        idle=KEYS_OF_THE_TFT | KEYS_OF_THE_CONTEXT | {"dropout"},
    ),
    "pytorch_forecasting": Case({"family": "pytorch_forecasting"}, refused=INPUTS_OF_THE_TFT, idle=KEYS_OF_THE_CONTEXT),
}

TRAINING_CHANGES: dict[str, Any] = {
    "lookback": 20,
    "warmup_bars": 9,
    "learning_rate": 1e-3,
    "weight_decay": 0.5,
    "batch_blocks": 2,
    "gradient_clip": 1e-3,
    "accumulate_batches": 2,
    "loss_mode": {"sharpe": "bce", "bce": "joint_mle", "joint_mle": "joint_quantile", "joint_quantile": "sharpe"},
    "mle_weight": 0.9,
    "patience": 3,
    "precision": "bf16-mixed",
}
"""One line a key of the section; of the loss mode, one for each that a case has."""
TRAINING_CASES = {
    "sharpe": Case({"loss_mode": "sharpe"}, idle=frozenset({"mle_weight"})),
    "bce": Case({"loss_mode": "bce"}, idle=frozenset({"mle_weight"})),
    "joint_mle": Case({"loss_mode": "joint_mle"}),
    "joint_quantile": Case({"loss_mode": "joint_quantile"}),
}
KEYS_WITH_A_TEST_OF_THEIR_OWN = frozenset({"patience", "precision"})


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


def _value(changes: dict[str, Any], section: NetworkSection | TrainingSection, key: str) -> Any:
    changed = changes[key]
    return changed[getattr(section, key)] if isinstance(changed, dict) else changed


def _network(case: Case) -> NetworkSection:
    return NetworkSection.model_validate({**NETWORK.model_dump(), **case.keys})


def _training(case: Case) -> TrainingSection:
    return TrainingSection.model_validate({**TRAINING.model_dump(), **case.keys})


def _positions(fitted: FittedFold, panel: Panel) -> np.ndarray:
    return predict(fitted, panel, small_fold().test).raw_position


def _assert_moved(panel: Panel, one: FittedFold, other: FittedFold, *, name: str) -> None:
    assert [row["validation_loss"] for row in one.history] != [row["validation_loss"] for row in other.history], name
    assert not np.array_equal(_positions(one, panel), _positions(other, panel), equal_nan=True), name


def _assert_same(one: FittedFold, other: FittedFold, *, name: str) -> None:
    assert one.history == other.history, name
    assert one.state.keys() == other.state.keys(), name
    assert all(torch.equal(value, other.state[part]) for part, value in one.state.items()), name


def test_every_key_has_a_line_here_and_its_value_is_a_change() -> None:
    for changes, section, cases in (
        (NETWORK_CHANGES, NetworkSection, [_network(case) for case in NETWORK_CASES.values()]),
        (TRAINING_CHANGES, TrainingSection, [_training(case) for case in TRAINING_CASES.values()]),
    ):
        assert changes.keys() == section.model_fields.keys(), "a new key needs a line in the table"
        for case in cases:
            assert all(_value(changes, case, key) != getattr(case, key) for key in changes)


@pytest.mark.parametrize("case", NETWORK_CASES.values(), ids=NETWORK_CASES)
def test_every_key_of_the_network_moves_the_fit_or_is_refused_or_is_known_to_be_idle(panel: Panel, case: Case) -> None:
    network = _network(case)
    expected = {f"network.{key}" for key in case.idle}
    assert set(idle_keys(network, TRAINING, searched=frozenset())) == expected
    fitted = small_fit(panel, network=network, epochs=1)
    for key in NETWORK_CHANGES:
        keys = {**network.model_dump(), key: _value(NETWORK_CHANGES, network, key)}
        if key in case.refused:
            with pytest.raises(ValidationError, match="it would be left out unnoticed"):
                NetworkSection.model_validate(keys)
            continue
        other = small_fit(panel, network=NetworkSection.model_validate(keys), epochs=1)
        if key in case.idle:
            _assert_same(fitted, other, name=key)
        else:
            _assert_moved(panel, fitted, other, name=key)


@pytest.mark.parametrize(
    ("family", "loss_mode"),
    [*(("tft", mode) for mode in TRAINING_CASES), ("lstm", "joint_mle"), ("pytorch_forecasting", "joint_mle")],
)
def test_every_key_of_the_training_moves_the_fit_or_is_known_to_be_idle(
    panel: Panel, family: str, loss_mode: str
) -> None:
    case = TRAINING_CASES[loss_mode]
    network, training = NETWORK.model_copy(update={"family": family}), _training(case)
    idle = idle_keys(network, training, searched=frozenset())
    assert {key for key in idle if key.startswith("training.")} == {f"training.{key}" for key in case.idle}
    fitted = small_fit(panel, network=network, training=training, epochs=1)
    for key in TRAINING_CHANGES.keys() - KEYS_WITH_A_TEST_OF_THEIR_OWN:
        keys = {**training.model_dump(), key: _value(TRAINING_CHANGES, training, key)}
        other = small_fit(panel, network=network, training=TrainingSection.model_validate(keys), epochs=1)
        if key in case.idle:
            _assert_same(fitted, other, name=key)
        else:
            _assert_moved(panel, fitted, other, name=key)


def test_patience_is_how_many_epochs_without_a_better_one_end_the_training(panel: Panel) -> None:
    unruly = TRAINING.model_copy(update={"learning_rate": 0.05})
    histories = [
        small_fit(panel, training=unruly.model_copy(update={"patience": patience}), epochs=60).history
        for patience in (1, 3)
    ]
    short, long = histories
    assert len(short) < len(long) < 60
    assert list(short) == list(long[: len(short)])
    for history, patience in zip(histories, (1, 3), strict=True):
        losses = [row["validation_loss"] for row in history]
        assert len(losses) - 1 - int(np.argmin(losses)) == patience


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
@pytest.mark.parametrize("family", ["tft", "lstm", "pytorch_forecasting"])
def test_another_precision_is_refused_without_a_cuda_device(panel: Panel, family: str) -> None:
    with pytest.raises(ValueError, match=r"training\.precision 'bf16-mixed' needs a CUDA device"):
        small_fit(
            panel,
            network=NETWORK.model_copy(update={"family": family}),
            training=TRAINING.model_copy(update={"precision": TRAINING_CHANGES["precision"]}),
        )
