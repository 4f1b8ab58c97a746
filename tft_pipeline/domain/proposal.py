"""A first experiment for bars that nobody has run yet: its features, lookback, periods and folds, from how many bars there are.

The rule. Lengths start from a template (`template`), a small network and short searches that take minutes; `snapshot_plan`
cuts its folds to the bars. The lookback is the longest of `LOOKBACKS` for which there are `COMFORT` times the bars that every
part of a fold needs; the shortest where none is comfortable. Features are whole groups; where their histories are longer than
a sixth of the bars, single features whose histories are not, and those of 21 bars at most where that leaves the folds too few.
Production is the last third, in folds of about a year for daily bars.

Not here: reading bars (`pipeline.proposing`), the text of the file (`proposal_text`), what else can be set (`sections`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from tft_pipeline.domain.experiment import ConfigurationError, Experiment, parse_experiment
from tft_pipeline.domain.features import catalogue
from tft_pipeline.domain.intervals import Interval, Stamp
from tft_pipeline.domain.snapshot_plan import SnapshotCalendar, bars_needed, fit_to_calendar

LOOKBACKS = (63, 42, 32, 21, 16)
"""Windows that are tried, bars; the network's default is the first."""
COMFORT = 1.25
"""A lookback is taken with so many times the bars it needs at least."""
HISTORY_SHARE, SHORT_HISTORY = 6, 21
"""A feature may look back over one bar in so many of those there are, and over the second number of bars always."""
VOLATILITY_SPAN, SHORT_SPAN = 60, 20
GROUPS = ("ret", "sma", "macd", "z")
"""Groups of closes alone that a first run takes."""
MORE_GROUPS = {"volume": "vlm", "high": "range"}
"""Groups taken where their column is there too."""
FEWEST_RANKED = 4
"""Symbols from which ranks among them say something; with fewer xs is left out."""
INDICES = (
    "SP500",
    "SPX",
    "^GSPC",
    "GSPC",
    "^SPX",
    "NDX",
    "^NDX",
    "^DJI",
    "DJI",
    "^STOXX50E",
    "STOXX50E",
    "DAX",
    "^GDAXI",
    "^FTSE",
    "^N225",
)
"""Names of well-known indices, which are context and not traded."""
MOST_FOLDS = 6
"""Production folds of daily bars; each is one fit."""
PURGE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutBars:
    """What a proposal needs to know of bars.

    Attributes:
        name: of the experiment.
        source: as the file will name it.
        columns: of the bars.
        bars_per_symbol: symbol -> bars.
        bars_a_day: usual bars of one day; 1 for daily ones.
        horizon: bars a label looks ahead.
    """

    name: str
    source: str
    interval: Interval
    stamp: Stamp
    timezone: str | None
    bars_per_year: float
    bars_a_day: int
    columns: Sequence[str]
    bars_per_symbol: dict[str, int]
    horizon: int

    @property
    def market_symbol(self) -> str | None:
        """A well-known index among at least two others."""
        known = [name for name in INDICES if name in self.bars_per_symbol]
        return known[0] if known and len(self.bars_per_symbol) > 2 else None

    @property
    def traded(self) -> tuple[str, ...]:
        """All symbols but the index."""
        return tuple(sorted(name for name in self.bars_per_symbol if name != self.market_symbol))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An experiment that fits the bars.

    Attributes:
        content: the file as plain values.
        experiment: the same, validated.
        scale: what the template's folds were multiplied with.
        n_features: of the catalogue that are built.
        left_out: symbols with too few bars for one window.
    """

    content: dict[str, Any]
    experiment: Experiment
    scale: float
    n_features: int
    left_out: tuple[str, ...]


def template(about: AboutBars, n_bars: int, longest_history: int) -> dict[str, Any]:
    """The file before its folds are cut to the bars.

    Args:
        n_bars: of the common calendar.
        longest_history: bars that a feature may look back over.
    """
    research, tuning, production = _lengths(about)
    placeholder = date(2000, 1, 1)  # replaced by `fit_to_calendar`
    data: dict[str, Any] = {"source": about.source, "interval": about.interval}
    if about.stamp != "close":
        data["stamp"] = about.stamp
    data["bars_per_year"] = about.bars_per_year
    if about.timezone is not None:
        data["timezone"] = about.timezone
    if about.market_symbol is not None:
        data["market_symbol"] = about.market_symbol
    return {
        "name": about.name,
        "seed": 7,
        "data": data,
        "features": _features(about, longest_history),
        "target": {"horizon": about.horizon, "volatility_span": _span(n_bars)},
        "periods": {"production_start": placeholder, "purge": max(PURGE, about.horizon)},
        "network": {"hidden": 16, "heads": 2, "dropout": 0.2},
        "training": {
            "lookback": LOOKBACKS[0],
            "warmup_bars": 21,
            "learning_rate": 0.005,
            "batch_blocks": 4,
            "patience": 4,
        },
        "position": {"cost_bps": 5.0},
        "exploration": {"folds": research, "epochs": 4, "seeds": 3, "shadow_features": 20},
        "pruning": {"max_features": 24},
        "tuning": {
            "folds": tuning,
            "epochs": 4,
            "n_trials": 6,
            "pruner": "none",
            "space": {
                "network.dropout": {"low": 0.05, "high": 0.4},
                "training.learning_rate": {"low": 0.001, "high": 0.02, "log": True},
            },
        },
        "production": {"folds": production, "epochs": 10},
        "drift": {"recent_bars": 21 if about.interval == "1d" else max(20, about.bars_a_day)},
        "evaluation": {"momentum_lookback": 252},
    }


def _span(n_bars: int) -> int:
    return VOLATILITY_SPAN if n_bars >= 10 * VOLATILITY_SPAN else SHORT_SPAN


def _lengths(about: AboutBars) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Folds of exploration, tuning and production: four years and one for daily bars, days for shorter ones."""
    if about.interval == "1d":
        train, part = 1008, 252
    else:
        train = min(max(20 * about.bars_a_day, 1512), 10_080)
        part = min(max(4 * about.bars_a_day, 378), 1440)
    research = {"train": train, "validation": part, "test": part, "step": part, "window": "sliding", "max_folds": 4}
    tuning = research | {"max_folds": 3}
    production = {"train": train, "validation": part, "test": part, "step": part, "window": "expanding"}
    return research, tuning, production


