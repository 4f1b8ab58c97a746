"""Pictures for the metadata of assets: matplotlib figures as PNG inside Markdown. Not here: computing what they show."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from tft_pipeline.domain.selection import Standing
from tft_pipeline.pipeline.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIMIT,
    LINES,
    ORANGE,
    PALE,
    PURPLE,
    VERMILION,
    few_labels,
    figure_picture,
    plain_label,
    short_label,
    thinned,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PART_COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
PART_HATCHES = {"train": "", "validation": "///", "test": "xxx"}
STANDINGS: tuple[tuple[Standing, str, str, str, str], ...] = (
    ("kept", "kept", BLUE, "", "o"),
    ("filled up", "kept to reach min_features", ORANGE, "//", "D"),
    ("dropped", "not kept", PALE, "", "x"),
)
"""How a feature ended: its standing, what the legend says, colour, hatch of its bar, mark."""
MOST_FOLD_LABELS, MOST_COLUMN_LABELS = 40, 24


def picture(draw: Callable[["Axes"], None], *, title: str, height: float = 3.2) -> dg.MarkdownMetadataValue:
    """Draw on one pair of axes and return it as Markdown that the UI renders."""

    def on_one(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.tick_params(labelsize=8)
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)

    return figure_picture(on_one, title=title, height=height)


def fold_picture(dates: Sequence[dict[str, Any]], keys: Sequence[str], *, title: str) -> dg.MarkdownMetadataValue:
    """One line a fold: train, validation and test over time, the purge as a gap. Many folds are thin lines, of which some have
    their names.
    """

    def draw(axes: "Axes") -> None:
        for row, parts in enumerate(dates):
            for part, colour in PART_COLOURS.items():
                first = datetime.fromisoformat(parts[part]["first"])
                last = datetime.fromisoformat(parts[part]["last"])
                axes.barh(
                    row,
                    last - first,  # type: ignore[arg-type]
                    left=first,  # type: ignore[arg-type]
                    height=0.6,
                    color=colour,
                    edgecolor="#ffffff",
                    linewidth=0.0,
                    hatch=PART_HATCHES[part],
                    label=part if row == 0 else None,
                )
        places, names = few_labels(list(keys), MOST_FOLD_LABELS)
        axes.set_yticks(places, names, fontsize=8 if len(names) < 20 else 6)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel("date (UTC)", fontsize=8)
        axes.set_ylabel("fold", fontsize=8)
        axes.invert_yaxis()
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return picture(draw, title=title, height=1.2 + min(0.32 * len(keys), 4.0 + 0.04 * len(keys)))


def line_picture(
    lines: Mapping[str, tuple[Sequence[Any], Sequence[float]]], *, title: str, label: str, level: float = 0.0
) -> dg.MarkdownMetadataValue:
    """Named lines over time, and a thin one at a level to hold them against."""

    def draw(axes: "Axes") -> None:
        for (name, (x, y)), (colour, dashes) in zip(lines.items(), LINES * len(lines), strict=False):
            axes.plot(x, y, label=plain_label(name), color=colour, linestyle=dashes, linewidth=1.2)
        axes.set_ylabel(label, fontsize=8)
        axes.set_xlabel("date (UTC)", fontsize=8)
        axes.axhline(level, color=GREY, linewidth=0.8)
        axes.legend(fontsize=8)

    return picture(draw, title=title)


def bar_picture(
    values: dict[str, float],
    *,
    title: str,
    label: str,
    line: float | None = None,
) -> dg.MarkdownMetadataValue:
    """Horizontal bars, largest first as given, with an optional limit line."""

    def draw(axes: "Axes") -> None:
        names = [short_label(name) for name in values]
        axes.barh(range(len(names)), list(values.values()), color=PART_COLOURS["train"], height=0.7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel(label, fontsize=8)
        if line is not None:
            axes.axvline(line, color=LIMIT, linewidth=1.0, linestyle="--", label=f"limit {line:.3g}")
            axes.legend(fontsize=8)

    return picture(draw, title=title, height=1.0 + 0.2 * max(len(values), 4))


def thinned_line(x: Sequence[Any], y: Sequence[float]) -> tuple[list[Any], list[float]]:
    """As many points of a line as a picture shows: the last one of each stretch."""
    kept = thinned(len(y))
    return [x[k] for k in kept], [y[k] for k in kept]


def histogram_picture(
    values: Sequence[float], *, title: str, label: str, marks: dict[str, float] | None = None
) -> dg.MarkdownMetadataValue:
    """Counts of values with named vertical marks."""

    def draw(axes: "Axes") -> None:
        axes.hist(values, bins=min(40, max(5, len(values) // 4)), color=PART_COLOURS["train"])
        dashed = ((VERMILION, "-"), (ORANGE, "--"), (PURPLE, ":"))
        for (name, value), (colour, dashes) in zip((marks or {}).items(), dashed, strict=False):
            axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.4, label=f"{plain_label(name)} {value:.3g}")
        axes.set_xlabel(label, fontsize=8)
        if marks:
            axes.legend(fontsize=8)

    return picture(draw, title=title)


def interval_picture(
    rows: Sequence[Mapping[str, Any]], *, title: str, label: str, line: float | None = None
) -> dg.MarkdownMetadataValue:
    """Horizontal bars with their intervals, as ordered, kept ones in colour, those filled up hatched in another.

    Args:
        rows: name, value, low and high (None without an interval), standing (see `selection.standing`).
    """

    def draw(axes: "Axes") -> None:
        for standing, name, colour, hatch, _ in STANDINGS:
            mine = [(y, row) for y, row in enumerate(rows) if row["standing"] == standing]
            if mine:
                axes.barh(
                    [y for y, _ in mine],
                    [row["value"] for _, row in mine],
                    color=colour,
                    edgecolor="#ffffff",
                    linewidth=0.0,
                    hatch=hatch,
                    height=0.7,
                    label=name,
                )
        known = [(y, row) for y, row in enumerate(rows) if row["low"] is not None]
        axes.hlines(
            [y for y, _ in known],
            [row["low"] for _, row in known],
            [row["high"] for _, row in known],
            color=INK,
            linewidth=1.0,
        )
        axes.set_yticks(range(len(rows)), [short_label(row["name"]) for row in rows], fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel(label, fontsize=8)
        if line is not None:
            axes.axvline(line, color=LIMIT, linewidth=1.0, linestyle="--", label=f"threshold {line:.3g}")
        axes.legend(fontsize=8, loc="lower right")

    return picture(draw, title=title, height=1.0 + 0.2 * max(len(rows), 4))


def stability_picture(
    rows: Sequence[Mapping[str, Any]], *, title: str, least: float, line: float
) -> dg.MarkdownMetadataValue:
    """Share of folds above the threshold against mean weight, by how each feature ended; both limits dashed.

    Args:
        rows: weight, stability, standing (see `selection.standing`).
    """

    def draw(axes: "Axes") -> None:
        for standing, name, colour, _, mark in STANDINGS:
            mine = [row for row in rows if row["standing"] == standing]
            if standing == "filled up" and not mine:
                continue
            axes.scatter(
                [row["weight"] for row in mine],
                [100.0 * row["stability"] for row in mine],
                color=colour,
                marker=mark,
                s=26,
                label=f"{name} ({len(mine)})",
            )
        axes.axhline(100.0 * least, color=LIMIT, linewidth=1.0, linestyle="--", label="limits")
        axes.axvline(line, color=LIMIT, linewidth=1.0, linestyle="--")
        axes.set_xscale("log")
        axes.set_xlabel("mean VSN weight, share of 1, log scale", fontsize=8)
        axes.set_ylabel("folds above the threshold, %", fontsize=8)
        axes.legend(fontsize=8, loc="upper left")

    return picture(draw, title=title, height=4.0)


def heat_picture(
    values: Sequence[Sequence[float]], names: Sequence[str], columns: Sequence[str], *, title: str, label: str
) -> dg.MarkdownMetadataValue:
    """A grid of colours, one row a name."""

    def draw(axes: "Axes") -> None:
        image = axes.imshow(values, aspect="auto", cmap="Blues", vmin=0.0)
        axes.set_yticks(range(len(names)), [short_label(name) for name in names], fontsize=7)
        places, shown = few_labels(list(columns), MOST_COLUMN_LABELS)
        axes.set_xticks(places, shown, fontsize=7, rotation=30, ha="right")
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.03)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)

    return picture(draw, title=title, height=1.4 + 0.17 * max(len(names), 4))
