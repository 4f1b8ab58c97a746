"""Labels of the bars: what each decision earns and predicts. Not here: features, scaling of inputs, portfolios."""

import polars as pl

TARGET_COLUMNS = ("timestamp", "symbol", "close", "next_return", "volatility", "label", "label_end")


def build_targets(
    bars: pl.DataFrame, *, horizon: int, volatility_span: int, bars_per_year: float, market_symbol: str | None
) -> pl.DataFrame:
    """Targets of every bar of every traded symbol.

        next_return_t = P_{t+1} / P_t - 1
        volatility_t  = std_ewm(returns up to t; span) * sqrt(bars_per_year)          ex ante, annual
        label_t       = (P_{t+h} / P_t - 1) / (volatility_t * sqrt(h / bars_per_year))   in units of expected risk

    A bar's decision is taken after its close; its label uses bars t+1 .. t+h and the volatility known at t only.

    Args:
        bars: timestamp, symbol, close; sorted by symbol and timestamp.
        horizon: h, bars.
        volatility_span: span and fewest returns of the EWM standard deviation (adjusted, bias corrected).
        market_symbol: index that is context only and gets no target.
    Returns:
        `TARGET_COLUMNS`, one row a symbol and bar; null where the future or the history is missing.
    """
    traded = bars if market_symbol is None else bars.filter(pl.col("symbol") != market_symbol)
    returns = (pl.col("close") / pl.col("close").shift(1) - 1.0).over("symbol")
    framed = traded.select("timestamp", "symbol", "close").with_columns(past_return=returns)
    framed = framed.with_columns(
        next_return=(pl.col("close").shift(-1) / pl.col("close") - 1.0).over("symbol"),
        volatility=pl.col("past_return")
        .ewm_std(span=volatility_span, adjust=True, bias=False, min_samples=volatility_span, ignore_nulls=True)
        .over("symbol")
        * bars_per_year**0.5,
        forward=(pl.col("close").shift(-horizon) / pl.col("close") - 1.0).over("symbol"),
        label_end=pl.col("timestamp").shift(-horizon).over("symbol"),
    )
    risk = pl.col("volatility") * (horizon / bars_per_year) ** 0.5
    return framed.with_columns(
        volatility=pl.when(pl.col("volatility") > 0).then(pl.col("volatility")),
        label=pl.when(pl.col("volatility") > 0).then(pl.col("forward") / risk),
    ).select(TARGET_COLUMNS)
