"""The tabular peer: gradient-boosted trees on the bar's own features, for the direction of its label."""

import lightgbm
import numpy as np

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.windows import refuse_infinite

LEARNING_RATE = 0.05
STOPPING_ROUNDS = 20


def fit_boosting(panel: Panel, fold: Fold, *, rounds: int, leaves: int, seed: int) -> str:
    """Train on the scored bars of `fold.train`, stop early on those of `fold.validation`.

    The label is 1 where `panel.label` > 0. One thread, fixed order of rows and bins: the same seed gives the same text.

    Args:
        rounds: most trees.
        leaves: most leaves of a tree.
    Returns:
        LightGBM's model text, up to the best round.
    Raises:
        ValueError: train or validation without a scored label or with one direction only, or an infinite feature value.
    """
    x, y = _rows(panel, fold.train, what=f"fold {fold.key}: train")
    validation_x, validation_y = _rows(panel, fold.validation, what=f"fold {fold.key}: validation")
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": leaves,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    train = lightgbm.Dataset(x, y, feature_name=list(panel.features), params=parameters)
    booster = lightgbm.train(
        parameters,
        train,
        num_boost_round=rounds,
        valid_sets=[lightgbm.Dataset(validation_x, validation_y, reference=train, params=parameters)],
        callbacks=[lightgbm.early_stopping(STOPPING_ROUNDS, verbose=False)],
    )
    return booster.model_to_string()  # lightgbm.train drops the trees after the best round


def boosting_probability(text: str, panel: Panel, span: Span) -> np.ndarray:
    """Probability of a label above zero, (S, n) float64 at the bars of `span`; NaN where not observed.

    Raises:
        ValueError: the panel lacks a feature of the model, or an infinite feature value.
    """
    booster = lightgbm.Booster(model_str=text)
    cut = panel.between(*span).with_features(booster.feature_name())
    refuse_infinite(cut)
    probability = np.full(cut.observed.shape, np.nan)
    if cut.observed.any():
        probability[cut.observed] = booster.predict(cut.values[cut.observed], num_threads=1)
    return probability


def _rows(panel: Panel, span: Span, *, what: str) -> tuple[np.ndarray, np.ndarray]:
    cut = panel.between(*span)
    refuse_infinite(cut)
    y = (cut.label[cut.scored] > 0).astype(np.float64)
    if len(np.unique(y)) < 2:
        raise ValueError(
            f"{what} has {len(y)} scored labels, {int(y.sum())} of them above zero: a classifier needs both directions; "
            "lengthen the span"
        )
    return cut.values[cut.scored], y
