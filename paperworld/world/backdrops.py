"""What lies behind and below the things of a scene: sky, land, water, skyline, street, bridge."""

from __future__ import annotations

import numpy as np

from paperworld.world import figures
from paperworld.world.buildings import skyscraper
from paperworld.world.labels import BRIDGE, BUILDING, GRASS, HILL, MOUNTAIN, RIVER, ROAD, SAND, SEA, SIDEWALK, SKY
from paperworld.world.palette import GROUND as GROUND_COLOUR
from paperworld.world.palette import Colour, darker, lighter
from paperworld.world.shapes import GROUND, SLOPE, Sheet, Thing, box, polygon, ridge


def sky(sheet: Sheet, time: str) -> None:
    """The sky with sun or moon, and clouds."""
    rng = sheet.rng
    sheet.backdrop((1e-4, 0.0))
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), sheet.palette.sky_low, SKY)
    x = float(rng.uniform(0.14, 0.86))
    if time == "night" or (time != "grey" and rng.random() < 0.7):
        low = time in ("sunset", "dawn")
        y = sheet.horizon - 0.12 if low else float(rng.uniform(0.12, 0.24))
        figures.sun(sheet, x, y, float(rng.uniform(0.06, 0.09)) * (1.3 if low else 1), time == "night")
    many = 3 if time == "grey" else int(rng.integers(0, 3))
    spots = rng.permutation(np.array([0.18, 0.5, 0.82]))
    for n in range(many):
        if time == "grey" or abs(spots[n] - x) > 0.2:
            figures.cloud(
                sheet,
                float(spots[n] + rng.uniform(-0.05, 0.05)),
                float(rng.uniform(0.12, 0.26)),
                float(rng.uniform(0.1, 0.14)),
            )


def land(sheet: Sheet, far: bool = True) -> None:
    """Mountains or hills above the horizon, far to near."""
    rng, tint, line = sheet.rng, sheet.palette.tint, sheet.horizon
    green = GROUND_COLOUR[sheet.season]
    if far and rng.random() < 0.5:
        sheet.begin(Thing("mountain"), 0, near=(1 / 2500, 0.0))
        base = tint((120, 134, 170), 0.35)
        peaks = np.sort(rng.uniform(0.05, 0.95, int(rng.integers(2, 4))))
        for x in peaks:
            _mountain(sheet, float(x), base)
    if rng.random() < 0.75 or not far:
        sheet.begin(Thing("hill"), 0, near=(1 / 400, 0.0))
        for distance, level, near in ((0.42, 0.075, 1 / 500), (0.22, 0.03, 1 / 220)):
            sheet.set_back((near, 0.0))
            points = ridge(rng, line - level, rng.uniform(0.03, 0.055), line + 0.1, rng.uniform(0.8, 1.5))
            sheet.add(points, tint(darker(green, 0.12), distance), HILL, normal=SLOPE, lift=0.22)


def _mountain(sheet: Sheet, x: float, colour: Colour) -> None:
    """One mountain: a lit and a shaded face, and snow."""
    rng, foot = sheet.rng, sheet.horizon + 0.06
    high, half = rng.uniform(0.2, 0.32), rng.uniform(0.26, 0.36)
    top = sheet.horizon - high
    lit, dark = (-0.5, -0.45, 0.74), (0.55, -0.4, 0.73)
    sheet.add(polygon((x - half, foot), (x, top), (x + half, foot)), colour, MOUNTAIN, normal=lit, lift=0.15)
    shaded = polygon((x, top), (x + half, foot), (x + half * 0.1, foot))
    sheet.add(shaded, darker(colour, 0.16), MOUNTAIN, same=True, normal=dark)
    wide, deep = half * 0.3, (high + 0.06) * 0.3
    snow = polygon(
        (x - wide, top + deep), (x, top), (x + wide, top + deep),
        (x + wide * 0.35, top + high * 0.24), (x - wide * 0.2, top + high * 0.345),
    )  # fmt: skip
    sheet.add(snow, sheet.palette.tint((244, 246, 250), 0.1), MOUNTAIN, normal=(0.0, -0.5, 0.86))


def meadow(sheet: Sheet) -> None:
    """Grass from the horizon to the foreground."""
    sheet.backdrop(sheet.ground())
    points = ridge(sheet.rng, sheet.horizon + 0.02, 0.012, 1.05, 0.7)
    sheet.add(points, sheet.palette.tint(GROUND_COLOUR[sheet.season]), GRASS, normal=GROUND, lift=0.2)


def road(sheet: Sheet) -> tuple[float, float]:
    """A road that bends towards the horizon; returns the stretch that it takes in the foreground."""
    rng, line = sheet.rng, sheet.horizon + 0.02
    end, start = rng.uniform(0.35, 0.65), rng.choice((rng.uniform(0.1, 0.3), rng.uniform(0.7, 0.9)))
    t = np.linspace(0, 1, 14)
    y = line + 0.012 + (1.02 - line) * t
    middle = end + (start - end) * t**1.6 + 0.05 * np.sin(np.pi * t * 1.5)
    half = 0.008 + 0.15 * t
    sheet.begin(Thing("road"), 0, near=sheet.ground())
    grey = sheet.palette.tint((196, 178, 150))
    points = np.concatenate([np.stack([middle - half, y], 1), np.stack([middle + half, y], 1)[::-1]])
    sheet.add(points, grey, ROAD, normal=GROUND)
    return float(middle[9] - half[9] * 1.1), float(middle[9] + half[9] * 1.1)


