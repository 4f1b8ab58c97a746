"""What a model would have said bar after bar, as one table: what backtesting frameworks are fed with.

A table has one row a signal: the values of `domain.signal.Signal` and `volatility`, the ex-ante annual deviation known at its
bar. That is null where it is not known, and where the symbol is not observed: the backtest has no row of it there. At every bar
of the calendar the table names every symbol, so that one which is absent is flat there rather than as it was before.

Two sources: the scored predictions of the walk-forward (`signals_of_predictions`), which were out of sample; and a released
bundle asked over bars (`signals_of_bars`), which is in sample for every bar it was trained on. Not here: what is done with
them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.signal import SIGNAL_FIELDS, TIMES, Signal
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.signal_times import signal_times

if TYPE_CHECKING:
    from tft_pipeline.live.predictor import Predictor

UTC_TIME = pl.Datetime("us", "UTC")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    **{name: UTC_TIME if name in TIMES else pl.Float64 for name in SIGNAL_FIELDS},
    "symbol": pl.String,
    "model_id": pl.String,
    "volatility": pl.Float64,
}
"""Columns of a table of signals."""


def signal_table(signals: Iterable[Signal], volatility: Mapping[tuple[datetime, str], float]) -> pl.DataFrame:
    """Signals with what their positions are divided by.

    Args:
        volatility: annual, by (timestamp of the bar, symbol); absent or NaN where not known.
    Returns:
        Columns of `SCHEMA`, sorted by ts and symbol.
    """
    rows = []
    for signal in signals:
        known = volatility.get((signal.ts, signal.symbol), float("nan"))
        values = [getattr(signal, name) for name in SIGNAL_FIELDS]
        rows.append((*values, known if np.isfinite(known) else None))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("ts", "symbol")


def signals_in(table: pl.DataFrame) -> list[Signal]:
    """The signals of a table, as live code would get them."""
    return [Signal(**{name: row[name] for name in SIGNAL_FIELDS}) for row in table.iter_rows(named=True)]


def signals_of_predictions(predictions: pl.DataFrame, signature: Signature, *, model_id: str) -> pl.DataFrame:
    """The signals that the scored predictions of the walk-forward amount to; its positions, to the bit.

    Args:
        predictions: timestamp, symbol, raw_position, volatility; each (timestamp, symbol) once.
        signature: clip, smoothing, and how long a bar's decision counts.
        model_id: what to call the source; many folds' models made it.
    Returns:
        A table of signals; mu, sigma and probability null.
    Raises:
        ValueError: a (timestamp, symbol) twice, and what `hold_positions` refuses.
    """
    keys = predictions.select("timestamp", "symbol")
    if keys.is_duplicated().any():
        twice = keys.filter(keys.is_duplicated()).sort("timestamp", "symbol").row(0)
        raise ValueError(f"{twice[1]} at {twice[0]} is scored twice: it is not known which prediction counts")
    symbols = predictions["symbol"].unique().sort()
    calendar = predictions["timestamp"].unique().sort()
    grid = (
        calendar.to_frame("timestamp")
        .join(symbols.to_frame("symbol"), how="cross")
        .join(
            predictions.select("timestamp", "symbol", "raw_position", "volatility"),
            on=["timestamp", "symbol"],
            how="left",
        )
        .sort("timestamp", "symbol")
    )
    shape = (len(calendar), len(symbols))
    raw = grid["raw_position"].cast(pl.Float64).fill_null(float("nan")).to_numpy().reshape(shape)
    held = hold_positions(raw.T, max_position=signature.max_position, position_smooth=signature.position_smooth)
    spans = [signal_times(stamp, signature) for stamp in calendar]
    times = pl.DataFrame(
        {
            "timestamp": calendar,
            "valid_from": pl.Series([span[0] for span in spans], dtype=UTC_TIME),
            "valid_until": pl.Series([span[1] for span in spans], dtype=UTC_TIME),
        }
    )
    return (
        grid.with_columns(target_position=pl.Series(held.T.reshape(-1)), volatility=pl.col("volatility").fill_nan(None))
        .join(times, on="timestamp", how="left", maintain_order="left")
        .select(
            ts=pl.col("timestamp").cast(UTC_TIME),
            symbol="symbol",
            target_position="target_position",
            mu=pl.lit(None, dtype=pl.Float64),
            sigma=pl.lit(None, dtype=pl.Float64),
            probability=pl.lit(None, dtype=pl.Float64),
            model_id=pl.lit(model_id),
            valid_from="valid_from",
            valid_until="valid_until",
            volatility="volatility",
        )
    )


def signals_of_bars(
    predictor: "Predictor", bars: pl.DataFrame, *, opened_before: timedelta = timedelta(0)
) -> pl.DataFrame:
    """A released model asked over raw bars, one calendar bar after another, from flat and an empty window.

    Until a symbol has the history its features need it is not observed, and flat. A bar at which none is has no signals.

    Args:
        predictor: of one verified bundle.
        bars: timestamp, symbol, close and the raw columns of the signature, every symbol that features read; naive times are
            of the signature's time zone.
        opened_before: what the timestamps are earlier than the closes of their bars: nothing, or one interval where they are
            openings.
    Returns:
        A table of signals, one row a symbol of the signature and bar at which one of them is observed.
    Raises:
        ValueError, RefusedBarError: bars that the model cannot read, by name.
    """
    # the catalogue's formulas, which predictions alone do not need
    from tft_pipeline.live.bar_history import BarHistory

    history = BarHistory(predictor.signature, bars, opened_before=opened_before)
    state = predictor.start()
    signals: list[Signal] = []
    known: dict[tuple[datetime, str], float] = {}
    for bar in history.recent(len(history.calendar)):
        decided, state = predictor.step(state, bar)
        signals += decided
        known |= {(bar.timestamp, name): s for name, s in history.volatility_at(bar.timestamp).items()}
    return signal_table(signals, known)
