"""What leakage guards may look at: the stored results of one experiment, and the functions its assets call.

The functions are looked up where the assets look them up, at every call, so that what is tried is what runs. Not here: the
guards (`guards`).

Axes: S symbols, N bars, V features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.leakage import all_have_begun, last_bars
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FeatureCatalogue,
    FoldPlanReport,
    FoldSpec,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.pipeline import panels
from tft_pipeline.pipeline.assets import evaluation, exploration
from tft_pipeline.pipeline.assets import features as computing
from tft_pipeline.pipeline.assets import snapshot as freezing
from tft_pipeline.storage.fold_bundles import FoldBundle

if TYPE_CHECKING:
    from tft_pipeline.model.baselines import FittedRidge
    from tft_pipeline.model.fit import FittedFold
    from tft_pipeline.model.leakage import SmallFits

TAIL_BARS = 700
OUTCOMES = ("next_return", "volatility", "label", "next_return_in_loss", "label_in_loss", "leverage_in_loss")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a guard may look at: the configuration, the bars, and what is stored.

    Attributes:
        source: reads the rows that the bars were made of, one a publication; None where they are not there any more.
        minutes: reads the rows of the minute source that close inside some bars; None where they are not there any more.
    """

    experiment: Experiment
    bars: pl.DataFrame
    catalogue: FeatureCatalogue
    features: pl.LazyFrame
    targets: pl.DataFrame
    prefiltered: PrefilteredFeatures
    exploration_plan: FoldPlanReport
    exploration_folds: Mapping[str, ExplorationFold]
    selected: SelectedFeatures
    tuned: TunedHyperparameters
    production_plan: FoldPlanReport
    production_folds: Mapping[str, FoldBundle]
    source: Callable[[], pl.DataFrame] | None = None
    minutes: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    @property
    def newest(self) -> FoldSpec:
        """The spec of the fold whose model is released."""
        return self.production_plan.specs[-1]

    @cached_property
    def tail(self) -> pl.DataFrame:
        """The newest bars, on which computations are tried: enough for the slowest feature, and as many behind."""
        target = self.experiment.target
        slowest = max(self.catalogue.max_lookback, target.volatility_span)
        first = last_bars(self._traded(self.bars), max(TAIL_BARS, 2 * slowest + target.horizon))["timestamp"].min()
        untraded = pl.col("symbol").is_in(list(self.experiment.data.untraded))
        return self.bars.filter((pl.col("timestamp") >= first) | untraded)

    @property
    def tail_ticks(self) -> pl.Series:
        """The bars of the tail: other markets may have timestamps between them, on which no decision is taken."""
        return self._traded(self.tail)["timestamp"].unique().sort()

    @property
    def untraded_since(self) -> datetime:
        """The first bar at which every market beside the traded symbols has begun: nothing can be built from fewer."""
        return all_have_begun(self.bars, self.experiment.data.untraded)

    def joined(self, bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
        """Bars with what some minutes say, by the function that the snapshot calls."""
        return freezing.join_minutes(bars, minutes.lazy(), timezone=self.experiment.data.timezone).bars

    def _traded(self, bars: pl.DataFrame) -> pl.DataFrame:
        return bars.filter(~pl.col("symbol").is_in(list(self.experiment.data.untraded)))

    def given(self, bars: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """What bars become on their way to a model: one row a traded symbol and bar from its first one on.

        Args:
            names: features to build; the newest fold's are among them.
        Returns:
            timestamp, symbol, the features, those of the newest fold as it scales and fills them for fits and for forecasts,
            next_return, volatility, label, and the outcomes that the loss gets (`_in_loss`).
        """
        from tft_pipeline.model import fit, inference

        panel = self._built(bars, names)
        scaler = self.production_folds[self.newest.key].fitted.scaler
        chosen = panel.with_features(scaler.names)
        whole = {"start": 0, "stop": panel.n_bars}
        volatility = self.newest.target_volatility
        to_fit = fit.panel_tensors(chosen, scaler, **whole, target_volatility=volatility)
        to_predict = inference.panel_tensors(chosen, scaler, **whole, target_volatility=volatility)
        listed = np.maximum.accumulate(np.isfinite(panel.close), axis=1)
        s, t = np.nonzero(listed)
        present = to_fit.outcomes.present.numpy()
        grids: dict[str, np.ndarray] = {
            **{f"feature {name}": panel.values[:, :, v] for v, name in enumerate(panel.features)},
            **{f"input {name} of fits": to_fit.values[:, :, v].numpy() for v, name in enumerate(scaler.names)},
            **{f"input {name} of forecasts": to_predict.values[:, :, v].numpy() for v, name in enumerate(scaler.names)},
            "observed as an input": panel.observed.astype(np.float32),
            "next_return": panel.next_return,
            "volatility": panel.volatility,
            "label": panel.label,
            "next_return_in_loss": np.where(present, to_fit.outcomes.next_return.numpy(), np.nan),
            "label_in_loss": np.where(present, to_fit.outcomes.label.numpy(), np.nan),
            "leverage_in_loss": np.where(present, to_fit.outcomes.leverage.numpy(), np.nan),
        }
        stamps = pl.Series(panel.calendar, dtype=pl.Datetime("us", "UTC"))
        return pl.DataFrame(
            {
                "timestamp": stamps[t],
                "symbol": np.array(panel.symbols)[s],
                **{name: np.ascontiguousarray(grid[s, t]) for name, grid in grids.items()},
            }
        )

    def inputs(self, bars: pl.DataFrame) -> pl.DataFrame:
        """The columns of `given` that a decision may be made of, the volatility left out; no other feature reaches a model."""
        return self.given(bars, self.prefiltered.kept).drop(OUTCOMES)

    def outcomes(self, bars: pl.DataFrame) -> pl.DataFrame:
        """The columns of `given` that a decision is paid and judged by, and the volatility."""
        return self.given(bars, self.newest.features).select("timestamp", "symbol", *OUTCOMES)

    @cached_property
    def panel(self) -> Panel:
        """The stored panel of the chosen features."""
        return panels.panel_of(self.features, self.targets, self.catalogue, self.newest.features)

    @cached_property
    def newest_slice(self) -> Panel:
        """The newest fold's bars."""
        stamps = [stamp.isoformat() for stamp in self.panel.calendar]
        return self.panel.between(stamps.index(self.newest.first), stamps.index(self.newest.last) + 1).listed()

    @cached_property
    def small_fits(self) -> "SmallFits":
        """Refits of the end of the newest fold."""
        from tft_pipeline.model.leakage import small_fits, small_fold

        panel, fold = small_fold(self.newest_slice, self.newest.fold, lookback=self.newest.training.lookback)
        return small_fits(self.fit, panel, fold)

    def fit(self, panel: Panel, fold: Fold, *, frozen: bool = False) -> "FittedFold":
        """One epoch with the newest fold's settings, without context sequences.

        Args:
            frozen: the weights stay as they are drawn.
        """
        from tft_pipeline.model import fit

        spec = self.newest
        training = spec.training.model_copy(update={"learning_rate": 0.0}) if frozen else spec.training
        return fit.fit_fold(
            panel,
            fold,
            network=spec.network.model_copy(update={"n_context": 0}),
            training=training,
            position=spec.position,
            target_volatility=spec.target_volatility,
            horizon=spec.horizon,
            bars_per_year=spec.bars_per_year,
            epochs=1,
            seed=spec.seeds[0],
        )

    def validation_loss(self, panel: Panel, fold: Fold) -> float:
        """Of weights that learn nothing."""
        return float(self.fit(panel, fold, frozen=True).history[0]["validation_loss"])

    @cached_property
    def ridge(self) -> "FittedRidge":
        """The newest fold's ridge regression, fitted again without a true bar from its first test bar on."""
        from tft_pipeline.model import baselines
        from tft_pipeline.model.leakage import scrambled

        fold = self.newest.fold
        blind = scrambled(self.newest_slice, fold.test.start)
        return baselines.fit_ridge(blind, fold, self.production_folds[self.newest.key].fitted.scaler)

    def predicted(self, cut: datetime | None) -> pl.DataFrame:
        """The newest fold's predictions again, as its asset makes them; with a cut, every later bar of the slice is noise.

        The network's forecasts of bars after the cut are made as far as they share a chunk with one before it, and are NaN from
        there on: nobody asks what it makes of noise, and windows are nearly all of the audit's time.
        """
        from tft_pipeline.model.fold_predictions import fold_predictions
        from tft_pipeline.model.leakage import scrambled

        spec, bundle, panel = self.newest, self.production_folds[self.newest.key], self.newest_slice
        assert spec.momentum_lookback is not None
        until = None if cut is None else panel.calendar.index(cut) + 1
        if until is not None:
            panel = scrambled(panel, until)
        predictions, _ = fold_predictions(
            panel,
            spec.fold,
            key=spec.key,
            fitted=bundle.fitted,
            boosting=bundle.boosting,
            ridge=self.ridge,
            momentum_lookback=spec.momentum_lookback,
            until=until,
        )
        return predictions

    def book(self, predictions: pl.DataFrame) -> pl.DataFrame:
        """The portfolio of some predictions with the newest fold's settings."""
        spec = self.newest
        return evaluation.backtest(
            predictions, spec.position, target_volatility=spec.target_volatility, bars_per_year=spec.bars_per_year
        )

    @property
    def judged(self) -> pl.DataFrame:
        """The rows that the prefilter names, of symbols with enough history, with every feature of the catalogue."""
        first, last = (datetime.fromisoformat(stamp) for stamp in (self.prefiltered.first, self.prefiltered.last))
        history = pl.int_range(1, pl.len() + 1).over("symbol", order_by="timestamp")
        enough = (history >= self.catalogue.max_lookback) & pl.col("timestamp").is_between(first, last)
        rows = self.features.filter(enough).select("timestamp", "symbol", *self.catalogue.names)
        return rows.sort("symbol", "timestamp").fill_null(float("nan")).collect()

    @property
    def research_train_ends(self) -> list[datetime]:
        """Last train bars of the exploration and tuning folds, planned again."""
        sections = (self.experiment.exploration.folds, self.experiment.tuning.folds)
        folds = [fold for one in sections for fold in exploration.research_folds(self.panel, self.experiment, one)]
        return [self.panel.calendar[fold.train.stop - 1] for fold in folds]

    def plan_again(self, bars: pl.DataFrame) -> Sequence[FoldSpec]:
        """Exploration's folds from some bars."""
        experiment = self.experiment
        panel = self._built(bars, self.prefiltered.kept)
        return exploration.exploration_specs(panel, experiment, min_history=self.catalogue.max_lookback)

    def _built(self, bars: pl.DataFrame, names: Sequence[str]) -> Panel:
        """Bars to the panel of some features, by the functions that the assets call.

        A cross market that has no bar among these yet is left out; no feature about it may be wanted then.
        """
        wanted = {
            "used": tuple(row for row in self.catalogue.used if row.name in names),
            "user_columns": tuple(name for name in self.catalogue.user_columns if name in names),
        }
        catalogue = self.catalogue.model_copy(update=wanted)
        begun = set(bars["symbol"].unique())
        markets = {prefix: name for prefix, name in self.experiment.data.cross_markets.items() if name in begun}
        data = self.experiment.data.model_copy(update={"cross_markets": markets})
        experiment = self.experiment.model_copy(update={"data": data})
        features = computing.computed_features(experiment, bars, catalogue)
        return panels.panel_of(features.lazy(), computing.computed_targets(self.experiment, bars), catalogue, names)