def sea(sheet: Sheet) -> tuple[float, Colour]:
    """The sea from the horizon down; returns the height of the shore and the colour of the water."""
    rng, line = sheet.rng, sheet.horizon
    sheet.begin(Thing("sea"), 0, near=sheet.ground())
    water = sheet.palette.tint((58, 140, 178), 0.08)
    sheet.add(box(-0.01, line, 1.01, 1.02), water, SEA, normal=GROUND, straight=True)
    shore = float(rng.uniform(0.68, 0.78))
    return shore, water


def beach(sheet: Sheet, shore: float, water: Colour) -> None:
    """Sand below `shore`, with a pale line of foam."""
    sheet.begin(Thing("sand"), 0, near=sheet.ground())
    sand = ridge(sheet.rng, shore, 0.03, 1.05, 0.6)
    sheet.add(sand - np.array([0, 0.018]), lighter(water, 0.75), SEA, normal=GROUND)
    sheet.add(sand, sheet.palette.tint((240, 216, 164)), SAND, normal=GROUND, lift=0.12)


def river(sheet: Sheet, top: float, bottom: float) -> None:
    """A river across the picture."""
    sheet.begin(Thing("river"), 0, near=sheet.ground())
    x = np.linspace(-0.02, 1.02, 25)
    wave = 0.02 * np.sin(2 * np.pi * x + sheet.rng.uniform(0, 6))
    bank = np.concatenate([np.stack([x, top + wave], 1), np.stack([x, bottom + wave], 1)[::-1]])
    sheet.add(bank, sheet.palette.tint((86, 158, 190), 0.05), RIVER, normal=GROUND)


TOWER: Colour = (110, 134, 170)
"""The colour of near towers by day."""


def skyline(sheet: Sheet, base: float) -> None:
    """Two rows of towers that stand at height `base`: pale far ones, and near ones with windows."""
    rng, tint = sheet.rng, sheet.palette.tint
    sheet.backdrop((1 / 300, 0.0))
    left = -0.04
    while left < 1.0:
        wide = rng.uniform(0.09, 0.15)
        tower = box(left, base - rng.uniform(0.2, 0.34), left + wide, base)
        sheet.add(tower, tint((140, 150, 176), 0.5), BUILDING, straight=True)
        left += wide
    left = float(rng.uniform(-0.06, 0.02))
    while left < 0.96:
        wide = float(rng.uniform(0.14, 0.22))
        if rng.random() < 0.82:
            skyscraper(sheet, left, left + wide, base, float(rng.uniform(0.1, 0.36)), tint(TOWER))
        left += wide + float(rng.uniform(0.015, 0.05))


def street(sheet: Sheet, top: float, bottom: float) -> None:
    """A pavement from height `top` on, and on it a road with a dashed line down to `bottom`."""
    tint = sheet.palette.tint
    sheet.begin(Thing("street"), 0, near=sheet.ground())
    sheet.add(box(-0.02, top, 1.02, 1.02), tint((206, 198, 190)), SIDEWALK, normal=GROUND, straight=True, lift=0.15)
    kerb = top + 0.06
    sheet.add(box(-0.02, kerb, 1.02, bottom), tint((112, 112, 126)), ROAD, normal=GROUND, straight=True)
    middle = (kerb + bottom) / 2
    for x in np.arange(-0.05, 1, 0.22):
        dash = box(x, middle - 0.008, x + 0.11, middle + 0.008)
        sheet.add(dash, tint((240, 232, 206)), ROAD, same=True, normal=GROUND)


def bridge(sheet: Sheet, line: float) -> None:
    """A stone bridge of two or three arches across the picture."""
    rng, tint = sheet.rng, sheet.palette.tint
    foot, deck = line + 0.26, line + 0.06
    sheet.begin(Thing("bridge"), foot)
    arches = int(rng.integers(2, 4))
    stone = tint((196, 160, 128))
    points = [(-0.02, deck - 0.02), (0.5, deck - 0.07), (1.02, deck - 0.02), (1.02, foot)]
    wide = 1.04 / arches
    for n in reversed(range(arches)):
        left = -0.02 + n * wide
        turn = np.linspace(0, np.pi, 11)
        points += [(left + wide / 2 + wide * 0.36 * np.cos(t), foot - 0.15 * np.sin(t)) for t in turn]
    points.append((-0.02, foot))
    sheet.add(polygon(*points), stone, BRIDGE, lift=0.25)
    rail = polygon(
        (-0.02, deck - 0.045),
        (0.5, deck - 0.095),
        (1.02, deck - 0.045),
        (1.02, deck - 0.015),
        (0.5, deck - 0.065),
        (-0.02, deck - 0.015),
    )
    sheet.add(rail, lighter(stone, 0.2), BRIDGE, straight=True, same=True)
