"""The flowchart that the site draws has the boxes and arrows of the text, each box below what leads to it."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tft_pipeline_tests.pages.flowchart import MOST, edges_of, rows_of, svg

TEXT = """flowchart TD
    bars --> snapshot --> features
    snapshot --> targets
    features --> fold
    targets --> fold
    fold --> a
    fold --> b
    fold --> c
    fold --> d
    fold --> e
    a --> card
    e --> card
"""


def test_every_box_stands_below_all_that_lead_to_it_and_rows_are_narrow() -> None:
    edges = edges_of(TEXT)
    rows = rows_of(edges)
    row = {name: k for k, names in enumerate(rows) for name in names}
    assert len(row) == sum(map(len, rows)) == 11
    assert all(row[tail] < row[head] for tail, head in edges)
    assert max(map(len, rows)) <= MOST


def test_the_drawing_holds_each_box_and_arrow_once_and_says_them_to_those_who_do_not_see() -> None:
    drawn = ElementTree.fromstring(svg(TEXT))
    assert sorted(text.text or "" for text in drawn.iter("text")) == sorted(
        {n for edge in edges_of(TEXT) for n in edge}
    )
    assert len(list(drawn.iter("path"))) == len(edges_of(TEXT)) == 12
    height = {text.text: float(text.attrib["y"]) for text in drawn.iter("text")}
    assert all(height[tail] < height[head] for tail, head in edges_of(TEXT))
    width = float(drawn.attrib["viewBox"].split()[2])
    boxes = [(float(box.attrib["x"]), float(box.attrib["width"])) for box in drawn.iter("rect")]
    assert all(x >= 0 and x + w <= width for x, w in boxes)
    assert "snapshot leads to targets" in drawn.attrib["aria-label"]


def test_arrows_end_at_their_boxes() -> None:
    drawn = ElementTree.fromstring(svg("flowchart TD\n a --> b\n"))
    tops = {float(box.attrib["y"]) for box in drawn.iter("rect")}
    (arrow,) = drawn.iter("path")
    numbers = [float(one) for one in re.findall(r"-?\d+\.?\d*", arrow.attrib["d"])]
    assert numbers[-1] in tops


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flowchart LR\n a --> b", "only `flowchart TD`"),
        ("flowchart TD\n a[Box] --> b", "only arrows between plain names"),
        ("flowchart TD\n a", "only arrows between plain names"),
        ("flowchart TD\n a --> b --> a", "in a circle"),
    ],
)
def test_what_it_cannot_draw_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        svg(text)
