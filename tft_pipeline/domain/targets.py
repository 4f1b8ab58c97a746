"""Labels of the bars: what each decision earns and predicts. Not here: features, scaling of inputs, portfolios."""

from collections.abc import Collection
from typing import Any

import polars as pl

from tft_pipeline.domain.portfolio import VARIANCE_ROUNDING

TARGET_COLUMNS = ("timestamp", "symbol", "close", "next_return", "volatility", "label", "label_end")

STILLNESS = 1e-2
"""A volatility below this share of the mean of a symbol's volatilities so far is what is left of an earlier time."""


def build_targets(
    bars: pl.DataFrame, *, horizon: int, volatility_span: int, bars_per_year: float, untraded: Collection[str]
) -> pl.DataFrame:
    """Targets of every bar of every traded symbol.

        next_return_t = P_{t+1} / P_t - 1
        volatility_t  = std_ewm(returns up to t; span) * sqrt(bars_per_year)          ex ante, annual
        label_t       = (P_{t+h} / P_t - 1) / (volatility_t * sqrt(h / bars_per_year))   in units of expected risk

    Bars are counted on the calendar of all traded symbols: P_{t+h} is the symbol's own price at calendar bar t+h, and
    where the symbol has no bar there the value is null. A symbol that pauses would otherwise carry a label across the
    purge. A bar's decision is taken after its close; its label looks no further than bar t+h and uses the volatility
    known at t only.

    A price that does not move gives no scale for a position: the weights of old returns fade and never reach 0, and a
    position divided by what is left would be thousands of times the capital. So volatility, and label with it,
    is null where the variance is below `VARIANCE_ROUNDING` of the mean square of the returns (same weights), and where
    volatility_t < `STILLNESS` * mean(volatility_s, s <= t) of the symbol; both know the past only. The mean takes every
    value before these rules. A symbol that calms down a hundredfold for good is absent until its mean has followed.

    Args:
        bars: timestamp, symbol, close; sorted by symbol and timestamp.
        horizon: h, bars.
        volatility_span: span and fewest returns of the EWM standard deviation (adjusted, bias corrected).
        bars_per_year: annualises.
        untraded: symbols that are context only, the market index and cross markets: they get no target, and their bars
            are not on the calendar.
    Returns:
        `TARGET_COLUMNS`, one row a symbol and bar; null where the future or the history is missing.
    """
    traded = bars.filter(~pl.col("symbol").is_in(list(untraded)))
    returns = (pl.col("close") / pl.col("close").shift(1) - 1.0).over("symbol")
    framed = traded.select("timestamp", "symbol", "close", bar=pl.col("timestamp").rank("dense").cast(pl.Int64))
    framed = framed.with_columns(past_return=returns)
    after, end = _ahead(framed, 1), _ahead(framed, horizon)
    framed = framed.with_columns(
        next_return=after["close"] / pl.col("close") - 1.0,
        volatility=_volatility(volatility_span).over("symbol") * bars_per_year**0.5,
        forward=end["close"] / pl.col("close") - 1.0,
        label_end=end["timestamp"],
    )
    so_far = pl.col("volatility").cum_sum() / pl.col("volatility").cum_count()
    framed = framed.with_columns(
        volatility=pl.when(pl.col("volatility") > 0, pl.col("volatility") >= STILLNESS * so_far.over("symbol")).then(
            pl.col("volatility")
        )
    )
    risk = pl.col("volatility") * (horizon / bars_per_year) ** 0.5
    return framed.with_columns(label=pl.col("forward") / risk).select(TARGET_COLUMNS)


def _volatility(span: int) -> pl.Expr:
    """Standard deviation of `past_return` a bar; 0 where it is rounding, null with fewer than `span` returns."""
    weights: dict[str, Any] = {"span": span, "adjust": True, "min_samples": span, "ignore_nulls": True}
    deviation = pl.col("past_return").ewm_std(bias=False, **weights)
    mean = pl.col("past_return").ewm_mean(**weights)
    moves = deviation**2 > VARIANCE_ROUNDING * (deviation**2 + mean**2)
    return pl.when(moves).then(deviation).when(deviation.is_not_null()).then(0.0)


def _ahead(framed: pl.DataFrame, bars: int) -> pl.DataFrame:
    """Each row's own symbol so many calendar bars later: timestamp and close, null where it has no bar there."""
    later = framed.select("symbol", pl.col("bar") - bars, later_timestamp="timestamp", later_close="close")
    joined = framed.join(later, on=["symbol", "bar"], how="left", maintain_order="left")
    return joined.select(timestamp="later_timestamp", close="later_close")
