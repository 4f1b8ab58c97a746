"""Oracle of the features of other markets: walk back to the newest bar that was closed by then, unless it is too old."""

from collections.abc import Callable
from datetime import datetime, timedelta

from tft_pipeline_tests.oracles.feature_bars import OracleBars, OraclePanel, Value
from tft_pipeline_tests.oracles.feature_prices import drawdown, price_zscore, realised, scaled_return

CROSS_FORMULAS: dict[str, tuple[Callable, dict[str, int]]] = {
    **{f"ret_{k}": (scaled_return, {"k": k}) for k in (1, 5, 21, 63)},
    **{f"vol_{n}": (realised, {"n": n}) for n in (21, 63)},
    "z_63": (price_zscore, {"n": 63}),
    "dd_252": (drawdown, {"n": 252}),
}


def known_row(bars: OracleBars, time: datetime, oldest: timedelta) -> int | None:
    """The row of the newest daily bar that is over at `time`, None where there is none or it is older than `oldest`.

    A bar stamped 00:00 UTC carries its date alone and is over a day later.
    """
    row = None
    for candidate, closed in enumerate(bars.times):
        dated = (closed.hour, closed.minute, closed.second, closed.microsecond) == (0, 0, 0, 0)
        if closed + timedelta(days=int(dated)) <= time:
            row = candidate
    return None if row is None or time - bars.times[row] > oldest else row


def cross_value(panel: OraclePanel, name: str, other: OracleBars, time: datetime, oldest: timedelta) -> Value:
    """The feature `name` (without its prefix) of another market as it is known at `time`."""
    row = known_row(other, time, oldest)
    formula, given = CROSS_FORMULAS[name]
    return None if row is None else formula(panel, other, row, **given)
