"""What people draw first: things with a name, each as a maker of one form in a frame of about -1..1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator as Rng

from paperworld.world.forms import TURN, Form, bar, moved, oval, smoothed, spun, turned, wave, wobbly
from paperworld.world.shapes import Points, box


def _at(*points: tuple[float, float]) -> Points:
    return np.array(points, np.float64)


def _eye(rng: Rng, form: Form, x: float, y: float, r: float = 0.07) -> None:
    r *= rng.uniform(0.8, 1.3)
    form.add(oval(x, y, r, r), True)


def _smile(form: Form, x: float, y: float, wide: float, deep: float) -> None:
    form.strokes.append(smoothed(_at((x - wide, y), (x, y + deep), (x + wide, y)), 2, False))


def fish(rng: Rng) -> Form:
    """A fish with fins, an eye, and perhaps gills or scales."""
    u, thing = rng.uniform, Form()
    tall = u(0.35, 0.6)
    tail = np.array([[0.6, 0], [1.15, -u(0.3, 0.55)], [1.0, 0], [1.15, u(0.3, 0.55)]])
    thing.add(smoothed(tail, 1) if rng.random() < 0.5 else tail)
    if rng.random() < 0.7:
        thing.add(np.array([[-0.3, -tall * 0.8], [0.1, -tall * u(1.3, 1.7)], [0.35, -tall * 0.6]]))
    thing.add(np.stack([0.85 * np.cos(TURN) - 0.05, tall * np.sin(TURN) * (1 - 0.25 * np.cos(TURN))], 1))
    r = u(0.05, 0.1)
    thing.add(oval(-0.55, -0.12, r, r), True)
    if rng.random() < 0.6:
        thing.strokes.append(smoothed(np.array([[-0.3, -tall * 0.7], [-0.2, 0], [-0.3, tall * 0.7]]), 2, False))
    if rng.random() < 0.5:
        thing.strokes.append(wave(rng, np.array([-0.85, 0.1]), np.array([-0.6, 0.15]), 0.1))
    for x in (0.05, 0.25, 0.45) if rng.random() < 0.3 else ():
        thing.strokes.append(smoothed(np.array([[x, -0.15], [x + 0.1, 0], [x, 0.15]]), 2, False))
    return spun(thing, u(-20, 20), rng.random() < 0.5)


def balloon(rng: Rng) -> Form:
    """A balloon on a string, or one with a basket."""
    u, thing = rng.uniform, Form()
    thing.strokes.append(wave(rng, np.array([0, 0.42]), np.array([u(-0.3, 0.3), 1.3]), 0.2, 6))
    thing.add(np.array([[0, 0.3], [-0.09, 0.46], [0.09, 0.46]]))
    thing.add(np.stack([0.62 * np.cos(TURN), -0.35 + 0.72 * np.sin(TURN) + 0.06 * np.sin(TURN) ** 3], 1))
    if rng.random() < 0.4:
        thing.add(turned(oval(-0.22, -0.65, 0.09, 0.18), 20), True)
    if rng.random() < 0.25:  # a hot-air balloon
        thing.strokes = [np.array([[s * 0.3, 0.28], [s * 0.16, 0.85]]) for s in (-1, 1)]
        thing.add(box(-0.2, 0.85, 0.2, 1.15))
    return thing


def cup(rng: Rng) -> Form:
    """A cup, mostly with a handle, perhaps steaming."""
    u, thing = rng.uniform, Form()
    top, low, high = u(0.5, 0.75), u(0.35, 0.7), u(0.5, 0.85)
    kind = rng.random()
    if kind < 0.7:  # a handle: a ring
        a = np.linspace(-1.5, 1.5, 20)
        outer = np.stack([top * 0.9 + 0.42 * np.cos(a), 0.42 * np.sin(a)], 1)
        inner = np.stack([top * 0.9 + 0.26 * np.cos(a[::-1]), 0.27 * np.sin(a[::-1])], 1)
        thing.add(np.concatenate([outer, inner]))
    body = np.array([[-top, -high], [top, -high], [low, high], [-low, high]])
    thing.add(smoothed(body, 1) if rng.random() < 0.3 else body)
    if rng.random() < 0.6:
        thing.add(oval(0, -high, top, u(0.1, 0.2)))
    if rng.random() < 0.3:
        thing.add(wobbly(rng, 0.1) * u(0.1, 0.22), True)
    for x in (-0.25, 0, 0.25) if rng.random() < 0.25 else ():
        thing.strokes.append(wave(rng, np.array([x, -high - 0.2]), np.array([x + 0.05, -high - 0.6]), 0.25, 5))
    return spun(thing, u(-6, 6), rng.random() < 0.5)


def car(rng: Rng) -> Form:
    """A car, a van or a bus with its windows and wheels."""
    u, thing = rng.uniform, Form()
    h, roof = u(0.25, 0.4), u(0.3, 0.55)
    a, b = sorted((u(-0.7, -0.1), u(0.1, 0.8)))
    one = rng.random() < 0.5
    body = np.array([[-1, h], [-1, -0.05], [a - 0.15, -0.1], [a, -roof], [b, -roof], [b + 0.2, -0.1], [1, 0], [1, h]])
    if one:
        thing.add(smoothed(body, 1) if rng.random() < 0.5 else body)
    else:
        thing.add(np.array([[a - 0.1, 0], [a, -roof], [b, -roof], [b + 0.1, 0]]))
        thing.add(box(-1, -0.05, 1, h))
    for x in np.linspace(a + 0.14, b - 0.1, int(rng.integers(1, 4))):
        w = u(0.08, 0.14)
        thing.add(box(x - w, -roof * 0.8, x + w, -roof * 0.8 + 0.2), True)
    wheels = np.linspace(-0.65, 0.65, int(rng.integers(2, 4)))
    r = u(0.16, 0.28)
    for x in wheels:
        thing.add(oval(x, h, r, r))
        if rng.random() < 0.6:
            thing.add(oval(x, h, r * 0.4, r * 0.4), True)
    return spun(thing, u(-4, 4), rng.random() < 0.5)


def flower(rng: Rng) -> Form:
    """A flower with petals, or a tulip, on a stem with leaves."""
    u, thing = rng.uniform, Form()
    top = np.array([u(-0.2, 0.2), -0.45])
    stem = wave(rng, np.array([0, 1.0]), top, 0.12, 5)
    thing.strokes.append(stem)
    for s in (-1, 1):
        if rng.random() < 0.7:
            thing.add(turned(oval(0.3, 0, 0.3, 0.12), -30) * (s, 1) + (0, u(0.2, 0.6)))
    kind = rng.random()
    if kind < 0.4:
        count = int(rng.integers(4, 8))
        for n in range(count):
            t = 2 * np.pi * n / count
            thing.add(turned(oval(0.3, 0, 0.26, 0.17), -np.degrees(t)) + top)
    elif kind < 0.75:
        r = 0.42 * (0.85 + 0.2 * np.cos(int(rng.integers(4, 8)) * TURN))
        thing.add(np.stack([np.cos(TURN), np.sin(TURN)], 1) * r[:, None] + top)
    else:
        bud = [
            [-0.3, -0.35],
            [-0.35, -0.95],
            [-0.12, -0.65],
            [0, -1],
            [0.12, -0.65],
            [0.35, -0.95],
            [0.3, -0.35],
            [0, -0.15],
        ]
        thing.add(moved(np.array(bud), top[0], 0))
        return thing
    thing.add(oval(top[0], top[1], 0.15, 0.15), True)
    return thing


def house(rng: Rng) -> Form:
    """A house with a roof, a door and a window."""
    u, thing = rng.uniform, Form()
    w, e = u(0.5, 0.85), u(-0.2, 0.1)
    thing.add(box(-w, e, w, 0.9))
    thing.add(np.array([[-w * u(1, 1.25), e], [u(-0.1, 0.1), -u(0.6, 1)], [w * u(1, 1.25), e]]))
    thing.add(moved(box(-0.12, 0.4, 0.14, 0.9), u(-0.3, 0.3) * w, 0), True)
    if rng.random() < 0.7:
        thing.add(moved(box(-0.1, 0, 0.1, 0.2), w * 0.55, 0.2 + e), True)
    return thing


def face(rng: Rng) -> Form:
    """A face with eyes and a smile, perhaps with a nose and ears."""
    u, thing = rng.uniform, Form()
    if rng.random() < 0.4:
        for s in (-1, 1):
            thing.add(oval(s * 0.75, u(-0.8, 0), 0.25, 0.3))
    thing.add(oval(0, 0, u(0.7, 0.9), u(0.75, 0.95), rng))
    r = u(0.06, 0.15)
    for s in (-1, 1):
        thing.add(oval(s * 0.3, -0.2, r, r), True)
    if rng.random() < 0.5:
        thing.add(oval(0, 0.1, 0.12, 0.1), True)
    thing.strokes.append(smoothed(np.array([[-0.35, 0.35], [0, u(0.4, 0.65)], [0.35, 0.35]]), 2, False))
    return thing


def sun(rng: Rng) -> Form:
    """The sun: a disc with rays, as strokes or as triangles."""
    u, form = rng.uniform, Form()
    r, count = u(0.45, 0.6), int(rng.integers(7, 13))
    triangles = rng.random() < 0.4
    for n in range(count):
        t = 2 * np.pi * n / count
        way, side = _at((np.cos(t), np.sin(t)))[0], _at((-np.sin(t), np.cos(t)))[0]
        if triangles:
            form.add(np.stack([way * r + side * 0.13, way * u(0.9, 1.05), way * r - side * 0.13]))
        else:
            form.strokes.append(np.linspace(way * r * 1.2, way * u(0.9, 1.1), 5))
    form.add(oval(0, 0, r, r, rng))
    if rng.random() < 0.35:
        for s in (-1, 1):
            _eye(rng, form, s * 0.18, -0.1)
        _smile(form, 0, 0.12, 0.2, 0.16)
    return form


def moon(rng: Rng) -> Form:
    """A crescent."""
    a = np.linspace(0.6, 2 * np.pi - 0.6, 30)
    outer = np.stack([np.cos(a), np.sin(a)], 1)
    inner = np.stack([rng.uniform(0.45, 0.65) + 0.65 * np.cos(a[::-1]), 0.72 * np.sin(a[::-1])], 1)
    form = Form()
    form.add(np.concatenate([outer, inner]))
    return spun(form, rng.uniform(-40, 40), rng.random() < 0.4)


def cloud(rng: Rng) -> Form:
    """A cloud of puffs."""
    r = 0.8 + 0.16 * np.abs(np.sin(TURN * rng.integers(3, 6)))
    form = Form()
    form.add(np.stack([np.cos(TURN), rng.uniform(0.5, 0.7) * np.sin(TURN)], 1) * r[:, None] * 1.1)
    return form


def star(rng: Rng) -> Form:
    """A star of five points, seldom of more."""
    count = 5 if rng.random() < 0.75 else int(rng.integers(4, 9))
    turn = np.arange(2 * count) / count * np.pi - np.pi / 2
    r = np.where(np.arange(2 * count) % 2 == 0, 1, rng.uniform(0.36, 0.58))
    form = Form()
    form.add(np.stack([np.cos(turn), np.sin(turn)], 1) * r[:, None])
    return spun(form, rng.uniform(-15, 15))


def heart(rng: Rng) -> Form:
    """A heart."""
    x = 16 * np.sin(TURN) ** 3
    y = -(13 * np.cos(TURN) - 5 * np.cos(2 * TURN) - 2 * np.cos(3 * TURN) - np.cos(4 * TURN))
    form = Form()
    form.add(np.stack([x, y], 1) / 16)
    return spun(form, rng.uniform(-20, 20))


def leaf(rng: Rng) -> Form:
    """A leaf with its veins."""
    form, w = Form(), rng.uniform(0.35, 0.6)
    form.add(np.stack([w * np.sin(TURN) * np.abs(np.sin(TURN / 2)) ** 0.6, -np.cos(TURN)], 1))
    form.strokes.append(wave(rng, np.array([0, 1.3]), np.array([0, -0.7]), 0.05))
    for y in (-0.2, 0.2, 0.5):
        for s in (-1, 1):
            form.strokes.append(wave(rng, np.array([0, y]), np.array([s * w * 0.6, y - 0.3]), 0.1, 3))
    return spun(form, rng.uniform(-50, 50))


def apple(rng: Rng) -> Form:
    """An apple with its stalk, perhaps with a leaf."""
    dents = 0.22 * np.exp(-((TURN - 1.5 * np.pi) ** 2) / 0.06) + 0.06 * np.exp(-((TURN - 0.5 * np.pi) ** 2) / 0.05)
    form = Form()
    form.add(np.stack([np.cos(TURN), np.sin(TURN)], 1) * (0.9 - dents)[:, None])
    form.strokes.append(wave(rng, np.array([0, -0.65]), np.array([0.12, -1.15]), 0.1))
    if rng.random() < 0.6:
        form.add(turned(oval(0.34, -1.05, 0.3, 0.13), rng.uniform(-10, 10)))
    return form


def tree(rng: Rng) -> Form:
    """A trunk with a round crown, or a fir of tiers."""
    u, form = rng.uniform, Form()
    form.add(_at((-0.12, 0), (0.12, 0), (u(0.13, 0.2), 1), (-u(0.13, 0.2), 1)))
    if rng.random() < 0.7:
        form.add(wobbly(rng, 0.08) * (u(0.6, 0.8), u(0.55, 0.7)) + (0, -0.35))
    else:
        for y in (0.55, 0.1, -0.35):
            half = 0.45 + 0.3 * y
            form.add(_at((-half - 0.15, y), (0, y - 0.75), (half + 0.15, y)))
    return form


def mushroom(rng: Rng) -> Form:
    """A mushroom with a spotted cap."""
    form = Form()
    form.add(bar(0, -0.1, 0, 0.75, rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.3)))
    cap = oval(0, 0, 0.85, 0.75)
    cap[:, 1] = np.minimum(cap[:, 1], 0.08)
    form.add(cap)
    for x in (-0.4, 0.05, 0.45):
        form.add(oval(x, -0.35 + 0.2 * abs(x), 0.12, 0.09), True)
    return spun(form, rng.uniform(-8, 8))


def rocket(rng: Rng) -> Form:
    """A rocket with fins and a window, perhaps with its flame."""
    form = Form()
    for s in (-1, 1):
        form.add(_at((s * 0.25, 0.3), (s * rng.uniform(0.5, 0.7), 0.9), (s * 0.25, 0.75)))
    if rng.random() < 0.5:
        form.add(_at((-0.2, 0.7), (0, 1.25), (0.2, 0.7)))
    form.add(smoothed(_at((0, -1.15), (0.34, -0.4), (0.3, 0.75), (-0.3, 0.75), (-0.34, -0.4)), 2))
    form.add(oval(0, -0.2, 0.14, 0.14), True)
    return spun(form, rng.uniform(-35, 35))


def snowman(rng: Rng) -> Form:
    """Two or three balls of snow with eyes, perhaps with a hat."""
    form, y, r = Form(), 0.6, 0.42
    for _ in range(int(rng.integers(2, 4))):
        form.add(oval(0, y, r, r * 0.95, rng))
        y, r = y - r * 1.5, r * 0.78
    head, r = y + r * 1.5 / 0.78, r / 0.78
    for s in (-1, 1):
        _eye(rng, form, s * 0.32 * r, head - 0.15 * r, 0.045)
    if rng.random() < 0.5:
        form.add(box(-0.7 * r, head - 1.7 * r, 0.7 * r, head - 0.85 * r))
        form.add(box(-1.1 * r, head - 0.95 * r, 1.1 * r, head - 0.75 * r))
    if rng.random() < 0.5:
        form.add(_at((0, head), (0.55 * r, head + 0.15 * r), (0, head + 0.25 * r)), True)
    return form


def boat(rng: Rng) -> Form:
    """A boat with a mast and one or two sails."""
    u, form = rng.uniform, Form()
    high = u(0.9, 1.1)
    form.add(box(-0.035, -high, 0.035, 0.4))
    form.add(_at((0.08, -high * 0.95), (u(0.6, 0.85), 0.25), (0.08, 0.25)))
    if rng.random() < 0.6:
        form.add(_at((-0.08, -high * 0.8), (-u(0.4, 0.65), 0.25), (-0.08, 0.25)))
    form.add(_at((-u(0.8, 1), 0.38), (u(0.8, 1), 0.38), (u(0.5, 0.7), 0.85), (-u(0.5, 0.7), 0.85)))
    if rng.random() < 0.3:
        form.add(_at((0.03, -high), (0.3, -high + 0.1), (0.03, -high + 0.2)))
    return spun(form, u(-4, 4), rng.random() < 0.5)


def cat(rng: Rng) -> Form:
    """A cat's face with whiskers, or a whole cat that sits."""
    u, form = rng.uniform, Form()
    whole = rng.random() < 0.45
    scale, top = (0.45, -0.5) if whole else (0.85, 0.0)
    if whole:
        form.strokes.append(wave(rng, np.array([0.35, 0.8]), np.array([0.95, u(-0.3, 0.4)]), 0.3, 5))
        form.add(oval(0, 0.45, u(0.4, 0.5), u(0.5, 0.6), rng))
        for s in (-1, 1):
            form.add(bar(s * 0.15, 0.5, s * 0.15, 0.98, 0.08, 0.08))
    for s in (-1, 1):
        ear = _at((s * 0.9, -0.35), (s * u(0.75, 0.95), -u(1.1, 1.35)), (s * 0.25, -0.8))
        form.add(ear * scale + (0, top))
    form.add(oval(0, top, scale, scale * u(0.8, 0.92), rng))
    for s in (-1, 1):
        _eye(rng, form, s * 0.36 * scale, top - 0.15 * scale, 0.12 * scale)
        for y in (0.25, 0.4):
            tip = np.array([s * 1.3 * scale, top + (y + u(-0.15, 0.15)) * scale])
            form.strokes.append(np.linspace(np.array([s * 0.5 * scale, top + y * scale]), tip, 5))
    form.add(_at((-0.1, 0.15), (0.1, 0.15), (0, 0.28)) * scale + (0, top), True)
    for s in (-1, 1):
        form.strokes.append(smoothed(_at((0, 0.28), (s * 0.12, 0.5), (s * 0.3, 0.4)) * scale + (0, top), 2, False))
    return form


