"""Leaks, each planted into the pipeline's own code where the pipeline calls it. The guards know none of them.

Seeds and limits of what finds them stand in the `leakage` modules of domain and model and in `domain.features.causality`. Not
here: what must find them (`end_to_end.test_planted_leaks`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from tft_pipeline.domain import change_points, experiment_features, judging, minutes, portfolio, targets
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model import baselines, fold_predictions, inference
from tft_pipeline.model import context_pool as drawing
from tft_pipeline.model import fit as fitting
from tft_pipeline.model.context import ContextPool
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.lightning import TftModule
from tft_pipeline.model.windows import BlockBatches, Outcomes, PanelTensors
from tft_pipeline.pipeline import panels
from tft_pipeline.pipeline.assets import features as computing
from tft_pipeline_tests.conftest import SMALL

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Leak:
    """A leak, how it is planted, and the guard that must name it.

    Attributes:
        needs: what the evidence must hold for the leak to have an effect: "", "minutes", or the choice of context sequences.
        also: guards that may name it beside its own, because what an honest run stored is not what the leaky code gives.
    """

    name: str
    guard: str
    plant: Plant
    needs: str = ""
    also: tuple[str, ...] = ()


def same_day_targets(patch: pytest.MonkeyPatch) -> None:
    """The return of bar t itself pays the decision taken at bar t."""
    honest = experiment_features.build_targets

    def leaky(*args: Any, **kwargs: Any) -> pl.DataFrame:
        return honest(*args, **kwargs).with_columns(pl.col("next_return").shift(1).over("symbol"))

    patch.setattr(experiment_features, "build_targets", leaky)


def same_day_panel(patch: pytest.MonkeyPatch) -> None:
    """The same, on the way from frames to the grid; the labels too."""
    honest = panels.build_panel

    def leaky(*args: Any, **kwargs: Any) -> Panel:
        panel = honest(*args, **kwargs)
        late = {name: np.roll(getattr(panel, name), 1, axis=1) for name in ("next_return", "label")}
        return replace(panel, **late)

    patch.setattr(panels, "build_panel", leaky)


def same_day_book(patch: pytest.MonkeyPatch) -> None:
    """The weight decided at bar t+1 earns the return of bar t+1."""
    honest = portfolio.portfolio_weights

    def leaky(*args: Any, **kwargs: Any) -> np.ndarray:
        weights = honest(*args, **kwargs)
        return np.concatenate((weights[:, 1:], weights[:, -1:]), axis=1)

    patch.setattr(portfolio, "portfolio_weights", leaky)


def label_in_the_volatility(patch: pytest.MonkeyPatch) -> None:
    """The volatility of bar t holds the return of bar t+1."""
    honest = targets._volatility
    patch.setattr(targets, "_volatility", lambda span: honest(span).shift(-1))


def back_filled_features(patch: pytest.MonkeyPatch) -> None:
    """What is missing takes the next value there is."""
    honest = computing.feature_frames

    def leaky(*args: Any, **kwargs: Any) -> Iterator[pl.DataFrame]:
        for frame in honest(*args, **kwargs):  # whole symbols each
            yield frame.with_columns(pl.exclude("timestamp", "symbol").backward_fill().over("symbol"))

    patch.setattr(computing, "feature_frames", leaky)


def back_filled_panel(patch: pytest.MonkeyPatch) -> None:
    """What is missing takes the value of the next bar, one bar far."""
    honest = panels.build_panel

    def leaky(*args: Any, **kwargs: Any) -> Panel:
        panel = honest(*args, **kwargs)
        values = panel.values.copy()
        values[:, :-1] = np.where(np.isnan(values[:, :-1]), values[:, 1:], values[:, :-1])
        return replace(panel, values=values)

    patch.setattr(panels, "build_panel", leaky)


def scaler_of_everything(patch: pytest.MonkeyPatch) -> None:
    """Mean and deviation are taken of all bars that a fold is given."""
    honest, scale = fitting.fit_fold, Scaler.fit

    def leaky(panel: Panel, *args: Any, **kwargs: Any) -> FittedFold:
        with pytest.MonkeyPatch.context() as inner:
            everything = scale(panel.values, panel.features, observed=panel.observed)
            inner.setattr(Scaler, "fit", lambda values, names, *, observed: everything)
            return honest(panel, *args, **kwargs)

    patch.setattr(fitting, "fit_fold", leaky)


def unresolved_context(patch: pytest.MonkeyPatch) -> None:
    """A sequence counts as resolved at its last bar, though its label looks one bar further."""
    honest = fitting.context_pool

    def leaky(*args: Any, **kwargs: Any) -> ContextPool:
        return honest(*args, **{**kwargs, "horizon": 0})

    patch.setattr(fitting, "context_pool", leaky)


def context_of_any_time(patch: pytest.MonkeyPatch) -> None:
    """Windows choose among all sequences of the pool."""
    honest = ContextPool.choose

    def leaky(self: ContextPool, symbols: np.ndarray, first_scored: np.ndarray, n: int) -> np.ndarray:
        return honest(self, symbols, np.full_like(first_scored, np.iinfo(np.int64).max), n)

    patch.setattr(ContextPool, "choose", leaky)


def context_of_the_scored_bar(patch: pytest.MonkeyPatch) -> None:
    """A label that is resolved at the window's first scored bar counts as resolved before it."""
    honest = ContextPool.choose

    def leaky(self: ContextPool, symbols: np.ndarray, first_scored: np.ndarray, n: int) -> np.ndarray:
        return honest(self, symbols, first_scored + 1, n)

    patch.setattr(ContextPool, "choose", leaky)


