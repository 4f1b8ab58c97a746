"""Panels with regimes and the pools of context sequences drawn from them. Not here: slow versions (`oracles.context`)."""

from dataclasses import replace
from typing import get_args

import numpy as np
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.context import ContextChoice, ContextPool, symbol_keys, time_keys
from tft_pipeline.model.context_pool import context_pool
from tft_pipeline.model.windows import PanelTensors, panel_tensors
from tft_pipeline_tests.oracles import context as oracle
from tft_pipeline_tests.oracles.model_panels import random_panel

CHOICES: tuple[ContextChoice, ...] = get_args(ContextChoice)
LENGTH = 9
TRAIN = Span(20, 300)


def regime_panel(seed: int = 0, *, n_symbols: int = 8, n_bars: int = 400) -> Panel:
    """Gaps, and regimes of mean and spread in the returns, so that there are change-points."""
    panel = random_panel(n_symbols=n_symbols, n_bars=n_bars, seed=seed)
    random = np.random.default_rng(seed)
    regime = np.cumsum(random.random((n_symbols, n_bars)) < 1 / 25, axis=1) % 5
    change = np.array([0.0, 2.0, -2.0, 1.0, -1.0])[regime] * 0.015
    return replace(panel, next_return=panel.next_return + change)


def with_horizon(panel: Panel, horizon: int) -> Panel:
    """Labels that are not known for the last `horizon` bars, nor where the symbol has no bar `horizon` bars later."""
    label = panel.label.copy()
    label[:, :-horizon][~panel.observed[:, horizon:]] = np.nan
    label[:, -horizon:] = np.nan
    return replace(panel, label=label)


def tensors_of(panel: Panel, *, start: int, stop: int) -> PanelTensors:
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    return panel_tensors(panel, scaler, start=start, stop=stop, target_volatility=0.15)


def pool_of(
    panel: Panel,
    choice: ContextChoice,
    *,
    train: Span = TRAIN,
    horizon: int = 1,
    n_context: int = 5,
    seed: int = 11,
) -> ContextPool:
    return context_pool(
        tensors_of(panel, start=train.start, stop=min(train.stop + 40, panel.n_bars)),
        train,
        symbols=panel.symbols,
        levels=torch.arange(len(panel.symbols)),
        calendar=panel.calendar,
        horizon=horizon,
        n_context=n_context,
        context_bars=LENGTH,
        choice=choice,
        seed=seed,
    )


def windows_at(panel: Panel, bars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every symbol at every one of the bars."""
    names, times = symbol_keys(panel.symbols), time_keys(panel.calendar)[bars]
    return np.repeat(names, len(bars)), np.tile(times, len(names))


def members_of(pool: ContextPool, panel: Panel) -> list[tuple[str, int, int]]:
    """(symbol, last bar, bar of resolution) of each member, found again through its hash."""
    of = {
        oracle.mixed(oracle.symbol_key(name), oracle.time_key(moment)): (name, bar)
        for name in panel.symbols
        for bar, moment in enumerate(panel.calendar)
    }
    bar_of = {key: bar for bar, key in enumerate(time_keys(panel.calendar).tolist())}
    pairs = zip(pool.identity.tolist(), pool.resolved_at.tolist(), strict=True)
    return [(*of[identity % 2**64], bar_of[resolved]) for identity, resolved in pairs]