def dog(rng: Rng) -> Form:
    """A dog from its side: drooping ears, a tail, four legs."""
    u, form = rng.uniform, Form()
    form.add(bar(0.6, -0.1, u(0.85, 1.1), -u(0.3, 0.7), 0.08, 0.05))
    for x in (-0.45, -0.2, 0.3, 0.55):
        form.add(bar(x, 0.1, x + u(-0.04, 0.04), u(0.75, 0.9), 0.11, 0.1))
    form.add(bar(-0.4, 0, 0.5, u(-0.02, 0.05), u(0.3, 0.36), u(0.28, 0.34)))
    form.add(oval(-0.72, -0.45, 0.32, 0.3, rng))
    form.add(oval(-0.98, -0.36, 0.2, 0.14))
    form.add(moved(turned(oval(0, 0, 0.13, 0.28), u(-15, 25)), -0.55, -0.42))
    _eye(rng, form, -0.82, -0.52, 0.05)
    form.add(oval(-1.13, -0.4, 0.06, 0.05), True)
    return spun(form, u(-5, 5), rng.random() < 0.5)


def bird(rng: Rng) -> Form:
    """A bird with beak, wing and tail, on two legs or in flight."""
    u, form = rng.uniform, Form()
    form.add(_at((0.5, -0.05), (u(1, 1.2), -u(0.1, 0.4)), (u(1, 1.2), u(0.1, 0.3)), (0.5, 0.2)))
    if rng.random() < 0.7:
        for x in (-0.1, 0.15):
            form.strokes.append(np.linspace(np.array([x, 0.4]), np.array([x + u(-0.05, 0.1), 0.95]), 5))
    form.add(oval(0, 0.05, u(0.6, 0.7), u(0.38, 0.48), rng))
    form.add(_at((-0.95, -0.42), (-u(1.2, 1.35), -0.32), (-0.95, -0.22)))
    form.add(oval(-0.68, -0.35, 0.32, 0.3, rng))
    form.add(moved(turned(oval(0, 0, 0.4, 0.2), u(-30, 30)), 0.15, 0), True)
    _eye(rng, form, -0.75, -0.42, 0.055)
    return spun(form, u(-15, 15), rng.random() < 0.5)


