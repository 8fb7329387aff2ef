"""The truth as a hand would draw it: wobbly scribbles, painted layouts, odd poses. Training input, never a target."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Truth
from controlnet_core.domain.document import MISSING, Person, Point, Raster, Skeleton
from paperworld.world.labels import DOOR, HOUSE, WINDOW

THINGS = frozenset({4, 8, 12, 14, 15, 17, 20, 25, 32, 34, 36, 66, 69, 72, 76, 84, 87, 126, 22, 23, 7, 28})
"""ADE20K classes that a painter may leave out without leaving a hole in the world."""


def _drift(rng: np.random.Generator, height: int, width: int, reach: float, knots: int = 5) -> NDArray[np.float32]:
    """A smooth random displacement field H,W,2 with a standard deviation of `reach` pixels."""
    coarse = rng.normal(0, reach, (knots, knots, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def scribble(truth: Truth, rng: np.random.Generator) -> Raster:
    """A drawing of a random subset of the objects: wobble, gaps, overshoot, double strokes, lost corners, 1 to 8 px."""
    height, width = truth.outlines.shape
    scale = max(height, width) / 256
    ink = np.zeros((height, width), np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(255 - truth.outlines, connectivity=4)
    drift = _drift(rng, height, width, rng.uniform(0, 3) * scale)
    thick = rng.uniform(1, 8 if rng.random() < 0.3 else 4.5) * scale
    sparse = rng.random() < 0.2  # only an object or two
    keep_share, careless = rng.uniform(0.2, 0.5) if sparse else rng.uniform(0.6, 1.0), rng.random()
    details = rng.choice((0.0, 0.5, 1.0))  # some draw every pane and eye, some none
    for number in range(1, len(stats)):
        x, y, w, h, area = stats[number]
        keep = keep_share * (details if area < 0.003 * ink.size else 1.0)
        if area < 30 * scale**2 or rng.random() > keep:
            continue
        x0, y0, x1, y1 = max(x - 3, 0), max(y - 3, 0), min(x + w + 3, width), min(y + h + 3, height)
        mask = (regions[y0:y1, x0:x1] == number).astype(np.uint8)
        mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            line = (contour[:, 0] + np.array([x0, y0])).astype(np.float32)
            for piece in _inside(line, width, height):
                _stroke(ink, piece, drift, rng, min(thick, max(scale, min(w, h) / 5)), careless, scale)
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
    drift: NDArray[np.float32],
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
        corner = np.clip(np.round(own).astype(int), 0, (ink.shape[1] - 1, ink.shape[0] - 1))
        own = own + drift[corner[:, 1], corner[:, 0]]
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


def layout(truth: Truth, rng: np.random.Generator) -> Raster:
    """A painted map of classes: missing objects, simplified outlines, warped borders."""
    classes = truth.classes.copy()
    height, width = classes.shape
    scale = max(height, width) / 256
    holes = _left_out(classes, rng)
    if holes.any() and not holes.all():
        _, labels = cv2.distanceTransformWithLabels(holes, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
        nearest = np.asarray(labels, np.int32)
        table = np.zeros(int(nearest.max()) + 1, np.uint8)
        table[nearest[holes == 0]] = classes[holes == 0]
        classes = table[nearest]
    blunt = rng.uniform(0, 4) * scale
    if rng.random() < 0.25:  # a broad brush
        coarse = int(rng.integers(28, 64))
        small = cv2.resize(classes, (coarse, coarse), interpolation=cv2.INTER_NEAREST)
        classes = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        blunt = 4 * scale
    if blunt > 0.8:
        classes = cv2.medianBlur(classes, 2 * int(blunt) + 1)
    drift = _drift(rng, height, width, rng.uniform(0, 5) * scale, 7) + _drift(
        rng, height, width, rng.uniform(0, 1) * scale, 24
    )
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    warped = cv2.remap(
        classes, x + drift[..., 0], y + drift[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return Raster("classes", np.ascontiguousarray(warped, np.uint8))


def _left_out(classes: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """H,W, 1 where an object is not painted. A house takes its door and windows with it."""
    holes = np.zeros(classes.shape, np.uint8)
    drop, no_panes = rng.uniform(0, 0.35), rng.random() < 0.5
    fittings = ((classes == WINDOW) | (classes == DOOR)).astype(np.uint8)
    for label in np.unique(classes):
        if int(label) not in THINGS:
            continue
        count, parts, stats, _ = cv2.connectedComponentsWithStats((classes == label).astype(np.uint8))
        gone = rng.random(count) < drop
        if label == WINDOW and no_panes:  # hardly anybody paints every pane of a skyscraper
            gone |= stats[:, cv2.CC_STAT_AREA] < 0.004 * classes.size
        gone[0] = False
        holes |= np.take(gone, parts).astype(np.uint8)
        for x, y, w, h, _ in stats[gone] if label == HOUSE else ():
            holes[y : y + h, x : x + w] |= fittings[y : y + h, x : x + w]
    return holes


_CHAINS = ((3, 4), (6, 7), (9, 10), (12, 13))


def pose(truth: Truth, rng: np.random.Generator) -> Skeleton:
    """The skeletons as a person would set them: joints a little off, some joints or whole limbs missing."""
    people = []
    shake, drop = rng.uniform(0, 0.022), rng.uniform(0, 0.08)
    for person in truth.skeleton.people:
        if len(truth.skeleton.people) > 1 and rng.random() < 0.06:
            continue
        given = [p for p in person.body if p.confidence > 0]
        size = max((max(p.y for p in given) - min(p.y for p in given)), 1.0) if given else 1.0
        lost = set(np.flatnonzero(rng.random(18) < drop))
        if rng.random() < 0.1:
            lost |= set(_CHAINS[int(rng.integers(4))])
        if rng.random() < 0.15:
            lost |= {14, 15, 16, 17}
        body = tuple(
            _moved(p, rng, shake * size) if p.confidence > 0 and n not in lost else MISSING
            for n, p in enumerate(person.body)
        )
        people.append(Person(body=body))
    return Skeleton(width=truth.skeleton.width, height=truth.skeleton.height, people=tuple(people))


def _moved(point: Point, rng: np.random.Generator, by: float) -> Point:
    dx, dy = rng.normal(0, by, 2)
    return Point(x=point.x + float(dx), y=point.y + float(dy), confidence=point.confidence)
