"""From a scene to pixels: the picture and the exact truth of every condition, at any size.

One pass paints the picture (antialiased, with soft paper shadows) and, beside it, the number of the topmost shape at
each pixel; classes, depth, normals and outlines are look-ups in that map. Nothing is composed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import MISSING, Person, Point, Skeleton
from paperworld.world.palette import INK
from paperworld.world.scene import Scene
from paperworld.world.shapes import Shape

_SHIFT = 4
_FARTHEST_M = 10_000.0
_GROUND_M = 200.0  # the ground plane ends in haze here, before the hills


@dataclass(frozen=True)
class Rendering:
    """A rendered scene; satisfies `controlnet_core.domain.control.Truth`. `things`: H,W, the object's number at each pixel."""

    picture: Rgb
    classes: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    outlines: NDArray[np.uint8]
    edges: NDArray[np.uint8]
    lines: NDArray[np.float32]
    skeleton: Skeleton
    things: NDArray[np.int32]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.picture.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.picture.shape[0])


class _Frame:
    """The unit frame laid over a picture: the square covers it, centred, and what sticks out is cut."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height, self.scale = width, height, float(max(width, height))
        self.left, self.top = (width - self.scale) / 2, (height - self.scale) / 2

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unit positions as pixel positions; the centre of the upper left pixel is (0, 0)."""
        return np.asarray(points * self.scale + np.array([self.left - 0.5, self.top - 0.5]), np.float64)

    def rows(self) -> NDArray[np.float64]:
        """The unit height of each row of pixels."""
        return ((np.arange(self.height) + 0.5 - self.top) / self.scale).astype(np.float64)


def render(scene: Scene, width: int = 256, height: int = 256) -> Rendering:
    """Paint `scene` at `width` x `height` pixels. The same scene gives the same pixels."""
    frame = _Frame(width, height)
    picture, ids, corners = _paint(scene, frame)
    solid = scene.shapes
    classes = np.take(np.array([s.label for s in solid]).astype(np.uint8), ids)
    things = np.take(np.array([s.thing for s in solid], np.int32), ids)
    parts = np.take(np.array([s.part for s in solid], np.int32), ids)
    outlines = borders(parts)
    _strokes(outlines, scene, frame, 2)
    edges = np.asarray(cv2.Canny(picture, 40, 90), np.uint8)
    _strokes(edges, scene, frame, 1)
    _ink(picture, outlines)
    return Rendering(
        picture=picture,
        classes=classes,
        depth=_depth(scene, frame, ids),
        normal=_normal(scene, frame, ids, corners),
        outlines=outlines,
        edges=edges,
        lines=_lines(scene, ids, corners),
        skeleton=_skeleton(scene, frame),
        things=things,
    )