def turtle(rng: Rng) -> Form:
    """A turtle from its side: a domed shell over head, legs and tail."""
    u, form = rng.uniform, Form()
    for x in (-0.45, 0.45) if rng.random() < 0.6 else (-0.55, -0.2, 0.3, 0.6):
        form.add(bar(x, 0.2, x - u(0, 0.15), u(0.6, 0.75), 0.15, 0.12))
    form.add(_at((0.75, 0.15), (u(1, 1.15), 0.35), (0.7, 0.38)))
    form.add(bar(-0.6, 0.1, -u(0.9, 1.05), -u(0, 0.3), 0.16, 0.16))
    head = np.array([-u(1.0, 1.1), -u(0.1, 0.35)])
    form.add(oval(head[0], head[1], 0.27, 0.22, rng))
    _eye(rng, form, head[0] - 0.08, head[1] - 0.04, 0.05)
    shell = oval(0, 0.2, 0.85, u(0.75, 0.95))
    shell[:, 1] = np.where(shell[:, 1] > 0.25, 0.25 + 0.15 * (shell[:, 1] - 0.25), shell[:, 1])
    form.add(shell)
    if rng.random() < 0.5:
        form.strokes.append(wave(rng, np.array([-0.83, 0.1]), np.array([0.83, 0.1]), 0.08, 8))
    kind = rng.random()
    for x, y in ((-0.4, -0.05), (0.05, -0.3), (0.45, -0.05)) if kind < 0.5 else ():
        form.add(oval(x, y, u(0.13, 0.19), u(0.1, 0.16)), True)
    if kind > 0.75:
        for x in (-0.45, 0, 0.45):
            form.strokes.append(wave(rng, np.array([x * 0.6, -0.6]), np.array([x, 0.15]), 0.1, 4))
    return spun(form, u(-10, 10), rng.random() < 0.5)


