"""Gradient steps over several batches: dealt evenly, the gradient of one big batch, the memory of one small one."""

import weakref
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.accumulation import StepBatches
from tft_pipeline.model.heads import Forecast, LossMode
from tft_pipeline.model.lightning import TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import Outcomes, block_bars, panel_tensors
from tft_pipeline_tests.oracles.model_panels import BARS_PER_YEAR, NETWORK, POSITION, TRAINING, random_panel

BATCHES = [torch.tensor([0, 33, 5]), torch.tensor([60]), torch.tensor([17, 48])]


def _module(mode: LossMode, network: NetworkSection = NETWORK) -> TftModule:
    """In float64 and training mode, every parameter away from its start."""
    panel = random_panel()
    training = TRAINING.model_copy(update={"loss_mode": mode})
    tensors = panel_tensors(
        panel, Scaler.fit(panel.values[panel.observed], panel.features), start=10, stop=106, target_volatility=0.15
    )
    outcomes = {field.name: getattr(tensors.outcomes, field.name) for field in fields(Outcomes)}
    doubled = {name: part.double() if part.is_floating_point() else part for name, part in outcomes.items()}
    torch.manual_seed(0)
    net = Tft(4, network, mode, n_symbols=3).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return TftModule(
        net,
        replace(tensors, values=tensors.values.double(), outcomes=Outcomes(**doubled)),
        Span(60, 106),
        calendar=panel.calendar,
        training=training,
        objective=Objective.of(training, POSITION, panel.symbols, BARS_PER_YEAR),
        levels=torch.tensor([1, 2, 3]) if network.static_symbol else None,
    ).train()


def _gradients(module: TftModule, loss: torch.Tensor) -> torch.Tensor:
    """All in one vector."""
    module.zero_grad()
    loss.backward()
    return torch.cat(
        [parameter.grad.flatten() for parameter in module.network.parameters() if parameter.grad is not None]
    )


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@given(n_batches=st.integers(1, 60), n=st.integers(1, 20))
@settings(deadline=None)
def test_steps_hold_all_batches_in_order_and_differ_by_one_at_most(n_batches: int, n: int) -> None:
    batches = [torch.tensor([k]) for k in range(n_batches)]
    steps = list(StepBatches(batches, n))
    assert [int(batch) for step in steps for batch in step] == list(range(n_batches))
    sizes = [len(step) for step in steps]
    assert max(sizes) <= n
    assert max(sizes) - min(sizes) <= 1
    assert len(steps) == int(np.ceil(n_batches / n))


def test_every_pass_over_the_steps_is_a_new_epoch_of_the_batches() -> None:
    class Growing:
        epoch = 0

        def __iter__(self) -> Any:
            self.epoch += 1
            return iter([torch.tensor([self.epoch])])

    steps = StepBatches(Growing(), 2)
    assert [int(step[0]) for _ in range(3) for step in steps] == [1, 2, 3]


@pytest.mark.parametrize("mode", ["sharpe", "joint_mle", "joint_quantile", "bce"])
def test_the_gradient_is_that_of_one_big_batch(mode: LossMode) -> None:
    module = _module(mode, NETWORK.model_copy(update={"dropout": 0.0}))
    big = module.training_step([torch.cat(BATCHES)])
    expected = _gradients(module, big)
    pooled = module.training_step(BATCHES)
    assert pooled.item() == pytest.approx(big.item(), rel=1e-12)
    assert _distance(_gradients(module, pooled), expected) < 1e-10


@pytest.mark.parametrize("mode", ["sharpe", "joint_quantile"])
def test_with_dropout_and_hidden_symbols_it_is_that_of_one_graph_with_the_draws_of_the_first_pass(
    mode: LossMode,
) -> None:
    module = _module(mode, NETWORK.model_copy(update={"dropout": 0.5, "static_symbol": True, "lstm_layers": 2}))
    starts = torch.cat(BATCHES)
    bars = block_bars(starts, TRAINING.lookback)
    torch.manual_seed(7)
    parts = [module._forecast(batch) for batch in BATCHES]
    whole = [None if column[0] is None else torch.cat(column, 1) for column in zip(*parts, strict=True)]
    counted = (torch.arange(16) >= TRAINING.warmup_bars).expand(6, 16)
    one_graph = module.objective.loss(
        Forecast(*whole), module.tensors.observed[:, bars], module.tensors.outcomes.at(bars), counted
    )
    after = torch.rand(3)
    expected = _gradients(module, one_graph)
    torch.manual_seed(7)
    loss = module.training_step(BATCHES)
    actual = _gradients(module, loss)
    assert torch.equal(torch.rand(3), after)  # the second pass takes no random number from what follows
    assert loss.item() == pytest.approx(one_graph.item(), rel=1e-12)
    assert _distance(actual, expected) < 1e-10
    torch.manual_seed(8)
    assert _distance(_gradients(module, module.training_step(BATCHES)), expected) > 0.01


def test_it_is_not_the_mean_of_the_batches_gradients() -> None:
    module = _module("sharpe", NETWORK.model_copy(update={"dropout": 0.0}))
    apart = torch.stack([_gradients(module, module.training_step([batch])) for batch in BATCHES]).mean(0)
    assert _distance(_gradients(module, module.training_step(BATCHES)), apart) > 0.1


class _LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that operations made and that still live; the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak, self._known = 0, 0, weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage not in self._known:
                self._known.add(storage)
                size = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def test_the_memory_is_that_of_one_batch() -> None:
    module = _module("joint_mle", NETWORK.model_copy(update={"hidden": 16}))
    batches = [torch.arange(8 * k, 8 * k + 8) for k in range(8)]

    def peak(step: list[torch.Tensor]) -> int:
        with _LiveBytes() as live:
            _gradients(module, module.training_step(step))
        return live.peak

    one, pooled, big = peak(batches[:1]), peak(batches), peak([torch.cat(batches)])
    assert big > 5 * one
    assert pooled < 1.5 * one
