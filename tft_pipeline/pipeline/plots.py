"""Pictures for the metadata of assets: matplotlib figures as PNG inside Markdown. Not here: computing what they show."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PART_COLOURS = {"train": "#4c72b0", "validation": "#dd8452", "test": "#55a868"}
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
            axes.plot(x, y, label=name, color=colour, linewidth=1.2)
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
        names = list(values)
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
            axes.axvline(value, color=colour, linewidth=1.2, label=f"{name} {value:.3g}")
        axes.set_xlabel(label, fontsize=8)
        if marks:
            axes.legend(fontsize=8)

    return picture(draw, title=title)
