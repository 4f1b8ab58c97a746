"""Pictures for the metadata of assets: matplotlib figures as PNG inside Markdown. Not here: computing what they show."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from tft_pipeline.domain.selection import Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PART_COLOURS = {"train": "#4c72b0", "validation": "#dd8452", "test": "#55a868"}
LIMIT = "#c44e52"
STANDINGS: tuple[tuple[Standing, str, str, str, str], ...] = (
    ("kept", "kept", "#4c72b0", "", "o"),
    ("filled up", "kept to reach min_features", "#dd8452", "//", "D"),
    ("dropped", "not kept", "#b5bcc4", "", "x"),
)
"""How a feature ended: its standing, what the legend says, colour, hatch of its bar, mark."""
LONGEST_NAME = 34
LINE_COLOURS = ("#222222", "#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3")


def picture(draw: Callable[["Axes"], None], *, title: str, height: float = 3.2) -> dg.MarkdownMetadataValue:
    """Draw on one pair of axes and return it as Markdown that the UI renders."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")


def fold_picture(dates: Sequence[dict[str, Any]], keys: Sequence[str], *, title: str) -> dg.MarkdownMetadataValue:
    """One line a fold: train, validation and test over time, the purge as a gap."""

    def draw(axes: "Axes") -> None:
        for row, parts in enumerate(dates):
            for part, colour in PART_COLOURS.items():
                first = datetime.fromisoformat(parts[part]["first"])
                last = datetime.fromisoformat(parts[part]["last"])
                axes.barh(row, last - first, left=first, height=0.6, color=colour, label=part if row == 0 else None)  # type: ignore[arg-type]
        axes.set_yticks(range(len(keys)), keys, fontsize=8)
        axes.invert_yaxis()
        axes.legend(fontsize=8, loc="lower left")

    return picture(draw, title=title, height=1.2 + 0.32 * len(keys))


def line_picture(
    lines: Mapping[str, tuple[Sequence[Any], Sequence[float]]], *, title: str, label: str
) -> dg.MarkdownMetadataValue:
    """Named lines over a common axis."""

    def draw(axes: "Axes") -> None:
        for (name, (x, y)), colour in zip(lines.items(), LINE_COLOURS * len(lines), strict=False):
            axes.plot(x, y, label=plain_label(name), color=colour, linewidth=1.2)
        axes.set_ylabel(label, fontsize=8)
        axes.axhline(0.0, color="#bbbbbb", linewidth=0.8)
        axes.legend(fontsize=8)

    return picture(draw, title=title)


def bar_picture(
    values: dict[str, float],
    *,
    title: str,
    label: str,
    line: float | None = None,
    errors: Sequence[float] | None = None,
) -> dg.MarkdownMetadataValue:
    """Horizontal bars, largest first as given, with an optional limit line."""

    def draw(axes: "Axes") -> None:
        names = [_short(name) for name in values]
        axes.barh(range(len(names)), list(values.values()), xerr=errors, color=PART_COLOURS["train"], height=0.7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel(label, fontsize=8)
        if line is not None:
            axes.axvline(line, color="#c44e52", linewidth=1.0, linestyle="--")

    return picture(draw, title=title, height=1.0 + 0.2 * max(len(values), 4))


def histogram_picture(
    values: Sequence[float], *, title: str, label: str, marks: dict[str, float] | None = None
) -> dg.MarkdownMetadataValue:
    """Counts of values with named vertical marks."""

    def draw(axes: "Axes") -> None:
        axes.hist(values, bins=min(40, max(5, len(values) // 4)), color=PART_COLOURS["train"])
        for (name, value), colour in zip((marks or {}).items(), ("#c44e52", "#dd8452", "#8172b3"), strict=False):
            axes.axvline(value, color=colour, linewidth=1.2, label=f"{plain_label(name)} {value:.3g}")
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
            color="#222222",
            linewidth=1.0,
        )
        axes.set_yticks(range(len(rows)), [_short(row["name"]) for row in rows], fontsize=7)
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
        axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=7)
        axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=30, ha="right")
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.03)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)

    return picture(draw, title=title, height=1.4 + 0.17 * max(len(names), 4))


def plain_label(name: str) -> str:
    """A name as it is: matplotlib would read what stands between dollars as a formula, and fail on one that is none."""
    return name.replace("$", r"\$")


def _short(name: str) -> str:
    return plain_label(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")
