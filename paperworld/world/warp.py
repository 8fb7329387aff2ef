"""Scenes as a hand would draw them: the shapes themselves wobble, so that picture and control agree."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from paperworld.world.scene import Scene
from paperworld.world.shapes import Points

_GRID = 64


def dense(points: Points, step: float = 0.02, closed: bool = True) -> Points:
    """A polygon with points at most `step` apart."""
    ends = np.roll(points, -1, 0) if closed else points[1:]
    starts = points if closed else points[:-1]
    parts = []
    for a, b in zip(starts, ends, strict=True):
        count = min(60, max(1, int(np.ceil(np.hypot(*(b - a)) / step))))
        share = np.arange(count)[:, None] / count
        parts.append(a + (b - a) * share)
    if not closed:
        parts.append(points[-1:])
    return np.concatenate(parts)


def field(rng: np.random.Generator, reach: float, knots: int) -> NDArray[np.float64]:
    """A smooth random displacement field of the unit frame, 64 x 64 x 2."""
    coarse = rng.normal(0, reach, (knots, knots, 2)).astype(np.float32)
    return cv2.resize(coarse, (_GRID, _GRID), interpolation=cv2.INTER_CUBIC).astype(np.float64)


def _at(drift: NDArray[np.float64], points: Points) -> Points:
    where = np.clip(points, 0, 1).astype(np.float32) * (_GRID - 1)
    moved = cv2.remap(drift.astype(np.float32), where[None, :, 0], where[None, :, 1], cv2.INTER_LINEAR)
    return np.asarray(moved[0], np.float64)


def wobbled(scene: Scene, rng: np.random.Generator, reach: float | None = None) -> Scene:
    """`scene` with all of its shapes, strokes and joints moved by one smooth field, about `reach` of the frame far."""
    large = rng.uniform(0, 0.016) if reach is None else reach
    drift = field(rng, large, 5) + field(rng, rng.uniform(0, 0.003), 16)
    shapes = []
    for number, shape in enumerate(scene.shapes):
        if number == 0 or shape.label < 0:
            shapes.append(shape)
            continue
        points = dense(shape.points)
        shapes.append(replace(shape, points=points + _at(drift, points), straight=False))
    strokes = tuple(points + _at(drift, points) for points in (dense(s, closed=False) for s in scene.strokes))
    bodies = tuple(replace(body, joints=body.joints + _at(drift, body.joints)) for body in scene.bodies)
    return replace(scene, shapes=tuple(shapes), strokes=strokes, bodies=bodies)


KEPT = frozenset({"street", "sea", "sand", "river", "bridge"})
"""Things that are the ground of others."""
SKY_THINGS = frozenset({"sun", "moon", "cloud"})


def thinned(scene: Scene, rng: np.random.Generator, share: float, sky: bool = True) -> Scene:
    """`scene` without a random `share` of its things: what a hand leaves out is not in the picture either.

    People stay, since captions speak of them. Without `sky`, sun, moon and clouds are gone: some controls cannot show them.
    """
    gone = {
        number
        for number, thing in enumerate(scene.things, 1)
        if (thing.name not in KEPT and not thing.doing and rng.random() < share)
        or (not sky and thing.name in SKY_THINGS)
    }
    kept = [shape for shape in scene.shapes if shape.thing not in gone]
    if gone and share > 0:  # shadows do not say whose they are
        kept = [shape for shape in kept if shape.label >= 0]
    return replace(scene, shapes=tuple(kept))
