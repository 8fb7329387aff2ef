"""Things of the picture world: trees, plants, cars, boats, animals, sun and clouds. A function each.

`x` is a thing's middle, `foot` where it meets the ground, `size` its height; all in the unit frame. What people
build is in `buildings`, they themselves in `people`.
"""

from __future__ import annotations

import numpy as np

from paperworld.world.labels import ANIMAL, BOAT, CAR, FLOWER, PALM, PLANT, ROCK, SKY, TREE
from paperworld.world.palette import LEAVES, NAMED, darker, lighter
from paperworld.world.shapes import Bulge, Points, Sheet, Thing, blob, box, disc, limb, polygon

CAR_COLOURS = ("red", "blue", "yellow", "white", "green", "orange")
BOAT_COLOURS = ("red", "blue", "white", "yellow", "green")


def pick(sheet: Sheet, names: tuple[str, ...]) -> str:
    """One of `names`."""
    return names[int(sheet.rng.integers(len(names)))]


def colour_of(sheet: Sheet, kind: str, names: tuple[str, ...]) -> str:
    """The colour name of a `kind` of thing: one for all of a scene, half of the time the kind's own (the first), which a
    caption need not say."""
    if kind not in sheet.chosen:
        sheet.chosen[kind] = names[0] if sheet.rng.random() < 0.5 else pick(sheet, names)
    return sheet.chosen[kind]


def ball(x: float, y: float, rx: float, ry: float) -> Bulge:
    """The surface of an ellipsoid."""
    return Bulge((x, y), (rx, 0.0), (0.0, ry))


def contact(sheet: Sheet, x: float, foot: float, half: float) -> None:
    """The soft shadow under a thing."""
    sheet.shade(disc(x + half * 0.12, foot, half * 1.1, max(0.012, half * 0.16)), 0.34)


