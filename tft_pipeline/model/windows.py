"""A fold as contiguous tensors, and the date blocks that are cut from them by index. Not here: scaling, losses.

Axes: S symbols, N bars, V variables, B blocks, T bars of a block (the lookback). A block is T consecutive bars of all
symbols, so that a batch has portfolio returns.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What positions earn and forecasts are scored on; tensors of one shape, zero where a symbol is absent.

    Attributes:
        present: bool, observed and with a finite return, volatility and label: `Panel.scored`.
        leverage: target volatility / volatility, the weight of a full position.
        next_return: return of the following bar.
        label: forward return over the horizon in units of expected risk.
    """

    present: Tensor
    leverage: Tensor
    next_return: Tensor
    label: Tensor

    def at(self, bars: Tensor) -> "Outcomes":
        """Bars `bars` (B, T) of (S, N) tensors -> (S, B, T)."""
        return Outcomes(**{field.name: getattr(self, field.name)[:, bars] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class PanelTensors:
    """Consecutive bars of a panel in one contiguous tensor; blocks and windows are indices into it.

    Two kinds of absence. A bar that is not observed (not listed, paused, too little history, padding) is False in
    `observed`: networks mask it, losses skip it. A missing value of an observed bar is set to the feature's train mean, which
    is zero after scaling, and counted in `missing`; a network cannot tell it from a value that is the mean, as it cannot tell
    any value of a flat feature.

    Attributes:
        first_bar: panel bar of index 0; negative where the front is padding.
        values: (S, N, V) float32; zero where missing or not observed.
        observed: (S, N) bool.
        outcomes: of (S, N).
        missing: (V,) number of values that were missing among observed bars.
    """

    first_bar: int
    values: Tensor
    observed: Tensor
    outcomes: Outcomes
    missing: np.ndarray

    def index(self, bar: int) -> int:
        """Position of a panel bar in these tensors."""
        return bar - self.first_bar

    def to(self, device: torch.device) -> "PanelTensors":
        """The same on a device."""
        outcomes = {field.name: getattr(self.outcomes, field.name).to(device) for field in fields(Outcomes)}
        return PanelTensors(
            first_bar=self.first_bar,
            values=self.values.to(device),
            observed=self.observed.to(device),
            outcomes=Outcomes(**outcomes),
            missing=self.missing,
        )


def panel_tensors(panel: Panel, scaler: Scaler, *, start: int, stop: int, target_volatility: float) -> PanelTensors:
    """Bars start .. stop-1 as tensors; a negative start pads the front with bars that are not observed.

    Beside the result it takes a block of rows: nothing of the panel's size is copied on the way.

    Raises:
        ValueError: features that are not the scaler's, or an infinite value among observed bars, by feature.
    """
    if panel.features != scaler.names:
        raise ValueError(
            f"the panel's {len(panel.features)} features are not the scaler's {len(scaler.names)} in their order: each would "
            "be scaled as another; choose them with Panel.with_features(scaler.names)"
        )
    padding = max(0, -start)
    cut = panel.between(max(start, 0), stop)
    refuse_infinite(cut)
    S, n, V = cut.values.shape

    def padded(array: np.ndarray, kind: type[np.generic]) -> Tensor:
        out = np.zeros((S, padding + n), dtype=kind)
        out[:, padding:] = array
        return torch.from_numpy(out)

    present = cut.scored
    leverage = np.divide(target_volatility, cut.volatility, out=np.zeros(present.shape), where=present)
    outcomes = Outcomes(
        present=padded(present, np.bool_),
        leverage=padded(leverage, np.float32),
        next_return=padded(np.where(present, cut.next_return, 0.0), np.float32),
        label=padded(np.where(present, cut.label, 0.0), np.float32),
    )
    del present, leverage  # before the values, so that what was needed here does not add to the peak
    values = np.zeros((S, padding + n, V), dtype=np.float32)
    missing = np.zeros(V, dtype=np.int64)
    for s, bars in cut.row_blocks():
        observed = cut.observed[s, bars]
        if not observed.any():
            continue
        z = scaler.transform(cut.values[s, bars])
        absent = np.isnan(z)
        missing += absent[observed].sum(axis=0)
        np.copyto(z, 0.0, where=absent)
        z[~observed] = 0.0
        values[s, padding + bars.start : padding + bars.stop] = z
    return PanelTensors(
        first_bar=start,
        values=torch.from_numpy(values),
        observed=padded(cut.observed, np.bool_),
        outcomes=outcomes,
        missing=missing,
    )


def refuse_infinite(panel: Panel) -> None:
    """Raise ValueError naming each feature with infinite values among observed bars, and how many."""
    found = np.zeros(len(panel.features), dtype=np.int64)
    for s, bars in panel.row_blocks():
        infinite = np.isinf(panel.values[s, bars])
        if infinite.any():
            found += infinite[panel.observed[s, bars]].sum(axis=0)
    if found.any():
        named = ", ".join(f"{panel.features[v]} ({found[v]})" for v in np.flatnonzero(found))
        raise ValueError(
            f"infinite values in features {named} among {int(panel.observed.sum())} observed bars: every output after "
            "them would be NaN; correct the feature, or make the value missing where it is undefined"
        )


def training_starts(n_bars: int, *, lookback: int, warmup: int, generator: torch.Generator) -> Tensor:
    """First bars of the blocks of one epoch, in random order; blocks stay inside 0 .. n_bars-1.

    Blocks start every lookback - warmup bars from a random offset, so that an epoch scores each bar about once: not the
    first `warmup` bars, and not the rest at the end that no whole block reaches, which the offset moves about.

    Raises:
        ValueError: not one block fits.
    """
    if n_bars < lookback:
        raise ValueError(
            f"{n_bars} training bars < lookback {lookback}: no window fits; lengthen train or shorten lookback"
        )
    stride = lookback - warmup
    offset = int(torch.randint(min(stride, n_bars - lookback + 1), (1,), generator=generator))
    starts = torch.arange(offset, n_bars - lookback + 1, stride)
    return starts[torch.randperm(len(starts), generator=generator)]


def covering_starts(first: int, stop: int, *, lookback: int, warmup: int) -> tuple[Tensor, Tensor]:
    """Blocks that score each bar of first .. stop-1 once, with `warmup` or more bars of the block before it.

    Returns:
        starts (B,) and picked (B, T) bool: the bars of each block that count, in time order when flattened.
    """
    stride = lookback - warmup
    n_blocks = math.ceil((stop - first) / stride)
    ends = torch.clamp(first + stride * torch.arange(1, n_blocks + 1), max=stop)
    starts = ends - lookback
    bars = starts[:, None] + torch.arange(lookback)
    from_bar = first + stride * torch.arange(n_blocks)
    return starts, bars >= from_bar[:, None]


def block_bars(starts: Tensor, lookback: int) -> Tensor:
    """starts (B,) -> (B, T) index of every bar of every block."""
    return starts[:, None] + torch.arange(lookback, device=starts.device)


class BlockBatches:
    """Batches of block starts; each pass over it is one epoch with its own offset and order.

    Blocks without a scored bar are left out. The others are dealt to ceil(n / batch_blocks) batches of sizes that differ by
    one at most: a small last batch would give a Sharpe ratio of few bars.

    Args:
        scored: (N,) bool, bars of the training span with a scored label; one at or behind `warmup`.
    """

    def __init__(self, scored: Tensor, *, lookback: int, warmup: int, batch_blocks: int, seed: int) -> None:
        self.n_bars, self.lookback, self.warmup, self.batch_blocks = len(scored), lookback, warmup, batch_blocks
        self.generator = torch.Generator().manual_seed(seed)
        self.scored = scored

    def __iter__(self) -> Iterator[Tensor]:
        useful = torch.empty(0, dtype=torch.long)
        while not len(useful):  # a lone scored bar near the end is reached by some offsets only
            starts = training_starts(self.n_bars, lookback=self.lookback, warmup=self.warmup, generator=self.generator)
            bars = block_bars(starts, self.lookback)[:, self.warmup :]
            useful = starts[self.scored[bars].any(1)]
        yield from useful.tensor_split(math.ceil(len(useful) / self.batch_blocks))
