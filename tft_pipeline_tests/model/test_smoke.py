"""One question to a stored model: it answers, or the failure is named."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.smoke import BrokenModelError, smoke_prediction
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sharpe": ({}, {"loss_mode": "sharpe"}),
    "joint_mle, static, context": ({"static_symbol": True, "n_context": 2}, {"loss_mode": "joint_mle"}),
    "lstm, bce": ({"family": "lstm"}, {"loss_mode": "bce"}),
    "quantiles": ({}, {"loss_mode": "joint_quantile"}),
}
REFERENCE: tuple[dict[str, Any], dict[str, Any]] = ({"family": "pytorch_forecasting"}, {"loss_mode": "joint_quantile"})


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), training=TRAINING.model_copy(update={"loss_mode": "joint_mle"}), epochs=1)


@pytest.mark.parametrize("kind", [*KINDS, pytest.param("reference", marks=pytest.mark.slow)])
def test_a_model_of_every_kind_answers_with_the_same_position_each_time(kind: str) -> None:
    network, training = KINDS.get(kind, REFERENCE)
    model = small_fit(
        random_panel(),
        network=NETWORK.model_copy(update=network),
        training=TRAINING.model_copy(update=training),
        epochs=1,
    )
    answer = smoke_prediction(model)
    assert -1.0 <= answer <= 1.0
    assert smoke_prediction(model) == answer
    assert smoke_prediction(model, seed=1) != answer, "it reads its inputs"


def test_weights_that_are_not_finite_are_caught(fitted: FittedFold) -> None:
    name = next(iter(fitted.state))
    broken = replace(fitted, state={**fitted.state, name: torch.full_like(fitted.state[name], torch.nan)})
    with pytest.raises(BrokenModelError, match="position nan"):
        smoke_prediction(broken)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_of_another_network_are_caught(fitted: FittedFold, change: str) -> None:
    name = next(iter(fitted.state))
    others = {key: value for key, value in fitted.state.items() if key != name}
    state = others if change == "missing" else {**others, name: torch.zeros(1, 2, 3)}
    with pytest.raises(BrokenModelError, match="does not load and predict"):
        smoke_prediction(replace(fitted, state=state))