def round_tree(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A tree with a round crown."""
    rng, tint = sheet.rng, sheet.palette.tint
    colour = tint(LEAVES[sheet.season])
    contact(sheet, x, foot, size * 0.28)
    sheet.begin(Thing("tree"), foot)
    trunk, fork = size * 0.07, foot - size * 0.6
    sheet.add(
        polygon((x - trunk * 0.7, fork), (x + trunk * 0.7, fork), (x + trunk, foot), (x - trunk, foot)),
        tint((122, 86, 64)),
        TREE,
    )
    rx, ry, y = size * 0.36, size * 0.36, foot - size * 0.64
    sheet.add(blob(rng, x, y, rx, ry, 0.05), colour, TREE, bulge=ball(x, y, rx, ry), lift=0.22)
    sheet.add(blob(rng, x - rx * 0.22, y - ry * 0.26, rx * 0.52, ry * 0.48), lighter(colour, 0.16), TREE, same=True,
              bulge=ball(x, y, rx, ry))  # fmt: skip


def pine(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A pine of three tiers; white in winter."""
    tint = sheet.palette.tint
    green = tint((50, 112, 92))
    contact(sheet, x, foot, size * 0.24)
    sheet.begin(Thing("pine"), foot)
    sheet.add(box(x - size * 0.05, foot - size * 0.2, x + size * 0.05, foot), tint((112, 78, 60)), TREE)
    for tier, (low, high, half) in enumerate(((0.12, 0.56, 0.3), (0.36, 0.8, 0.24), (0.6, 1.0, 0.17))):
        points = polygon(
            (x - size * half, foot - size * low), (x, foot - size * high), (x + size * half, foot - size * low)
        )
        sheet.add(points, lighter(green, 0.07 * tier), TREE, same=tier > 0, normal=(0.0, -0.25, 0.97), lift=0.18)
        if sheet.season == "winter":
            mid = (low + high * 1.6) / 2.6
            cap = polygon(
                (x - size * half * 0.42, foot - size * mid),
                (x, foot - size * high),
                (x + size * half * 0.42, foot - size * mid),
            )
            sheet.add(cap, tint((242, 246, 250)), TREE, same=True)


def palm(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A palm with a curved trunk and six broad fronds."""
    rng, tint = sheet.rng, sheet.palette.tint
    lean = rng.uniform(-0.16, 0.16) * size
    contact(sheet, x, foot, size * 0.2)
    sheet.begin(Thing("palm"), foot)
    top = np.array([x + lean, foot - size * 0.78])
    middle = np.array([x + lean * 0.35, foot - size * 0.4])
    brown = tint((158, 112, 76))
    sheet.add(limb(np.array([x, foot]), middle, size * 0.05, size * 0.042), brown, PALM)
    sheet.add(limb(middle, top, size * 0.042, size * 0.034), brown, PALM, same=True)
    green = tint((72, 150, 92))
    for angle in (-2.9, -0.25, -2.35, -0.8, -1.85, -1.25):
        way = np.array([np.cos(angle), np.sin(angle) * 0.7])
        side = np.array([-way[1], way[0]]) * size * 0.07
        tip = top + way * size * 0.4 + (0, size * 0.14)
        frond = np.stack(
            [
                top - side * 0.5,
                top + way * size * 0.22 - side + (0, -0.01),
                tip,
                top + way * size * 0.2 + side,
                top + side * 0.5,
            ]
        )
        sheet.add(frond, green if angle < -1.6 else lighter(green, 0.1), PALM, same=angle != -2.9)


def bush(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A low bush."""
    colour = sheet.palette.tint(LEAVES[sheet.season])
    contact(sheet, x, foot, size * 0.7)
    sheet.begin(Thing("bush"), foot)
    for n, (dx, r) in enumerate(((-0.42, 0.42), (0.42, 0.4), (0.0, 0.56))):
        points = blob(sheet.rng, x + dx * size, foot - size * r * 0.8, size * r, size * r * 0.8, 0.04)
        points[:, 1] = np.minimum(points[:, 1], foot)
        sheet.add(
            points, lighter(colour, 0.06 * n), PLANT, same=n > 0, bulge=ball(x, foot - size * 0.4, size, size * 0.7)
        )


def flower(sheet: Sheet, x: float, foot: float, size: float, name: str) -> None:
    """One large flower on a stem."""
    tint = sheet.palette.tint
    sheet.begin(Thing("flower", name), foot)
    sheet.add(
        limb(np.array([x, foot]), np.array([x, foot - size * 0.6]), size * 0.07, size * 0.07),
        tint((72, 140, 80)),
        FLOWER,
    )
    y, r = foot - size * 0.72, size * 0.3
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    radius = r * (0.82 + 0.22 * np.cos(5 * turn))
    sheet.add(np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1), tint(NAMED[name]), FLOWER)
    heart = tint(NAMED["yellow"] if name != "yellow" else NAMED["orange"])
    sheet.add(disc(x, y, r * 0.38, sides=12), heart, FLOWER, same=True)


def rock(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A boulder with a lit and a shaded face."""
    grey = sheet.palette.tint((150, 146, 150))
    contact(sheet, x, foot, size * 0.8)
    sheet.begin(Thing("rock"), foot)
    peak = x + sheet.rng.uniform(-0.2, 0.2) * size
    points = polygon((x - size * 0.8, foot), (x - size * 0.6, foot - size * 0.55), (peak, foot - size * 0.9),
                     (x + size * 0.6, foot - size * 0.6), (x + size * 0.82, foot))  # fmt: skip
    sheet.add(points, grey, ROCK, normal=(-0.5, -0.5, 0.7))
    side = polygon(
        (peak, foot - size * 0.9),
        (x + size * 0.6, foot - size * 0.6),
        (x + size * 0.82, foot),
        (peak + size * 0.14, foot),
    )
    sheet.add(side, darker(grey, 0.2), ROCK, same=True, normal=(0.6, -0.3, 0.74))


def car(sheet: Sheet, x: float, foot: float, size: float, name: str = "") -> None:
    """A small round car, seen from its side."""
    name = name or colour_of(sheet, "car", CAR_COLOURS)
    tint, way = sheet.palette.tint, 1 if sheet.rng.random() < 0.5 else -1
    contact(sheet, x, foot, size * 1.05)
    sheet.begin(Thing("car", name), foot)
    at = np.array([x, foot])
    body = polygon(
        (-1.05, -0.2), (-1.05, -0.5), (-0.92, -0.62), (-0.62, -0.66), (-0.36, -1.0),
        (0.34, -1.0), (0.62, -0.66), (0.95, -0.6), (1.08, -0.46), (1.08, -0.2),
    )  # fmt: skip
    glass = polygon((-0.46, -0.66), (-0.28, -0.9), (0.27, -0.9), (0.48, -0.66))
    flip = np.array([way * size, size])
    sheet.add(body * flip + at, tint(NAMED[name]), CAR, lift=0.15)
    sheet.add(glass * flip + at, sheet.palette.window, CAR, straight=True)
    for dx in (-0.58, 0.6):
        sheet.add(disc(x + dx * size * way, foot - size * 0.2, size * 0.23, sides=20), tint((46, 44, 56)), CAR)
        sheet.add(
            disc(x + dx * size * way, foot - size * 0.2, size * 0.1, sides=12),
            tint((206, 206, 210)),
            CAR,
            same=True,
        )


def boat(sheet: Sheet, x: float, foot: float, size: float, name: str = "") -> None:
    """A sailing boat: hull, mast and two sails."""
    name = name or colour_of(sheet, "boat", BOAT_COLOURS)
    tint, way = sheet.palette.tint, 1 if sheet.rng.random() < 0.5 else -1
    sheet.shade(disc(x, foot, size * 0.5, size * 0.06), 0.3)
    sheet.begin(Thing("boat", name), foot)
    at, flip = np.array([x, foot]), np.array([way * size, size])
    hull = polygon((-0.5, -0.24), (0.54, -0.24), (0.36, 0.0), (-0.36, 0.0))
    sail = polygon((0.05, -1.0), (0.05, -0.3), (0.46, -0.3))
    jib = polygon((-0.03, -0.92), (-0.03, -0.3), (-0.38, -0.3))
    pale = tint((252, 244, 226) if name != "white" else NAMED["red"])
    sheet.add(
        box(x - size * 0.028, foot - size * 1.03, x + size * 0.028, foot - size * 0.2),
        tint((122, 88, 66)),
        BOAT,
        straight=True,
    )
    sheet.add(sail * flip + at, pale, BOAT, straight=True, lift=0.12)
    sheet.add(jib * flip + at, darker(pale, 0.08), BOAT, straight=True)
    sheet.add(hull * flip + at, tint(NAMED[name]), BOAT, straight=True)


ANIMALS: dict[str, tuple[str, ...]] = {
    "dog": ("brown", "white", "black", "orange"),
    "cat": ("orange", "black", "white"),
    "sheep": ("white",),
    "cow": ("brown", "white", "black"),
    "horse": ("brown", "black", "white"),
}


def animal(sheet: Sheet, x: float, foot: float, size: float, name: str) -> None:
    """A four-legged animal from its side: body, legs, neck, head, ears and tail."""
    colour_name, way = colour_of(sheet, name, ANIMALS[name]), 1 if sheet.rng.random() < 0.5 else -1
    tint = sheet.palette.tint
    coat = tint(NAMED[colour_name])
    contact(sheet, x, foot, size * 0.6)
    sheet.begin(Thing(name, colour_name), foot)
    at, flip = np.array([x, foot]), np.array([way * size, size])

    def p(px: float, py: float) -> Points:
        return np.array([px, py]) * flip + at

    tall = 0.34 if name in ("horse", "cow") else 0.26
    legs = tint((60, 54, 62)) if name == "sheep" else coat
    body_y = -tall - 0.2
    for n, dx in enumerate((-0.32, 0.22, -0.44, 0.36)):
        leg = darker(legs, 0.22) if n < 2 else legs
        sheet.add(limb(p(dx, body_y), p(dx, -0.05), 0.075 * size, 0.055 * size), leg, ANIMAL, same=n > 0)
    neck_end = {
        "horse": (0.66, -1.0),
        "cow": (0.58, -0.76),
        "sheep": (0.54, -0.72),
        "dog": (0.56, -0.84),
        "cat": (0.52, -0.78),
    }[name]
    tail = {"cat": (-0.78, -0.95), "dog": (-0.74, -0.84)}.get(name, (-0.6, -0.3))
    sheet.add(limb(p(-0.46, body_y - 0.1), p(*tail), 0.05 * size, 0.04 * size), darker(coat, 0.15), ANIMAL, same=True)
    wool = 0.27 if name == "sheep" else 0.21
    sheet.add(limb(p(-0.36, body_y), p(0.3, body_y), wool * size, wool * size), coat, ANIMAL, same=True,
              bulge=ball(x, foot + body_y * size, 0.6 * size, wool * size))  # fmt: skip
    sheet.add(limb(p(0.34, body_y - 0.06), p(*neck_end), 0.13 * size, 0.11 * size), coat, ANIMAL, same=True)
    head = legs if name == "sheep" else coat
    snout = p(neck_end[0] + (0.1 if name == "cat" else 0.22), neck_end[1] + 0.06)
    ear = p(neck_end[0] - 0.06, neck_end[1] - 0.1)
    sheet.add(
        limb(ear, ear + np.array([-0.05 * way, -0.13]) * size, 0.06 * size, 0.03 * size),
        darker(head, 0.25),
        ANIMAL,
        same=True,
    )
    sheet.add(limb(p(*neck_end), snout, 0.15 * size, 0.1 * size), head, ANIMAL, same=True)
    eye = p(neck_end[0] + 0.05, neck_end[1] - 0.03)
    sheet.add(
        disc(eye[0], eye[1], 0.026 * size, sides=12),
        lighter(head, 0.9) if colour_name == "black" or name == "sheep" else (36, 30, 40),
        ANIMAL,
        same=True,
    )
    if name == "cow":
        sheet.add(
            blob(sheet.rng, x - 0.1 * size * way, foot + body_y * size, 0.16 * size, 0.11 * size),
            tint((246, 240, 230) if colour_name != "white" else (70, 60, 62)),
            ANIMAL,
            same=True,
        )


def sun(sheet: Sheet, x: float, y: float, r: float, moon: bool) -> None:
    """The sun, or the moon with two craters; part of the sky."""
    sheet.begin(Thing("moon" if moon else "sun"), 0, near=(1 / 9000, 0.0))
    colour = sheet.palette.disc
    sheet.add(
        disc(x, y, r * 1.5, sides=32),
        sheet.palette.tint(sheet.palette.sky_low, 0.5) if not moon else (44, 54, 108),
        SKY,
        part=sheet.shapes[0].part,
    )
    sheet.add(disc(x, y, r, sides=32), colour, SKY)
    if moon:
        for dx, dy, k in ((-0.3, -0.2, 0.26), (0.3, 0.25, 0.2)):
            sheet.add(disc(x + dx * r, y + dy * r, k * r, sides=16), darker(colour, 0.12), SKY, same=True)


def cloud(sheet: Sheet, x: float, y: float, size: float) -> None:
    """A flat-bottomed cloud; part of the sky."""
    sheet.begin(Thing("cloud"), 0, near=(1 / 6000, 0.0))
    turn = np.linspace(np.pi, 2 * np.pi, 9)
    puffs = [(-0.62, 0.32), (0.0, 0.56), (0.6, 0.36)]
    line = [np.stack([x + size * (dx + r * np.cos(turn)), y + size * 1.1 * r * np.sin(turn)], 1) for dx, r in puffs]
    points = np.concatenate(line)
    points = np.concatenate(
        [
            points[:9][points[:9, 0] < points[9:18, 0].min() + size * 0.16],
            points[9:18],
            points[18:][points[18:, 0] > points[9:18, 0].max() - size * 0.16],
        ]
    )
    sheet.add(points, sheet.palette.cloud, SKY)
