"""Combinatorial purged cross-validation of chosen settings: a fit a split, its left-out blocks predicted, joined to paths.

Not here: which bars a split leaves out (`domain.combinatorial`), how settings are chosen (`tuning`). Paths share fits and
bars, so their spread is not a standard error; it shows how much the ratio owes to the bars it was measured on.

A fit needs training before validation. So a split's own bars keep their places, what it leaves out, purges and embargoes is
masked as if no symbol had been there, and the last bars of its last block are the validation. Fits thereby learn from bars
after those they are scored on: this is cross-validation, not a walk forward.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tft_pipeline.domain.combinatorial import CombinatorialSplit, combinatorial_splits, group_spans, n_paths
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import ResearchPaths
from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import split_periods
from tft_pipeline.domain.reports import TunedHyperparameters
from tft_pipeline.domain.sharpe import annualise, kurtosis, sharpe_ratio, sharpe_standard_error, skew
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.processes import InThisProcess, WorkerPool, n_workers, process_pool
from tft_pipeline.model.scoring import net_returns


def fit_paths(
    panel: Panel, experiment: Experiment, tuned: TunedHyperparameters, *, report: Callable[[str], None]
) -> ResearchPaths:
    """Refit the tuned settings on every split of the research period and score what it leaves out, net of costs.

    Every block starts from a flat book, so each pays for being opened.

    Args:
        panel: all bars; none at or after the end of the research period is read but for labels, which end before production.
        report: told a line a split.
    Raises:
        ValueError: no section `research_paths`, blocks too short to validate on, what `fit_fold` raises, a path that never
            moves.
    """
    began = time.monotonic()
    section = experiment.research_paths
    if section is None:
        raise ValueError("the experiment has no section research_paths: there is nothing to split; add it")
    periods = split_periods(panel, experiment)
    start = max(0, periods.first - tuned.training.lookback)
    research = panel.between(start, periods.research_stop).listed()
    offset, n_bars = periods.first - start, periods.research_stop - periods.first
    splits = tuple(
        _shifted(split, offset)
        for split in combinatorial_splits(
            n_bars,
            groups=section.groups,
            test_groups=section.test_groups,
            purge=experiment.periods.purge,
            embargo=section.embargo,
        )
    )
    folds = tuple(
        split_fold(
            split, validation=section.validation, purge=experiment.periods.purge, lookback=tuned.training.lookback
        )
        for split in splits
    )
    scored = _scored(research, splits, folds, experiment, tuned, report)
    spans = [Span(span.start + offset, span.stop + offset) for span in group_spans(n_bars, section.groups)]
    rows = []
    for split, fold, outcome in zip(splits, folds, scored, strict=True):
        rows.append(
            {
                "left_out": list(split.left_out),
                "n_train_bars": sum(max(0, min(stop, fold.train.stop) - first) for first, stop in split.train),
                "n_validation_bars": fold.validation.n_bars,
                "epochs": outcome["epochs"],
                "best_epoch": outcome["best_epoch"],
            }
        )
    paths = _paths(splits, [outcome["returns"] for outcome in scored], experiment.data.bars_per_year)
    return ResearchPaths(
        groups=tuple(
            {
                "group": group,
                "first": research.calendar[span.start].isoformat(),
                "last": research.calendar[span.stop - 1].isoformat(),
                "n_bars": span.n_bars,
            }
            for group, span in enumerate(spans)
        ),
        splits=tuple(rows),
        paths=tuple(paths),
        spread=spread_of([row["sharpe_annual"] for row in paths]),
        seconds=time.monotonic() - began,
    )


def split_fold(split: CombinatorialSplit, *, validation: int, purge: int, lookback: int) -> Fold:
    """A split as `fit_fold` takes it: train up to a purge before the last `validation` bars of its last block.

    Raises:
        ValueError: that block does not hold the validation, the purge before it and one window of training bars.
    """
    last = split.train[-1]
    needed = validation + purge + lookback
    if last.n_bars < needed:
        raise ValueError(
            f"leaving out groups {list(split.left_out)}, the last block to train on has {last.n_bars} bars; it needs {needed} "
            f"(validation {validation} + purge {purge} + lookback {lookback}), or early stopping would see bars that were "
            "trained on; lower research_paths.groups or validation, or bring more research bars"
        )
    first = last.stop - validation
    return Fold(
        key="paths-" + "-".join(str(group) for group in split.left_out),
        train=Span(split.train[0].start, first - purge),
        validation=Span(first, last.stop),
        test=split.test[0],
    )


def masked(panel: Panel, kept: tuple[Span, ...]) -> Panel:
    """The panel as if no symbol had a bar outside some spans: what is not observed is neither scaled on, read nor scored."""
    keep = np.zeros(panel.n_bars, dtype=bool)
    for span in kept:
        keep[slice(*span)] = True

    def hidden(array: np.ndarray) -> np.ndarray:
        out = np.where(keep, array, np.nan)
        out.setflags(write=False)
        return out

    observed = panel.observed & keep
    observed.setflags(write=False)
    return replace(
        panel,
        observed=observed,
        next_return=hidden(panel.next_return),
        volatility=hidden(panel.volatility),
        label=hidden(panel.label),
    )


def spread_of(sharpes_annual: list[float]) -> dict[str, Any]:
    """median, mean, quantile_05, quantile_95 and share_below_zero of the paths' annual Sharpe ratios; n_paths."""
    values = np.array(sharpes_annual)
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {
        "n_paths": int(values.size),
        "median": float(median),
        "mean": float(values.mean()),
        "quantile_05": float(low),
        "quantile_95": float(high),
        "share_below_zero": float((values < 0.0).mean()),
    }


