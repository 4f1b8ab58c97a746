"""The tabular peer: gradient-boosted trees on the bar's own features, for the direction of its label.

LightGBM refuses names with signs of JSON and turns spaces into underscores, and users name their columns as they like. In the
model text a feature therefore stands percent-encoded (`mood [x]` as `mood%20%5Bx%5D`), from which its name is read back; names
of letters, digits and underscores stand as they are.
"""

import warnings
from collections.abc import Callable
from urllib.parse import quote, unquote

import lightgbm
import numpy as np

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.windows import refuse_infinite

LEARNING_RATE = 0.05
STOPPING_ROUNDS = 20


def fit_boosting(
    panel: Panel,
    fold: Fold,
    *,
    rounds: int,
    leaves: int,
    seed: int,
    warn: Callable[[str], object] = warnings.warn,
) -> str:
    """Train on the scored bars of `fold.train`, stop early on those of `fold.validation`.

    The label is 1 where `panel.label` > 0. One thread, fixed order of rows and bins: the same seed gives the same text.

    A validation whose labels all have one direction (few symbols, a long horizon) has no best round: the more a model leans to
    that side, the better it looks. Then all rounds are trained, and `warn` is told.

    Args:
        rounds: most trees.
        leaves: most leaves of a tree.
        warn: takes the sentence that says so.
    Returns:
        LightGBM's model text, up to the best round where there is one.
    Raises:
        ValueError: train or validation without a scored label, train with one direction only, or an infinite feature value.
    """
    x, y = _rows(panel, fold.train, what=f"fold {fold.key}: train")
    if len(np.unique(y)) < 2:
        raise ValueError(
            f"fold {fold.key}: train has {len(y)} scored labels, {int(y.sum())} of them above zero: a classifier needs both "
            "directions; lengthen the span"
        )
    validation_x, validation_y = _rows(panel, fold.validation, what=f"fold {fold.key}: validation")
    stops = len(np.unique(validation_y)) == 2
    if not stops:
        warn(
            f"fold {fold.key}: all {len(validation_y)} validation labels are "
            f"{'above' if validation_y[0] else 'not above'} zero: no round of the boosted trees is the best on one direction, "
            f"so all {rounds} are kept; lengthen validation to stop early"
        )
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
    encoded = [quote(name, safe="") for name in panel.features]
    train = lightgbm.Dataset(x, y, feature_name=encoded, params=parameters)
    validation = lightgbm.Dataset(validation_x, validation_y, reference=train, params=parameters)
    booster = lightgbm.train(
        parameters,
        train,
        num_boost_round=rounds,
        valid_sets=[validation] if stops else None,
        callbacks=[lightgbm.early_stopping(STOPPING_ROUNDS, verbose=False)] if stops else None,
    )
    return booster.model_to_string()  # lightgbm.train drops the trees after the best round


def boosting_probability(text: str, panel: Panel, span: Span) -> np.ndarray:
    """Probability of a label above zero, (S, n) float64 at the bars of `span`; NaN where not observed.

    Raises:
        ValueError: the panel lacks a feature of the model, or an infinite feature value.
    """
    booster = lightgbm.Booster(model_str=text)
    cut = panel.between(*span).with_features([unquote(name) for name in booster.feature_name()])
    refuse_infinite(cut)
    probability = np.full(cut.observed.shape, np.nan)
    if cut.observed.any():
        probability[cut.observed] = booster.predict(cut.values[cut.observed], num_threads=1)
    return probability


def _rows(panel: Panel, span: Span, *, what: str) -> tuple[np.ndarray, np.ndarray]:
    cut = panel.between(*span)
    refuse_infinite(cut)
    y = (cut.label[cut.scored] > 0).astype(np.float64)
    if not y.size:
        raise ValueError(
            f"{what} has no scored label: there is nothing to fit boosted trees on; lengthen the span or drop late symbols"
        )
    return cut.values[cut.scored], y
