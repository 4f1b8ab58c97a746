"""Bars in, feature frame out, in one piece. Not here: a frame too large for that (`blocks`, and who stores them one by one)."""

from collections.abc import Sequence

import polars as pl

from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.domain.features.catalogue import FeatureSet


def build_features(
    bars: pl.DataFrame,
    feature_set: FeatureSet,
    *,
    market_symbol: str | None,
    cross_symbols: Sequence[str] = (),
    user_columns: Sequence[str] = (),
    bars_per_year: float,
    timezone: str | None = None,
) -> pl.DataFrame:
    """Compute the features of every bar from that bar and earlier ones.

    Later bars, whatever they hold, leave earlier values as they were to the bit, and so does a symbol listed later.

    Args:
        bars: Long frame sorted by (symbol, timestamp), keys unique: timestamp Datetime us UTC, symbol String, close
            positive and complete; open, high, low, volume where there are any (null or not finite = missing).
        feature_set: What `resolve_features` chose for the columns of these bars.
        market_symbol: Symbol of the market index; its rows feed the market features and are not in the result.
        cross_symbols: Symbols of other markets; their rows feed the features about them and are not in the result.
        user_columns: Own feature columns, numeric or boolean, passed through: nulls stay null, NaN stays NaN.
        bars_per_year: A, annualises the volatilities.
        timezone: Where the calendar features read a bar's date and time of day, and in which daily bars of other markets
            may be stamped with their date alone; UTC without one.
    Returns:
        timestamp, symbol, one Float32 column a feature in the order of the set, then the user columns as Float32;
        sorted by (symbol, timestamp). Null where the history is too short or a denominator is zero; never NaN or
        infinity in a computed column.
    Raises:
        ValueError: bars that break the conditions above, a feature whose input is absent, a market or cross symbol
            without rows, a user column that is absent, not numeric, or named like a feature or a raw column, a value
            beyond Float32.
    """
    build = FeatureBuild.of(
        bars,
        feature_set,
        market_symbol=market_symbol,
        cross_symbols=cross_symbols,
        user_columns=user_columns,
        bars_per_year=bars_per_year,
        timezone=timezone,
    )
    return pl.concat(build.frames(), rechunk=True)
