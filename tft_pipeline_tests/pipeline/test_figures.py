"""Stored pictures: few colours and bytes, the same bytes again; names as they are; nothing is told by colour alone."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tft_pipeline.pipeline.figures import COLOURS, LINES, few_labels, figure_picture, short_label
from tft_pipeline.pipeline.plots import PART_COLOURS, PART_HATCHES, fold_picture, heat_picture, picture
from tft_pipeline_tests.drawings import colours_of, png_of
from tft_pipeline_tests.report_records import made_records


def crowded(axes: Axes) -> None:
    for k, (colour, dashes) in enumerate(LINES):
        axes.plot(
            range(200), [(k + 1) * (n * 37 % 101) for n in range(200)], color=colour, linestyle=dashes, label=f"l{k}"
        )
    axes.legend()


def test_a_crowded_picture_has_few_colours_few_bytes_and_the_same_bytes_again() -> None:
    made = picture(crowded, title="t")
    assert len(colours_of(made)) <= COLOURS
    assert len(png_of(made)) < 60_000
    assert made.value == picture(crowded, title="t").value


def test_the_colours_of_lines_survive_the_storing() -> None:
    found = colours_of(picture(crowded, title="t"))
    for colour, _ in LINES:
        wanted = tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))
        assert min(max(abs(a - b) for a, b in zip(wanted, one, strict=True)) for one in found) <= 24, colour


def test_lines_and_parts_differ_by_more_than_colour() -> None:
    assert len({dashes for _, dashes in LINES}) == len(LINES)
    assert len({colour for colour, _ in LINES}) == len(LINES)
    assert len(set(PART_HATCHES.values())) == len(PART_COLOURS) == len(PART_HATCHES)


def test_a_title_that_means_something_to_markdown_or_as_a_formula_is_shown_as_it_is() -> None:
    def draw(figure: Figure) -> None:
        figure.add_subplot()

    text = str(figure_picture(draw, title="$x^{$ ](http://a.example) ![b]", height=1.0).value)
    alt, _, rest = text.partition("](data:image/png;base64,")
    assert re.fullmatch(r"[A-Za-z0-9+/=]+\)", rest)
    assert not re.search(r"(?<!\\)[\[\]]", alt[2:])
    assert "://" not in alt


@pytest.mark.parametrize(
    ("n", "most", "expected"),
    [(3, 5, [0, 1, 2]), (10, 5, [1, 3, 5, 7, 9]), (11, 5, [1, 4, 7, 10]), (1, 1, [0])],
)
def test_labels_are_thinned_evenly_and_the_last_one_stays(n: int, most: int, expected: list[int]) -> None:
    places, labels = few_labels([f"x{k}" for k in range(n)], most)
    assert places == expected
    assert labels == [f"x{k}" for k in expected]


def test_long_names_are_cut_and_dollars_are_no_formula() -> None:
    assert short_label("a" * 60, 10) == "a" * 9 + "…"
    assert short_label("$x$") == r"\$x\$"


@pytest.mark.parametrize("n_folds", [1, 12, 80])
def test_the_picture_of_the_folds_stays_small_and_of_a_height_that_fits(n_folds: int) -> None:
    (first,) = made_records(n_bars=40, n_folds=1).plan.specs
    dates = [{part: _later(first.dates[part], 56 * k) for part in PART_COLOURS} for k in range(n_folds)]
    made = png_of(fold_picture(dates, [f"f{k}" for k in range(n_folds)], title="t"))
    assert len(made) < 60_000
    assert int.from_bytes(made[20:24], "big") < 900


def test_a_heat_map_of_many_features_and_folds_is_small() -> None:
    values = [[(a * 31 + b * 17) % 97 / 97 for b in range(80)] for a in range(40)]
    made = heat_picture(values, [f"f{k}" for k in range(40)], [f"c{k}" for k in range(80)], title="t", label="l")
    assert len(png_of(made)) < 60_000


def _later(part: dict[str, Any], days: int) -> dict[str, Any]:
    ends = {end: datetime.fromisoformat(part[end]) + timedelta(days=days) for end in ("first", "last")}
    return {end: stamp.isoformat() for end, stamp in ends.items()}
