"""Small panels with known properties, for the tests of the model layer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.sections import NetworkSection, PositionSection, TrainingSection
from tft_pipeline.model.fit import FittedFold, fit_fold

BARS_PER_YEAR = 252.0


def random_panel(
    *, n_symbols: int = 3, n_bars: int = 140, n_features: int = 4, seed: int = 0, gaps: bool = True, edge: float = 0.0
) -> Panel:
    """Standard normal features; next returns at 20-30 % volatility, correlated `edge` with the first feature.

    With gaps: the first symbol starts late, the second pauses, and single values are missing.
    """
    random = np.random.default_rng(seed)
    shape = (n_symbols, n_bars)
    values = random.standard_normal((*shape, n_features)).astype(np.float32)
    volatility = np.broadcast_to(random.uniform(0.2, 0.3, (n_symbols, 1)), shape).copy()
    label = edge * values[..., 0] + np.sqrt(1.0 - edge**2) * random.standard_normal(shape)
    next_return = label * volatility / np.sqrt(BARS_PER_YEAR)
    observed = np.ones(shape, dtype=bool)
    if gaps:
        observed[0, : n_bars // 5] = False
        observed[1, n_bars // 2 : n_bars // 2 + 4] = False
        values[random.random(values.shape) < 0.02] = np.nan
        volatility[~observed] = np.nan
    label[:, -1] = np.nan
    next_return[:, -1] = np.nan
    return Panel(
        calendar=tuple(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(n_bars)),
        symbols=tuple(f"S{i}" for i in range(n_symbols)),
        features=tuple(f"f{i}" for i in range(n_features)),
        values=values,
        observed=observed,
        next_return=next_return,
        volatility=volatility,
        label=label,
        close=np.ones(shape),
    )


def small_fold() -> Fold:
    """Train 80, purge 2, validation 24, purge 2, test 30 of `random_panel`'s 140 bars."""
    return Fold(key="f", train=Span(0, 80), validation=Span(82, 106), test=Span(108, 138))


NETWORK = NetworkSection(hidden=8, heads=2, variable_hidden=4, dropout=0.1)
TRAINING = TrainingSection(lookback=16, warmup_bars=5, batch_blocks=3, learning_rate=5e-3)
POSITION = PositionSection(position_smooth=0.4, cost_bps=5.0)


def small_fit(
    panel: Panel,
    *,
    fold: Fold | None = None,
    network: NetworkSection = NETWORK,
    training: TrainingSection = TRAINING,
    epochs: int = 2,
    seed: int = 1,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    checkpoint: Path | None = None,
    on_unwritten: Callable[[str], None] | None = None,
) -> FittedFold:
    """`fit_fold` with small sections."""
    return fit_fold(
        panel,
        small_fold() if fold is None else fold,
        network=network,
        training=training,
        position=POSITION,
        target_volatility=0.15,
        horizon=1,
        bars_per_year=BARS_PER_YEAR,
        epochs=epochs,
        seed=seed,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        on_unwritten=on_unwritten,
    )


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module in float64 and evaluation mode with every parameter drawn anew, so that no term hides at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """The module's weights as numpy arrays."""
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}