def pixels_of(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Unit positions as pixel positions in a picture of `width` x `height`."""
    return _Frame(width, height).pixels(points)


def parts_of(scene: Scene, width: int, height: int) -> NDArray[np.int32]:
    """H,W, the number of the outlined part at each pixel."""
    return np.take(np.array([shape.part for shape in scene.shapes], np.int32), shape_map(scene, width, height))


def shape_map(scene: Scene, width: int, height: int) -> NDArray[np.int32]:
    """H,W, the number of the topmost shape at each pixel; what `render` would show, without painting."""
    frame = _Frame(width, height)
    ids = np.zeros((height, width), np.int32)
    for number, shape in enumerate(scene.shapes):
        if shape.label >= 0:
            _fill(ids, frame.pixels(shape.points), number, cv2.LINE_8)
    return ids


def _fill(image: NDArray[np.generic], points: NDArray[np.float64], value: object, line: int) -> None:
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(image, [fixed], value, line, _SHIFT)  # type: ignore[call-overload]


def _paint(scene: Scene, frame: _Frame) -> tuple[Rgb, NDArray[np.int32], list[NDArray[np.float64]]]:
    share = np.clip(frame.rows() / max(scene.horizon, 0.3), 0, 1)[:, None]
    sky = np.asarray(scene.palette.sky_top) * (1 - share) + np.asarray(scene.palette.sky_low) * share
    picture = np.repeat(np.round(sky).astype(np.uint8)[:, None], frame.width, 1)
    ids = np.zeros((frame.height, frame.width), np.int32)
    corners = [frame.pixels(shape.points) for shape in scene.shapes]
    for number, (shape, points) in enumerate(zip(scene.shapes, corners, strict=True)):
        if number == 0:  # the sky's own gradient
            continue
        if shape.lift > 0:
            offset = (0.0, 0.0) if shape.label < 0 else (0.004 * frame.scale, 0.006 * frame.scale)
            _shadow(picture, points + offset, shape.lift, frame.scale)
        if shape.label < 0:
            continue
        fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(picture, [fixed], shape.colour, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(ids, [fixed], number, cv2.LINE_8, _SHIFT)  # type: ignore[call-overload]
    return picture, ids, corners


def _strokes(sheet: NDArray[np.uint8], scene: Scene, frame: _Frame, wide_px: int) -> None:
    for stroke in scene.strokes:
        fixed = np.round(frame.pixels(stroke) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(sheet, [fixed], False, 255, wide_px, cv2.LINE_8, _SHIFT)


def _ink(picture: Rgb, outlines: NDArray[np.uint8]) -> None:
    """Darken `picture` along the outlines: what is drawn is seen."""
    share = cv2.GaussianBlur(outlines, (0, 0), 0.7).astype(np.float32)[..., None] * (0.85 / 255)
    picture[:] = np.round(picture * (1 - share) + np.array(INK, np.float32) * share).astype(np.uint8)


def _shadow(picture: Rgb, points: NDArray[np.float64], strength: float, scale: float) -> None:
    """Darken `picture` softly under a polygon, by at most `strength`."""
    blur = int(scale / 42) | 1
    left, top = np.maximum(np.floor(points.min(0)).astype(int) - blur, 0)
    right, bottom = np.ceil(points.max(0)).astype(int) + blur + 1
    view = picture[top:bottom, left:right]
    if view.size == 0:
        return
    mask = np.zeros(view.shape[:2], np.uint8)
    _fill(mask, points - (left, top), round(255 * strength), cv2.LINE_8)
    mask = cv2.blur(cv2.blur(mask, (blur, blur)), (blur, blur))
    keep = cv2.cvtColor(255 - mask, cv2.COLOR_GRAY2RGB)
    picture[top:bottom, left:right] = cv2.multiply(view, keep, scale=1 / 255)


def _depth(scene: Scene, frame: _Frame, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    near = np.array([s.near for s in scene.shapes])
    table = near[:, :1] + near[:, 1:] * frame.rows()
    least = np.where(near[:, 1:] > 0, 1 / _GROUND_M, 1 / _FARTHEST_M)
    metres = (1 / np.maximum(table, least)).astype(np.float32)
    return np.take(metres, ids * frame.height + np.arange(frame.height, dtype=np.int32)[:, None])


def _normal(
    scene: Scene, frame: _Frame, ids: NDArray[np.int32], corners: list[NDArray[np.float64]]
) -> NDArray[np.float32]:
    flat = np.array([s.normal for s in scene.shapes], np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    normal = np.take(flat, ids, axis=0)
    for number, shape in enumerate(scene.shapes):
        if shape.bulge is not None:
            _bulge(normal, ids, number, shape, corners[number], frame)
    return normal


def _bulge(
    normal: NDArray[np.float32],
    ids: NDArray[np.int32],
    number: int,
    shape: Shape,
    points: NDArray[np.float64],
    frame: _Frame,
) -> None:
    assert shape.bulge is not None
    left, top = np.maximum(np.floor(points.min(0)).astype(int), 0)
    right, bottom = np.ceil(points.max(0)).astype(int) + 1
    rows, columns = np.nonzero(ids[top:bottom, left:right] == number)
    if rows.size == 0:
        return
    rows, columns = rows + top, columns + left
    centre = frame.pixels(np.asarray(shape.bulge.centre))
    x, y = (columns - centre[0]).astype(np.float32), (rows - centre[1]).astype(np.float32)
    lean = np.zeros((rows.size, 2), np.float32)
    for axis in (shape.bulge.across, shape.bulge.along):
        long = float(np.hypot(*axis))
        if long > 0:
            unit = (axis[0] / long, axis[1] / long)
            share = np.clip((x * unit[0] + y * unit[1]) / (long * frame.scale), -0.95, 0.95)
            lean += share[:, None] * np.asarray(unit, np.float32)
    lean *= np.minimum(1, 0.95 / np.maximum(np.linalg.norm(lean, axis=1, keepdims=True), 1e-6))
    normal[rows, columns, :2] = lean
    normal[rows, columns, 2] = np.sqrt(1 - (lean**2).sum(1))


def borders(parts: NDArray[np.int32]) -> NDArray[np.uint8]:
    """2 px wide, 255 where neighbouring pixels belong to different parts."""
    mask = np.zeros(parts.shape, np.uint8)
    across = (parts[:, 1:] != parts[:, :-1]).view(np.uint8) * np.uint8(255)
    down = (parts[1:] != parts[:-1]).view(np.uint8) * np.uint8(255)
    mask[:, 1:] |= across
    mask[:, :-1] |= across
    mask[1:] |= down
    mask[:-1] |= down
    return mask


_SAMPLES = 24


def _lines(scene: Scene, ids: NDArray[np.int32], corners: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """The visible stretches of straight sides, at least 1/40 of the picture long."""
    height, width = ids.shape
    chosen = [(n, corners[n]) for n, s in enumerate(scene.shapes) if s.straight]
    if not chosen:
        return np.zeros((0, 4), np.float32)
    start = np.concatenate([p for _, p in chosen])
    end = np.concatenate([np.roll(p, -1, 0) for _, p in chosen])
    owner = np.concatenate([np.full(len(p), n) for n, p in chosen])
    middle = np.concatenate([np.broadcast_to(p.mean(0), p.shape) for _, p in chosen])
    long = np.linalg.norm(end - start, axis=1)
    share = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    at = start[:, None] + (end - start)[:, None] * share[None, :, None]
    across = np.stack([-(end - start)[:, 1], (end - start)[:, 0]], 1) / np.maximum(long, 1e-6)[:, None]
    inward = np.where(((middle - start) * across).sum(1, keepdims=True) > 0, across, -across)
    inside = np.floor(at + inward[:, None] * 1.2 + 0.5).astype(int)
    beyond = np.floor(at - inward[:, None] * 1.2 + 0.5).astype(int)
    framed = ((inside >= 0) & (inside < (width, height)) & (beyond >= 0) & (beyond < (width, height))).all(2)
    inside, beyond = (np.clip(p, 0, (width - 1, height - 1)) for p in (inside, beyond))
    shown = framed & (ids[inside[..., 1], inside[..., 0]] == owner[:, None])
    shown &= ids[beyond[..., 1], beyond[..., 0]] != owner[:, None]
    return _stretches(shown, start, end, max(width, height) / 40)


def _stretches(
    shown: NDArray[np.bool_], start: NDArray[np.float64], end: NDArray[np.float64], shortest: float
) -> NDArray[np.float32]:
    """Each segment cut to its longest run of visible samples."""
    run = np.zeros(len(shown), int)
    best, stop = run.copy(), run.copy()
    for n in range(_SAMPLES):
        run = np.where(shown[:, n], run + 1, 0)
        stop = np.where(run > best, n + 1, stop)
        best = np.maximum(best, run)
    a = start + (end - start) * ((stop - best) / _SAMPLES)[:, None]
    b = start + (end - start) * (stop / _SAMPLES)[:, None]
    keep = np.linalg.norm(b - a, axis=1) >= shortest
    return np.concatenate([a, b], 1)[keep].astype(np.float32)


def _skeleton(scene: Scene, frame: _Frame) -> Skeleton:
    people = []
    for body in scene.bodies:
        points = frame.pixels(body.joints)
        people.append(
            Person(
                body=tuple(
                    Point(x=float(x), y=float(y)) if seen else MISSING
                    for (x, y), seen in zip(points, body.seen, strict=True)
                )
            )
        )
    return Skeleton(width=frame.width, height=frame.height, people=tuple(people))