def dinosaur(rng: Rng) -> Form:
    """A long neck, a long tail, four legs, perhaps a row of plates."""
    u, form = rng.uniform, Form()
    for n in range(int(rng.integers(3, 6)) if rng.random() < 0.6 else 0):
        x = -0.4 + 0.22 * n
        form.add(_at((x, -0.2), (x + 0.12, -0.55), (x + 0.24, -0.2)))
    form.add(bar(0.4, 0.1, u(1.1, 1.3), u(0.2, 0.5), 0.26, 0.04))
    for x in (-0.35, -0.1, 0.25, 0.45):
        form.add(bar(x, 0.2, x, u(0.75, 0.85), 0.13, 0.11))
    form.add(oval(0.02, 0.05, 0.62, u(0.36, 0.45), rng))
    head = np.array([-u(0.75, 0.95), -u(0.75, 0.95)])
    form.add(bar(-0.4, 0, head[0] + 0.05, head[1], 0.22, 0.13))
    form.add(oval(head[0] - 0.08, head[1], 0.24, 0.16, rng))
    _eye(rng, form, head[0] - 0.1, head[1] - 0.04, 0.045)
    return spun(form, u(-5, 5), rng.random() < 0.5)


def robot(rng: Rng) -> Form:
    """A robot of boxes with an antenna, arms and legs."""
    u, form = rng.uniform, Form()
    w, h = u(0.34, 0.48), u(0.2, 0.3)
    if rng.random() < 0.7:
        form.strokes.append(np.linspace(np.array([0, -0.5 - 2 * h]), np.array([0, -0.7 - 2 * h]), 5))
        form.add(oval(0, -0.76 - 2 * h, 0.06, 0.06))
    for s in (-1, 1):
        form.add(bar(s * w * 1.1, -0.25, s * (w + u(0.2, 0.45)), u(-0.1, 0.3), 0.09, 0.08))
        form.add(box(s * w * 0.5 - 0.11, 0.4, s * w * 0.5 + 0.11, u(0.85, 1)))
    form.add(box(-w * u(0.7, 0.95), -0.5 - 2 * h, w * u(0.7, 0.95), -0.5))
    form.add(box(-w * 1.1, -0.42, w * 1.1, 0.45))
    for s in (-1, 1):
        _eye(rng, form, s * w * 0.35, -0.5 - h * 1.2, 0.08)
    form.strokes.append(np.linspace(np.array([-w * 0.4, -0.5 - h * 0.4]), np.array([w * 0.4, -0.5 - h * 0.4]), 6))
    if rng.random() < 0.7:
        form.add(box(-w * 0.6, -0.25, w * 0.6, 0.2), True)
    return form


