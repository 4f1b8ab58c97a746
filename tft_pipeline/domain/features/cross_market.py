"""Features of other markets: the state of a symbol that is never traded, as it is known at each bar.

Here: what `data.cross_markets` brings, eight features a market, and which prefixes are free. Not here: the join. The other
market keeps its own calendar; `build` gives every bar the value of that market's newest bar that was closed by then, and
null where that bar is too old. A daily bar stamped with its date alone is closed when that day ends (`OfSymbol`).
"""

import re
from functools import cache, partial

from tft_pipeline.domain.bars import RESERVED_PREFIX, SHADOW_PREFIX
from tft_pipeline.domain.features.drawdown import drawdown
from tft_pipeline.domain.features.feature import Feature, OfSymbol
from tft_pipeline.domain.features.groups import GROUPS
from tft_pipeline.domain.features.returns import scaled_return, scaled_return_lookback
from tft_pipeline.domain.features.volatility import realised
from tft_pipeline.domain.features.zscore import price_zscore

RETURN_HORIZONS = (1, 5, 21, 63)
VOLATILITY_WINDOWS = (21, 63)
ZSCORE_WINDOW = 63
DRAWDOWN_WINDOW = 252

_PREFIX = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_RAW_COLUMNS = ("timestamp", "symbol", "open", "high", "low", "close", "volume")


@cache
def cross_market_features(prefix: str, symbol: str) -> tuple[Feature, ...]:
    """The features of one other market. X is its close, sigma60(X) the EWM std of its one-bar log return with span 60.

    All windows count the other market's own bars, and so does the lookback. A is the experiment's `bars_per_year`: beside
    252 a year, the volatility of a market that never closes is sqrt(252 / 365) of what its own calendar would make of it.

    Args:
        prefix: What the names begin with; its part before the first `_` is their group.
        symbol: The symbol in the bars.
    Raises:
        ValueError: a prefix that `refusal_of_prefix` objects to.
    """
    refusal = refusal_of_prefix(prefix)
    if refusal:
        raise ValueError(refusal)
    return (
        *(
            Feature(
                name=f"{prefix}_ret_{bars}",
                formula=f"ln(X_t / X_t-{bars}) / (sigma60(X) * sqrt({bars})), X = {symbol}",
                lookback=scaled_return_lookback(bars),
                inputs=("close",),
                source=OfSymbol(symbol, partial(scaled_return, bars=bars)),
                units="sigma",
                recursive=True,
            )
            for bars in RETURN_HORIZONS
        ),
        *(
            Feature(
                name=f"{prefix}_vol_{bars}",
                formula=f"std{bars}(log return of X) * sqrt(A), X = {symbol}",
                lookback=bars + 1,
                inputs=("close",),
                source=OfSymbol(symbol, partial(realised, bars=bars)),
                units="annual volatility",
            )
            for bars in VOLATILITY_WINDOWS
        ),
        Feature(
            name=f"{prefix}_z_{ZSCORE_WINDOW}",
            formula=f"(ln X_t - mean{ZSCORE_WINDOW}(ln X)) / std{ZSCORE_WINDOW}(ln X), X = {symbol}",
            lookback=ZSCORE_WINDOW,
            inputs=("close",),
            source=OfSymbol(symbol, partial(price_zscore, bars=ZSCORE_WINDOW)),
            units="standard deviations",
        ),
        Feature(
            name=f"{prefix}_dd_{DRAWDOWN_WINDOW}",
            formula=f"X_t / max{DRAWDOWN_WINDOW}(X) - 1, X = {symbol}",
            lookback=DRAWDOWN_WINDOW,
            inputs=("close",),
            source=OfSymbol(symbol, partial(drawdown, bars=DRAWDOWN_WINDOW)),
            units="share",
        ),
    )


def refusal_of_prefix(prefix: str) -> str:
    """Why a prefix cannot name the features of a cross market; empty when it can."""
    if not _PREFIX.fullmatch(prefix):
        return (
            f"cross market prefix {prefix!r} is not lower-case letters, digits and single underscores, a letter first: it "
            "begins column names; rename it"
        )
    group = prefix.partition("_")[0]
    if f"{group}_" in (RESERVED_PREFIX, SHADOW_PREFIX):
        return (
            f"cross market prefix {prefix!r} begins with {group!r}, the name of raw aggregates of minutes or of shadow "
            "features: its columns would be taken for these; begin it with another word"
        )
    if group in GROUPS or group in _RAW_COLUMNS:
        return (
            f"cross market prefix {prefix!r} falls into the group {group!r} of the catalogue: nobody could choose one "
            "without the other; begin it with another word"
        )
    return ""
