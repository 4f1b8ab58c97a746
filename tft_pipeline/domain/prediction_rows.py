"""Predictions of one fold as rows, beside what came of them. Not here: predicting, what a book of them earns (`backtest`)."""

import numpy as np
import polars as pl

from tft_pipeline.domain.panel import Panel


def prediction_frame(key: str, test: Panel, columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """One row a test bar and symbol that is observed there, sorted by bar and symbol."""
    symbol, bar = np.nonzero(test.observed)
    order = np.lexsort((symbol, bar))
    symbol, bar = symbol[order], bar[order]
    grids = columns | {
        "next_return": test.next_return,
        "volatility": test.volatility,
        "label": test.label,
    }
    return pl.DataFrame(
        {
            "fold": [key] * len(bar),
            "timestamp": pl.Series([test.calendar[b] for b in bar], dtype=pl.Datetime("us", "UTC")),
            "symbol": [test.symbols[s] for s in symbol],
            **{name: grid[symbol, bar].astype(np.float64) for name, grid in grids.items()},
        }
    )
