"""The painter's rules once more in NumPy, as plainly as possible: whole arrays, full copies for undo. Slow and obvious.

Paths and shapes are taken as the editor defines them: a pixel gets the class when its centre lies within the brush, or when
half of it (along four lines) lies within an area.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.uint8]
Inside = NDArray[np.bool_]
Place = tuple[float, float, float]
"""x, y and the brush's radius there."""
DAMPING, CALM_PX, NEAR_PX = 0.35, 24.0, 1e-3


class Reference:
    """A map of class indices under the painter's actions."""

    def __init__(self, pixels: Map) -> None:
        self.pixels = pixels
        self.past: list[Map] = []
        self.future: list[Map] = []

    def run(self, action: dict[str, Any]) -> None:
        """Do what the editor was asked to do."""
        kind = action["kind"]
        if kind == "undo":
            self._step(self.past, self.future)
        elif kind == "redo":
            self._step(self.future, self.past)
        elif kind != "given-up":
            before = self.pixels
            self.pixels = self._changed(kind, action)
            # A change that changes nothing is no step; another canvas always is one.
            if kind == "resize" or not np.array_equal(before, self.pixels):
                self.past.append(before)
                self.future.clear()

    def _step(self, source: list[Map], target: list[Map]) -> None:
        if source:
            target.append(self.pixels)
            self.pixels = source.pop()

    def _changed(self, kind: str, action: dict[str, Any]) -> Map:
        points, options = action["points"], action["options"]
        if kind == "resize":
            return fitted(self.pixels, *action["size"])
        after, label = self.pixels.copy(), options["label"]
        x, y = points[0]["x"], points[0]["y"]
        if kind == "replace":
            own = self._at(x, y)
            after[self.pixels == own] = label
            return after
        if kind == "fill":
            for seed in (x, after.shape[1] - x) if options["mirror"] else (x,):
                own = self._at(seed, y)
                if own >= 0:
                    regions = cv2.connectedComponents((self.pixels == own).astype(np.uint8), connectivity=4)[1]
                    after[regions == regions[int(np.floor(y)), int(np.floor(seed))]] = label
            return after
        path = (
            stroke(points, options) if kind == "stroke" else [(*p, options["size"] / 2) for p in outline(kind, points)]
        )
        for side in (path, [(after.shape[1] - x, y, r) for x, y, r in path]) if options["mirror"] else (path,):
            after[self._covered(kind, side, options)] = label
        return after

    def _at(self, x: float, y: float) -> int:
        height, width = self.pixels.shape
        return int(self.pixels[int(y), int(x)]) if 0 <= x < width and 0 <= y < height else -1

    def _covered(self, kind: str, path: list[Place], options: dict[str, Any]) -> Inside:
        shape = self.pixels.shape
        if kind == "stroke":
            return near(path, shape) if options["round"] else under_squares(path, options["size"], shape)
        if options["solid"] and kind != "line":
            return half_inside(path, shape)
        return near(path if kind == "line" else [*path, path[0]], shape)


def stroke(points: list[dict[str, Any]], options: dict[str, Any]) -> list[Place]:
    """The curve that a hand's points become: damped, then quadratic curves from midpoint to midpoint."""

    def radius(point: dict[str, Any]) -> float:
        if not (options["pressure"] and point["pen"]):
            return max(0.35, options["size"] / 2)
        return max(0.35, options["size"] / 2 * (0.15 + 0.85 * point["pressure"] ** 0.8))

    raw = [(float(p["x"]), float(p["y"]), radius(p)) for p in points]
    handle = end = raw[0]
    path, last = [end], raw[0]
    for point in raw[1:]:
        last = point
        following = mixed(point, handle, DAMPING / (1 + apart(point, handle) / CALM_PX))
        if apart(following, handle) >= NEAR_PX:
            middle = mixed(handle, following, 0.5)
            path += curve(end, handle, middle)
            end, handle = middle, following
    if len(raw) > 1 and apart(last, handle) >= NEAR_PX:
        middle = mixed(handle, last, 0.5)
        path += curve(end, handle, middle)
        end = middle
    if apart(end, last) >= NEAR_PX:
        count = int(np.ceil(apart(end, last) / step(last)))
        path += [mixed(end, last, (i + 1) / count) for i in range(count)]
    return path


