"""What a picture shows: the axes it is drawn on, without making the picture. Not here: tests."""

import base64
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import dagster as dg
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image


def figure_of(module: ModuleType, call: Callable[[], Any]) -> tuple[Figure, str]:
    """The figure that a function of `module` draws on, and its title."""
    figure, titles = Figure(figsize=(9.0, 5.0)), []

    def on_axes(draw: Callable[[Axes], None], *, title: str, height: float = 3.2) -> None:
        titles.append(title)
        draw(figure.add_subplot())

    def on_figure(draw: Callable[[Figure], None], *, title: str, height: float, arranged: bool = True) -> None:
        titles.append(title)
        draw(figure)

    with pytest.MonkeyPatch.context() as patch:
        for name, stand_in in (("picture", on_axes), ("figure_picture", on_figure)):
            if hasattr(module, name):
                patch.setattr(module, name, stand_in)
        call()
    (title,) = titles
    return figure, title


def axes_of(module: ModuleType, call: Callable[[], Any]) -> Axes:
    """The only axes of it."""
    (axes,) = figure_of(module, call)[0].axes
    return axes


def line_of(axes: Axes, label: str) -> Any:
    """The line with a label."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def legend_of(axes: Axes) -> list[str]:
    """Texts of the legend."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def widths_of(axes: Axes) -> list[float]:
    """Widths of horizontal bars, in their order."""
    return [patch.get_width() for patch in axes.patches]  # type: ignore[attr-defined]


def png_of(value: Any) -> bytes:
    """The bytes of a picture inside Markdown."""
    assert isinstance(value, dg.MarkdownMetadataValue)
    return base64.b64decode(str(value.value).split("base64,")[1].rstrip(")"))


def colours_of(value: Any) -> set[tuple[int, ...]]:
    """Colours of its pixels."""
    image = Image.open(io.BytesIO(png_of(value))).convert("RGB")
    return {colour for _, colour in image.getcolors(maxcolors=1 << 24)}  # type: ignore[misc, union-attr]
