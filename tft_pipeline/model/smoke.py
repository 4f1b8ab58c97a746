"""Does a stored model still answer: built from its weights and asked once. Not here: whether its answers are any good."""

from datetime import UTC, datetime, timedelta

import numpy as np

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict

AFTER_ALL_TRAINING = datetime(9999, 1, 1, tzinfo=UTC)
"""Close of the window's last bar: every sequence of a context set is resolved by then."""


class BrokenModelError(RuntimeError):
    """A model that does not load, or answers with no number."""


def smoke_prediction(fitted: FittedFold, *, seed: int = 0) -> float:
    """Raw position at the last bar of one window drawn around the training mean with the training deviation.

    Raises:
        BrokenModelError: the network cannot be built from its weights, or an output that its loss trains is not finite, or the
            position is outside [-1, 1].
    """
    scaler, lookback = fitted.scaler, fitted.training.lookback
    draws = np.random.default_rng(seed).standard_normal((1, lookback, len(scaler.names)))
    blank = np.full((1, lookback), np.nan)
    panel = Panel(
        calendar=tuple(AFTER_ALL_TRAINING - timedelta(days=lookback - bar) for bar in range(lookback)),
        symbols=(fitted.symbols[0] if fitted.symbols else "SMOKE",),
        features=scaler.names,
        values=(scaler.mean + scaler.std * draws).astype(np.float32),
        observed=np.ones((1, lookback), dtype=bool),
        next_return=blank,
        volatility=blank,
        label=blank,
        close=np.ones((1, lookback)),
    )
    try:
        answer = predict(fitted, panel, Span(lookback - 1, lookback))
    except (RuntimeError, ValueError, KeyError) as error:
        raise BrokenModelError(f"the model does not load and predict ({str(error).splitlines()[0]})") from error
    position = float(answer.raw_position[0, 0])
    mode = fitted.training.loss_mode
    trained = {"position": position}
    if mode != "sharpe":
        trained["probability"] = float(answer.probability[0, 0])
    if mode == "joint_mle":
        trained |= {"mean": float(answer.mean[0, 0]), "scale": float(answer.scale[0, 0])}
    bad = [f"{name} {value}" for name, value in trained.items() if not np.isfinite(value)]
    if bad or not -1.0 <= position <= 1.0:
        raise BrokenModelError(f"the model predicts {', '.join(bad) or f'position {position}, outside [-1, 1]'}")
    return position
