"""The description of one feature and the three places a formula can look from."""

from collections.abc import Callable
from dataclasses import dataclass

from tft_pipeline.domain.features.history import CrossSection, History
from tft_pipeline.domain.features.windows import Array

MARKET_CLOSE = "market_close"
"""Input name that stands for the close of the market index, joined by timestamp."""


@dataclass(frozen=True, slots=True)
class PerSymbol:
    """A formula over one symbol's own bars: (bars,) -> (bars,)."""

    formula: Callable[[History], Array]


@dataclass(frozen=True, slots=True)
class OfMarket:
    """A formula over the market index's own bars; every symbol gets the value of its timestamp, or null."""

    formula: Callable[[History], Array]


@dataclass(frozen=True, slots=True)
class OfSymbol:
    """A formula over the bars of one symbol that is not traded; every bar gets the newest value known at its timestamp.

    The other market has a calendar of its own: its last bar that closed at or before the bar counts, unless it is older
    than five times that symbol's usual spacing, the median of its last 21 spacings up to that last bar (of as many as
    there are at first). Its first bar has no spacing yet and counts at its own timestamp only.

    A bar closes at its timestamp, with one exception: where that spacing is a day (20 hours) or more and the timestamp is a
    date alone, 00:00 in UTC or in the data's time zone, the bar closes when that day ends. So of two daily bars
    with the same date alone, the other market's counts from the next bar on, even if it closed earlier in the day: its
    stamp does not say so. See `joins`.
    """

    symbol: str
    formula: Callable[[History], Array]


@dataclass(frozen=True, slots=True)
class AcrossSymbols:
    """A formula over all symbols of a bar: returns (calendar bars, symbols)."""

    formula: Callable[[CrossSection], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of the feature frame.

    Args:
        name: Column name; the part before the first `_` is the group.
        formula: What a reader needs to compute it by hand, with the symbols of `legend.LEGEND`.
        lookback: Bars of history the first value needs, own bar included: null on the first `lookback - 1` bars of
            a symbol (of the panel, for formulas over the index or over all symbols).
        inputs: Raw columns beside timestamp and symbol; "market_close" means the market index.
        source: The formula and where it looks from.
        units: What the numbers mean: "sigma" (units of expected risk), "share", "annual volatility", "log return" ...
        lag: Bars after its own bar before the value may be used; 0: known at the close of its bar.
        recursive: True when bars older than `lookback` still weigh in (EWM, running maximum). Otherwise the value is
            a function of the last `lookback` bars alone, to the bit.
        on_request: True when only its name brings it in, never its group.
        version: Raised whenever the formula changes a value.
    """

    name: str
    formula: str
    lookback: int
    inputs: tuple[str, ...]
    source: PerSymbol | OfMarket | OfSymbol | AcrossSymbols
    units: str = ""
    lag: int = 0
    recursive: bool = False
    on_request: bool = False
    version: str = "1"

    def __post_init__(self) -> None:
        if self.lookback < 1:
            raise ValueError(f"lookback {self.lookback} of {self.name!r} < 1: the bar itself counts, so 1 is the least")

    @property
    def group(self) -> str:
        """The part of the name before the first `_`."""
        return self.name.partition("_")[0]
