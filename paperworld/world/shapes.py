"""Shapes of the picture world: flat polygons in a unit frame, each with its class, distance and surface.

A `Sheet` collects shapes from back to front. Nothing here draws; `rendering` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paperworld.world.palette import Colour, Palette

Points = NDArray[np.float64]
"""N,2 positions in the unit frame: x right, y down, (0, 0) the upper left corner, (1, 1) the lower right."""

FLAT = (0.0, 0.0, 1.0)
GROUND = (0.0, -0.94, 0.34)
SLOPE = (0.0, -0.6, 0.8)


@dataclass(frozen=True)
class Bulge:
    """A rounded surface: the normal leans outwards along two axes. With `along` 0 it is a cylinder about that axis."""

    centre: tuple[float, float]
    across: tuple[float, float]
    along: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Shape:
    """One polygon.

    `label` is its ADE20K class, or -1 for a soft shadow that darkens the picture only. `thing` numbers the object it
    belongs to (0: backdrop), `part` the outlined part. `near` = (a, b) gives 1 / distance in metres = a + b * y.
    `straight` sides are found by a line detector; `lift` is the strength of the soft shadow cast behind.
    """

    points: Points
    colour: Colour
    label: int
    thing: int
    part: int
    near: tuple[float, float]
    normal: tuple[float, float, float] = FLAT
    bulge: Bulge | None = None
    straight: bool = False
    lift: float = 0.0


@dataclass(frozen=True)
class Thing:
    """An object that a caption may name: what it is, its named colour, what it does and wears ("" for none)."""

    name: str
    colour: str = ""
    doing: str = ""
    wears: str = ""


@dataclass(frozen=True)
class Body:
    """The 18 keypoints of one person (OpenPose order) in the unit frame; `seen` marks those that face the viewer."""

    joints: Points
    seen: tuple[bool, ...]
    thing: int


@dataclass
class Sheet:
    """Paper on which a scene is laid, back to front. `horizon` is the height of the eye line, `eye_m` of the eye."""

    rng: np.random.Generator
    palette: Palette
    season: str
    horizon: float
    eye_m: float = 3.0
    shapes: list[Shape] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    taken: list[tuple[float, float]] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    _thing: int = 0
    _part: int = 0
    _near: tuple[float, float] = (1e-4, 0.0)

    def ground(self) -> tuple[float, float]:
        """1 / distance of the ground plane as (a, b) in a + b * y."""
        return (-self.horizon / self.eye_m, 1 / self.eye_m)

    def standing(self, foot: float) -> tuple[float, float]:
        """1 / distance of something that stands on the ground plane with its foot at height `foot`."""
        return (max((foot - self.horizon) / self.eye_m, 1 / 200), 0.0)

    def backdrop(self, near: tuple[float, float]) -> None:
        """Shapes from here on belong to the backdrop."""
        self._thing, self._near = 0, near
        self._part += 1

    def begin(self, thing: Thing, foot: float, near: tuple[float, float] | None = None) -> None:
        """Shapes from here on belong to `thing`, standing at `foot` unless `near` says otherwise."""
        self.things.append(thing)
        self._thing, self._near = len(self.things), near or self.standing(foot)
        self._part += 1

    def set_back(self, near: tuple[float, float]) -> None:
        """The next shapes of the same thing lie at another distance."""
        self._near = near

    def add(
        self,
        points: Points,
        colour: Colour,
        label: int,
        *,
        same: bool = False,
        normal: tuple[float, float, float] = FLAT,
        bulge: Bulge | None = None,
        straight: bool = False,
        lift: float = 0.0,
        part: int | None = None,
    ) -> Shape:
        """Lay a polygon on top. No outline separates it from the part before if `same`, nor from `part`."""
        self._part += 0 if same or part is not None else 1
        shape = Shape(
            points,
            colour,
            label,
            self._thing,
            self._part if part is None else part,
            self._near,
            normal,
            bulge,
            straight,
            lift,
        )
        self.shapes.append(shape)
        return shape

    def shade(self, points: Points, strength: float = 0.3) -> None:
        """Darken the picture softly; no truth changes."""
        self.shapes.append(Shape(points, (0, 0, 0), -1, 0, 0, (0.0, 0.0), lift=strength))

    def room(self, width: float, low: float = 0.02, high: float = 0.98) -> float | None:
        """Take a free stretch of `width` between `low` and `high`; its middle, or None when there is none."""
        for _ in range(24):
            if high - low < width:
                return None
            left = self.rng.uniform(low, high - width)
            if all(left >= b or left + width <= a for a, b in self.taken):
                self.taken.append((left, left + width))
                return left + width / 2
        return None


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """An upright rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def polygon(*points: tuple[float, float]) -> Points:
    """The polygon through `points`."""
    return np.array(points, dtype=np.float64)


_TURN = {n: np.linspace(0, 2 * np.pi, n, endpoint=False) for n in (12, 16, 20, 24, 32)}
_CIRCLE = {n: np.stack([np.cos(t), np.sin(t)], 1) for n, t in _TURN.items()}


def disc(x: float, y: float, rx: float, ry: float | None = None, sides: int = 24) -> Points:
    """An ellipse."""
    return _CIRCLE[sides] * (rx, rx if ry is None else ry) + (x, y)


def blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, wobble: float = 0.08) -> Points:
    """A soft round shape that is nowhere quite an ellipse."""
    turn = _TURN[24]
    bumps = 1 + wobble * (np.sin(3 * turn + rng.uniform(0, 6.3)) + 0.6 * np.sin(5 * turn + rng.uniform(0, 6.3)))
    return _CIRCLE[24] * bumps[:, None] * (rx, ry) + (x, y)


def limb(a: Points, b: Points, wide_a: float, wide_b: float) -> Points:
    """A tapered stroke with round ends from `a` to `b`, with half widths `wide_a` and `wide_b`."""
    along = b - a
    angle = np.arctan2(along[1], along[0])
    half = np.linspace(np.pi / 2, 3 * np.pi / 2, 7) + angle
    start = a + wide_a * np.stack([np.cos(half), np.sin(half)], 1)
    end = b + wide_b * np.stack([np.cos(half + np.pi), np.sin(half + np.pi)], 1)
    return np.concatenate([start, end])


def ridge(rng: np.random.Generator, level: float, swing: float, bottom: float = 1.02, waves: float = 1.5) -> Points:
    """Land below a rolling line about `level`, down to `bottom`."""
    x = np.linspace(-0.02, 1.02, 33)
    a, b = rng.uniform(0, 6.3, 2)
    y = level + swing * (0.7 * np.sin(2 * np.pi * waves * x + a) + 0.3 * np.sin(4.4 * np.pi * waves * x + b))
    return np.concatenate([np.stack([x, y], 1), [[1.02, bottom], [-0.02, bottom]]])
