"""Drift of what models said and of how well they did: the newest one's outputs, and the walk forward's errors.

Not here: the model's inputs (`drift_evaluation`), the statistics (`domain.drift_outputs`), which bars (`drift_bars`).
"""

from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.drift_outputs import Measure, log_losses, performance_drift, prediction_drift
from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.phases import DriftSection
from tft_pipeline.pipeline.drift_bars import Compared
from tft_pipeline.storage.fold_bundles import FoldBundle

SCORED = ("timestamp", "symbol", "raw_position", "probability")
"""Columns of a fold's predictions that are read."""


def outputs_drift(
    panel: Panel, bundle: FoldBundle, scored: pl.DataFrame, bars: Compared, settings: DriftSection
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Drift of what the newest model says, against its own test bars, and of how well the walk forward does, against all
    bars that were scored before; both end where the recent bars begin.

    What the model says before its test counts nowhere: it was stopped early on some of these bars. For the walk forward they
    are older models' test bars.
    """
    n_recent, stop = bars.recent.stop - bars.recent.start, bars.recent.stop
    tested = max(bars.recent.start, min(bars.test.start, stop))
    said = {name: _placed(panel, scored, name, stop) for name in ("raw_position", "probability")}
    now = predict_recent(panel, bundle, bars.recent)
    has_probability = bool(np.isfinite(now["probability"]).any())
    spoken = ("raw_position", "probability") if has_probability else ("raw_position",)
    for name in said:
        said[name][:, tested:] = now[name][:, tested - bars.recent.start :]
        now[name][:, : tested - bars.recent.start] = np.nan
    own = slice(bars.test.start, max(bars.test.start, min(bars.test.stop, bars.recent.start)))
    predictions = prediction_drift(
        {name: np.concatenate([said[name][:, own], now[name]], axis=1).T for name in spoken},
        n_recent=n_recent,
        n_bins=settings.n_bins,
        psi_threshold=settings.psi_threshold,
        js_threshold=settings.js_threshold,
        alpha=settings.alpha,
        min_null_windows=settings.min_null_windows,
    )
    # as of the last recent bar: a return is known one bar later, a label `horizon` bars later
    ahead = stop - 1 - np.arange(stop)
    if has_probability:
        measure: Measure = "log_loss"
        label = np.where(ahead >= bundle.fitted.horizon, panel.label[:, :stop], np.nan)
        up = np.where(np.isfinite(label), label > 0.0, np.nan)
        worth = log_losses(said["probability"], up)
    else:
        measure = "portfolio_return"
        weight = said["raw_position"] * bundle.fitted.target_volatility / panel.volatility[:, :stop]
        worth = np.where(ahead >= 1, weight * panel.next_return[:, :stop], np.nan)
    performance = performance_drift(
        worth.T,
        measure=measure,
        n_recent=n_recent,
        alpha=settings.alpha,
        min_null_windows=settings.min_null_windows,
    )
    return predictions.to_dict(), performance.to_dict()


def _placed(panel: Panel, scored: pl.DataFrame, name: str, stop: int) -> np.ndarray:
    """(S, stop) a column of out-of-sample predictions on the panel's grid, NaN where no fold scored a bar."""
    bars = pl.DataFrame({"timestamp": panel.calendar[:stop], "bar": range(stop)}, schema_overrides={"bar": pl.Int64})
    symbols = pl.DataFrame({"symbol": panel.symbols, "place": range(len(panel.symbols))})
    bars = bars.with_columns(pl.col("timestamp").cast(scored.schema["timestamp"]))
    known = scored.join(bars, on="timestamp").join(symbols, on="symbol")
    grid = np.full((len(panel.symbols), stop), np.nan)
    grid[known["place"].to_numpy(), known["bar"].to_numpy()] = known[name].fill_null(float("nan")).to_numpy()
    return grid


def predict_recent(panel: Panel, bundle: FoldBundle, recent: Span) -> dict[str, np.ndarray]:
    """(S, n) outputs of the model at the recent bars, from the bars up to each alone."""
    from tft_pipeline.model.inference import predict

    if not panel.observed[:, recent.start : recent.stop].any():
        nothing = np.full((len(panel.symbols), recent.stop - recent.start), np.nan)
        return {"raw_position": nothing, "probability": nothing}
    made = predict(bundle.fitted, panel.between(0, recent.stop), recent)
    return {"raw_position": made.raw_position, "probability": made.probability}
