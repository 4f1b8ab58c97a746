"""The pictures that pages show: the stored ones are those that the walk takes, and a useless one is refused."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tft_pipeline_tests.browser.album import HEIGHT, MOST_BYTES, NAMES, STORED, WIDTH, Album, ink, loaded
from tft_pipeline_tests.browser.dev_server import ROOT


def screenshot(*, size: tuple[int, int] = (WIDTH, HEIGHT), drawn: bool = True) -> bytes:
    picture = Image.new("RGB", size, "white")
    if drawn:
        ImageDraw.Draw(picture).rectangle((100, 100, 500, 300), fill="black")
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_the_stored_pictures_are_those_that_the_walk_takes() -> None:
    assert Album(STORED).shapes() == dict.fromkeys(sorted(NAMES), (WIDTH, HEIGHT))
    for path in STORED.iterdir():
        assert path.stat().st_size < MOST_BYTES
        assert ink(loaded(path)) > 0.01


def test_pages_show_only_pictures_that_the_walk_takes() -> None:
    shown = {
        match
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for match in re.findall(r"images/([\w-]+)\.png", page.read_text(encoding="utf-8"))
    }
    assert shown <= set(NAMES)


def test_a_drawn_picture_of_the_right_size_is_kept_and_stored_in_place_of_old_ones(tmp_path: Path) -> None:
    album = Album(tmp_path / "taken")
    album.add("graph", screenshot())
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored" / "old.png").write_bytes(b"")
    album.store(tmp_path / "stored")
    assert Album(tmp_path / "stored").shapes() == {"graph": (WIDTH, HEIGHT)}
    assert ink(loaded(tmp_path / "stored" / "graph.png")) == pytest.approx(401 * 201 / (WIDTH * HEIGHT))


@pytest.mark.parametrize(
    ("name", "content"),
    [("graph", screenshot(drawn=False)), ("graph", screenshot(size=(640, 400))), ("unknown", screenshot())],
    ids=["blank", "small", "unknown"],
)
def test_a_picture_that_shows_nothing_or_that_no_page_knows_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        Album(tmp_path).add(name, content)
    assert not list(tmp_path.iterdir())
