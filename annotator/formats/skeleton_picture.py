"""Skeleton pictures read back: which people somebody's finished OpenPose picture shows.

`annotator.skeleton_drawing` says how such a picture is drawn: every joint a dot and every limb an ellipse in a colour of
its own, so colours name them. Dots are found first, then limbs between them, as OpenPose puts people together; what is left
of a limb's colour tells of a joint that lies under something else or off the frame. What was guessed is settled by drawing
it again. A face is white dots that run into each other: it is not read, nor are hands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator.skeleton_drawing import COLOURS, LIMBS, Points, draw_bodies, draw_bodies_v11
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import MISSING, PEOPLE_MAX, SIDE_MAX_PX, Person, Point, Skeleton
from controlnet_core.domain.picture import resize_to

RADIUS_PX = 4
"""Of a dot, and half a limb's width: a picture of another scale is brought to the one in which it is so."""
_BLACK = 56
_PLAIN_FAR, _MIXED_FAR = 80.0, 50.0
"""How far (RGB) a pixel may lie from a plain colour, and from a mixture of two."""
_OWN_RARER, _MIXED_RARER = 4.0, 16.0
"""By how much (RGB) a mixture has to fit better: of a limb and its own joint, and of any two."""
_DOT_MIN, _ALONE_MIN, _SURE_MIN = 0.12, 0.3, 0.6
"""The share of its disk that must show a dot's colour: where a limb leads to it, where none does, and where nothing is a guess."""
_GUESSED_MAX = 48
_WORTH = 4000.0
_EMPTY_MAX, _SEEN_MIN = 0.12, 0.2
"""The share of a limb that may be black, and the one that must show the limb's own colour."""
_REST_PX = 24
_FIT_MIN, _BARE_MIN = 0.6, 0.5
_EXPLAINED_MIN, _DRAWN_MIN, _UNLIKE_MAX = 0.7, 0.1, 0.5
_HAND_DOT = 12
"""Dots of hands have the colour of this joint, the left knee."""
_HAND_MIN, _HAND_PX = 3, 100
_SPOTS_MAX = 4 * PEOPLE_MAX
_JOINTS_MIN = 3

Mask = NDArray[np.bool_]
Labels = NDArray[np.int8]
Draw = Callable[[Rgb, Sequence[Points]], None]


@dataclass(frozen=True)
class SkeletonPicture:
    """What was read: the people, and whether the picture shows `hands` or `faces`, which the skeleton has not."""

    skeleton: Skeleton
    hands: bool
    faces: bool


@dataclass(eq=False)
class _Spot:
    """Where a joint may be, how sure that is (0..1), and where the limbs lead that begin or end there."""

    joint: int
    x: float
    y: float
    sure: float
    limbs: dict[int, _Spot] = field(default_factory=dict[int, "_Spot"])

    def near(self, x: float, y: float) -> bool:
        return math.hypot(self.x - x, self.y - y) <= 2 * RADIUS_PX


@dataclass(frozen=True)
class _Seen:
    """A picture by what its pixels show: the joint whose dot, the limb on top, the one under it (-1: none); where it is black."""

    dot: Labels
    limb: Labels
    under: Labels
    black: Mask


