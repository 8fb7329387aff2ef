"""Free forms: closed outlines and open strokes of any kind, as people draw them. Each maker draws in a frame of about -1..1.

What forms are called and how they are coloured is the matter of `freeform`; things with a name of their own are in `drawings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from paperworld.world.shapes import Points, limb


@dataclass(frozen=True)
class Piece:
    """A closed outline N,2 in a frame of about -1..1, y down; `inside` of what it lies on: an eye, a window, a spot."""

    points: Points
    inside: bool = False


@dataclass
class Form:
    """A drawing of closed pieces, back to front, and open strokes; and the word for it ("" for none)."""

    pieces: list[Piece] = field(default_factory=list[Piece])
    strokes: list[Points] = field(default_factory=list[Points])
    name: str = ""

    def add(self, points: Points, inside: bool = False) -> None:
        """Lay one more piece on top."""
        self.pieces.append(Piece(points, inside))


TURN = np.linspace(0, 2 * np.pi, 48, endpoint=False)


def wobbly(rng: np.random.Generator, wobble: float = 0.12, modes: int = 5) -> Points:
    """A smooth closed form about the origin, of about unit radius."""
    r = np.ones_like(TURN)
    for k in range(2, modes + 2):
        r += wobble * rng.normal() / (k - 1) * np.cos(k * TURN + rng.uniform(0, 6.3))
    return np.stack([np.cos(TURN), np.sin(TURN)], 1) * np.clip(r, 0.25, 2)[:, None]


def smoothed(points: Points, rounds: int = 2, closed: bool = True) -> Points:
    """Corners cut (Chaikin)."""
    for _ in range(rounds):
        after = np.roll(points, -1, 0) if closed else points[1:]
        before = points if closed else points[:-1]
        new = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1).reshape(-1, 2)
        points = new if closed else np.concatenate([points[:1], new, points[-1:]])
    return points


def turned(points: Points, degrees: float) -> Points:
    """The points turned about the origin."""
    a = np.radians(degrees)
    return points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def oval(x: float, y: float, rx: float, ry: float, rng: np.random.Generator | None = None) -> Points:
    """An ellipse; with `rng` nowhere quite one."""
    base = wobbly(rng, 0.04) if rng is not None else np.stack([np.cos(TURN), np.sin(TURN)], 1)
    return base * (rx, ry) + (x, y)


def moved(points: Points, x: float, y: float) -> Points:
    """The points moved by x, y."""
    return points + np.array([x, y])


def bar(ax: float, ay: float, bx: float, by: float, wa: float, wb: float) -> Points:
    """A tapered bar with round ends."""
    return limb(np.array([ax, ay]), np.array([bx, by]), wa, wb)


def wave(rng: np.random.Generator, a: Points, b: Points, bend: float = 0.25, knots: int = 4) -> Points:
    """An open wavy stroke from `a` to `b`."""
    t = np.linspace(0, 1, knots)[:, None]
    points = a + (b - a) * t
    long = float(np.hypot(*(b - a)))
    points[1:-1] += rng.normal(0, bend * long / 2, (knots - 2, 2))
    return smoothed(points, 2, closed=False)


def spun(form: Form, degrees: float, flip: bool = False) -> Form:
    """The form turned, and mirrored before if `flip`."""

    def go(points: Points) -> Points:
        return turned(points * (-1 if flip else 1, 1), degrees)

    return Form([Piece(go(p.points), p.inside) for p in form.pieces], [go(s) for s in form.strokes], form.name)


def blot(rng: np.random.Generator) -> Form:
    """A smooth closed form, with spots or hatching."""
    thing = Form()
    outer = wobbly(rng, rng.uniform(0.05, 0.3)) * (1, rng.uniform(0.5, 1))
    thing.add(turned(outer, rng.uniform(0, 180)))
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-0.5, 0.5, 2)
        thing.add(wobbly(rng, 0.12) * rng.uniform(0.06, 0.3) + at, True)
    hatch(rng, thing, int(rng.integers(0, 3)))
    return thing


def hatch(rng: np.random.Generator, thing: Form, count: int) -> None:
    """Open strokes across a form."""
    for _ in range(count):
        a = rng.uniform(-0.7, 0.7, 2)
        thing.strokes.append(wave(rng, a, a + rng.uniform(-0.7, 0.7, 2), 0.3, int(rng.integers(3, 6))))


def trailing(rng: np.random.Generator, thing: Form, count: int) -> None:
    """Open strokes that hang from a form: strings, stems, hooks, curls. However they wind, they enclose nothing."""
    for _ in range(count):
        outer = [piece.points for piece in thing.pieces if not piece.inside]
        outline = outer[int(rng.integers(len(outer)))]
        start = outline[int(rng.integers(len(outline)))]
        out = start - outline.mean(0)
        long, curl = rng.uniform(0.4, 1.1), rng.normal(0, 1.0)
        # Nowhere farther round than three quarters of a circle, mostly at the far end: the handle of an umbrella.
        along = np.linspace(0, 1, 14)
        turns = (
            np.arctan2(out[1], out[0])
            + rng.normal(0, 0.3)
            + np.clip(curl, -1, 1) * 1.5 * np.pi * along ** rng.uniform(1, 4)
        )
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * long / len(along)
        thing.strokes.append(start + np.concatenate([np.zeros((1, 2)), steps.cumsum(0)]))


def corners(rng: np.random.Generator) -> Form:
    """A star, a polygon, or something with corners."""
    thing = Form()
    kind = rng.random()
    count = int(rng.integers(3, 9))
    turn = np.arange(count) / count * 2 * np.pi + rng.uniform(0, 0.4, count)
    if kind < 0.35:  # a star
        count = int(rng.integers(4, 8))
        turn = np.arange(2 * count) / count * np.pi - np.pi / 2
        r = np.where(np.arange(2 * count) % 2 == 0, 1, rng.uniform(0.38, 0.65))
        outer = np.stack([np.cos(turn), np.sin(turn)], 1) * r[:, None]
    elif kind < 0.6:
        outer = np.stack([np.cos(turn), np.sin(turn)], 1)
    else:
        outer = np.stack([np.cos(turn), np.sin(turn)], 1) * rng.uniform(0.4, 1.1, count)[:, None]
    if rng.random() < 0.35:
        outer = smoothed(outer, 2)
    thing.add(turned(outer, rng.uniform(-25, 25)))
    if rng.random() < 0.4:
        thing.add(wobbly(rng, 0.05) * rng.uniform(0.15, 0.3) + rng.uniform(-0.15, 0.15, 2), True)
    hatch(rng, thing, int(rng.integers(0, 2)))
    return thing


def creature(rng: np.random.Generator) -> Form:
    """An animal that nobody has seen: a body, legs, perhaps a head, a tail, a shell, a pattern."""
    u, thing = rng.uniform, Form()
    wide, tall = u(0.5, 0.85), u(0.3, 0.55)
    if rng.random() < 0.6:
        _tail(rng, thing, wide)
    behind, head_first = rng.random() < 0.5, rng.random() < 0.5
    legs = _legs(rng, wide)
    if behind:
        thing.pieces += legs
    if head_first:
        _head(rng, thing, wide)
    body = wobbly(rng, u(0.03, 0.12)) * (wide, tall)
    if rng.random() < 0.35:  # a shell or a hump: flat below
        low = tall * 0.35
        body[:, 1] = np.where(body[:, 1] > low, low + 0.2 * (body[:, 1] - low), body[:, 1] * 1.5)
    thing.add(body)
    if rng.random() < 0.4:
        _pattern(rng, thing, wide, tall)
    if not behind:
        thing.pieces += legs
    if not head_first:
        _head(rng, thing, wide)
    return spun(thing, u(-12, 12), rng.random() < 0.5)


def _tail(rng: np.random.Generator, thing: Form, wide: float) -> None:
    u = rng.uniform
    end = np.array([wide * u(1.1, 1.6), -u(-0.3, 0.7)])
    if rng.random() < 0.6:
        thing.add(bar(wide * 0.8, 0, end[0], end[1], u(0.06, 0.16), u(0.02, 0.06)))
    else:
        thing.strokes.append(wave(rng, np.array([wide * 0.97, -0.05]), end, 0.25, 5))


def _legs(rng: np.random.Generator, wide: float) -> list[Piece]:
    u = rng.uniform
    count = int(rng.choice((0, 2, 3, 4), p=(0.1, 0.25, 0.2, 0.45)))
    low = u(0.55, 1.0)
    spots = np.linspace(-0.7, 0.7, count) * wide + rng.normal(0, 0.04, count)
    return [Piece(bar(x, 0.12, x + u(-0.12, 0.12), low, u(0.07, 0.14), u(0.05, 0.14))) for x in spots]


def _head(rng: np.random.Generator, thing: Form, wide: float) -> None:
    u = rng.uniform
    x, y, r = -wide * u(0.75, 1.25), -u(-0.05, 0.6), u(0.2, 0.38)
    if rng.random() < 0.6:  # a neck
        thing.add(bar(-wide * 0.55, -0.05, x, y, u(0.14, 0.26), r * 0.7))
    for s in (-1, 1) if rng.random() < 0.45 else ():
        ear = np.array([x + s * r * 0.6, y - r * 0.7])
        if rng.random() < 0.5:
            thing.add(oval(ear[0], ear[1] - r * 0.5, r * 0.28, r * u(0.4, 0.9)))
        else:
            thing.add(np.array([(-r * 0.3, 0.1), (s * r * 0.2, -r * 0.7), (r * 0.3, 0.1)]) + ear)
    thing.add(oval(x, y, r, r * u(0.7, 1), rng))
    if rng.random() < 0.35:  # a muzzle or a beak
        thing.add(oval(x - r * u(0.7, 1.1), y + r * 0.3, r * u(0.35, 0.6), r * u(0.25, 0.4)))
    for dx in (-0.3,) if rng.random() < 0.7 else (-0.4, 0.25):
        eye = r * u(0.1, 0.24)
        thing.add(oval(x + dx * r, y - r * u(0, 0.3), eye, eye), True)
    if rng.random() < 0.5:
        mouth = np.array([x - r * 0.8, y + r * u(0.2, 0.5)])
        thing.strokes.append(wave(rng, mouth, mouth + np.array([r * u(0.4, 0.9), r * u(-0.1, 0.3)]), 0.2))


def _pattern(rng: np.random.Generator, thing: Form, wide: float, tall: float) -> None:
    u, kind = rng.uniform, rng.random()
    if kind < 0.4:
        ends = np.array([[-wide * 0.8, u(-0.1, 0.15)], [wide * 0.8, u(-0.1, 0.2)]])
        thing.strokes.append(wave(rng, ends[0], ends[1], 0.1, 7))
    elif kind < 0.7:
        thing.add(turned(oval(0, 0, wide * u(0.3, 0.5), tall * u(0.3, 0.5), rng), u(-30, 30)), True)
    else:
        for _ in range(int(rng.integers(2, 5))):
            r = u(0.06, 0.14)
            thing.add(oval(u(-0.5, 0.5) * wide, u(-0.5, 0.4) * tall, r, r), True)


Maker = Callable[[np.random.Generator], Form]
ANONYMOUS: dict[Maker, float] = {creature: 0.55, blot: 0.25, corners: 0.2}
"""Forms without a word of their own, and how often each is drawn."""
