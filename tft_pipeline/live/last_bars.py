"""What a model says of the newest bars of a frame, and why that may differ from what the whole history would give.

Not here: where the frame comes from, which model is asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from tft_pipeline.domain.signal import Signal
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.raw_bars import own_symbols, refuse_strangers
from tft_pipeline.live.refusals import UnusableBarsError

FORGOTTEN = 1e-9
"""What is left of an older position in the held one may be neglected."""


@dataclass(frozen=True, kw_only=True)
class LastBars:
    """Signals of the newest bars, oldest first; what is said of the history is said of the first of them.

    Attributes:
        bars: with their features. signals: one list a bar, in the order of the model's symbols; empty at a bar of nobody.
        windows: observed bars in the window of each symbol that is observed at the first bar.
        history_short: cause and sentence, for each cause why the signals may differ from those of the whole history.
        symbols_left_out: names in the frame that the model does not know.
    """

    bars: tuple[BarFeatures, ...]
    signals: tuple[list[Signal], ...]
    windows: dict[str, int]
    history_short: list[dict[str, str]]
    symbols_left_out: list[str]


def last_bars(predictor: Predictor, given: pl.DataFrame, *, opened_before: timedelta, n_bars: int = 1) -> LastBars:
    """Ask for the newest bars of a frame that brings the history before them too.

    That is a window of `lookback` bars, as many again as the features look back, and where positions are smoothed those that
    the held position still remembers. The book is flat before the first of these. What is missing of them is said by cause;
    below one window of bars with features nothing is decided.

    Args:
        given: raw rows, as `BarHistory` takes them; symbols that the model does not know are left out.
        opened_before: what its timestamps are earlier than the closes of their bars.
        n_bars: calendar bars to decide on.
    Raises:
        RefusedBarError: rows that the pipeline would not have taken, or too few.
    """
    signature = predictor.signature
    others = refuse_strangers(given, signature, predictor.model_id)
    history = BarHistory(signature, own_symbols(given, signature)[0], opened_before=opened_before)
    last = history.last
    held = history.recent(_remembered(signature.position_smooth) + n_bars - 1)
    if len(held) < n_bars:
        raise UnusableBarsError(
            f"{n_bars} bars are asked for and there are {len(held)}: nothing can be said of the others; bring more bars, or "
            "ask for fewer"
        )
    past = history.recent(signature.lookback - 1, before=held[0].timestamp)
    state = predictor.warm(predictor.start(), past)
    first = len(held) - n_bars
    signals = []
    for k, bar in enumerate(held):
        if k == first:
            before = state
        said, state = predictor.step(state, bar)
        signals.append(said)
    if not held[-1].values:
        raise UnusableBarsError(
            f"no symbol has the {signature.max_lookback} bars that the features look back at {last.isoformat()}: nothing can "
            "be decided; bring more bars"
        )
    full = sum(bool(bar.values) for bar in (*past, *held[: first + 1]))
    if full < signature.lookback:
        raise UnusableBarsError(
            f"{full} bars with features, a window has {signature.lookback}: the model would decide on bars that are not there; "
            f"bring {signature.lookback - full} bars more"
        )
    windows = {symbol: 1 + int(before.seen[signature.symbols.index(symbol)].sum()) for symbol in held[first].values}
    counts = [history.bars_of(symbol) - n_bars + 1 for symbol in held[first].values]
    return LastBars(
        bars=tuple(held[first:]),
        signals=tuple(signals[first:]),
        windows=windows,
        history_short=_short(history, counts, windows, full),
        symbols_left_out=others,
    )


def _remembered(position_smooth: float) -> int:
    """Bars after which an older position weighs less than `FORGOTTEN`."""
    return 1 if position_smooth == 0.0 else 1 + math.ceil(math.log(FORGOTTEN) / math.log(position_smooth))


def _short(history: BarHistory, counts: Sequence[int], windows: dict[str, int], full: int) -> list[dict[str, str]]:
    """Why the signals may differ from those of the whole history: cause and sentence.

    Args:
        counts: bars that the observed symbols have had. windows: observed bars of each symbol's window. full: bars with
            features.
    """
    signature, found = history.signature, []
    few = {symbol: n for symbol, n in windows.items() if n < signature.lookback}
    if few:
        some = ", ".join(f"{symbol} {n}" for symbol, n in list(few.items())[:5])
        found.append(
            {
                "cause": "lookback",
                "why": f"{len(few)} symbol(s) have fewer than {signature.lookback} bars in their window ({some}): right for a "
                "symbol that was listed late or paused, else bring the bars before",
            }
        )
    decided, remembered = full - signature.lookback + 1, _remembered(signature.position_smooth)
    if decided < remembered:
        left = signature.position_smooth**decided
        found.append(
            {
                "cause": "smoothing",
                "why": f"{decided} bars with a full window, smoothing remembers {remembered}: the book was taken for flat "
                f"before them, and {left:.2g} of the position from then is still held; bring {remembered - decided} bars more",
            }
        )
    settled = history.settled
    if settled is None:
        found.append(
            {
                "cause": "recursive features",
                "why": "one hangs on the highest price there ever was, so it began with the file; bring bars since the first "
                "one that the model was trained on",
            }
        )
    elif min(counts, default=settled) < settled:
        found.append(
            {
                "cause": "recursive features",
                "why": f"averages that know all bars settle after {settled} bars of a symbol, the shortest history has "
                f"{min(counts)}: they began with the file; bring the bars before",
            }
        )
    return found