def read(rgb: Rgb) -> SkeletonPicture | None:
    """The people of a skeleton picture, uint8 H,W,3 on black; None for what is none, or for one in other colours.

    A picture of more than 2048 px a side comes out smaller. Joints that the picture does not show are missing; one under
    something else or off the frame is where its limb ends.
    """
    shrink = min(1.0, SIDE_MAX_PX / max(rgb.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in rgb.shape[:2])
    if shrink < 1:
        rgb = resize_to(rgb, width, height)
    left, top, wide, tall = cv2.boundingRect((rgb.max(axis=2) > _BLACK).astype(np.uint8))
    if min(wide, tall) < RADIUS_PX:
        return None
    part = np.ascontiguousarray(rgb[top : top + tall, left : left + wide])
    scale = _scale(_seen(part))
    if scale is None or max(wide, tall) * scale > 2 * SIDE_MAX_PX:
        return None
    if scale != 1:
        way = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
        part = resize_to(part, max(1, round(wide * scale)), max(1, round(tall * scale)), way)
    people = _people(part)
    beside = _beside(part, people)
    if beside is None:
        return None
    across, down = wide / part.shape[1], tall / part.shape[0]

    def back(spot: _Spot | None) -> Point:
        if spot is None:
            return MISSING
        return Point(x=(spot.x + 0.5) * across - 0.5 + left, y=(spot.y + 0.5) * down - 0.5 + top)

    drawn = tuple(Person(body=tuple(back(one.get(joint)) for joint in range(len(COLOURS)))) for one in people)
    return SkeletonPicture(Skeleton(width=width, height=height, people=drawn[:PEOPLE_MAX]), *beside)


@cache
def _palette() -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Colours that occur; for each the dot, the limb on top and the limb under it; how far a pixel may be, and how rare it is."""
    full = np.array(COLOURS, np.float32)
    rows = [(full[dot], (dot, -1, -1)) for dot in range(len(full))]
    rows += [(0.6 * full[limb], (-1, limb, -1)) for limb in range(len(LIMBS))]
    rows.append((np.full(3, 255, np.float32), (-1, -1, -1)))
    plain = len(rows)
    for limb in range(len(LIMBS)):
        rows += [(0.6 * full[limb] + 0.4 * full[dot], (dot, limb, -1)) for dot in range(len(full))]
        rows += [(0.6 * full[limb] + 0.24 * full[under], (-1, limb, under)) for under in range(limb + 1)]
    far = np.full(len(rows), _MIXED_FAR, np.float32)
    far[:plain] = _PLAIN_FAR
    rare = np.array([_OWN_RARER if dot in LIMBS[limb] else _MIXED_RARER for _, (dot, limb, _) in rows], np.float32)
    rare[:plain] = 0
    return np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], np.int8), far, rare


def _seen(rgb: Rgb) -> _Seen:
    colours, names, far, rare = _palette()
    packed = (rgb.astype(np.int32) >> 2) @ np.array([1 << 12, 1 << 6, 1], np.int32)
    unique, inverse = np.unique(packed, return_inverse=True)
    own = np.stack([unique >> 12, (unique >> 6) & 63, unique & 63], axis=1).astype(np.float32) * 4 + 2
    best = np.empty((len(own), 3), np.int8)
    for at in range(0, len(own), 2048):
        some = own[at : at + 2048]
        square = (some**2).sum(axis=1)[:, None] - 2 * some @ colours.T + (colours**2).sum(axis=1)
        distance = np.sqrt(np.maximum(square, 0))
        distance[distance > far] = np.inf
        nearest = (distance + rare).argmin(axis=1)
        found = names[nearest]
        found[np.isinf(distance[np.arange(len(some)), nearest]) | (some.max(axis=1) < _BLACK)] = -1
        best[at : at + 2048] = found
    dot, limb, under = (best[inverse, one].reshape(rgb.shape[:2]) for one in range(3))
    return _Seen(dot, limb, under, rgb.max(axis=2) < _BLACK)


def _scale(seen: _Seen) -> float | None:
    """What brings the picture to dots and limbs of our width: told by how wide the patches of one colour are. None without any."""
    patch = np.where((seen.dot >= 0) | (seen.limb >= 0), (seen.dot.astype(np.int16) + 1) * 32 + seen.limb + 1, 0)
    inner = patch > 0
    for axis in (0, 1):
        same = np.diff(patch, axis=axis) == 0
        pad = [(0, 0), (0, 0)]
        for pad[axis] in ((0, 1), (1, 0)):
            inner &= np.pad(same, pad, constant_values=True)
    depth = cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 3)
    count, where, stats, _ = cv2.connectedComponentsWithStats(inner.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    deepest = np.zeros(count, np.float32)
    np.maximum.at(deepest, np.asarray(where, np.intp).ravel(), depth.ravel())
    sizes = np.asarray(stats[1:, cv2.CC_STAT_AREA], np.float64)
    order = np.argsort(deepest[1:])
    whole: NDArray[np.float64] = np.cumsum(sizes[order], dtype=np.float64)
    middle = int(order[int(np.searchsorted(whole, float(whole[-1]) / 2))])
    scale = (2 * RADIUS_PX + 1) / (2 * float(deepest[1:][middle]) + 1)
    return 1.0 if 0.8 < scale < 1.25 else scale


def _people(rgb: Rgb) -> list[dict[int, _Spot]]:
    seen = _seen(rgb)
    spots: list[list[_Spot]] = [_dots(seen, joint) for joint in range(len(COLOURS))]
    for limb, (start, end) in enumerate(LIMBS):
        _connect(seen, limb, spots[start], spots[end])
    _leave_hands(spots)
    for limb in range(len(LIMBS)):
        _add_hidden(seen, limb, spots)
    _settle(rgb, seen, spots)
    people = _grouped((one for some in spots for one in some if _counts(one)), seen.black)
    return people if sum(map(len, people)) >= _JOINTS_MIN else []


def _dots(seen: _Seen, joint: int) -> list[_Spot]:
    """Where dots of a joint may be: where a disk shows its colour, under limbs too."""
    shown = (seen.dot == joint).astype(np.float32)
    shown[(seen.dot == joint) & (seen.limb >= 0)] = 0.8
    x, y, wide, tall = cv2.boundingRect((shown > 0).astype(np.uint8))
    if not wide:
        return []
    reach = 2 * RADIUS_PX
    patch = np.pad(shown[y : y + tall, x : x + wide], reach)
    disk = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    cv2.circle(disk, (reach, reach), RADIUS_PX + 2, 2, -1)
    cv2.circle(disk, (reach, reach), RADIUS_PX, 1, -1)
    inner = (disk == 1) / np.float32((disk == 1).sum())
    outer = (disk == 2) / np.float32((disk == 2).sum())
    plain, share, around = (
        np.asarray(cv2.filter2D(one, -1, kernel, borderType=cv2.BORDER_CONSTANT), np.float32)
        for one, kernel in (((patch == 1).astype(np.float32), inner), (patch, inner), (patch, outer))
    )
    score = share - 0.3 * around
    highest = np.asarray(cv2.dilate(score, np.ones((2 * RADIUS_PX + 1,) * 2, np.uint8)), np.float32)
    peaks = ((score >= highest - 1e-4) & (share >= _DOT_MIN)).astype(np.uint8)
    _, _, _, centres = cv2.connectedComponentsWithStats(peaks, connectivity=8)
    found: list[_Spot] = []
    for column, row in np.asarray(centres, np.float64)[1 : _SPOTS_MAX + 1].tolist():
        sure = float(plain[round(row), round(column)])
        found.append(_Spot(joint, column + x - reach, row + y - reach, sure))
    found.sort(key=lambda one: -one.sure)
    kept: list[_Spot] = []
    for one in found:
        if not any(_away(one, other) < RADIUS_PX + 1 for other in kept):
            kept.append(one)
    return kept


def _connect(seen: _Seen, limb: int, starts: Sequence[_Spot], ends: Sequence[_Spot]) -> None:
    """Limbs between dots, the best first: along it there is little black, and something of the limb's colour."""
    if not starts or not ends:
        return
    first = np.array([(one.x, one.y) for one in starts])[:, None]
    second = np.array([(one.x, one.y) for one in ends])[None]
    along = second - first
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
    margin = np.minimum(0.35, (RADIUS_PX + 1) / length)
    share = margin[..., None] + (1 - 2 * margin[..., None]) * np.linspace(0, 1, 32)
    wide = 0.5 * RADIUS_PX * np.sqrt(np.maximum(0, 1 - (2 * share - 1) ** 2))
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1) / length[..., None]
    line = first[..., None, :] + share[..., None] * along[..., None, :]
    at = line[..., None, :] + np.array([-1, 0, 1])[:, None] * (wide[..., None] * across[..., None, :])[..., None, :]
    column, row = np.rint(at[..., 0]).astype(int), np.rint(at[..., 1]).astype(int)
    height, width = seen.black.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    empty = (seen.black[row, column] & inside).mean(axis=(2, 3))
    own = (seen.limb[row, column] == limb) | (seen.under[row, column] == limb)
    shown = (own & inside).mean(axis=(2, 3))
    short = length < 2.5 * RADIUS_PX
    fits = (empty <= _EMPTY_MAX) & ((shown >= _SEEN_MIN) | short)
    order = np.argsort(-(shown - empty)[fits], kind="stable")
    pairs: list[list[int]] = np.argwhere(fits)[order].tolist()
    for i, j in pairs:
        if limb not in starts[i].limbs and limb not in ends[j].limbs:
            starts[i].limbs[limb], ends[j].limbs[limb] = ends[j], starts[i]


