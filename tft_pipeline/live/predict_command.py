"""The backend of `tft predict`: what the live model says of the last bar of a file. Not here: options and printing."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.live.engine import Form
from tft_pipeline.live.last_bars import last_bars
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.refusals import RefusedBarError
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.release_bundle import current_bundle
from tft_pipeline.storage.sources import read_source

OPTION = "--bars"


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
    signature = predictor.signature
    try:
        found = last_bars(predictor, read_source(bars, key=OPTION), opened_before=opened_before)
    except (BarsError, RefusedBarError) as error:
        raise ConfigurationError(f"{OPTION} {bars}: {error}") from error
    (bar,), (signals,) = found.bars, found.signals
    return {
        "experiment": experiment,
        "model_id": predictor.model_id,
        "form": predictor.form,
        "bar": bar.timestamp.isoformat(),
        "valid_from": signals[0].valid_from.isoformat(),
        "valid_until": signals[0].valid_until.isoformat(),
        "n_symbols": len(bar.values),
        "lookback": signature.lookback,
        "bars_in_shortest_window": min(found.windows.values()),
        "history_short": found.history_short,
        **({"symbols_left_out": found.symbols_left_out} if found.symbols_left_out else {}),
        "signals": [
            {
                "symbol": signal.symbol,
                "observed": signal.symbol in bar.values,
                "target_position": signal.target_position,
                "mu": signal.mu,
                "sigma": signal.sigma,
                "probability": signal.probability,
            }
            for signal in signals
        ],
    }
