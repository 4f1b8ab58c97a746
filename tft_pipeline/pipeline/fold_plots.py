"""One picture a fold: how it learned, and what it looks at. All panels in one figure, for there are many folds.

A production fold shows nothing of what its test bars earned: that is a look at the production period, which is written down
before its first picture is drawn (`pipeline.ledgers`); `oos_portfolio` and `oos_performance` show it, fold by fold. Of its
validation bars, test bars of the fold before, it shows the loss that chose its epoch and no more. Not here: the fits.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from tft_pipeline.domain.reports import ExplorationFold, FoldSpec
from tft_pipeline.pipeline.figures import (
    BLUE,
    GREY,
    INK,
    LIMIT,
    ORANGE,
    figure_picture,
    placed,
    short_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]
MOST_FEATURES = 20
"""Features in a picture of a fold: those with the largest weights."""
SEED_DASHES = ("-", "--", ":", "-.")
KEPT: dict[str, Any] = {
    "marker": "o",
    "markersize": 9,
    "markeredgewidth": 1.6,
    "fillstyle": "none",
    "color": INK,
    "linestyle": "",
}
"""A ring around what was kept: what it surrounds stays visible."""
MOST_MARKS = 12
"""Of a line: more would hide it."""
NAME_SIGNS, LEAST_ROWS = 26, 10
"""Of a feature's name; rows that there is room for, so that few bars are not thick ones."""
BINS = np.linspace(-1.0, 1.0, 41)


def exploration_picture(
    record: ExplorationFold, histories: Sequence[History], spec: FoldSpec
) -> dg.MarkdownMetadataValue:
    """Losses of every seed, then weights against the largest shadow's, and importance where it was measured.

    Args:
        histories: of each seed, as `fit_fold` tells them.
    """
    shown = largest(record.weights)
    height = 1.3 + 0.2 * max(len(shown), 12)
    right = (5.2, 7.0) if record.importance else (5.2, 8.8)

    def draw(figure: "Figure") -> None:
        losses(placed(figure, 0.65, 0.55, 3.2, height - 0.65), histories, record.best_epochs, spec.training.loss_mode)
        weights(
            placed(figure, right[0], 0.55, right[1], height - 0.65),
            shown,
            line=("largest shadow feature", max(record.shadow_weights.values())),
            label="mean VSN weight, validation bars",
        )
        if record.importance:
            axes = placed(figure, 7.2, 0.55, 8.8, height - 0.65)
            axes.barh(
                range(len(shown)), [record.importance[name] for name in shown], color=ORANGE, hatch="//", edgecolor="#ffffff",
                linewidth=0.0, height=0.7,
            )  # fmt: skip
            axes.axvline(0.0, color=GREY, linewidth=0.8)
            axes.set_yticks([])
            axes.set_ylim(max(len(shown), LEAST_ROWS) - 0.4, -0.6)
            axes.set_xlabel("rise of the loss, permuted", fontsize=8)
            axes.locator_params(axis="x", nbins=3)

    parts = f"{len(histories)} seed(s), validation {_dates(spec, 'validation')}"
    return figure_picture(draw, title=f"exploration fold {record.key}: {parts}", height=height, arranged=False)


