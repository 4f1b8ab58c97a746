"""The backend of `tft predict`: what the live model says of the last bar of a file. Not here: options and printing."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.live.bar_history import BarHistory
from tft_pipeline.live.engine import Form
from tft_pipeline.live.predictor import Predictor
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
    positions are smoothed those that the held position still remembers. The book is flat before the first of these.

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
        known, others = _known(given, predictor)
        history = BarHistory(predictor.signature, known, opened_before=opened_before)
        last, signature = history.last, predictor.signature
        held = history.recent(_remembered(signature.position_smooth))
        state = predictor.warm(predictor.start(), history.recent(signature.lookback - 1, before=held[0].timestamp))
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
    windows = [1 + int(before.seen[signature.symbols.index(symbol)].sum()) for symbol in seen]
    return {
        "experiment": experiment,
        "model_id": predictor.model_id,
        "form": predictor.form,
        "bar": last.isoformat(),
        "valid_from": signals[0].valid_from.isoformat(),
        "valid_until": signals[0].valid_until.isoformat(),
        "n_symbols": len(seen),
        "lookback": signature.lookback,
        "bars_in_shortest_window": min(windows),
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


def _known(bars: pl.DataFrame, predictor: Predictor) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the model's symbols, and the names of the others."""
    signature = predictor.signature
    known = [*signature.symbols, *signature.untraded]
    if "symbol" not in bars.columns:
        return bars, []
    names = bars["symbol"].cast(pl.String)
    others = sorted(set(names.drop_nulls()) - set(known))
    if len(others) == names.drop_nulls().n_unique() and others:
        raise RefusedBarError(
            f"not one of its symbols ({', '.join(others[:5])}) is traded by {predictor.model_id}, which trades "
            f"{', '.join(signature.symbols[:5])}: there is nothing to decide on; bring bars of these"
        )
    return bars.filter(names.is_in(known) | names.is_null()), others
