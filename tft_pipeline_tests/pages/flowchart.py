"""A Mermaid flowchart of plain arrows as an SVG, so that the site draws it without a script from elsewhere.

Not here: any other kind of diagram, labels, styles.
"""

import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise

Edge = tuple[str, str]
WIDTH, HEIGHT = 168, 26
"""Of a box, pixels."""
ACROSS, DOWN = 188, 58
"""From one box to the next."""
MOST = 4
"""Boxes side by side; a layer with more takes several rows."""


def edges_of(text: str) -> list[Edge]:
    """Arrows in the order they are written; `a --> b --> c` is two.

    Raises:
        ValueError: a line that is no chain of arrows: this drawing would leave it out.
    """
    first, *lines = text.strip().splitlines()
    if first.split() != ["flowchart", "TD"]:
        raise ValueError(f"{first!r}: only `flowchart TD` can be drawn; write the picture as one, or as an image")
    edges: list[Edge] = []
    for line in lines:
        chain = re.split(r"\s*-->\s*", line.strip())
        if len(chain) < 2 or not all(re.fullmatch(r"\w+", name) for name in chain):
            raise ValueError(f"{line.strip()!r}: only arrows between plain names can be drawn; write it as `a --> b`")
        edges += pairwise(chain)
    return edges


def rows_of(edges: Sequence[Edge]) -> list[list[str]]:
    """Names row by row: each below all that lead to it, near the mean place of those, at most `MOST` in a row."""
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for tail, head in edges:
            depth[head] = max(depth[head], depth[tail] + 1)
    if max(depth.values()) >= len(names):
        raise ValueError(f"{names}: the arrows go in a circle; no name is above another")
    rows: list[list[str]] = []
    place: dict[str, float] = {}
    for level in range(max(depth.values()) + 1):
        layer = [name for name in names if depth[name] == level]
        above = {name: [place[tail] for tail, head in edges if head == name] for name in layer}
        layer.sort(key=lambda name: sum(above[name]) / max(len(above[name]), 1))
        n_rows = -(-len(layer) // MOST)
        for k in range(n_rows):
            row = layer[k::n_rows]
            place |= {name: i - (len(row) - 1) / 2 for i, name in enumerate(row)}
            rows.append(row)
    return rows


def svg(text: str) -> str:
    """The flowchart as one line of SVG; colours are the page's (classes `box` and `arrow`)."""
    edges = edges_of(text)
    rows = rows_of(edges)
    widest = max(len(row) for row in rows)
    centre = {
        name: (ACROSS * (widest / 2 + i - (len(row) - 1) / 2), DOWN * k + HEIGHT / 2 + 2)
        for k, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    parts = []
    for tail, head in edges:
        (x, y), (to_x, to_y) = centre[tail], centre[head]
        y, to_y = y + HEIGHT / 2, to_y - HEIGHT / 2
        middle = (y + to_y) / 2
        parts.append(f'<path class="arrow" d="M{x:g} {y:g} C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"/>')
    for name, (x, y) in centre.items():
        parts.append(
            f'<rect class="box" x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
        )
        parts.append(f'<text x="{x:g}" y="{y + 4:g}">{escape(name)}</text>')
    size = f"0 0 {ACROSS * widest} {DOWN * (len(rows) - 1) + HEIGHT + 4}"
    said = "Flowchart: " + ", ".join(f"{tail} leads to {head}" for tail, head in edges)
    return f'<svg class="flowchart" viewBox="{size}" role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>'
