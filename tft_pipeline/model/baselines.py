"""Baselines that learn from a bar's own features: ridge regression of the label, and forecasts turned into positions.

Axes: S symbols, n bars of a span, V features. Not here: boosted trees (`boosting`), rules of prices alone
(`domain.trend_rules`, `domain.portfolio`).
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.boosting import boosting_probability
from tft_pipeline.model.windows import refuse_infinite

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Tried on validation, each for one training row: of standardised features, 1 halves a coefficient, 100 leaves next to
nothing of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedRidge:
    """m = intercept + coefficients . z of a bar, z its features through `scaler`, 0 where one is missing.

    Attributes:
        coefficients: (V,) in the order of the scaler's names.
        penalty: the chosen one of `PENALTIES`.
        validation_errors: mean squared error of the label on validation, by penalty.
    """

    scaler: Scaler
    coefficients: np.ndarray
    intercept: float
    penalty: float
    validation_errors: dict[float, float]


def fit_ridge(panel: Panel, fold: Fold, scaler: Scaler) -> FittedRidge:
    """Fit the label on the scored bars of `fold.train`; the penalty is the one with the least squared error on validation.

        minimise  |y - b - Z w|^2 + penalty * n * |w|^2        over the n scored training bars of all symbols; b is free

    Nothing at or after `fold.validation.stop` is read. One thread, solved by Cholesky: equal inputs give equal bits.

    Args:
        scaler: fitted on the training bars of this fold.
    Raises:
        ValueError: train or validation without a scored label, an infinite feature value, or a panel without a feature of
            the scaler.
    """
    x, y = _rows(panel, fold.train, scaler, what=f"fold {fold.key}: train")
    validation_x, validation_y = _rows(panel, fold.validation, scaler, what=f"fold {fold.key}: validation")
    fits: dict[float, Ridge] = {}
    errors: dict[float, float] = {}
    with threadpool_limits(limits=1):
        for penalty in PENALTIES:
            fits[penalty] = Ridge(alpha=penalty * len(y), solver="cholesky").fit(x, y)
            errors[penalty] = float(np.square(validation_y - fits[penalty].predict(validation_x)).mean())
    chosen = min(errors, key=errors.__getitem__)
    return FittedRidge(
        scaler=scaler,
        coefficients=np.asarray(fits[chosen].coef_, dtype=np.float64),
        intercept=float(fits[chosen].intercept_),
        penalty=chosen,
        validation_errors=errors,
    )


def ridge_forecast(fitted: FittedRidge, panel: Panel, span: Span) -> np.ndarray:
    """Forecast of the label, (S, n) float64 at the bars of `span`; NaN where not observed.

    Raises:
        ValueError: the panel lacks a feature of the model, or an infinite feature value.
    """
    cut = panel.between(*span)
    forecast = np.full(cut.observed.shape, np.nan)
    z = _inputs(cut, cut.observed, fitted.scaler)
    # not a matrix product: its rounding depends on the number of rows and on threads
    forecast[cut.observed] = fitted.intercept + (z * fitted.coefficients).sum(axis=1)
    return forecast


def forecast_positions(forecast: np.ndarray, train_forecast: np.ndarray) -> np.ndarray:
    """Positions of a forecast m that is 0 where nothing is expected: z = clip(m / rms, -1, 1), rms = sqrt(mean(m^2)).

    A forecast of the usual size takes the full risk budget, a smaller one its share.

    Args:
        forecast: of any shape; NaN stays NaN.
        train_forecast: the same model's forecasts at the bars it was fitted on, which set the size; finite.
    Returns:
        All 0 where the model forecasts 0 throughout train and here.
    Raises:
        ValueError: no training forecast, one that is not finite, or forecasts other than 0 of a model without a size.
    """
    if not train_forecast.size or not np.isfinite(train_forecast).all():
        raise ValueError(
            f"{train_forecast.size} training forecasts, {int(np.isfinite(train_forecast).sum())} of them finite: they set "
            "the size of a full position; give the bars the model was fitted on"
        )
    size = float(np.sqrt(np.square(train_forecast).mean()))
    if size == 0.0:
        if np.nan_to_num(forecast).any():
            raise ValueError(
                "the model forecast 0 at every training bar and something else here: no size to compare with"
            )
        found: np.ndarray = np.zeros(forecast.shape) + forecast
        return found
    return np.clip(forecast / size, -1.0, 1.0)


def ridge_positions(fitted: FittedRidge, panel: Panel, fold: Fold) -> np.ndarray:
    """Raw positions of the ridge regression at the bars of `fold.test`, (S, n); NaN where not observed."""
    train = ridge_forecast(fitted, panel, fold.train)[panel.between(*fold.train).scored]
    return forecast_positions(ridge_forecast(fitted, panel, fold.test), train)


def boosting_positions(text: str, panel: Panel, fold: Fold) -> np.ndarray:
    """Raw positions of boosted trees at the bars of `fold.test`, (S, n): the forecast is p - 1/2; NaN where not observed."""
    train = boosting_probability(text, panel, fold.train)[panel.between(*fold.train).scored]
    return forecast_positions(boosting_probability(text, panel, fold.test) - 0.5, train - 0.5)


def _inputs(cut: Panel, rows: np.ndarray, scaler: Scaler) -> np.ndarray:
    """(rows, V) float64."""
    if cut.features != scaler.names:
        cut = cut.with_features(scaler.names)
    refuse_infinite(cut)
    found: np.ndarray = np.nan_to_num(scaler.transform(cut.values[rows]), nan=0.0).astype(np.float64)
    return found


def _rows(panel: Panel, span: Span, scaler: Scaler, *, what: str) -> tuple[np.ndarray, np.ndarray]:
    cut = panel.between(*span)
    y = cut.label[cut.scored]
    if not y.size:
        raise ValueError(
            f"{what} has no scored label: there is nothing to fit a ridge regression on; lengthen the span or drop late "
            "symbols"
        )
    return _inputs(cut, cut.scored, scaler), y
