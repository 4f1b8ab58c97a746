"""Both contestants of `time_to_loss`, trained epoch by epoch on the same arrays. Not here: how long, what it means.

Axes: S symbols, W windows, T bars of the lookback, V variables.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import ours
import torch
from panel_loader import forecasting_loader
from peers import Sizes, pytorch_forecasting
from sample_fold import FoldArrays
from torch import nn
from train_step import loss_of

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.losses import gaussian_nll
from tft_pipeline.model.network import Tft, count_parameters
from tft_pipeline.model.windows import training_starts

LOOKBACK, WARMUP, CLIP = 63, 21, 0.5
THEIR_HIDDEN, THEIR_WIDTH = 16, 8
"""Their `hidden_size`, and their default `hidden_continuous_size`."""
LARGEST_DIFFERENCE = 0.10
"""Of the numbers of parameters."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one side is trained; `batch` is windows of any symbols."""

    learning_rate: float
    batch: int
    dropout: float


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Validation loss behind an epoch, and the seconds it took to get there, from the start."""

    loss: float
    wall_s: float
    cpu_s: float


def train(side: str, data: FoldArrays, recipe: Recipe, seed: int) -> Iterator[Epoch]:
    """Epoch after epoch, as long as the caller asks."""
    wall, cpu = time.perf_counter(), time.process_time()
    torch.manual_seed(seed)
    run_epoch, validate = {"theirs": _theirs, "ours": _ours}[side](data, recipe, seed)
    while True:
        run_epoch()
        loss = validate()
        yield Epoch(loss=loss, wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)


def _theirs(data: FoldArrays, recipe: Recipe, seed: int) -> tuple[Callable[[], None], Callable[[], float]]:
    network = their_network(data.values.shape[-1], recipe.dropout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate)

    def loader(first: int, stop: int, *, training: bool) -> torch.utils.data.DataLoader:
        # the label of the last bar stands on a decoder step one bar further
        bars = slice(first, stop + 1)
        return forecasting_loader(
            data.values[:, bars], data.label[:, bars], lookback=LOOKBACK, batch=recipe.batch, train=training
        )

    batches = loader(*data.train, training=True)
    held_out = loader(data.validation.start - LOOKBACK + 1, data.validation.stop, training=False)

    def run_epoch() -> None:
        network.train()
        for x, (y, _) in batches:
            _update(network, optimizer, loss_of(network(x).prediction[:, 0], y[:, 0]))

    def validate() -> float:
        network.eval()
        with torch.inference_mode():
            parts = [(network(x).prediction[:, 0], y[:, 0]) for x, (y, _) in held_out]
        output, label = (torch.cat(part) for part in zip(*parts, strict=True))
        _refuse_other_labels(label.numpy(), data)
        return loss_of(output, label).item()

    return run_epoch, validate


def _ours(data: FoldArrays, recipe: Recipe, seed: int) -> tuple[Callable[[], None], Callable[[], float]]:
    values, label = torch.from_numpy(data.values), torch.from_numpy(data.label)
    S, _, V = values.shape
    network = our_network(V, recipe.dropout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    first = data.validation.start - LOOKBACK + 1
    windows = ours.windows_of(torch.arange(data.validation.n_bars), LOOKBACK)  # (W, T), counted from `first`
    all_observed = torch.ones(len(windows), LOOKBACK, dtype=torch.bool)

    def run_epoch() -> None:
        network.train()
        starts = training_starts(data.train.n_bars, lookback=LOOKBACK, warmup=WARMUP, generator=generator)
        pairs = torch.cartesian_prod(torch.arange(S), starts)  # every symbol's window from every start
        for batch in pairs[torch.randperm(len(pairs), generator=generator)].split(recipe.batch):
            symbol, bars = batch[:, :1], ours.windows_of(batch[:, 1], LOOKBACK)  # (W, 1), (W, T)
            inputs = values[symbol, bars]  # (W, T, V)
            observed = torch.ones(bars.shape, dtype=torch.bool)
            selected, _ = network.select(inputs.flatten(0, 1), observed.flatten())
            forecast = network.decode(selected.view(*bars.shape, -1), observed)
            assert forecast.mean is not None
            assert forecast.log_scale is not None
            counted = (torch.arange(LOOKBACK) >= WARMUP).expand_as(observed)
            _update(network, optimizer, gaussian_nll(forecast.mean, forecast.log_scale, label[symbol, bars], counted))

    def validate() -> float:
        network.eval()
        total = 0.0
        with torch.inference_mode():
            for s in range(S):
                tokens = values[s, first : data.validation.stop]
                selected, _ = network.select(tokens, torch.ones(len(tokens), dtype=torch.bool))
                forecast = network.decode_last(selected[windows], all_observed)
                output = torch.stack((forecast.mean, forecast.log_scale), dim=-1)
                total += loss_of(output, label[s, data.validation.start : data.validation.stop]).item()
        return total / S

    return run_epoch, validate


def _update(network: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()


def _refuse_other_labels(label: np.ndarray, data: FoldArrays) -> None:
    expected = data.label[:, data.validation.start : data.validation.stop].reshape(-1)
    if not np.array_equal(np.sort(label), np.sort(expected)):
        raise ValueError(f"their {label.size} validation labels are not our {expected.size}: losses cannot be compared")


def their_network(n_variables: int, dropout: float) -> nn.Module:
    """Theirs at its sizes."""
    return pytorch_forecasting(
        Sizes(variables=n_variables, batch=0, hidden=THEIR_HIDDEN, width=THEIR_WIDTH, dropout=dropout)
    )


def our_network(n_variables: int, dropout: float) -> Tft:
    """The decoder-only network at the width whose number of parameters is nearest to theirs.

    Raises:
        ValueError: none is within `LARGEST_DIFFERENCE`.
    """
    wanted = count_parameters(their_network(n_variables, dropout))
    state = torch.get_rng_state()
    made = [_decoder_only(n_variables, hidden, dropout) for hidden in range(12, 97, 4)]
    nearest = min(made, key=lambda network: abs(count_parameters(network) - wanted))
    if abs(count_parameters(nearest) / wanted - 1.0) > LARGEST_DIFFERENCE:
        raise ValueError(f"{count_parameters(nearest)} parameters are the nearest to their {wanted}: not within 10 %")
    torch.set_rng_state(state)
    return _decoder_only(n_variables, nearest.lstm.hidden_size, dropout)


def _decoder_only(n_variables: int, hidden: int, dropout: float) -> Tft:
    section = NetworkSection(hidden=hidden, heads=4, variable_hidden=THEIR_WIDTH, dropout=dropout)
    return Tft(n_variables, section, "joint_mle")
