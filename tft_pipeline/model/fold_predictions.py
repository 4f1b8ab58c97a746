"""What a fold's models and the rules beside them say of its test bars. Not here: fitting them, what a book of them earns."""

import numpy as np
import polars as pl

from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.portfolio import momentum_positions
from tft_pipeline.domain.prediction_rows import prediction_frame
from tft_pipeline.domain.trend_rules import macd_positions
from tft_pipeline.model import baselines, inference
from tft_pipeline.model.baselines import FittedRidge
from tft_pipeline.model.boosting import boosting_probability
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.heads import QUANTILES


def fold_predictions(
    panel: Panel,
    fold: Fold,
    *,
    key: str,
    fitted: FittedFold,
    boosting: str,
    ridge: FittedRidge,
    momentum_lookback: int,
    until: int | None = None,
) -> tuple[pl.DataFrame, np.ndarray]:
    """One row a test bar and symbol, with a column a model and rule; and the network's selection weights.

    Args:
        key: of the fold, in the column `fold`.
        boosting: the trees as LightGBM's text.
        momentum_lookback: in bars.
        until: see `inference.predict`.
    Returns:
        Columns of `prediction_rows`, raw_position, mean, scale, probability, quantile_<level> where the network has
        quantiles, lightgbm_probability, and momentum, macd, ridge and lightgbm positions, raw shares of the risk budget;
        weights (V,), mean over the test bars, NaN for a family that selects nothing.
    Raises:
        ValueError: see `inference.predict`.
    """
    test = slice(*fold.test)
    predicted = inference.predict(fitted, panel, fold.test, until)
    columns = {
        "raw_position": predicted.raw_position,
        "mean": predicted.mean,
        "scale": predicted.scale,
        "probability": predicted.probability,
        "lightgbm_probability": boosting_probability(boosting, panel, fold.test),
        "momentum_position": momentum_positions(panel.close, momentum_lookback)[:, test],
        "macd_position": macd_positions(panel.close)[:, test],
        "ridge_position": baselines.ridge_positions(ridge, panel, fold),
        "lightgbm_position": baselines.boosting_positions(boosting, panel, fold),
    }
    if predicted.quantiles is not None:
        columns |= {f"quantile_{level}": predicted.quantiles[..., q] for q, level in enumerate(QUANTILES)}
    return prediction_frame(key, panel.between(*fold.test), columns), predicted.vsn_weights