def butterfly(rng: Rng) -> Form:
    """A butterfly with spotted wings and feelers."""
    u, form = rng.uniform, Form()
    big, small = u(0.4, 0.5), u(0.28, 0.36)
    for s in (-1, 1):
        form.add(moved(turned(oval(0, 0, big, big * 0.8, rng), s * 25), s * 0.5, -0.3))
        form.add(moved(turned(oval(0, 0, small, small * 0.9, rng), -s * 20), s * 0.38, 0.38))
        if rng.random() < 0.7:
            form.add(oval(s * 0.52, -0.32, 0.15, 0.13), True)
        form.strokes.append(wave(rng, np.array([0, -0.55]), np.array([s * 0.25, -0.95]), 0.15))
    form.add(bar(0, -0.5, 0, 0.6, 0.09, 0.06))
    return spun(form, u(-20, 20))


def snail(rng: Rng) -> Form:
    """A snail: a round house with rings on a long foot."""
    u, form = rng.uniform, Form()
    foot = _at((0.95, 0.75), (0.5, 0.5), (-0.5, 0.45), (-0.6, -0.2), (-0.9, -0.2), (-1, 0.6), (-0.8, 0.78))
    form.add(smoothed(foot, 2))
    for x in (-0.85, -0.65):
        form.strokes.append(np.linspace(np.array([x, -0.15]), np.array([x + u(-0.15, 0.1), -0.6]), 5))
    for r in (u(0.6, 0.68), 0.4, 0.18):
        form.add(oval(0.15, 0.0, r, r), r < 0.5)
    return spun(form, u(-8, 8), rng.random() < 0.5)


