"""From a panel to fold specs: which bars each fold of a phase may see, content-addressed.

Not here: fitting, storage, shadow features (`shadows`).

Two periods: phases 1-4 see only the research period, which ends a purge before the first production bar; phase 5 walks
forward over the production period.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tft_pipeline.domain.content import array_sha256, json_sha256
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold, plan_folds
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import FoldSpec
from tft_pipeline.domain.sections import FoldsSection, NetworkSection, PositionSection, TrainingSection
from tft_pipeline.domain.trend_rules import MACD_BARS

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Periods:
    """Bars first .. research_stop-1 are research; production starts at production_start, inside research if they overlap."""

    first: int
    research_stop: int
    production_start: int


def split_periods(panel: Panel, experiment: Experiment) -> Periods:
    """Where research ends and production begins; with `periods.overlap: allowed` research goes on to the last bar.

    Raises:
        ValueError: no bar has a complete label, or production starts outside the bars.
    """
    scored = panel.scored.any(axis=0)
    if not scored.any():
        raise ValueError(
            f"no bar of {panel.n_bars} has features, volatility and a label: the longest lookback or volatility_span is "
            "longer than the data, or no symbol has bars at consecutive timestamps of the common calendar, or no price moves "
            "other than by the same share each bar, so that nothing has a volatility; bring more bars or fewer feature "
            "groups, give all symbols the same timestamps, or look at the prices"
        )
    dates = np.array([stamp.date() for stamp in panel.calendar])
    after = np.flatnonzero(dates >= experiment.periods.production_start)
    if not after.size or after[0] == 0:
        raise ValueError(
            f"periods.production_start {experiment.periods.production_start} is not inside the bars "
            f"({dates[0]} to {dates[-1]}): one of the two periods would be empty; choose a date between them"
        )
    production_start = int(after[0])
    return Periods(
        first=int(np.argmax(scored)),
        research_stop=(
            panel.n_bars if experiment.periods.overlap == "allowed" else production_start - experiment.periods.purge
        ),
        production_start=production_start,
    )


def research_folds(panel: Panel, experiment: Experiment, section: FoldsSection) -> tuple[Fold, ...]:
    """Walk-forward folds inside the research period; see `folds.plan_folds` for errors."""
    periods = split_periods(panel, experiment)
    return plan_folds(
        panel.calendar,
        section.plan(purge=experiment.periods.purge, horizon=experiment.target.horizon),
        first_bar=periods.first,
        stop_bar=periods.research_stop,
        intraday=experiment.data.interval != "1d",
        max_folds=section.max_folds,
    )


def production_folds(panel: Panel, experiment: Experiment) -> tuple[Fold, ...]:
    """Walk-forward folds whose scored bars tile the production period; see `folds.plan_folds` for errors."""
    periods = split_periods(panel, experiment)
    section = experiment.production.folds
    return plan_folds(
        panel.calendar,
        section.plan(purge=experiment.periods.purge, horizon=experiment.target.horizon),
        first_bar=periods.first,
        stop_bar=panel.n_bars,
        first_test=periods.production_start,
        intraday=experiment.data.interval != "1d",
    )


def panel_sha256(panel: Panel) -> str:
    """Content of everything a fit may see in a panel."""
    names = json_sha256([[stamp.isoformat() for stamp in panel.calendar], list(panel.symbols), list(panel.features)])
    arrays = array_sha256(panel.values, panel.observed, panel.next_return, panel.volatility, panel.label, panel.close)
    return json_sha256([names, arrays])


def fold_specs(
    panel: Panel,
    folds: Sequence[Fold],
    experiment: Experiment,
    *,
    network: NetworkSection,
    training: TrainingSection,
    position: PositionSection,
    epochs: int,
    n_seeds: int,
    shadow_features: int,
    min_history: int,
    production: bool,
) -> tuple[FoldSpec, ...]:
    """Specs of folds: each with its own slice of the panel, from one lookback before its training to its last test bar;
    in production from further back where a baseline needs it.

    Nothing after the last test bar is in the slice (labels of test bars are, for they are scored), so more data changes
    no spec.
    """
    boosting = (experiment.ensemble.lightgbm_rounds, experiment.ensemble.lightgbm_leaves)
    specs = []
    for fold in folds:
        start = fold.train.start - training.lookback
        if production:  # the slowest baseline needs its history, or it would be flat there and easy to beat
            start = min(start, _first_of_own_bars(panel, fold, MACD_BARS))
        start = max(0, start)
        cut = panel.between(start, fold.test.stop).listed()
        local = fold.shifted(-start)
        dates: dict[str, Any] = fold.to_dict(panel.calendar)
        specs.append(
            FoldSpec(
                key=fold.key,
                spans={"train": local.train, "validation": local.validation, "test": local.test},
                first=cut.calendar[0].isoformat(),
                last=cut.calendar[-1].isoformat(),
                dates={part: {name: dates[part][name] for name in ("first", "last", "n_bars")} for part in PARTS},
                features=panel.features,
                shadow_features=shadow_features,
                min_history=min_history,
                data_sha256=panel_sha256(cut),
                network=network,
                training=training,
                position=position,
                target_volatility=experiment.target.target_volatility,
                horizon=experiment.target.horizon,
                bars_per_year=experiment.data.bars_per_year,
                epochs=epochs,
                seeds=tuple(_fold_seed(experiment.seed, fold.key, k) for k in range(n_seeds)),
                boosting=boosting if production else None,
                momentum_lookback=experiment.evaluation.momentum_lookback if production else None,
            )
        )
    return tuple(specs)


def _first_of_own_bars(panel: Panel, fold: Fold, n: int) -> int:
    """First bar from which every symbol that is scored has n bars of its own, or all it ever had, at the first scored bar."""
    there = np.isfinite(panel.close[:, : fold.test.start + 1])
    scored = np.isfinite(panel.close[:, fold.test.start : fold.test.stop]).any(axis=1)
    counts = there[scored].cumsum(axis=1)
    wanted = np.maximum(counts[:, -1:] - n + 1, 1)
    reached = counts >= wanted
    return int(reached.argmax(axis=1)[reached.any(axis=1)].min(initial=fold.test.start))


def _fold_seed(seed: int, key: str, k: int) -> int:
    """Own seeds for every fold: with shared ones, features would rank alike in all folds by their initial weights."""
    return int(json_sha256([seed, key, k])[:8], 16) % 2**31


class SliceChangedError(RuntimeError):
    """The stored features are not those a fold was planned on."""


def slice_for(panel: Panel, spec: FoldSpec) -> Panel:
    """The bars a spec speaks of, verified by content.

    Raises:
        SliceChangedError: the bars are not there any more or differ; plan again.
    """
    stamps = [stamp.isoformat() for stamp in panel.calendar]
    if spec.first not in stamps or spec.last not in stamps:
        raise SliceChangedError(
            f"fold {spec.key}: its bars {spec.first} to {spec.last} are not in the stored features ({stamps[0]} to "
            f"{stamps[-1]}); materialise the fold plan again"
        )
    cut = panel.between(stamps.index(spec.first), stamps.index(spec.last) + 1).listed()
    found = panel_sha256(cut)
    if found != spec.data_sha256:
        raise SliceChangedError(
            f"fold {spec.key}: the features of {spec.first} to {spec.last} have content {found[:12]}, the plan was "
            f"made on {spec.data_sha256[:12]}; the fold would learn from other data; materialise the fold plan again"
        )
    return cut