def symbol_major_validation(patch: pytest.MonkeyPatch) -> None:
    """The first symbols train over all dates, the last ones validate."""
    bars = {"n": 0}

    class SymbolMajor(TftModule):
        def __init__(self, network: Any, tensors: PanelTensors, validation: Any, **kwargs: Any) -> None:
            super().__init__(network, tensors, validation, **kwargs)
            bars["n"] = tensors.values.shape[1]

        def training_step(self, batches: list[Tensor]) -> Tensor:
            whole = self.tensors
            self.tensors = replace(whole, outcomes=_of_symbols(whole.outcomes, slice(None, -1)))
            loss = super().training_step(batches)
            self.tensors = whole
            return loss

        def validation_forecast(self) -> Any:
            forecast, observed, outcomes = super().validation_forecast()
            return forecast, observed, _of_symbols(outcomes, slice(-1, None))

    def batches(scored: Tensor, **kwargs: Any) -> BlockBatches:
        return BlockBatches(torch.ones(bars["n"], dtype=torch.bool), **kwargs)

    patch.setattr(fitting, "TftModule", SymbolMajor)
    patch.setattr(fitting, "BlockBatches", batches)


def _of_symbols(outcomes: Outcomes, symbols: slice) -> Outcomes:
    """Outcomes of the others as of symbols that are not there."""
    kept = torch.zeros_like(outcomes.present)
    kept[symbols] = True
    return Outcomes(**{field.name: getattr(outcomes, field.name) * kept for field in fields(Outcomes)})


def validation_on_train(patch: pytest.MonkeyPatch) -> None:
    """The last bars of train validate: training stops early where it has learned them by heart."""

    class InSample(TftModule):
        def __init__(self, network: Any, tensors: PanelTensors, validation: Any, **kwargs: Any) -> None:
            super().__init__(network, tensors, _last_of_train(tensors, validation), **kwargs)

    patch.setattr(fitting, "TftModule", InSample)


def symbol_major_on_train_dates(patch: pytest.MonkeyPatch) -> None:
    """The first symbols train, the last one validates on the dates of train; no later date is read."""

    class SymbolMajor(TftModule):
        def __init__(self, network: Any, tensors: PanelTensors, validation: Any, **kwargs: Any) -> None:
            super().__init__(network, tensors, _last_of_train(tensors, validation), **kwargs)

        def training_step(self, batches: list[Tensor]) -> Tensor:
            whole = self.tensors
            self.tensors = replace(whole, outcomes=_of_symbols(whole.outcomes, slice(None, -1)))
            loss = super().training_step(batches)
            self.tensors = whole
            return loss

        def validation_forecast(self) -> Any:
            forecast, observed, outcomes = super().validation_forecast()
            return forecast, observed, _of_symbols(outcomes, slice(-1, None))

    patch.setattr(fitting, "TftModule", SymbolMajor)


def validation_of_one_symbol(patch: pytest.MonkeyPatch) -> None:
    """Dates are right, and only the first symbol is validated on."""

    class OneSymbol(TftModule):
        def validation_forecast(self) -> Any:
            forecast, observed, outcomes = super().validation_forecast()
            return forecast, observed, _of_symbols(outcomes, slice(0, 1))

    patch.setattr(fitting, "TftModule", OneSymbol)


def _last_of_train(tensors: PanelTensors, validation: Span) -> Span:
    stop = tensors.first_bar + tensors.values.shape[1] - validation.n_bars - SMALL["periods"]["purge"]
    return Span(stop - validation.n_bars, stop)


def later_leverage(patch: pytest.MonkeyPatch) -> None:
    """The loss scales a position by the volatility of the next bar."""
    _leverage(patch, lambda outcomes: torch.roll(outcomes.leverage, -1, 1))


