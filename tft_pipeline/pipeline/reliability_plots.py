"""Reliability diagrams: what was said of an upward move against how often it came. Not here: the tables (`classification`)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from tft_pipeline.domain.bar_bootstrap import dense_bars
from tft_pipeline.domain.blending import BlendPart
from tft_pipeline.domain.classification import reliability_rows
from tft_pipeline.domain.forward_chaining import forward_chained
from tft_pipeline.pipeline.figures import BLUE, GREY, ORANGE, figure_picture, plain, plain_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of `classification.reliability_rows` by what they are of."""
STYLES = ((ORANGE, "s", "--", "none"), (BLUE, "o", "-", "full"))
"""Colour, mark, dashes and filling: of what was said first, then of what was made of it."""
BINS = 10


def reliability_picture(panels: Mapping[str, Curves], *, title: str) -> dg.MarkdownMetadataValue:
    """One panel a source, at most two curves in it, with Wilson intervals; on the grey diagonal nothing is left to correct."""

    def draw(figure: "Figure") -> None:
        many = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for axes, (name, curves) in zip(many, panels.items(), strict=True):
            _draw(axes, curves)
            axes.set_title(plain_label(name), fontsize=9)
            plain(axes)
        many[0].set_ylabel("it went up, %", fontsize=8)

    return figure_picture(draw, title=title, height=3.8)


def blend_panels(parts: Sequence[BlendPart], *, l2: float, horizon: int) -> tuple[dict[str, Curves], str]:
    """Each source before and after its calibration, and the blend, on folds that neither had seen; and a title that says so.

    With one fold nothing can be calibrated on earlier ones: the sources are shown as they said.
    """
    if len(parts) < 2:
        (part,) = parts
        bars = dense_bars(part.bars)
        panels: dict[str, Curves] = {
            name: {"as said": reliability_rows(part.y, np.asarray(p), bars=bars, n_bins=BINS)}
            for name, p in part.probabilities.items()
            if p is not None
        }
        return panels, "reliability, one fold: nothing could be calibrated on earlier ones"
    chained = forward_chained(
        [part.probabilities for part in parts],
        [part.y for part in parts],
        l2=l2,
        n_unresolved=horizon - 1,
        bars=[part.bars for part in parts],
    )
    found: dict[str, Curves] = {}
    for name, columns in chained.by_source.items():
        used = [k for k, column in enumerate(columns) if column is not None]
        if not used:
            continue
        places = [chained.scored[k] for k in used]
        y = np.concatenate([chained.labels[k] for k in used])
        bars = dense_bars(np.concatenate([parts[place].bars for place in places]))
        said = np.concatenate([np.asarray(parts[place].probabilities[name]) for place in places])
        made = np.concatenate([np.asarray(columns[k]) for k in used])
        found[name] = {
            "as said": reliability_rows(y, said, bars=bars, n_bins=BINS),
            "calibrated on earlier folds": reliability_rows(y, made, bars=bars, n_bins=BINS),
        }
    bars = dense_bars(np.concatenate([parts[place].bars for place in chained.scored]))
    blend = reliability_rows(
        np.concatenate(chained.labels), np.concatenate(chained.probabilities), bars=bars, n_bins=BINS
    )
    found["blend"] = {"weighed on earlier folds": blend}
    return found, f"reliability before and after calibration, {len(chained.scored)} fold(s) that nothing was fitted to"


def _draw(axes: "Axes", curves: Curves) -> None:
    styles = STYLES if len(curves) > 1 else STYLES[1:]
    for (name, rows), (colour, mark, dashes, filling) in zip(curves.items(), styles, strict=True):
        said = [100.0 * row["mean_probability"] for row in rows]
        came = [100.0 * row["share_up"] for row in rows]
        axes.vlines(
            said,
            [100.0 * row["interval"][0] for row in rows],
            [100.0 * row["interval"][1] for row in rows],
            color=colour,
            linewidth=0.8,
            linestyle=dashes,
        )
        axes.plot(
            said, came, marker=mark, markersize=4, color=colour, linestyle=dashes, fillstyle=filling, linewidth=1.0, label=name
        )  # fmt: skip
    axes.plot([0.0, 100.0], [0.0, 100.0], color=GREY, linewidth=0.8, zorder=0)
    axes.set_xlim(0.0, 100.0)
    axes.set_ylim(0.0, 100.0)
    axes.set_xlabel("said, %", fontsize=8)
    axes.legend(fontsize=7, loc="upper left")
