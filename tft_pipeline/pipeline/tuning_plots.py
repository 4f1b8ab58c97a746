"""Pictures of a search: history, what each key explains, Sharpe ratio against each key, all keys of each trial at once.

Drawn from the record, so that they show what is stored. Not here: computing importances (`model.tuning`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.search import Knob, Value
from tft_pipeline.pipeline.figures import BLUE, GREY, VERMILION, figure_picture
from tft_pipeline.pipeline.plots import bar_picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
BEST, PLAIN, LOST = VERMILION, BLUE, GREY


def tuning_pictures(
    tuned: TunedHyperparameters, space: Mapping[str, Knob]
) -> dict[str, dg.MarkdownMetadataValue | dg.TextMetadataValue]:
    """Metadata of the four pictures by name; importances are a sentence where they are not known."""
    complete = [trial for trial in tuned.trials if trial.state == "complete"]
    found: dict[str, Any] = {
        "history": history_picture(tuned),
        "slice": slice_picture(complete, space),
        "parallel_coordinates": parallel_picture(complete, space, best=tuned.best_trial),
    }
    if tuned.importances:
        found["importances"] = bar_picture(
            dict(tuned.importances),
            title="share of the spread of Sharpe ratios that each key explains (fANOVA)",
            label="share",
        )
    else:
        found["importances"] = dg.MetadataValue.text(f"not known: {tuned.importances_reason}")
    return found


def history_picture(tuned: TunedHyperparameters) -> dg.MarkdownMetadataValue:
    """Each trial's Sharpe ratio in their order, the best so far, and marks where trials were pruned or failed."""
    from matplotlib.ticker import MaxNLocator

    complete = [(trial.number, trial.sharpe_annual) for trial in tuned.trials if trial.sharpe_annual is not None]

    def draw(axes: "Axes") -> None:
        numbers = [number for number, _ in complete]
        values = np.array([value for _, value in complete])
        axes.plot(numbers, values, "o", color=PLAIN, markersize=4, label="complete")
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=BEST, linewidth=1.2, label="best so far")
        for state, mark in (("pruned", "v"), ("fail", "x")):
            lost = [trial.number for trial in tuned.trials if trial.state == state]
            if lost:
                # above the picture: they have no value, so no place on its axis
                axes.plot(
                    lost,
                    [1.03] * len(lost),
                    mark,
                    color=LOST,
                    markersize=5,
                    label=f"{state} (no value)",
                    transform=axes.get_xaxis_transform(),
                    clip_on=False,
                )
        axes.set_xlabel("trial", fontsize=8)
        axes.set_ylabel("net Sharpe a year", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)

    return picture(draw, title="history of the search (research period)")


def slice_picture(complete: Sequence[TrialRow], space: Mapping[str, Knob]) -> dg.MarkdownMetadataValue:
    """Sharpe ratio of completed trials against each key, one panel a key."""
    from matplotlib.ticker import MaxNLocator

    rows = math.ceil(len(space) / COLUMNS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, min(COLUMNS, len(space)), squeeze=False, sharey=True).ravel()
        for axes, (key, knob) in zip(panels, space.items(), strict=False):
            places, labels = _places(key, knob, complete)
            axes.plot(places, [trial.sharpe_annual for trial in complete], "o", color=PLAIN, markersize=4, alpha=0.7)
            if labels:
                axes.set_xticks(range(len(labels)), labels, fontsize=7)
                axes.set_xlim(-0.5, len(labels) - 0.5)
            elif knob.log:
                axes.set_xscale("log")
            elif knob.is_integer:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel(key, fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in panels[len(space) :]:
            axes.set_visible(False)
        figure.supylabel("net Sharpe a year", fontsize=8)

    return figure_picture(draw, title="Sharpe ratio against each key", height=0.6 + 2.0 * rows)


def parallel_picture(complete: Sequence[TrialRow], space: Mapping[str, Knob], *, best: int) -> dg.MarkdownMetadataValue:
    """One line a completed trial through all its keys; the darker, the higher its Sharpe ratio; the chosen one thick."""
    values = np.array([trial.sharpe_annual for trial in complete], dtype=float)
    spread = np.ptp(values) or 1.0

    def draw(axes: "Axes") -> None:
        columns = [_relative(key, knob, complete) for key, knob in space.items()]
        lines = np.array([*(column for column, _ in columns), (values - values.min()) / spread])
        for k in np.argsort(values):
            chosen = complete[k].number == best
            axes.plot(
                lines[:, k],
                color=BEST if chosen else PLAIN,
                alpha=1.0 if chosen else 0.15 + 0.6 * float(lines[-1, k]),
                linewidth=2.0 if chosen else 1.0,
                zorder=3 if chosen else 2,
            )
        for place, (_, labels) in enumerate([*columns, (None, [f"{values.min():.2f}", f"{values.max():.2f}"])]):
            axes.axvline(place, color="#bbbbbb", linewidth=0.8)
            axes.text(place, -0.04, labels[0], ha="center", va="top", fontsize=7)
            axes.text(place, 1.04, labels[-1], ha="center", va="bottom", fontsize=7)
            for k, label in enumerate(labels[1:-1], start=1):
                axes.text(place + 0.03, k / (len(labels) - 1), label, ha="left", va="center", fontsize=7)
        names = [*(key.replace(".", ".\n") for key in space), "Sharpe\na year"]
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=30 if len(names) > 6 else 0)
        axes.set_yticks([])
        axes.set_ylim(-0.12, 1.12)
        axes.spines["left"].set_visible(False)

    return picture(draw, title=f"keys of each completed trial; thick and red: trial {best}, the chosen one", height=4.0)


def _places(key: str, knob: Knob, trials: Sequence[TrialRow]) -> tuple[list[Any], list[str]]:
    """Where trials stand on a key's axis; with labels where it is a set of choices."""
    if knob.choices is None:
        return [trial.params[key] for trial in trials], []
    return [knob.choices.index(trial.params[key]) for trial in trials], [str(choice) for choice in knob.choices]


def _relative(key: str, knob: Knob, trials: Sequence[TrialRow]) -> tuple[np.ndarray, list[str]]:
    """Places between 0 and 1 of the key's limits, and what stands there: every choice, or the two limits."""
    places, labels = _places(key, knob, trials)
    if labels:
        return np.array(places, dtype=float) / (len(labels) - 1), labels
    low, high = (float(limit) for limit in knob.limits())
    limits = [_shown(limit) for limit in knob.limits()]
    found = np.array(places, dtype=float)
    if knob.log:
        return np.log(found / low) / np.log(high / low), limits
    return (found - low) / (high - low), limits


def _shown(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
