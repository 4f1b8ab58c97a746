"""The README's pictures: taken in every walk, stored on request, and held against the stored ones by name and size.

Not here: what is on them.
"""

import io
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tft_pipeline_tests.browser.dev_server import ROOT

STORED = ROOT / "docs" / "images"
WANTED = os.environ.get("TFT_SCREENSHOTS")
"""Folder the pictures are written to; `make screenshots` sets it."""
WIDTH, HEIGHT = 1280, 800
MOST_BYTES = 150_000
COLOURS = 128
LEAST_INK = 0.01
NAMES = ("graph", "run", "fold", "plot", "failure", "release", "report")


@dataclass
class Album:
    """Pictures of one walk."""

    folder: Path
    taken: list[str] = field(default_factory=list)

    def add(self, name: str, screenshot: bytes) -> None:
        """Keep a picture, reduced to a palette.

        Raises:
            AssertionError: it is blank, of another size, too large, or not one that pages may show.
        """
        assert name in NAMES, name
        picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
        assert picture.size == (WIDTH, HEIGHT), (name, picture.size)
        assert ink(picture) > LEAST_INK, f"{name} is blank"
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.png"
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        assert path.stat().st_size < MOST_BYTES, (name, path.stat().st_size)
        self.taken.append(name)

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Names and sizes of the pictures in the folder."""
        return {path.stem: loaded(path).size for path in sorted(self.folder.glob("*.png"))}

    def store(self, folder: Path) -> None:
        """Write the pictures where pages show them, and remove those that no walk takes any more."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):
            old.unlink()
        for path in self.folder.glob("*.png"):
            shutil.copyfile(path, folder / path.name)


def loaded(path: Path) -> Image.Image:
    """A stored picture."""
    with Image.open(path) as picture:
        picture.load()
        return picture


def ink(picture: Image.Image) -> float:
    """Share of the pixels that are clearly not the commonest one."""
    grey = np.asarray(picture.convert("L")).astype(int)
    return float(np.mean(np.abs(grey - np.bincount(grey.ravel()).argmax()) > 40))
