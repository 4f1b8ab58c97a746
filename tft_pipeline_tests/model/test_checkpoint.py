"""The file a killed fit goes on from: complete, exact, refused when damaged or of other inputs."""

import json
import logging
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.checkpoint import (
    TrainingState,
    inputs_sha256,
    optimiser_tensors,
    random_states,
    read_state,
    remove_state,
    restore_optimiser,
    write_state,
)
from tft_pipeline.model.windows import PanelTensors, panel_tensors
from tft_pipeline_tests.oracles.model_panels import random_panel

HISTORY = [
    {"epoch": 0, "train_loss": 0.1 + 0.2, "validation_loss": 1.5, "validation_sharpe": None},
    {"epoch": 1, "train_loss": -1 / 3, "validation_loss": 0.7, "validation_sharpe": 1e-17},
    {"epoch": 2, "train_loss": 2.0, "validation_loss": 0.9, "validation_sharpe": -0.1},
]


def _state(**changes: Any) -> TrainingState:
    torch.manual_seed(3)
    parts: dict[str, Any] = {
        "network": {"a.weight": torch.randn(4, 3), "a.bias": torch.randn(4)},
        "optimiser": {"0.step": torch.tensor(7.0), "0.exp_avg": torch.randn(4, 3)},
        "best": {"a.weight": torch.randn(4, 3), "a.bias": torch.randn(4)},
        "random": random_states(torch.Generator().manual_seed(1)),
        "history": HISTORY,
        "best_epoch": 1,
    }
    return TrainingState(**{**parts, **changes})


def _tensors() -> PanelTensors:
    panel = random_panel()
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    return panel_tensors(panel, scaler, start=0, stop=106, target_volatility=0.15)


def test_a_state_is_read_back_to_the_bit(tmp_path: Path) -> None:
    state, path = _state(), tmp_path / "folder" / "state.safetensors"
    write_state(path, state, "inputs")
    again = read_state(path, "inputs")
    assert again is not None
    for name in ("network", "optimiser", "best", "random"):
        one, other = getattr(state, name), getattr(again, name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)
    assert (again.history, again.best_epoch) == (HISTORY, 1)
    assert [path.name for path in path.parent.iterdir()] == ["state.safetensors"]


def test_early_stopping_counts_from_the_best_epoch() -> None:
    state = _state()
    assert (state.epochs, state.epochs_without_gain, state.best_loss) == (3, 1, 0.7)


def test_the_file_is_safetensors_with_json_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, _state(), "inputs")
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["state"]) == {"history": HISTORY, "best_epoch": 1, "inputs": "inputs"}
        assert "best/a.weight" in file.keys()  # noqa: SIM118


def test_without_a_file_there_is_no_state_and_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_state(tmp_path / "none", "inputs") is None
    assert not caplog.records


def test_a_file_of_other_inputs_is_left_aside_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state"
    write_state(path, _state(), "inputs")
    with caplog.at_level(logging.WARNING):
        assert read_state(path, "others") is None
    assert "belongs to other inputs" in caplog.text
    assert str(path) in caplog.text


@pytest.mark.fault("corrupt_checkpoint")
def test_every_damage_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state"
    write_state(path, _state(), "inputs")
    whole = path.read_bytes()
    flipped = [bytes([*whole[:k], whole[k] ^ 4, *whole[k + 1 :]]) for k in range(8, len(whole), 211)]
    for damaged in (b"", b"nothing", whole[: len(whole) // 2], whole[:-1], whole + b"0", *flipped):
        path.write_bytes(damaged)
        caplog.clear()
        assert read_state(path, "inputs") is None
        assert "is damaged" in caplog.text
    path.write_bytes(whole)
    assert read_state(path, "inputs") is not None


@pytest.mark.fault("unwritable_checkpoint")
def test_a_state_that_cannot_be_written_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    write_state(path, _state(), "inputs")
    with pytest.raises(ValueError, match="JSON"):
        write_state(path, _state(history=[{"validation_loss": float("nan")}]), "inputs")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_state(path, _state(best_epoch=2), "inputs")
    monkeypatch.undo()
    kept = read_state(path, "inputs")
    assert kept is not None
    assert kept.best_epoch == 1
    remove_state(path)
    assert not list(tmp_path.iterdir())
    remove_state(path)


def test_an_optimiser_goes_on_as_if_it_had_never_stopped() -> None:
    def trained(steps: int, layer: nn.Linear, optimiser: torch.optim.Optimizer) -> None:
        for k in range(steps):
            optimiser.zero_grad()
            layer(torch.full((2, 3), float(k + 1))).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    trained(3, layer, optimiser)
    other = nn.Linear(3, 2)
    other.load_state_dict(layer.state_dict())
    again = torch.optim.AdamW(other.parameters(), lr=0.1, fused=True)
    restore_optimiser(again, {key: value.clone() for key, value in optimiser_tensors(optimiser).items()})
    trained(3, layer, optimiser)
    trained(3, other, again)
    assert torch.equal(layer.weight, other.weight)


def test_the_hash_knows_every_input_and_nothing_else() -> None:
    tensors, settings, weights = _tensors(), {"seed": 1}, {"w": torch.zeros(3)}
    inputs = inputs_sha256(settings, tensors, weights)
    assert inputs_sha256({"seed": 1}, _tensors(), {"w": torch.zeros(3)}) == inputs
    others = [
        inputs_sha256({"seed": 2}, tensors, weights),
        inputs_sha256(settings, tensors, {"w": torch.full((3,), 1e-30)}),
        inputs_sha256(settings, tensors, {"w": torch.zeros(3, 1)}),
    ]
    for name in ("values", "observed"):
        changed = getattr(tensors, name).clone()
        changed[2, 50] = ~changed[2, 50] if changed.dtype == torch.bool else changed[2, 50] + 1e-3
        others.append(inputs_sha256(settings, replace(tensors, **{name: changed}), weights))
    for field in fields(tensors.outcomes):
        changed = getattr(tensors.outcomes, field.name).clone()
        changed[2, 50] = ~changed[2, 50] if changed.dtype == torch.bool else changed[2, 50] + 1e-3
        outcomes = replace(tensors.outcomes, **{field.name: changed})
        others.append(inputs_sha256(settings, replace(tensors, outcomes=outcomes), weights))
    assert len({inputs, *others}) == len(others) + 1