def circle(rng: Rng) -> Form:
    """A circle, sometimes an oval one, or a ring."""
    thing = Form()
    thing.add(oval(0, 0, 1, 1 if rng.random() < 0.8 else rng.uniform(0.6, 0.9)))
    if rng.random() < 0.12:
        thing.add(oval(0, 0, 0.5, 0.5), True)
    return spun(thing, rng.uniform(-90, 90))


def square(rng: Rng) -> Form:
    """A square or a box that is wider than high, or turned on its point."""
    thing = Form()
    thing.add(box(-1, -1, 1, 1) * (1, 1 if rng.random() < 0.7 else rng.uniform(0.5, 0.9)))
    return spun(thing, 45 if rng.random() < 0.1 else rng.uniform(-8, 8))


def triangle(rng: Rng) -> Form:
    """A triangle on its side or on its point."""
    thing = Form()
    thing.add(_at((rng.uniform(-0.4, 0.4), -0.9), (1, 0.8), (-1, 0.8)))
    return spun(thing, (180 if rng.random() < 0.2 else 0) + rng.uniform(-10, 10))


NAMED_MAKERS: dict[str, Callable[[Rng], Form]] = {
    "fish": fish, "balloon": balloon, "cup": cup, "car": car, "flower": flower, "house": house, "face": face, "sun": sun,
    "moon": moon, "cloud": cloud, "star": star, "heart": heart, "leaf": leaf, "apple": apple, "tree": tree,
    "mushroom": mushroom, "rocket": rocket, "snowman": snowman, "boat": boat, "cat": cat, "dog": dog, "bird": bird,
    "turtle": turtle, "dinosaur": dinosaur, "robot": robot, "butterfly": butterfly, "snail": snail,
    "circle": circle, "square": square, "triangle": triangle,
}  # fmt: skip
"""Every thing with a name, by its word."""