def curve(start: Place, handle: Place, end: Place) -> list[Place]:
    """Points along a quadratic curve, the first left out."""
    count = max(1, int(np.ceil((apart(start, handle) + apart(handle, end)) / step(end))))
    shares = [i / count for i in range(1, count + 1)]
    return [mixed(mixed(start, handle, t), mixed(handle, end, t), t) for t in shares]


def step(place: Place) -> float:
    """How far apart the points of a curve are for a brush of this radius."""
    return min(6.0, max(1.5, place[2] * 0.25))


def mixed(a: Place, b: Place, t: float) -> Place:
    """The place at a share `t` of the way from a to b."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def apart(a: Place, b: Place) -> float:
    """The distance between two places."""
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def outline(kind: str, points: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The corners of a shape that was drawn between points."""
    corners = [(point["x"], point["y"]) for point in points]
    if kind == "rectangle":
        (ax, ay), (bx, by) = corners[:2]
        return [(ax, ay), (bx, ay), (bx, by), (ax, by)]
    if kind == "ellipse":
        (ax, ay), (bx, by) = corners[:2]
        rx, ry = abs(bx - ax) / 2, abs(by - ay) / 2
        count = max(16, min(360, int(np.ceil((rx + ry) * 0.8))))
        angles = 2 * np.pi * np.arange(count) / count
        return list(zip((ax + bx) / 2 + rx * np.cos(angles), (ay + by) / 2 + ry * np.sin(angles), strict=True))
    return corners


def near(path: list[Place], shape: tuple[int, ...]) -> Inside:
    """Pixels whose centre lies within the brush along a path."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for (ax, ay, ar), (bx, by, br) in zip([path[0], *path], path, strict=False):
        dx, dy = bx - ax, by - ay
        along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy) if dx or dy else np.zeros(shape)
        along = np.clip(along, 0, 1)
        distance = np.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
        inside |= distance <= ar + along * (br - ar)
    return inside


def under_squares(path: list[Place], size: float, shape: tuple[int, ...]) -> Inside:
    """Pixels under square stamps on whole pixels, put down at least every half pixel."""
    side = max(1, int(np.floor(size + 0.5)))
    inside = np.zeros(shape, bool)
    for a, b in zip([path[0], *path], path, strict=False):
        count = max(1, int(np.ceil(2 * apart(a, b))))
        for i in range(count):
            x, y, _ = mixed(a, b, (i + 1) / count)
            left, top = int(np.floor(x - side / 2 + 0.5)), int(np.floor(y - side / 2 + 0.5))
            inside[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = True
    return inside


def half_inside(path: list[Place], shape: tuple[int, ...]) -> Inside:
    """Pixels at least half of which lie inside a polygon, measured along four lines, even-odd rule."""
    left = np.arange(shape[1], dtype=float)
    bx, by = np.array([place[:2] for place in path]).T
    ax, ay = np.roll(bx, 1), np.roll(by, 1)
    share = np.zeros(shape)
    for row in range(shape[0]):
        for level in row + (np.arange(4) + 0.5) / 4:
            cut = (ay > level) != (by > level)
            crossings = np.sort(ax[cut] + (level - ay[cut]) / (by[cut] - ay[cut]) * (bx[cut] - ax[cut]))
            for start, end in zip(crossings[::2], crossings[1::2], strict=True):
                share[row] += np.clip(np.minimum(left + 1, end) - np.maximum(left, start), 0, None) / 4
    return share >= 0.5


def fitted(pixels: Map, width: int, height: int) -> Map:
    """The map on another canvas: as large as fits, nearest pixels, its edges continued."""
    tall, wide = pixels.shape
    scale = min(width / wide, height / tall)
    inner = [max(1, int(np.floor(side * scale + 0.5))) for side in (wide, tall)]

    def places(outer: int, inside: int, source: int) -> NDArray[np.int64]:
        start = (outer - inside) // 2
        return np.clip(np.floor((np.arange(outer) - start + 0.5) * source / inside), 0, source - 1).astype(np.int64)

    return pixels[np.ix_(places(height, inner[1], tall), places(width, inner[0], wide))]