def _features(about: AboutBars, longest_history: int) -> dict[str, Any]:
    groups = [*GROUPS, *(group for column, group in MORE_GROUPS.items() if column in about.columns)]
    if len(about.traded) >= FEWEST_RANKED:
        groups.append("xs")
    if about.market_symbol is not None:
        groups.append("rs")
    own = [feature for feature in catalogue() if feature.group in groups]
    if all(feature.lookback <= longest_history for feature in own):
        return {"groups": groups}
    present = {*about.columns, *(() if about.market_symbol is None else ("market_close",))}
    short = [feature.name for feature in own if feature.lookback <= longest_history and set(feature.inputs) <= present]
    return {"groups": [], "names": short}


def proposed(
    about: AboutBars, n_bars: int, calendar_of: Callable[[Experiment], tuple[SnapshotCalendar, int]]
) -> Proposal:
    """The experiment for these bars; see the rule above.

    Args:
        n_bars: of the common calendar of the traded symbols.
        calendar_of: experiment -> (its `SnapshotCalendar`, number of features), from the bars themselves.
    Raises:
        ConfigurationError: too few bars; the message says how many are needed.
    """
    # features of short histories leave more bars to the folds
    for longest in (max(SHORT_HISTORY, n_bars // HISTORY_SHARE), SHORT_HISTORY):
        content = template(about, n_bars, longest)
        draft = parse_experiment(content, origin="the proposal")
        calendar, n_features = calendar_of(draft)
        usable = n_bars - calendar.first
        a_day = int(np.unique(calendar.dates, return_counts=True)[1].max())  # the longest, as for `fit_to_calendar`
        needs = {lookback: bars_needed(draft, lookback=lookback, bars_a_day=a_day) for lookback in LOOKBACKS}
        least = min(needs.values())
        if usable >= least:
            break
    else:
        raise ConfigurationError(
            f"too few bars: {n_bars} of the common calendar, of which {calendar.first} are the history of the first feature "
            f"and label; {calendar.first + least} are needed for the shortest lookback of {LOOKBACKS[-1]}, so that folds of "
            f"research and production fit: bring {calendar.first + least - n_bars} more bars, or bars of a shorter interval"
        )
    lookback = next((each for each in LOOKBACKS if usable >= COMFORT * needs[each]), LOOKBACKS[-1])
    fitted = fit_to_calendar(draft, calendar, lookback=lookback)
    changes = fitted.changes | {"training.lookback": lookback, "training.warmup_bars": lookback // 3}
    changes |= _production(about, calendar, changes, lookback)
    shortest = calendar.first + lookback
    left_out = tuple(name for name in about.traded if about.bars_per_symbol[name] < shortest)
    kept = [name for name in about.traded if name not in left_out]
    changes["data.min_bars"] = min([300, *(about.bars_per_symbol[name] for name in kept)])
    if left_out:
        changes["data.symbols"] = kept
    train = min(changes["production.folds.train"], changes["exploration.folds.train"])
    changes["drift.recent_bars"] = max(5, min(content["drift"]["recent_bars"], train // 12))
    for key, value in changes.items():
        _put(content, key, value)
    return Proposal(
        content=content,
        experiment=parse_experiment(content, origin="the proposal"),
        scale=fitted.scale,
        n_features=n_features,
        left_out=left_out,
    )


def _production(about: AboutBars, calendar: SnapshotCalendar, changes: dict[str, Any], lookback: int) -> dict[str, int]:
    """Production folds of equal length, about a year of daily bars each."""
    start = int((calendar.dates < changes["periods.production_start"]).sum())
    bars = len(calendar.dates) - start - about.horizon
    wanted = round(bars / about.bars_per_year) if about.interval == "1d" else 3
    folds = max(1, min(MOST_FOLDS, wanted, bars // lookback))
    return {"production.folds.test": bars // folds, "production.folds.step": bars // folds}


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    part = content
    for section in sections:
        part = part.setdefault(section, {})
    part[name] = value