def leverage_by_the_return(patch: pytest.MonkeyPatch) -> None:
    """The loss scales a position down where the return to come is large."""
    _leverage(patch, lambda outcomes: outcomes.leverage / (1.0 + 50.0 * outcomes.next_return.abs()))


def _leverage(patch: pytest.MonkeyPatch, changed: Callable[[Outcomes], Tensor]) -> None:
    honest = fitting.panel_tensors

    def leaky(*args: Any, **kwargs: Any) -> PanelTensors:
        tensors = honest(*args, **kwargs)
        return replace(tensors, outcomes=replace(tensors.outcomes, leverage=changed(tensors.outcomes)))

    patch.setattr(fitting, "panel_tensors", leaky)


def context_by_the_last_bar(patch: pytest.MonkeyPatch) -> None:
    """Training asks for context sequences by the last bar of a block, not by its first scored one."""
    honest = TftModule.windows_of

    def leaky(self: TftModule, bars: Tensor) -> Any:
        windows = honest(self, bars)
        if self.context is None:
            return windows
        last = bars[:, -1].cpu().numpy() + self.tensors.first_bar
        return replace(windows, context=self.context.of(last))

    patch.setattr(TftModule, "windows_of", leaky)


def positions_of_the_next_bar(patch: pytest.MonkeyPatch) -> None:
    """A forecast at bar t is what the network says at bar t+1."""
    honest = inference.predict

    def leaky(*args: Any) -> inference.Predictions:
        found = honest(*args)
        ahead = np.concatenate((found.raw_position[:, 1:], found.raw_position[:, -1:]), axis=1)
        return replace(found, raw_position=ahead)

    patch.setattr(inference, "predict", leaky)


def baseline_of_the_next_bar(patch: pytest.MonkeyPatch) -> None:
    """The trend rule knows the next close, so that the model is not compared with an honest one."""
    honest = fold_predictions.macd_positions
    patch.setattr(fold_predictions, "macd_positions", lambda close: np.roll(honest(close), -1, axis=1))


def ridge_that_learns_from_test(patch: pytest.MonkeyPatch) -> None:
    """The ridge regression is fitted on the test bars too."""
    honest = baselines.fit_ridge

    def leaky(panel: Panel, fold: Fold, scaler: Scaler) -> Any:
        return honest(panel, replace(fold, train=Span(fold.train.start, fold.test.stop)), scaler)

    patch.setattr(baselines, "fit_ridge", leaky)


def paid_by_the_same_day(patch: pytest.MonkeyPatch) -> None:
    """The stored return of bar t is that of bar t-1 to t."""
    _predictions(patch, pl.col("next_return").shift(1).over("symbol"))


def volatility_of_the_next_bar(patch: pytest.MonkeyPatch) -> None:
    """The stored volatility of bar t is that of bar t+1."""
    _predictions(patch, pl.col("volatility").shift(-1).over("symbol").fill_null(pl.col("volatility")))


def losses_left_out(patch: pytest.MonkeyPatch) -> None:
    """Bars before the largest falls are not stored."""
    honest = fold_predictions.prediction_frame
    patch.setattr(
        fold_predictions,
        "prediction_frame",
        lambda *args: honest(*args).filter(pl.col("next_return").fill_nan(0.0) > -0.02),
    )


def _predictions(patch: pytest.MonkeyPatch, changed: pl.Expr) -> None:
    honest = fold_predictions.prediction_frame
    patch.setattr(fold_predictions, "prediction_frame", lambda *args: honest(*args).with_columns(changed))


def prefilter_on_all_bars(patch: pytest.MonkeyPatch, everything: np.ndarray) -> None:
    """The prefilter judges all bars; its record names those of research."""
    honest = judging.prefilter
    patch.setattr(judging, "prefilter", lambda values, names, **limits: honest(everything, names, **limits))


def selection_on_production(patch: pytest.MonkeyPatch) -> None:
    """Research goes on to the last bar."""
    from tft_pipeline.domain import planning

    honest = planning.split_periods
    patch.setattr(
        planning,
        "split_periods",
        lambda panel, experiment: replace(honest(panel, experiment), research_stop=panel.n_bars),
    )


def backwards_segments(patch: pytest.MonkeyPatch) -> None:
    """Change-points are sought from the last bar to the first, as the published method does."""
    honest = change_points.change_alarms
    patch.setattr(change_points, "change_alarms", lambda returns: honest(returns[:, ::-1])[:, ::-1])


def backwards_segments_in_the_pool(patch: pytest.MonkeyPatch) -> None:
    """The same, where the pool asks for segments."""
    honest = drawing.closed_segments

    def leaky(returns: np.ndarray) -> change_points.Segments:
        found, last = honest(returns[:, ::-1]), returns.shape[1] - 1
        return change_points.Segments(symbol=found.symbol, first=last - found.last, last=last - found.first)

    patch.setattr(drawing, "closed_segments", leaky)


