"""The backend of `tft predict`: what the live model says of the last bar of a file. Not here: options and printing."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.live.bar_features import BarFeatures
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.engine import Form
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.raw_bars import own_symbols, refuse_strangers
from tft_pipeline.live.refusals import RefusedBarError
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.release_bundle import current_bundle
from tft_pipeline.storage.sources import read_source

OPTION = "--bars"
FORGOTTEN = 1e-9
"""What is left of an older position in the held one may be neglected."""


def predict_last(
    models: Path, bars: Path, *, experiment: str, form: Form | None, opened_before: timedelta = timedelta(0)
) -> dict[str, Any]:
    """Signals of the live model for the newest bar of a file, JSON-ready.

    The file brings the bars before it too: a window of `lookback` bars, as many again as the features look back, and where
    positions are smoothed those that the held position still remembers. The book is flat before the first of these. What is
    missing of them is said by cause in `history_short`; below one window of bars with features nothing is decided.

    Args:
        models: folder of the experiment's releases. bars: Parquet or CSV file, or a folder of them.
        experiment: its name, for messages. form: as `Predictor.load`.
        opened_before: what the file's timestamps are earlier than the closes of their bars.
    Raises:
        ConfigurationError: nothing is live, the live release or the file cannot be used, or the bar is refused.
    """
    try:
        predictor = Predictor.load(current_bundle(models), form)
    except ArtifactMissingError as error:
        raise ConfigurationError(
            f"nothing is live in experiment {experiment}: there is no model to ask; deploy a release (tft deploy), and see "
            "what there is with tft status"
        ) from error
    except (IntegrityError, ValueError) as error:
        raise ConfigurationError(f"the live release of experiment {experiment} cannot be used: {error}") from error
    if not bars.exists():
        raise ConfigurationError(
            f"{OPTION} {bars}: no such file or folder; name a Parquet or CSV file, or a folder of them"
        )
    try:
        given = read_source(bars, key=OPTION)
        signature = predictor.signature
        others = refuse_strangers(given, signature, predictor.model_id)
        history = BarHistory(signature, own_symbols(given, signature)[0], opened_before=opened_before)
        last = history.last
        held = history.recent(_remembered(signature.position_smooth))
        past = history.recent(signature.lookback - 1, before=held[0].timestamp)
        state = predictor.warm(predictor.start(), past)
        for bar in held:
            before = state
            signals, state = predictor.step(before, bar)
    except (BarsError, RefusedBarError) as error:
        raise ConfigurationError(f"{OPTION} {bars}: {error}") from error
    seen = held[-1].values
    if not seen:
        raise ConfigurationError(
            f"{OPTION} {bars}: no symbol has the {signature.max_lookback} bars that the features look back at "
            f"{last.isoformat()}: nothing can be decided; bring more bars"
        )
    full = sum(bool(bar.values) for bar in (*past, *held))
    if full < signature.lookback:
        raise ConfigurationError(
            f"{OPTION} {bars}: {full} bars with features, a window has {signature.lookback}: the model would decide on bars "
            f"that are not there; bring {signature.lookback - full} bars more"
        )
    windows = {symbol: 1 + int(before.seen[signature.symbols.index(symbol)].sum()) for symbol in seen}
    return {
        "experiment": experiment,
        "model_id": predictor.model_id,
        "form": predictor.form,
        "bar": last.isoformat(),
        "valid_from": signals[0].valid_from.isoformat(),
        "valid_until": signals[0].valid_until.isoformat(),
        "n_symbols": len(seen),
        "lookback": signature.lookback,
        "bars_in_shortest_window": min(windows.values()),
        "history_short": _short(history, held[-1], windows, full),
        **({"symbols_left_out": others} if others else {}),
        "signals": [
            {
                "symbol": signal.symbol,
                "observed": signal.symbol in seen,
                "target_position": signal.target_position,
                "mu": signal.mu,
                "sigma": signal.sigma,
                "probability": signal.probability,
            }
            for signal in signals
        ],
    }


def _remembered(position_smooth: float) -> int:
    """Bars after which an older position weighs less than `FORGOTTEN`."""
    return 1 if position_smooth == 0.0 else 1 + math.ceil(math.log(FORGOTTEN) / math.log(position_smooth))


def _short(history: BarHistory, bar: BarFeatures, windows: dict[str, int], full: int) -> list[dict[str, str]]:
    """Why the signals may differ from those of the whole history: cause and sentence.

    Args:
        windows: observed bars of each symbol's window. full: bars with features.
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
    elif min(history.bars_of(symbol) for symbol in bar.values) < settled:
        found.append(
            {
                "cause": "recursive features",
                "why": f"averages that know all bars settle after {settled} bars of a symbol, the shortest history has "
                f"{min(history.bars_of(symbol) for symbol in bar.values)}: they began with the file; bring the bars before",
            }
        )
    return found