def _shifted(split: CombinatorialSplit, bars: int) -> CombinatorialSplit:
    """The same split counted from another first bar."""
    train, test = (
        tuple(Span(span.start + bars, span.stop + bars) for span in spans) for spans in (split.train, split.test)
    )
    return replace(split, train=train, test=test)


def _paths(
    splits: tuple[CombinatorialSplit, ...], returns: list[list[np.ndarray]], bars_per_year: float
) -> list[dict[str, Any]]:
    """One row a path: the ratio of its blocks in time order, and which split each block comes from."""
    n_groups = 1 + max(max(split.left_out) for split in splits)
    blocks: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
    for k, split in enumerate(splits):
        for group, path, series in zip(split.left_out, split.path_of, returns[k], strict=True):
            blocks[path, group] = (k, series)
    rows = []
    for path in range(n_paths(n_groups, len(splits[0].left_out))):
        parts = [blocks[path, group] for group in range(n_groups)]
        series = np.concatenate([part for _, part in parts])
        ratio = sharpe_ratio(series)
        error = sharpe_standard_error(ratio, series.size, skew=skew(series), kurtosis=kurtosis(series))
        rows.append(
            {
                "path": path,
                "sharpe_annual": annualise(ratio, bars_per_year),
                "se_annual": annualise(error, bars_per_year),
                "n_bars": int(series.size),
                "splits": [k for k, _ in parts],
            }
        )
    return rows


def _scored(
    panel: Panel,
    splits: tuple[CombinatorialSplit, ...],
    folds: tuple[Fold, ...],
    experiment: Experiment,
    tuned: TunedHyperparameters,
    report: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Every split fitted and scored, in as many processes as may run at once; which machine does it changes nothing."""
    arguments = (panel, splits, folds, experiment, tuned)
    outcomes = []
    with _executor(n_workers(len(splits)), arguments) as pool:
        futures = [pool.submit(_score_split, k) for k in range(len(splits))]
        for split, future in zip(splits, futures, strict=True):
            outcomes.append(future.result())
            report(f"groups {list(split.left_out)} left out: best epoch {outcomes[-1]['best_epoch']}")
    return outcomes


def _executor(workers: int, arguments: tuple[Any, ...]) -> WorkerPool | InThisProcess:
    """Processes, or this process where only one fit may run at once."""
    if workers == 1:
        return InThisProcess(_load_worker, arguments)
    return process_pool(workers, _load_worker, arguments)


_WORKER: dict[str, Any] = {}


def _load_worker(
    panel: Panel,
    splits: tuple[CombinatorialSplit, ...],
    folds: tuple[Fold, ...],
    experiment: Experiment,
    tuned: TunedHyperparameters,
) -> None:
    _WORKER.update(panel=panel, splits=splits, folds=folds, experiment=experiment, tuned=tuned)


def _score_split(k: int) -> dict[str, Any]:
    """Fit one split and predict its left-out blocks from the panel as it was."""
    panel: Panel = _WORKER["panel"]
    split: CombinatorialSplit = _WORKER["splits"][k]
    experiment: Experiment = _WORKER["experiment"]
    tuned: TunedHyperparameters = _WORKER["tuned"]
    section = experiment.research_paths
    assert section is not None
    fitted = fit_fold(
        masked(panel, split.train),
        _WORKER["folds"][k],
        network=tuned.network,
        training=tuned.training,
        position=tuned.position,
        target_volatility=experiment.target.target_volatility,
        horizon=experiment.target.horizon,
        bars_per_year=experiment.data.bars_per_year,
        epochs=section.epochs,
        seed=experiment.seed,
    )
    return {
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "returns": [net_returns(fitted, panel, span) for span in split.test],
    }
