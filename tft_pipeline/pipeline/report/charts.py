"""Figures for plotly: one layout for all of them, labels escaped, few points. Not here: which figures there are.

plotly reads a subset of HTML in every label (`<b>`, `<a href>`, `<br>`). Text that comes from data goes through `label`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from tft_pipeline.pipeline.report.markup import Html, paragraph, tag

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_POINTS = 5000
"""Points of one line; longer series are thinned and the page says so."""
LONGEST_LABEL = 26
INK, MUTED, GRID, ALERT = "#1b2733", "#5b6b7a", "#e3e8ee", "#b42318"
COLOURS = ("#1f5fa8", "#c4661f", "#2e8157", "#8a5ba8", "#7a6a2b", "#4f6d7a")
"""In the order of the lines; readable on white and for the colour-blind beside their dashes and marks."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "triangle-up", "x", "cross")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure: where it stands, the finding as its title, how it is drawn.

    Attributes:
        anchor: id of its element, unique in the page.
        title: the finding, in words.
        figure: data and layout for plotly, JSON-ready.
        height: pixels.
        note: how to read it.
    """

    anchor: str
    title: str
    figure: Mapping[str, Any]
    height: int
    note: str = ""

    def place(self) -> Html:
        """Where the chart is drawn, with its title and note."""
        drawing = tag(
            "div",
            attributes={
                "id": self.anchor,
                "class": "chart",
                "role": "img",
                "aria-label": self.title,
                "style": f"height:{self.height}px",
            },
        )
        note = paragraph(self.note, kind="note") if self.note else Html("")
        return tag("figure", tag("figcaption", self.title), drawing, note)


def label(text: object) -> str:
    """Text for a label of plotly: shown as it is, never read as markup."""
    return escape(str(text), quote=False)


def short_label(text: object) -> str:
    """`label` cut to a length that leaves room for the drawing; the tables hold the whole name."""
    whole = str(text)
    return label(whole if len(whole) <= LONGEST_LABEL else whole[: LONGEST_LABEL - 1] + "…")


def axis(title: str = "", *, zero: bool = False, grid: bool = True) -> dict[str, Any]:
    """An axis; its title names the unit."""
    return {
        "title": {"text": label(title), "font": {"size": 12, "color": MUTED}},
        "automargin": True,
        "showgrid": grid,
        "gridcolor": GRID,
        "zeroline": zero,
        "zerolinecolor": MUTED,
        "zerolinewidth": 1,
        "linecolor": GRID,
        "tickfont": {"size": 11},
    }


def named_axis(names: Sequence[object], *, top_down: bool = True) -> dict[str, Any]:
    """An axis of names at the positions 0, 1, ..: numbers underneath, so that no name is taken for a date or a number."""
    last = len(names) - 0.5
    return axis(grid=False) | {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [short_label(name) for name in names],
        "range": [last, -0.5] if top_down else [-0.5, last],
    }


def hatched(shape: str) -> dict[str, Any]:
    """Bars told apart without colour: white strokes of a shape (`/`, `x`; none for "") over the bar's colour."""
    return {"shape": shape, "fgcolor": "#ffffff", "fillmode": "overlay", "size": 6, "solidity": 0.2}


def bar_height(n: int, *, each: int = 24, least: int = 200) -> int:
    """Pixels for n rows of bars."""
    return max(least, 110 + each * n)


def figure(
    traces: "Sequence[go.Figure | Any]",
    *,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Data and layout, checked by plotly and JSON-ready.

    Args:
        traces: plotly's graph objects.
        x, y: the first pair of axes.
        more: further entries of the layout.
    """
    import plotly.graph_objects as go

    layout = {
        "template": go.layout.Template(),
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 16, "t": 12, "b": 12},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}},
        "hoverlabel": {"namelength": -1},
        "xaxis": dict(x),
        "yaxis": dict(y),
        **(more or {}),
    }
    made: dict[str, Any] = json.loads(go.Figure(data=list(traces), layout=layout).to_json(engine="json"))
    return {"data": _rounded(made["data"]), "layout": made["layout"]}


def _rounded(value: Any) -> Any:
    """Numbers with six digits: a picture shows no more, and the page stays small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def thinning_note(n: int, drawn: int) -> str:
    """How many values of a series are drawn, where not all are."""
    return "" if drawn == n else f"{drawn} of {n} bars are drawn."
