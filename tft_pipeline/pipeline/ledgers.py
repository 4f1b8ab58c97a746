"""What the home's ledgers know of an experiment's bars: looks at its production period, trials on its research bars.

Not here: the ledgers themselves (`storage.looks`, `storage.trials`), what their numbers do (`domain.verdict`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from tft_pipeline.domain.content import frame_sha256
from tft_pipeline.domain.findings import OosPerformance
from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters, trials_that_count
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.looks import competing_looks, record_look
from tft_pipeline.storage.scopes import Scope
from tft_pipeline.storage.trials import competing_trials, record_trials, settled_names


@dataclass(frozen=True, slots=True)
class ScoredPeriod:
    """The bars of a production walk forward, as the ledgers name them."""

    symbols: tuple[str, ...]
    first: datetime
    last: datetime

    @classmethod
    def stated(cls, keys: dict[str, Any]) -> "ScoredPeriod":
        """Inverse of `keys`."""
        first, last = (datetime.fromisoformat(keys[name]) for name in ("first", "last"))
        return cls(tuple(keys["symbols"]), first, last)

    @classmethod
    def of(cls, predictions: pl.DataFrame, portfolio: pl.DataFrame) -> "ScoredPeriod":
        """Of the predictions and the portfolio made from them."""
        first, last = portfolio["timestamp"].min(), portfolio["timestamp"].max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        return cls(tuple(predictions["symbol"].unique().sort().to_list()), first, last)

    def keys(self, interval: str) -> dict[str, Any]:
        """As a line of a ledger holds it."""
        return {
            "symbols": list(self.symbols),
            "interval": interval,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
        }


def look_at(graph: ExperimentGraph, period: ScoredPeriod, portfolio: pl.DataFrame, *, name: str) -> None:
    """Write down that a production period is scored now; to be called before anybody can see the result."""
    folds = {str(key): frame_sha256(part.select("timestamp", "net")) for (key,), part in portfolio.group_by("fold")}
    keys = period.keys(graph.experiment.data.interval)
    record_look(graph.layout.looks_ledger, {**keys, "folds": folds, "experiment": name, "at": utc_now().isoformat()})


def looks_at(graph: ExperimentGraph, period: ScoredPeriod) -> tuple[dict[str, Any], ...]:
    """Everything that has seen a production period: each distinct scoring, and each experiment whose trials were scored on it.

    Returns:
        One row each: experiment, at, first, last, n_folds, looks (1, or the number of trials).
    """
    scope = Scope.of(period.keys(graph.experiment.data.interval), "a period")
    rows = [{**row, "looks": 1} for row in competing_looks(graph.layout.looks_ledger, scope)]
    rows += [
        {
            "experiment": f"{name}, trials",
            "at": "",
            "first": period.first.date().isoformat(),
            "last": period.last.date().isoformat(),
            "n_folds": 0,
            "looks": len(trials),
        }
        for name, trials in competing_trials(graph.layout.trials_ledger, scope).items()
    ]
    return tuple(rows)


def record_study(
    graph: ExperimentGraph,
    study: str,
    symbols: Sequence[str],
    first: datetime,
    last: datetime,
    trials: Sequence[TrialRow],
) -> None:
    """Write down the trials of a study that count, which are scored on the bars first .. last.

    Those that have returns by now, and those that another one replaces, settle what was written at their start.
    """
    counting = trials_that_count(trials)
    names = {trial.start: trial.identity for trial in counting}
    settled = {trial.start: names.get(trial.start, "") for trial in trials}
    record_trials(
        graph.layout.trials_ledger,
        {
            "experiment": graph.name,
            "study": study,
            "trials": {trial.identity: trial.sharpe for trial in counting},
            "settled": {start: name for start, name in settled.items() if name != start},
            "symbols": list(symbols),
            "interval": graph.experiment.data.interval,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "at": utc_now().isoformat(),
        },
    )


def other_trials(
    graph: ExperimentGraph, tuned: TunedHyperparameters, symbols: Sequence[str]
) -> dict[str, float | None]:
    """Trials on the same research bars that are not in the study: of its earlier versions and of other experiments."""
    return _others(graph, research_scope(graph, tuned, symbols), [trial.identity for trial in tuned.trials])


def research_scope(graph: ExperimentGraph, tuned: TunedHyperparameters, symbols: Sequence[str]) -> dict[str, Any]:
    """The bars a study's trials were scored on, as a line of a ledger names them."""
    return {
        "symbols": list(symbols),
        "interval": graph.experiment.data.interval,
        "first": tuned.research_first,
        "last": tuned.research_last,
    }


def _others(graph: ExperimentGraph, scope: dict[str, Any], own: Sequence[str]) -> dict[str, float | None]:
    mine = {*own, *settled_names(graph.layout.trials_ledger, own)}
    found: dict[str, float | None] = {}
    for trials in competing_trials(graph.layout.trials_ledger, Scope.of(scope, "a study")).values():
        found |= {key: ratio for key, ratio in trials.items() if key not in mine}
    return found


def ledgers_have_moved(graph: ExperimentGraph, performance: OosPerformance) -> bool:
    """Whether a verdict was made before looks or trials that the ledgers know by now."""
    period = ScoredPeriod.stated(performance.period)
    looks = sum(row["looks"] for row in looks_at(graph, period))
    others = _others(graph, performance.research["scope"], performance.research["own_trials"])
    return bool(looks != performance.looks or len(others) != performance.research["n_other_trials"])