def production_picture(
    history: History,
    best_epoch: int,
    vsn_weights: Mapping[str, float],
    raw_position: np.ndarray,
    spec: FoldSpec,
) -> dg.MarkdownMetadataValue:
    """Losses by epoch, the positions asked for on the test bars, and the weights behind them.

    Args:
        vsn_weights: mean over the test bars, by feature; not finite where the family selects no features.
        raw_position: of the test bars, any shape; NaN where nothing was observed.
    """
    shown = {name: weight for name, weight in largest(vsn_weights).items() if np.isfinite(weight)}
    height = 5.8

    def draw(figure: "Figure") -> None:
        losses(placed(figure, 0.75, 3.25, 4.3, 5.1), [history], [best_epoch], spec.training.loss_mode)
        positions(placed(figure, 0.75, 0.55, 4.3, 2.4), raw_position)
        axes = placed(figure, 6.4, 0.55, 8.8, 5.1)
        if shown:
            equal = ("equal weights", 1.0 / len(vsn_weights))
            weights(axes, shown, line=equal, label=f"mean VSN weight, test bars ({len(shown)} of {len(vsn_weights)})")
        else:
            axes.set_axis_off()
            axes.text(0.5, 0.5, f"family {spec.network.family}:\nno selection weights", ha="center", fontsize=9)

    title = f"production fold {spec.key}: validation {_dates(spec, 'validation')}, test {_dates(spec, 'test')}"
    return figure_picture(draw, title=title, height=height, arranged=False)


def losses(axes: "Axes", histories: Sequence[History], best_epochs: Sequence[int], loss_mode: str) -> None:
    """Train and validation loss by epoch, one pair of lines a seed, and the epoch that was kept."""
    for k, (history, best) in enumerate(zip(histories, best_epochs, strict=True)):
        epochs = [row["epoch"] for row in history]
        dashes = SEED_DASHES[k % len(SEED_DASHES)]
        for name, colour, mark in (("train", BLUE, "o"), ("validation", ORANGE, "s")):
            axes.plot(
                epochs,
                [row[f"{name}_loss"] for row in history],
                color=colour,
                linestyle=dashes,
                marker=mark,
                markevery=_every(len(epochs)),
                markersize=3,
                linewidth=1.2,
                label=name if k == 0 else None,
            )
        axes.plot(
            [epochs[best]],
            [history[best]["validation_loss"]],
            **KEPT,
            label="kept" if k == 0 else None,
        )
    _by_epoch(axes, max(len(history) for history in histories))
    axes.set_ylabel(f"loss ({loss_mode})", fontsize=8)
    axes.legend(fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)


def positions(axes: "Axes", raw_position: np.ndarray) -> None:
    """How often each raw position is asked for."""
    said = raw_position[np.isfinite(raw_position)]
    axes.stairs(np.histogram(said, BINS)[0], BINS, fill=True, color=BLUE)
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set_xlim(-1.0, 1.0)
    long = float((said > 0.0).mean()) if said.size else 0.0
    axes.set_xlabel(f"raw position on the test bars; {100.0 * long:.0f} % long", fontsize=8)
    axes.set_ylabel("rows", fontsize=8)


def weights(axes: "Axes", shown: Mapping[str, float], *, line: tuple[str, float], label: str) -> None:
    """Horizontal bars, the largest on top, and a named line to hold them against."""
    axes.barh(range(len(shown)), list(shown.values()), color=BLUE, height=0.7)
    axes.set_yticks(range(len(shown)), [short_label(name, NAME_SIGNS) for name in shown], fontsize=7)
    axes.set_ylim(max(len(shown), LEAST_ROWS) - 0.4, -0.6)
    name, value = line
    axes.axvline(value, color=LIMIT, linewidth=1.0, linestyle="--", label=f"{name} {value:.3g}")
    axes.set_xlabel(label, fontsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, borderaxespad=0.1)


def largest(values: Mapping[str, float]) -> dict[str, float]:
    """The largest weights, largest first."""
    return dict(sorted(values.items(), key=lambda item: -item[1])[:MOST_FEATURES])


def _by_epoch(axes: "Axes", n_epochs: int) -> None:
    step = max(1, -(-n_epochs // 8))
    axes.set_xticks(range(0, n_epochs, step))
    axes.set_xlim(-0.5, n_epochs - 0.5)
    axes.set_xlabel("epoch", fontsize=8)


def _every(n_epochs: int) -> int:
    return max(1, -(-n_epochs // MOST_MARKS))


def _dates(spec: FoldSpec, part: str) -> str:
    first, last = (str(spec.dates[part][end])[:10] for end in ("first", "last"))
    return f"{first} to {last}"