def minutes_of_the_next_bar(patch: pytest.MonkeyPatch) -> None:
    """Each bar gets the minutes of the bar after it."""
    honest = minutes._fill

    def leaky(made: dict[str, np.ndarray], bars: pl.DataFrame, symbol: str, part: pl.DataFrame) -> Any:
        found = honest(made, bars, symbol, part)
        rows = np.flatnonzero((bars["symbol"] == symbol).to_numpy())
        for values in made.values():
            values[rows] = np.append(values[rows[1:]], np.nan)
        return found

    patch.setattr(minutes, "_fill", leaky)


def minutes_after_the_close(patch: pytest.MonkeyPatch) -> None:
    """The first half hour after a bar's close counts as its own."""
    honest = minutes._fill

    def leaky(made: dict[str, np.ndarray], bars: pl.DataFrame, symbol: str, part: pl.DataFrame) -> Any:
        return honest(made, bars.with_columns(pl.col("timestamp") + pl.duration(minutes=30)), symbol, part)

    patch.setattr(minutes, "_fill", leaky)


RESEARCH = "research_ends_before_production"
DECIDED, PAID = "predictions_know_the_past_only", "predictions_are_paid_by_the_stored_targets"
LEAKS = (
    Leak("same-day alignment", "outcomes_lie_after_the_decision", same_day_targets, also=(RESEARCH,)),
    Leak("same-day alignment, on the grid", "outcomes_lie_after_the_decision", same_day_panel, also=(RESEARCH,)),
    Leak("same-day alignment, in the book", "outcomes_lie_after_the_decision", same_day_book),
    Leak("label in the volatility", "volatility_is_known_at_the_bar", label_in_the_volatility, also=(RESEARCH,)),
    Leak("next volatility in the loss", "volatility_is_known_at_the_bar", later_leverage),
    Leak("back-fill", "inputs_do_not_see_later_bars", back_filled_features, also=(RESEARCH,)),
    Leak("back-fill, on the grid", "inputs_do_not_see_later_bars", back_filled_panel, also=(RESEARCH,)),
    Leak("scaler fitted on everything", "scaler_knows_training_bars_only", scaler_of_everything),
    Leak("unresolved context label", "context_labels_are_resolved", unresolved_context, "time_equivalent"),
    Leak(
        "context label of the scored bar",
        "context_labels_are_resolved",
        context_of_the_scored_bar,
        "time_equivalent",
        (DECIDED,),
    ),
    Leak("context of any time", "context_labels_are_resolved", context_of_any_time, "random", (DECIDED,)),
    Leak("context asked by the last bar", "context_labels_are_resolved", context_by_the_last_bar, "random"),
    Leak("symbol-major validation", "weights_learn_from_training_dates_only", symbol_major_validation),
    Leak("validation on train", "weights_learn_from_training_dates_only", validation_on_train),
    Leak("validation of one symbol", "weights_learn_from_training_dates_only", validation_of_one_symbol),
    Leak("minutes of the next bar", "minutes_are_not_used_early", minutes_of_the_next_bar, "minutes"),
    Leak("minutes after the close", "minutes_are_not_used_early", minutes_after_the_close, "minutes"),
    Leak("backwards segmentation", "segments_know_the_past_only", backwards_segments),
    Leak("backwards segmentation, in the pool", "segments_know_the_past_only", backwards_segments_in_the_pool),
)
SLOW_LEAKS = (
    Leak("next return in the leverage", "volatility_is_known_at_the_bar", leverage_by_the_return),
    Leak(
        "context asked by the last bar, by time",
        "context_labels_are_resolved",
        context_by_the_last_bar,
        "time_equivalent",
    ),
    Leak("symbol-major on train dates", "weights_learn_from_training_dates_only", symbol_major_on_train_dates),
)
"""Leaks of computations, tried after an honest run, in two parts."""

STORED_LEAKS = (
    Leak("position of the next bar", DECIDED, positions_of_the_next_bar),
    Leak("paid by the same day", PAID, paid_by_the_same_day),
)
SLOW_STORED_LEAKS = (
    Leak("losses left out", PAID, losses_left_out, also=(DECIDED,)),
    Leak("trend rule of the next bar", DECIDED, baseline_of_the_next_bar),
    Leak("ridge regression of the test bars", DECIDED, ridge_that_learns_from_test),
    Leak("volatility of the next bar", PAID, volatility_of_the_next_bar),
)
"""Leaks that folds are stored with, in two parts."""