def _add_hidden(seen: _Seen, limb: int, spots: list[list[_Spot]]) -> None:
    """Limbs of which an end is not seen: an ellipse is fitted to what is left of the colour."""
    start, end = LIMBS[limb]
    # Where a dot's rim is blurred it has the colour of a limb.
    rest = cv2.morphologyEx((seen.limb == limb).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    for one in spots[start]:
        if limb in one.limbs:
            other = one.limbs[limb]
            cv2.fillConvexPoly(rest, _ellipse((one.x, one.y, other.x, other.y), RADIUS_PX + 3), 0)
    if int(rest.sum()) < _REST_PX:
        return
    whole = cv2.morphologyEx(rest, cv2.MORPH_CLOSE, np.ones((2 * RADIUS_PX + 5,) * 2, np.uint8))
    count, where, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    for number in sorted(range(1, count), key=lambda one: -int(stats[one, cv2.CC_STAT_AREA]))[:PEOPLE_MAX]:
        mine = (where == number) & (rest > 0)
        if np.count_nonzero(mine) >= _REST_PX:
            _add_limb(seen, limb, mine, spots[start], spots[end])


def _add_limb(seen: _Seen, limb: int, mine: Mask, starts: list[_Spot], ends: list[_Spot]) -> None:
    rows, columns = np.nonzero(mine)
    middle = np.array([columns.mean(), rows.mean()])
    variances, axes = np.linalg.eigh(np.cov(np.stack([columns, rows])) + np.eye(2) * 1e-6)
    reach = 2 * math.sqrt(max(float(variances[1]), 1.0)) * axes[:, 1]
    one, two = (middle - reach).tolist(), (middle + reach).tolist()

    def known(spots: list[_Spot], at: list[float]) -> _Spot | None:
        near = [spot for spot in spots if limb not in spot.limbs and spot.near(at[0], at[1])]
        return min(near, key=lambda spot: math.hypot(spot.x - at[0], spot.y - at[1]), default=None)

    straight = (known(starts, one), known(ends, two))
    turned = (known(starts, two), known(ends, one))
    if sum(spot is not None for spot in turned) > sum(spot is not None for spot in straight):
        one, two, straight = two, one, turned
    first, second = straight
    ends_at = [*((first.x, first.y) if first else one), *((second.x, second.y) if second else two)]
    free = [*([] if first else [0, 1]), *([] if second else [2, 3])]
    fitted, fit = _fitted(seen, limb, mine, ends_at, free)
    if fit < _FIT_MIN:
        return
    for spot, at in ((first, 0), (second, 2)):
        if spot is None and _bare(seen, fitted[at], fitted[at + 1]):
            return  # its dot would be seen
    for spot, spots, joint, at in ((first, starts, LIMBS[limb][0], 0), (second, ends, LIMBS[limb][1], 2)):
        if spot is None:
            spots.append(_Spot(joint, fitted[at], fitted[at + 1], 0.0))
    first, second = first or starts[-1], second or ends[-1]
    first.limbs[limb], second.limbs[limb] = second, first


def _bare(seen: _Seen, x: float, y: float) -> bool:
    """Whether nothing lies over a place of the picture."""
    column, row = round(x), round(y)
    reach = RADIUS_PX - 1
    there = seen.black[
        max(0, row - reach) : max(0, row + reach + 1), max(0, column - reach) : max(0, column + reach + 1)
    ]
    return there.size > reach**2 and float(there.mean()) > _BARE_MIN


def _fitted(seen: _Seen, limb: int, mine: Mask, ends: list[float], free: Sequence[int]) -> tuple[list[float], float]:
    """The ends x1 y1 x2 y2 of the ellipse that covers what is `mine` best, `free` ones moved, and how well it does (0..1).

    What lies under something else, or off the frame, counts neither way.
    """
    height, width = mine.shape
    clear = seen.black | mine
    total = int(np.count_nonzero(mine))

    def fit(at: Sequence[float]) -> float:
        polygon = _ellipse(at, RADIUS_PX)
        low = np.maximum(polygon.min(axis=0), 0)
        high = np.minimum(polygon.max(axis=0) + 1, (width, height))
        if (low >= high).any():
            return 0.0
        inside = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillConvexPoly(inside, polygon - low.astype(np.int32), 1)
        there = (slice(low[1], high[1]), slice(low[0], high[0]))
        covered = np.count_nonzero(inside & mine[there])
        return 2 * covered / (np.count_nonzero(inside & clear[there]) + total)

    best, score = list(ends), fit(ends)
    for step in (16.0, 8.0, 4.0, 2.0, 1.0) if free else ():
        moved = True
        while moved:
            moved = False
            for index in free:
                for by in (step, -step):
                    tried = list(best)
                    tried[index] += by
                    if abs(tried[index]) < 4 * SIDE_MAX_PX and (now := fit(tried)) > score + 1e-6:
                        best, score, moved = tried, now, True
    return best, score


def _ellipse(ends: Sequence[float], radius: int) -> NDArray[np.int32]:
    x1, y1, x2, y2 = ends
    middle = (int((x1 + x2) / 2), int((y1 + y2) / 2))
    half = int(math.hypot(x1 - x2, y1 - y2) / 2) + radius - RADIUS_PX
    angle = int(math.degrees(math.atan2(y1 - y2, x1 - x2)))
    return np.asarray(cv2.ellipse2Poly(middle, (half, radius), angle, 0, 360, 6), np.int32)


def _leave_hands(spots: list[list[_Spot]]) -> None:
    """Forget what hands were taken for: many blue dots beside each other, and the colours of the lines between them."""
    alone = [one for one in spots[_HAND_DOT] if not one.limbs]
    dots = [one for one in alone if sum(_away(one, other) < _HAND_PX for other in alone) > _HAND_MIN]
    for some in spots:
        some[:] = [one for one in some if one.limbs or not any(_away(one, dot) < _HAND_PX / 2 for dot in dots)]


def _away(one: _Spot, other: _Spot) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def _settle(rgb: Rgb, seen: _Seen, spots: list[list[_Spot]]) -> None:
    """Move what was guessed to where the picture, drawn again, is most like itself, and take away what makes it less so."""
    guessed = [one for some in spots for one in some if one.sure < _SURE_MIN and _counts(one)]
    if not guessed:
        return
    shown = rgb.astype(np.int16)
    whole = (0, 0, rgb.shape[1], rgb.shape[0])
    draw = min((draw_bodies, draw_bodies_v11), key=lambda way: _unlike(shown, seen, whole, spots, way))
    for spot in sorted(guessed, key=lambda one: one.sure)[:_GUESSED_MAX]:
        near = [spot, *spot.limbs.values()]
        margin = 5 * RADIUS_PX
        left, top = (max(0, int(min(at)) - margin) for at in zip(*((one.x, one.y) for one in near), strict=True))
        right, low = (int(max(at)) + margin for at in zip(*((one.x, one.y) for one in near), strict=True))
        part = (left, top, min(right, rgb.shape[1]), min(low, rgb.shape[0]))
        if part[0] >= part[2] or part[1] >= part[3]:
            continue
        error = _unlike(shown, seen, part, spots, draw)
        if not spot.limbs:
            sure, spot.sure = spot.sure, 0.0
            if _unlike(shown, seen, part, spots, draw) > error + _WORTH:
                spot.sure = sure
            continue
        for limb, other in list(spot.limbs.items()):
            del spot.limbs[limb], other.limbs[limb]
            now = _unlike(shown, seen, part, spots, draw)
            if now <= error + _WORTH:
                error = now
            else:
                spot.limbs[limb], other.limbs[limb] = other, spot
        for step in (4.0, 2.0, 1.0) if spot.limbs else ():
            for across, down in ((step, 0), (-step, 0), (0, step), (0, -step)):
                before = spot.x, spot.y
                spot.x, spot.y = spot.x + across, spot.y + down
                now = _unlike(shown, seen, part, spots, draw)
                if now < error:
                    error = now
                else:
                    spot.x, spot.y = before


def _counts(spot: _Spot) -> bool:
    return bool(spot.limbs) or spot.sure >= _ALONE_MIN


def _unlike(
    shown: NDArray[np.int16], seen: _Seen, part: tuple[int, int, int, int], spots: list[list[_Spot]], draw: Draw
) -> float:
    """How far a part of the picture (left, top, right, bottom) is from its people drawn again."""
    left, top, right, bottom = part
    canvas = np.zeros((bottom - top, right - left, 3), np.uint8)
    people = _grouped((one for some in spots for one in some if _counts(one)), seen.black)
    draw(
        canvas,
        [[(one[at].x - left, one[at].y - top) if at in one else None for at in range(len(COLOURS))] for one in people],
    )
    return float(np.minimum(np.abs(shown[top:bottom, left:right] - canvas), 128).sum())


def _grouped(spots: Iterable[_Spot], black: Mask) -> list[dict[int, _Spot]]:
    """People: joints that limbs connect, and parts without a limb between them with whom they are nearest to."""
    parts: list[dict[int, _Spot]] = []
    seen: set[int] = set()
    for spot in spots:
        if id(spot) in seen:
            continue
        part: dict[int, _Spot] = {}
        queue = [spot]
        while queue:
            one = queue.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            part[one.joint] = one
            queue += one.limbs.values()
        parts.append(part)
    parts.sort(key=len, reverse=True)
    people: list[dict[int, _Spot]] = []
    most = max((sum(joint in part for part in parts) for joint in range(len(COLOURS))), default=0)
    for part in parts:
        fitting = [one for one in people if _may_be_one(one, part, black)]
        if len(people) < most or not fitting:
            people.append(part)
        else:
            min(fitting, key=lambda one: _apart(one, part)).update(part)
    return people


def _may_be_one(one: dict[int, _Spot], other: dict[int, _Spot], black: Mask) -> bool:
    """Whether two parts are of different joints, and no limb would be drawn between them where the picture is black."""
    if one.keys() & other.keys():
        return False
    for start, end in LIMBS:
        first, second = (one.get(start), other.get(end)) if start in one else (other.get(start), one.get(end))
        if first is not None and second is not None:
            share = np.linspace(0.2, 0.8, 7)
            column = np.clip(np.rint(first.x + share * (second.x - first.x)), 0, black.shape[1] - 1).astype(int)
            row = np.clip(np.rint(first.y + share * (second.y - first.y)), 0, black.shape[0] - 1).astype(int)
            if black[row, column].any():
                return False
    return True


def _apart(one: dict[int, _Spot], other: dict[int, _Spot]) -> float:
    return min(_away(a, b) for a in one.values() for b in other.values())


def _beside(rgb: Rgb, people: Sequence[dict[int, _Spot]]) -> tuple[bool, bool] | None:
    """Whether there are hands and faces beside the bodies; None where the bodies do not explain the rest of the picture."""
    drawn = np.zeros_like(rgb)
    bodies = [
        [(one[joint].x, one[joint].y) if joint in one else None for joint in range(len(COLOURS))] for one in people
    ]
    draw_bodies(drawn, bodies)
    body = cv2.dilate(drawn.max(axis=2), np.ones((5, 5), np.uint8)) > 0
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    ink = high > _BLACK
    rest = ink & ~body
    white = rest & (low > 160)
    bright = rest & (high > 190) & (low < 96)
    around = cv2.dilate((white | bright).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    known = np.count_nonzero(ink & body)
    odd = np.count_nonzero(rest & ~around)
    if known < _DRAWN_MIN * np.count_nonzero(ink) or known < _EXPLAINED_MIN * (known + odd):
        return None
    near = np.abs(rgb[body].astype(np.int16) - drawn[body]).sum()
    if near > _UNLIKE_MAX * rgb[body].astype(np.int64).sum():
        return None
    dot = math.pi * RADIUS_PX**2
    return bool(np.count_nonzero(bright) > 2 * dot), bool(np.count_nonzero(white) > 2 * dot)
