"""Copies of the embedded sample with a known truth: returns without any skill to find, and returns with a planted signal.

Seeds are fixed here once. Not here: what a run must find in them (`end_to_end.test_acceptance`).
"""

import numpy as np
import polars as pl

MARKET = "SP500"
PERMUTATION_SEED = 20260101
SIGNAL_SEED = 20260102
PERSISTENCE = 0.98
INFORMATION_COEFFICIENT = 0.05


def permuted(bars: pl.DataFrame) -> pl.DataFrame:
    """The same days in another order, the same one for all symbols, each symbol's mean log return taken out.

    What is left between symbols on a day stays; what was predictable over time is gone, a drift to ride included.
    """
    wide, symbols = _log_returns(bars)
    order = np.random.default_rng(PERMUTATION_SEED).permutation(len(wide))
    shuffled = wide[order] - wide.mean(axis=0)
    return _prices(bars, symbols, shuffled)


def planted(bars: pl.DataFrame) -> pl.DataFrame:
    """`permuted` plus a slow signal that the next return follows, given as the column `planted_signal`.

        x_t = rho x_{t-1} + sqrt(1 - rho^2) e_t,    r_{t+1} = sqrt(1 - ic^2) u_{t+1} + ic sd(u) x_t

    rho is `PERSISTENCE`, so that a position following x_t trades little; ic is `INFORMATION_COEFFICIENT`.
    """
    wide, symbols = _log_returns(permuted(bars))
    noise = np.random.default_rng(SIGNAL_SEED).standard_normal((len(wide) + 1, len(symbols)))
    signal = np.empty_like(noise)
    signal[0] = noise[0]
    for t in range(1, len(noise)):
        signal[t] = PERSISTENCE * signal[t - 1] + np.sqrt(1.0 - PERSISTENCE**2) * noise[t]
    traded = np.array([symbol != MARKET for symbol in symbols])
    ic = INFORMATION_COEFFICIENT * traded
    returns = np.sqrt(1.0 - ic**2) * wide + ic * wide.std(axis=0) * signal[:-1]
    prices = _prices(bars, symbols, returns)
    stamps = bars["timestamp"].unique().sort()
    columns = [
        pl.DataFrame({"timestamp": stamps, "symbol": symbol, "planted_signal": signal[:, k]})
        for k, symbol in enumerate(symbols)
        if traded[k]
    ]
    return prices.join(pl.concat(columns), on=["timestamp", "symbol"], how="left").sort("symbol", "timestamp")


def _log_returns(bars: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """(bars - 1, symbols), and the symbols; every symbol has every bar."""
    wide = bars.pivot(on="symbol", index="timestamp", values="close").sort("timestamp")
    symbols = [name for name in wide.columns if name != "timestamp"]
    return np.diff(np.log(wide.select(symbols).to_numpy()), axis=0), symbols


def _prices(bars: pl.DataFrame, symbols: list[str], returns: np.ndarray) -> pl.DataFrame:
    stamps = bars["timestamp"].unique().sort()
    paths = 100.0 * np.exp(np.vstack([np.zeros(len(symbols)), np.cumsum(returns, axis=0)]))
    frames = [
        pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": paths[:, k]}) for k, symbol in enumerate(symbols)
    ]
    return pl.concat(frames).sort("symbol", "timestamp")
