"""How long one decision takes: one window of one symbol, from raw features to a position. Not here: the gate on it."""

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.context import WindowContext
from tft_pipeline.model.families import Network
from tft_pipeline.model.fit import FittedFold, symbol_levels
from tft_pipeline.model.isolation import single_thread

CONFIDENCE = 0.95


def benchmark_latency(fitted: FittedFold, *, warmup: int, n: int, seed: int) -> dict[str, Any]:
    """Wall-clock milliseconds of scaling one window (lookback, V) and running the network on it, batch 1, one thread.

    Inputs are drawn around the training mean with the training deviation; the time does not depend on their values.

    Args:
        warmup: untimed calls before the timed ones.
        n: timed calls.
    Returns:
        mean_ms, p50_ms, p95_ms, p99_ms, p999_ms (None below 1,000 calls), max_ms; p95_ci_ms, the 95 % interval of the p95
        from order statistics, its upper end None where n calls are too few to bound it; load_ms to build the network from
        its weights; cold_start_ms from there to the first position, loading included; n, warmup, threads, lookback,
        n_features, n_parameters; samples_ms, the timed calls in ascending order.
    Raises:
        ValueError: n < 20 or warmup < 0.
    """
    if n < 20 or warmup < 0:
        raise ValueError(f"n {n} and warmup {warmup}: a p95 needs n >= 20 timed calls and warmup >= 0")
    scaler, lookback = fitted.scaler, fitted.training.lookback
    generator = np.random.default_rng(seed)
    draws = generator.standard_normal((8, lookback, len(scaler.names)))
    windows = (scaler.mean + scaler.std * draws).astype(np.float32)
    took = np.empty(n)
    with single_thread(), torch.inference_mode():
        started = time.perf_counter()
        network = fitted.build()
        loaded = time.perf_counter()
        decide(network, fitted, windows[0])
        first = time.perf_counter()
        for call in range(warmup):
            decide(network, fitted, windows[call % len(windows)])
        for call in range(n):
            before = time.perf_counter()
            decide(network, fitted, windows[call % len(windows)])
            took[call] = time.perf_counter() - before
        threads = torch.get_num_threads()
    took_ms = np.sort(took) * 1e3
    return {
        "mean_ms": float(took_ms.mean()),
        "p50_ms": float(np.quantile(took_ms, 0.50)),
        "p95_ms": float(np.quantile(took_ms, 0.95)),
        "p99_ms": float(np.quantile(took_ms, 0.99)),
        "p999_ms": float(np.quantile(took_ms, 0.999)) if n >= 1_000 else None,
        "max_ms": float(took_ms[-1]),
        "samples_ms": took_ms.tolist(),
        "p95_ci_ms": quantile_interval(took_ms, 0.95),
        "load_ms": (loaded - started) * 1e3,
        "cold_start_ms": (first - started) * 1e3,
        "n": n,
        "warmup": warmup,
        "threads": threads,
        "lookback": lookback,
        "n_features": len(scaler.names),
        "n_parameters": fitted.n_parameters,
    }


def decide(
    network: Network,
    fitted: FittedFold,
    window: np.ndarray,
    *,
    symbol: str = "",
    at: datetime = datetime(9999, 1, 1, tzinfo=UTC),
) -> float:
    """Raw position at the last bar of one symbol's window (T, V) of unscaled features, all bars observed.

    Args:
        symbol: whose window it is; read with a static symbol or a context set. By default one the network does not know.
        at: close of the last bar; read with a context set, of which all that was resolved before may be chosen.
    Raises:
        ValueError: a window of another shape than (lookback, features), or an infinite value.
    """
    shape = (fitted.training.lookback, len(fitted.scaler.names))
    if window.shape != shape or np.isinf(window).any():
        raise ValueError(
            f"the window is {window.shape} with {int(np.isinf(window).sum())} infinite values; the network was trained on "
            f"{shape} and finite ones: its position would mean nothing; bring its features' last bars, missing ones as NaN"
        )
    scaled = torch.from_numpy(np.nan_to_num(fitted.scaler.transform(window), nan=0.0, copy=False))
    static = fitted.network.static_symbol
    reader = None
    if fitted.context is not None:
        reader = WindowContext(fitted.context, (symbol,), (at,), fitted.network.n_context)
    batch = WindowBatch(
        values=scaled.unsqueeze(0),
        observed=torch.ones(1, len(window), dtype=torch.bool),
        symbol=symbol_levels((symbol,), fitted.symbols) if static else None,
        context=None if reader is None else reader.of(np.zeros(1, dtype=int)),
    )
    return network.forecast_last(batch).position.item()


def quantile_interval(sorted_values: np.ndarray, quantile: float) -> tuple[float | None, float | None]:
    """Distribution-free interval of a quantile: the order statistics x_(j), x_(k) with binomial coverage >= 95 %.

        P(x_(j) <= quantile < x_(k)) = P(j <= Binomial(n, quantile) < k)

    An end is None where no order statistic lies beyond it. Source: Hahn and Meeker (1991), section 5.2.
    """
    n = len(sorted_values)
    tail = (1.0 - CONFIDENCE) / 2
    lower, upper = int(binom.ppf(tail, n, quantile)), int(binom.ppf(1.0 - tail, n, quantile)) + 1
    return (
        float(sorted_values[lower - 1]) if lower >= 1 else None,
        float(sorted_values[upper - 1]) if upper <= n else None,
    )
