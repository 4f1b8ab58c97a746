"""Bars in, feature frame out. The only place that knows both polars frames and the arrays of the formulas."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tft_pipeline.domain.features.catalogue import FeatureSet, catalogue
from tft_pipeline.domain.features.feature import MARKET_CLOSE, AcrossSymbols, Feature, OfMarket, PerSymbol
from tft_pipeline.domain.features.history import CrossSection, History
from tft_pipeline.domain.features.windows import Array

_KEYS = ("timestamp", "symbol")
_OPTIONAL = ("open", "high", "low", "volume")


def build_features(
    bars: pl.DataFrame,
    feature_set: FeatureSet,
    *,
    market_symbol: str | None,
    user_columns: Sequence[str] = (),
    bars_per_year: float,
) -> pl.DataFrame:
    """Compute the features of every bar from that bar and earlier ones.

    Later bars, whatever they hold, leave earlier values as they were to the bit, and so does a symbol listed later.

    Args:
        bars: Long frame sorted by (symbol, timestamp), keys unique: timestamp Datetime us UTC, symbol String, close
            positive and complete; open, high, low, volume where there are any (null or not finite = missing).
        feature_set: What `resolve_features` chose for the columns of these bars.
        market_symbol: Symbol of the market index; its rows feed the market features and are not in the result.
        user_columns: Own feature columns, numeric or boolean, passed through: nulls stay null, NaN stays NaN.
        bars_per_year: A, annualises the volatilities.
    Returns:
        timestamp, symbol, one Float32 column a feature in the order of the set, then the user columns as Float32;
        sorted by (symbol, timestamp). Null where the history is too short or a denominator is zero; never NaN or
        infinity in a computed column.
    Raises:
        ValueError: bars that break the conditions above, a feature whose input is absent, a market symbol without
            rows, a user column that is absent, not numeric, or named like a feature or a raw column, a value beyond
            Float32.
    """
    _check_bars(bars)
    _check_user_columns(bars, user_columns)
    if not bars_per_year > 0.0:
        raise ValueError(f"bars_per_year {bars_per_year} is not above 0: volatilities need it, pass 252 for daily bars")
    tradable, market_bars = _split_market(bars, market_symbol)
    _check_inputs(bars, feature_set.features, market_symbol)

    market = None if market_bars is None else _history(market_bars, bars_per_year, market=None)
    parts = tradable.partition_by("symbol", maintain_order=True)
    histories = tuple(_history(part, bars_per_year, market=market) for part in parts)
    section = CrossSection(histories=histories)

    columns = [
        _nullable_float32(feature.name, _evaluate(feature, histories, section, market))
        for feature in feature_set.features
    ]
    users = [tradable[name].cast(pl.Float32) for name in user_columns]
    return pl.DataFrame([*(tradable[key] for key in _KEYS), *columns, *users])


def _evaluate(feature: Feature, histories: tuple[History, ...], section: CrossSection, market: History | None) -> Array:
    """One value a row of the tradable bars."""
    match feature.source:
        case PerSymbol(formula=formula):
            return np.concatenate([formula(history) for history in histories])
        case OfMarket(formula=formula):
            assert market is not None
            values = formula(market)
            return np.concatenate([_at(history.timestamps, market.timestamps, values) for history in histories])
        case AcrossSymbols(formula=across):
            return section.flatten(across(section))


def _history(part: pl.DataFrame, bars_per_year: float, *, market: History | None) -> History:
    """The bars of one symbol as arrays, with the index close of the same timestamps beside them."""
    timestamps = part["timestamp"].dt.replace_time_zone(None).to_numpy()
    optional = {name: _finite_or_nan(part[name]) if name in part.columns else None for name in _OPTIONAL}
    return History(
        timestamps=timestamps,
        close=_finite_or_nan(part["close"]),
        bars_per_year=bars_per_year,
        open=optional["open"],
        high=optional["high"],
        low=optional["low"],
        volume=optional["volume"],
        market_close=None if market is None else _at(timestamps, market.timestamps, market.close),
    )


def _at(timestamps: NDArray[np.datetime64], known: NDArray[np.datetime64], values: Array) -> Array:
    """The value known at exactly each timestamp, NaN where there is none."""
    place = np.minimum(np.searchsorted(known, timestamps), len(known) - 1)
    return np.where(known[place] == timestamps, values[place], np.nan)


def _finite_or_nan(series: pl.Series) -> Array:
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.ascontiguousarray(np.where(np.isfinite(values), values, np.nan))


def _nullable_float32(name: str, values: Array) -> pl.Series:
    largest = np.max(np.abs(values), initial=0.0, where=~np.isnan(values))
    if largest > np.finfo(np.float32).max:
        raise ValueError(f"feature {name!r} reaches {largest:.3g}: Float32 would make it infinite, rescale its inputs")
    with np.errstate(under="ignore"):
        return pl.Series(name, values.astype(np.float32)).fill_nan(None)


def _split_market(bars: pl.DataFrame, market_symbol: str | None) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    if market_symbol is None:
        return bars, None
    market, tradable = bars.filter(pl.col("symbol") == market_symbol), bars.filter(pl.col("symbol") != market_symbol)
    if market.is_empty():
        raise ValueError(
            f"market symbol {market_symbol!r} has no bar: its features would be empty, add it or pass None"
        )
    if tradable.is_empty():
        raise ValueError(f"the bars hold only the market symbol {market_symbol!r}: no symbol is left to compute for")
    return tradable, market


def _check_bars(bars: pl.DataFrame) -> None:
    absent = [name for name in (*_KEYS, "close") if name not in bars.columns]
    if absent:
        raise ValueError(f"the bars have no column {', '.join(absent)}: features need timestamp, symbol and close")
    if bars.is_empty():
        raise ValueError("the bars are empty: there is nothing to compute features for")
    if bars.schema["timestamp"] != pl.Datetime("us", "UTC") or bars.schema["symbol"] != pl.String:
        raise ValueError(
            f"timestamp is {bars.schema['timestamp']} and symbol {bars.schema['symbol']}: bars would join wrongly, "
            "cast them to Datetime('us', 'UTC') and String"
        )
    symbol_before, timestamp_before = pl.col("symbol").shift(1), pl.col("timestamp").shift(1)
    follows = (pl.col("symbol") > symbol_before) | (
        (pl.col("symbol") == symbol_before) & (pl.col("timestamp") > timestamp_before)
    )
    first = pl.int_range(pl.len()) == 0
    complete = pl.col("symbol").is_not_null() & pl.col("timestamp").is_not_null()
    _refuse_rows(
        bars.filter(~(complete & (first | follows.fill_null(False)))),
        "is not after the row before it",
        "windows would mix bars: sort by (symbol, timestamp) and drop duplicates",
    )
    positive = pl.col("close").cast(pl.Float64).is_finite() & (pl.col("close") > 0)
    _refuse_rows(
        bars.filter(~positive.fill_null(False)),
        "has a close that is missing, not finite or not above 0",
        "its return does not exist: repair or drop the bar",
    )


def _refuse_rows(wrong: pl.DataFrame, what: str, remedy: str) -> None:
    if not wrong.is_empty():
        first = wrong.row(0, named=True)
        where = f"bar of {first['symbol']} at {first['timestamp']}"
        raise ValueError(f"{where} {what} ({wrong.height} such bars): {remedy}")


def _check_inputs(bars: pl.DataFrame, features: tuple[Feature, ...], market_symbol: str | None) -> None:
    present = {*bars.columns, MARKET_CLOSE} if market_symbol is not None else set(bars.columns)
    for feature in features:
        absent = [name for name in feature.inputs if name not in present]
        if absent:
            raise ValueError(f"feature {feature.name!r} needs {absent}, which the bars lack: resolve features on them")


def _check_user_columns(bars: pl.DataFrame, user_columns: Sequence[str]) -> None:
    taken = {feature.name for feature in catalogue()} | {*_KEYS, *_OPTIONAL, "close"}
    for name in user_columns:
        if name not in bars.columns:
            raise ValueError(f"user column {name!r} is not in the bars: it cannot be passed on, check the spelling")
        if name in taken or list(user_columns).count(name) > 1:
            raise ValueError(f"user column {name!r} is the name of another column too: they would collide, rename it")
        if not (bars.schema[name].is_numeric() or bars.schema[name] == pl.Boolean):
            raise ValueError(f"user column {name!r} is {bars.schema[name]}: the network reads numbers, encode it first")
