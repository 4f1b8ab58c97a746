"""A matplotlib figure as a small picture inside Markdown, and the colours, dashes and hatches that all pictures share.

Nothing is told by colour alone: lines have dashes, bars hatches, points marks. The colours are those of Okabe and Ito (2008),
"Color Universal Design". Every picture goes into the event log with each materialisation: it is stored with few colours, at a
third of the bytes. Not here: what is drawn.
"""

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from tft_pipeline.pipeline.markdown import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, INK, GREY, PALE = "#cc79a7", "#56b4e9", "#222222", "#8a9096", "#c9ced3"
LIMIT = VERMILION
"""Of limits, always dashed."""
LINES: tuple[tuple[str, Any], ...] = (
    (INK, "-"),
    (BLUE, "--"),
    (ORANGE, "-."),
    (GREEN, ":"),
    (VERMILION, (0, (5, 1, 1, 1, 1, 1))),
    (PURPLE, (0, (3, 1))),
)
"""Colour and dashes of the lines of one picture, in their order."""
WIDTH, DPI = 9.0, 90
"""Inches, and dots an inch: the UI shows a picture at most about 800 dots wide."""
COLOURS = 64
"""In a stored picture."""
LONGEST_NAME = 34
MOST_POINTS = 1500
"""Of one line."""


def figure_picture(
    draw: Callable[["Figure"], None], *, title: str, height: float, arranged: bool = True
) -> dg.MarkdownMetadataValue:
    """Draw on a figure and return it as Markdown that the UI renders; it belongs to no window manager.

    Args:
        title: of the figure and of the picture.
        height: inches.
        arranged: matplotlib finds the places; False where `draw` gives its axes theirs, which takes a third less time.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained" if arranged else None)
    draw(figure)
    figure.suptitle(plain_label(title), fontsize=10)
    encoded = base64.b64encode(small_png(figure)).decode()
    return dg.MetadataValue.md(f"![{escaped(title)}](data:image/png;base64,{encoded})")


def small_png(figure: "Figure") -> bytes:
    """A PNG of at most `COLOURS` colours; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    stream = io.BytesIO()
    few = drawn.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(stream, format="png", optimize=True)
    return stream.getvalue()


def placed(figure: "Figure", left: float, bottom: float, right: float, top: float) -> "Axes":
    """Axes at a place in inches from the figure's lower left corner."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, (right - left) / width, (top - bottom) / height))
    plain(axes)
    return axes


def plain(axes: "Axes") -> None:
    """Small figures on two spines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)


def plain_label(name: str) -> str:
    """A name as it is: matplotlib would read what stands between dollars as a formula, and fail on one that is none."""
    return name.replace("$", r"\$")


def short_label(name: str, most: int = LONGEST_NAME) -> str:
    """The same, cut where it is too long for an axis."""
    return plain_label(name if len(name) <= most else name[: most - 1] + "…")


def thinned(n: int, most: int = MOST_POINTS) -> list[int]:
    """Places of at most `most` of n values in a row: the last one of each stretch; every place while there are few."""
    step = max(1, -(-n // most))
    return [min(start + step, n) - 1 for start in range(0, n, step)]


def few_labels(labels: list[str], most: int) -> tuple[list[int], list[str]]:
    """Places and texts of at most `most` labels, evenly spaced, the last one among them."""
    step = max(1, -(-len(labels) // most))
    kept = sorted(range(len(labels) - 1, -1, -step))
    return kept, [labels[k] for k in kept]
