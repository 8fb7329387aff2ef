"""Filled circles on coloured ground: the original tutorial's task (`fill50k`), rendered here and without end.

The control is the outline of a circle, white on black; the prompt names the circle's colour and the ground's; the
picture shows both. Whether a network learnt it can be measured exactly, so `verdict` does. Pair n depends on n alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.datasets.pairs import ENDLESS, Example
from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError
from controlnet_core.storage import store

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (20, 20, 24),
    "blue": (40, 80, 200),
    "brown": (120, 75, 40),
    "green": (40, 140, 60),
    "grey": (128, 128, 128),
    "orange": (240, 140, 30),
    "pink": (245, 160, 190),
    "purple": (120, 50, 150),
    "red": (205, 40, 40),
    "white": (245, 245, 245),
    "yellow": (245, 220, 60),
}
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Circle:
    """What one pair shows: centre and radius in pixels, and two names of `COLOURS`."""

    x: float
    y: float
    radius: float
    colour: str
    ground: str

    @property
    def prompt(self) -> str:
        """The words for it."""
        return f"{self.colour} circle with {self.ground} background"


@dataclass(frozen=True)
class CircleScore:
    """How well a picture shows a circle: overlap with the true disc, and whether disc and ground have their colours."""

    iou: float
    colour: bool
    ground: bool


class Circles:
    """The data set, `size` px a side; it begins at pair `first` of the sequence, so that two of them share no pair."""

    def __init__(self, size: int = 256, first: int = 0, count: int = ENDLESS) -> None:
        self.title = "Circles"
        self.size, self.first, self.count = size, first, count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """See `Pairs.name`."""
        return f"circle {self.first + index}"

    def circle(self, index: int) -> Circle:
        """What pair `index` shows."""
        rng = np.random.default_rng((50_000, self.first + index))
        radius = rng.uniform(0.1, 0.3) * self.size
        x, y = rng.uniform(radius + 2, self.size - radius - 2, size=2)
        colour, ground = rng.choice(list(COLOURS), size=2, replace=False)
        return Circle(float(x), float(y), float(radius), str(colour), str(ground))

    def read(self, index: int) -> Example:
        """See `Pairs.read`."""
        circle = self.circle(index)
        source = np.zeros((self.size, self.size, 3), np.uint8)
        _draw(source, circle, (255, 255, 255), max(1, self.size // 256))
        target = np.full((self.size, self.size, 3), COLOURS[circle.ground], np.uint8)
        _draw(target, circle, COLOURS[circle.colour], -1)
        return Example(source, target, circle.prompt)

    def write(self, folder: Path, count: int, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """Write the first `count` pairs in the tutorial's layout. Raises InputError when there is one, and NoSpace."""
        if (folder / "prompt.json").exists():
            raise InputError(f"There is a data set in {folder} already.", "Choose an empty folder.")
        lines: list[str] = []
        for index in range(count):
            source, target, prompt = self.read(index)
            names = {"source": f"source/{index}.png", "target": f"target/{index}.png"}
            for key, rgb in (("source", source), ("target", target)):
                store.write(folder / names[key], picture.to_png(rgb), free_min_bytes=free_min_bytes, private=False)
            lines.append(json.dumps({**names, "prompt": prompt}))
        store.write(
            folder / "prompt.json", ("\n".join(lines) + "\n").encode(), free_min_bytes=free_min_bytes, private=False
        )


def verdict(rgb: Rgb, circle: Circle) -> CircleScore:
    """Judge a picture by its pixels.

    A pixel belongs to the disc if it is nearer to the asked colour than to the ground's. The colour of a region is the
    one of `COLOURS` nearest to its median; it is looked at a little inside of its border.
    """
    disc = _mask(circle, rgb.shape[0])
    pixels = rgb.astype(np.float32)
    inside = _distance(pixels, circle.colour) < _distance(pixels, circle.ground)
    union = np.count_nonzero(inside | disc)
    kernel = np.ones((5, 5), np.uint8)
    core = cv2.erode(disc.astype(np.uint8), kernel) > 0
    outside = cv2.dilate(disc.astype(np.uint8), kernel) == 0
    return CircleScore(
        iou=float(np.count_nonzero(inside & disc) / max(1, union)),
        colour=_nearest(np.median(pixels[core], axis=0)) == circle.colour,
        ground=_nearest(np.median(pixels[outside], axis=0)) == circle.ground,
    )


def _draw(canvas: Rgb, circle: Circle, colour: tuple[int, int, int], thickness: int) -> None:
    scale = 1 << _SUBPIXEL_BITS
    centre = (round(circle.x * scale), round(circle.y * scale))
    cv2.circle(canvas, centre, round(circle.radius * scale), colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _mask(circle: Circle, size: int) -> NDArray[np.bool_]:
    canvas = np.zeros((size, size, 3), np.uint8)
    _draw(canvas, circle, (255, 255, 255), -1)
    return canvas[:, :, 0] > 127


def _distance(pixels: NDArray[np.float32], colour: str) -> NDArray[np.float32]:
    return np.square(pixels - np.array(COLOURS[colour], np.float32)).sum(axis=2)


def _nearest(colour: NDArray[np.float32]) -> str:
    return min(COLOURS, key=lambda name: float(np.square(colour - np.array(COLOURS[name])).sum()))
