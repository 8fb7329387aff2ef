"""Scenes as a hand draws them: lines of any width with gaps, doubled strokes and lost ends; skeletons with missing joints.

Every line is where the picture has one: what a hand draws is what it wants. That a hand is unsure of forms is the matter of
`warp`, which moves the scene itself.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.document import MISSING, Person, Raster, Skeleton
from paperworld.world.rendering import Rendering, borders, parts_of, pixels_of
from paperworld.world.scene import Scene


def scribble(scene: Scene, truth: Rendering, rng: np.random.Generator) -> Raster:
    """The outlines of a rendered scene as a hand inks them: a mask H,W, 0 or up to 255 where there is ink."""
    height, width = truth.outlines.shape
    # Open strokes bound nothing: they are drawn as what they are, not around.
    outlines = borders(parts_of(scene, width, height)) if scene.strokes else truth.outlines
    scale = max(height, width) / 256
    ink = np.zeros((height, width), np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(255 - outlines, connectivity=4)
    thick = rng.uniform(1, 7 if rng.random() < 0.25 else 4) * scale
    careless = rng.random() ** 2 * 0.5
    lost = 0.05 if rng.random() < 0.2 else 0.0
    for number in range(1, len(stats)):
        x, y, w, h, area = stats[number]
        if area < 6 * scale**2 or rng.random() < lost:
            continue
        x0, y0, x1, y1 = max(x - 3, 0), max(y - 3, 0), min(x + w + 3, width), min(y + h + 3, height)
        mask = (regions[y0:y1, x0:x1] == number).astype(np.uint8)
        mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            line = (contour[:, 0] + np.array([x0, y0])).astype(np.float32)
            for piece in _inside(line, width, height):
                _stroke(ink, piece, rng, min(thick, max(scale, min(w, h) / 3)), careless, scale)
    for stroke in scene.strokes:
        if len(stroke) > 3:
            _stroke(ink, pixels_of(stroke, width, height).astype(np.float32), rng, thick, careless, scale)
    return Raster("mask", ink)


def _inside(line: NDArray[np.float32], width: int, height: int) -> list[NDArray[np.float32]]:
    """The runs of a closed contour that do not follow the frame."""
    free = ((line > 2) & (line < (width - 3, height - 3))).all(1)
    if free.all():
        return [np.concatenate([line, line[:1]])]
    if not free.any():
        return []
    first = int(np.flatnonzero(~free)[0])
    line, free = np.roll(line, -first, 0), np.roll(free, -first)
    ends = np.flatnonzero(np.diff(free.astype(np.int8)))
    return [
        run for run, on in zip(np.split(line, ends + 1), free[np.r_[0, ends + 1]], strict=True) if on and len(run) > 6
    ]


def _stroke(
    ink: NDArray[np.uint8],
    line: NDArray[np.float32],
    rng: np.random.Generator,
    thick: float,
    careless: float,
    scale: float,
) -> None:
    if rng.random() < 0.6 * careless:  # corners are lost
        blunt = cv2.approxPolyDP(line[:, None], rng.uniform(0.8, 3.5) * scale, False)
        line = np.asarray(blunt[:, 0], np.float32)
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    if steps.sum() < 8 * scale:
        return
    at = np.concatenate([[0.0], np.cumsum(steps)])
    spread = np.linspace(0, at[-1], max(4, int(at[-1] / (4 * scale))))
    path = np.stack([np.interp(spread, at, line[:, 0]), np.interp(spread, at, line[:, 1])], 1)
    for _ in range(2 if rng.random() < 0.22 * careless else 1):
        own = path + rng.normal(0, 0.7 * careless * scale, 2)
        knots = max(2, len(own) // 8)
        wave = rng.normal(0, 0.9 * careless * scale, (knots, 2))
        places = np.linspace(0, knots - 1, len(own))
        own += np.stack([np.interp(places, np.arange(knots), wave[:, k]) for k in (0, 1)], 1)
        own = _ends(own, rng, careless, scale)
        width = max(1, round(float(thick * rng.uniform(0.75, 1.25))))
        for piece in _gaps(own, rng, careless):
            cv2.polylines(
                ink, [np.round(piece * 16).astype(np.int32)], False, 255, min(width, round(8 * scale)), cv2.LINE_AA, 4
            )


def _ends(path: NDArray[np.float64], rng: np.random.Generator, careless: float, scale: float) -> NDArray[np.float64]:
    """Overshoot: the stroke runs on beyond its end."""
    if rng.random() > 0.5 * careless:
        return path
    way = path[-1] - path[-3]
    return np.concatenate([path, [path[-1] + way / (np.linalg.norm(way) + 1e-6) * rng.uniform(2, 7) * scale]])


def _gaps(path: NDArray[np.float64], rng: np.random.Generator, careless: float) -> list[NDArray[np.float64]]:
    """The stroke with up to two holes."""
    pieces = [path]
    for _ in range(int(rng.integers(0, 3)) if rng.random() < careless else 0):
        longest = pieces.pop(int(np.argmax([len(p) for p in pieces])))
        hole = int(rng.integers(1, max(2, len(longest) // 6)))
        start = int(rng.integers(1, max(2, len(longest) - hole)))
        pieces += [longest[:start], longest[start + hole :]]
    return [p for p in pieces if len(p) > 1]


def pose(skeleton: Skeleton, rng: np.random.Generator) -> Skeleton:
    """The skeletons with a joint, a limb or a face missing here and there, as people leave them out."""
    lost = rng.uniform(0, 0.06)
    people = []
    for person in skeleton.people:
        gone = set(np.flatnonzero(rng.random(18) < lost))
        if rng.random() < 0.06:
            gone |= set(_CHAINS[int(rng.integers(len(_CHAINS)))])
        if rng.random() < 0.1:
            gone |= {14, 15, 16, 17}
        people.append(Person(body=tuple(MISSING if n in gone else p for n, p in enumerate(person.body))))
    return Skeleton(width=skeleton.width, height=skeleton.height, people=tuple(people))


_CHAINS = ((4,), (7,), (10,), (13,), (3, 4), (6, 7))
"""Hands, feet and forearms."""
