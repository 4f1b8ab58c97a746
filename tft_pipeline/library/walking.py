"""A walk forward over a frame in memory, by the functions that the pipeline's assets call and so with the same numbers.

Not here: choosing features and settings, recording looks, anything on disk (`tft run` does these).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError, Experiment
from tft_pipeline.library.arguments import refusal_of_frame

if TYPE_CHECKING:
    from tft_pipeline.domain.panel import Panel
    from tft_pipeline.domain.reports import FeatureCatalogue, FoldSpec


@dataclass(frozen=True, kw_only=True)
class WalkForward:
    """What a walk forward found, all of it out of sample.

    No look was recorded anywhere: how many settings were tried on these bars only you know. Say so to `honest_sharpe`.

    Attributes:
        folds: one row a fold: fold, first and last bar of train, validation and test, train_labels, epochs (trained),
            best_epoch, validation_loss.
        predictions: one row a scored bar and symbol, with the columns of the pipeline's production folds: fold, timestamp,
            symbol, raw_position in [-1, 1], mean, scale, probability, what the baselines say, next_return, volatility (annual),
            label.
        returns: one row a decision bar t, earned over bar t+1: timestamp, fold, net, gross, cost, financing (fractions of the
            capital), turnover, gross_exposure, net_exposure, n_symbols, net_at_2x_cost, net_one_bar_late, and gross and net of
            each baseline on the same bars and costs.
        features: what the network read. left_out: features that the bars do not allow, with the reason.
        warnings: what looks wrong in the bars though it can be used, bars that no fold scores, what LightGBM could not do.
        unscored: timestamps from `production_start` on without a row in `predictions`, in order. The last `target.horizon` of
            the calendar have no label yet, and before these lie all that do not fill a fold.
        bars_per_year: for `honest_sharpe`.
    """

    folds: pl.DataFrame
    predictions: pl.DataFrame
    returns: pl.DataFrame
    features: tuple[str, ...]
    left_out: dict[str, str]
    warnings: tuple[str, ...]
    unscored: pl.Series
    bars_per_year: float

    @property
    def net(self) -> np.ndarray:
        """(n,) net return of the book after each decision bar."""
        return self.returns["net"].to_numpy()


def walk_forward(
    bars: pl.DataFrame,
    experiment: Experiment,
    *,
    features: Sequence[str] | None = None,
    report: Callable[[str], None] | None = None,
) -> WalkForward:
    """Train fold after fold, predict the bars behind each, and hold the predictions as one book after costs.

    Each fold scales and trains on its own training bars, stops early on its validation bars and scores its test bars; a purge
    lies between them. Features are causal. The same bars and settings give the same numbers, to the bit on a CPU, and those of
    the production folds of `tft run` with the same features and settings. The folds are fitted one after the other, one thread
    each, in this process. Nothing is written.

    Features and settings are taken as they are. If they were chosen on bars that are scored here, the result is not out of
    sample, and nothing here can tell.

    Args:
        bars: timestamp (time-zone aware, or naive with `data.timezone`), symbol, close, optionally open, high, low, volume,
            available_at, and columns of your own, which become features; one row a bar and symbol, in any order.
        experiment: of `read_experiment` or `new_experiment`. Read are its seed, data (but the source), features, target,
            periods, network, training, position, production, evaluation.momentum_lookback and ensemble.lightgbm_*.
        features: names to train on; by default all that the experiment's section `features` builds from these columns.
        report: called with one sentence a fold.
    Raises:
        BarsError: bars that cannot be used, or that are not of `data.interval`; the message names the column, an example and
            the remedy.
        ConfigurationError: an experiment that needs more than one frame (minutes, tables, sentiment), or too few bars for a
            fold; a feature that is not built or named twice.
        FloatingPointError: the loss of a fold became NaN or infinite; lower training.learning_rate.
    Example:
        >>> found = walk_forward(bars, experiment)  # doctest: +SKIP
        >>> honest_sharpe(found.net, bars_per_year=found.bars_per_year, trials=1)  # doctest: +SKIP

    Source: docs/honesty.md; Lim, Zohren & Roberts (2019) for positions and losses.
    """
    from tft_pipeline.domain.backtest import backtest
    from tft_pipeline.domain.planning import fold_specs, production_folds, slice_for

    if not isinstance(experiment, Experiment):
        raise ConfigurationError(
            f"experiment is a {type(experiment).__name__}: expected what new_experiment gives, or the `experiment` of what "
            "read_experiment gives"
        )
    _refuse_more_than_one_frame(experiment)
    if refusal := refusal_of_frame(bars):
        raise BarsError(refusal)
    panel, catalogue, doubts = _panel(bars, experiment, features)
    try:
        specs = fold_specs(
            panel,
            production_folds(panel, experiment),
            experiment,
            network=experiment.network,
            training=experiment.training,
            position=experiment.position,
            epochs=experiment.production.epochs,
            n_seeds=1,
            shadow_features=0,
            min_history=catalogue.max_lookback,
            production=True,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    rows, predictions = [], []
    warnings = list(doubts)
    for k, spec in enumerate(specs, start=1):
        try:
            row, scored = _fold(slice_for(panel, spec), spec, warnings.append)
        except ValueError as error:
            raise ConfigurationError(f"fold {spec.key}: {error}") from error
        rows.append(row)
        predictions.append(scored)
        if report is not None:
            report(
                f"fold {k} of {len(specs)}, {row['test_first']:%Y-%m-%d} to {row['test_last']:%Y-%m-%d}: {row['epochs']} "
                f"epochs, best validation loss {row['validation_loss']:.4f}"
            )
    scored_rows = pl.concat(predictions)
    unscored = _unscored(panel, scored_rows, experiment)
    if len(unscored) > experiment.target.horizon:
        warnings.append(
            f"{len(unscored)} bars from {unscored[0]:%Y-%m-%d %H:%M} to {unscored[-1]:%Y-%m-%d %H:%M} are scored by no fold: "
            f"each scores {experiment.production.folds.test} bars that have a label; a shorter test leaves fewer"
        )
    return WalkForward(
        folds=pl.DataFrame(rows),
        predictions=scored_rows,
        returns=backtest(
            scored_rows,
            experiment.position,
            target_volatility=experiment.target.target_volatility,
            bars_per_year=experiment.data.bars_per_year,
        ),
        features=panel.features,
        left_out=dict(catalogue.skipped),
        warnings=tuple(warnings),
        unscored=unscored,
        bars_per_year=experiment.data.bars_per_year,
    )


def _refuse_more_than_one_frame(experiment: Experiment) -> None:
    given = {
        "data.minute_source": experiment.data.minute_source,
        "data.tables": experiment.data.tables,
        "ensemble.sentiment_column": experiment.ensemble.sentiment_column,
    }
    named = [key for key, value in given.items() if value]
    if named:
        raise ConfigurationError(
            f"{' and '.join(named)} of experiment {experiment.name}: walk_forward reads one frame of bars and would leave that "
            "out; use `tft run`, or an experiment without it and bring its columns in the frame, each as it was known at the "
            "close of its bar"
        )


def _panel(
    bars: pl.DataFrame, experiment: Experiment, features: Sequence[str] | None
) -> "tuple[Panel, FeatureCatalogue, list[str]]":
    """Bars to the panel of the wanted features, everything that these bars allow, and what looks wrong in them."""
    from tft_pipeline.domain.checked_bars import checked_bars
    from tft_pipeline.domain.experiment_features import catalogue_of, computed_targets, feature_build
    from tft_pipeline.domain.panel import build_panel
    from tft_pipeline.domain.plausibility import listed
    from tft_pipeline.domain.plausible_bars import implausible_bars

    checked, data = checked_bars(experiment.data, bars), experiment.data
    newest = checked["timestamp"].max()
    assert isinstance(newest, datetime)
    doubts = listed(implausible_bars(checked, data.interval, timezone=data.timezone, now=newest))
    try:
        catalogue = catalogue_of(experiment, checked.columns)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if isinstance(features, str) or not isinstance(features, Iterable | None):
        raise ConfigurationError(f'features are {features!r}: expected names in a list, as ["ret_1"]')
    names = catalogue.names if features is None else tuple(features)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"features name {', '.join(twice)} twice: the network reads each once; name them once")
    absent = [name for name in names if name not in catalogue.names]
    if absent or not names:
        raise ConfigurationError(
            f"features {absent} are not built by experiment {experiment.name} from these columns, which has "
            f"{len(catalogue.names)}: the network could not read them; correct the names, or its section features"
        )
    frame = pl.concat(feature_build(experiment, checked, catalogue).frames())
    targets = computed_targets(experiment, checked)
    panel = build_panel(frame, targets, names=names, min_history=catalogue.max_lookback)
    return panel, catalogue, [one.sentence for one in doubts]


def _unscored(panel: "Panel", scored: pl.DataFrame, experiment: Experiment) -> pl.Series:
    """Bars of the production period without a row."""
    first = experiment.periods.production_start
    calendar = pl.Series("timestamp", panel.calendar, dtype=scored.schema["timestamp"])
    due = calendar.filter(calendar.dt.date() >= first)
    return due.filter(~due.is_in(scored["timestamp"].unique().implode()))


def _fold(panel: "Panel", spec: "FoldSpec", warn: Callable[[str], None]) -> tuple[dict[str, Any], pl.DataFrame]:
    """One fold fitted and scored: its row, and its predictions with baselines beside them."""
    from tft_pipeline.model.baselines import fit_ridge
    from tft_pipeline.model.boosting import fit_boosting
    from tft_pipeline.model.fit import fit_fold
    from tft_pipeline.model.fold_predictions import fold_predictions

    fold = spec.fold
    assert spec.boosting is not None
    assert spec.momentum_lookback is not None
    rounds, leaves = spec.boosting
    fitted = fit_fold(
        panel,
        fold,
        network=spec.network,
        training=spec.training,
        position=spec.position,
        target_volatility=spec.target_volatility,
        horizon=spec.horizon,
        bars_per_year=spec.bars_per_year,
        epochs=spec.epochs,
        seed=spec.seeds[0],
    )
    boosting = fit_boosting(panel, fold, rounds=rounds, leaves=leaves, seed=spec.seeds[0], warn=warn)
    predictions, _ = fold_predictions(
        panel,
        fold,
        key=spec.key,
        fitted=fitted,
        boosting=boosting,
        ridge=fit_ridge(panel, fold, fitted.scaler),
        momentum_lookback=spec.momentum_lookback,
    )
    parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    row: dict[str, Any] = {"fold": spec.key}
    for part, span in parts.items():
        row |= {f"{part}_first": panel.calendar[span.start], f"{part}_last": panel.calendar[span.stop - 1]}
    row |= {
        "train_labels": fitted.n_train_labels,
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "validation_loss": float(fitted.history[fitted.best_epoch]["validation_loss"]),
    }
    return row, predictions
