"""Layouts as somebody paints them: bands and blobs of any classes, each in the one colour that its class has here."""

from __future__ import annotations

import colorsys

import numpy as np

from paperworld.world import labels
from paperworld.world.caption import one_of
from paperworld.world.palette import CREAM, GROUND, LEAVES, NAMED, PALETTES, Colour, Palette, mix
from paperworld.world.scene import Scene
from paperworld.world.shapes import Points, Sheet, Thing, box
from paperworld.world.words import SEASONS, TIMES_SAID

CLASSES = 150
_FAR = (labels.MOUNTAIN, labels.HILL, labels.BUILDING, labels.TREE)
_GROUNDS = (labels.GRASS, labels.GRASS, labels.GRASS, labels.SEA, labels.SAND, labels.ROAD, labels.SIDEWALK, labels.RIVER,
            labels.FLOOR)  # fmt: skip
_NEAR = (labels.SAND, labels.ROAD, labels.RIVER, labels.GRASS, labels.SEA, labels.SIDEWALK)
_SOLID = (labels.PERSON, labels.TREE, labels.HOUSE, labels.CAR, labels.BOAT, labels.PLANT, labels.FLOWER, labels.PALM,
          labels.ROCK, labels.ANIMAL, labels.FENCE, labels.TOWER, labels.BUILDING, labels.SKYSCRAPER)  # fmt: skip
_TALL = frozenset({labels.TREE, labels.HOUSE, labels.PERSON, labels.TOWER, labels.SKYSCRAPER, labels.PALM})


def class_colours(palette: Palette, season: str) -> dict[int, Colour]:
    """The colour of every class in the light of `palette`: that of the world's things; of what the world lacks, a pale one."""
    red, wood = NAMED["red"], (150, 100, 66)
    plain: dict[int, Colour] = {
        labels.WALL: (238, 214, 190), labels.BUILDING: (140, 150, 176), labels.FLOOR: (190, 140, 98),
        labels.TREE: LEAVES[season], labels.ROAD: (196, 178, 150), labels.BED: red, labels.GRASS: GROUND[season],
        labels.SIDEWALK: (206, 198, 190), labels.PERSON: red, labels.DOOR: (118, 80, 58), labels.TABLE: wood,
        labels.MOUNTAIN: (120, 134, 170), labels.PLANT: LEAVES[season], labels.CURTAIN: NAMED["orange"],
        labels.CAR: red, labels.PAINTING: (150, 104, 68), labels.SOFA: red, labels.HOUSE: red, labels.SEA: (58, 140, 178),
        labels.RUG: (206, 92, 84), labels.FENCE: (164, 118, 82), labels.ROCK: (150, 146, 150), labels.LAMP: (255, 230, 160),
        labels.SAND: (240, 216, 164), labels.SKYSCRAPER: (110, 134, 170), labels.RIVER: (86, 158, 190),
        labels.BRIDGE: (196, 160, 128), labels.FLOWER: red, labels.HILL: GROUND[season], labels.BENCH: (168, 114, 76),
        labels.PALM: (72, 150, 92), labels.BOAT: red, labels.TOWER: NAMED["white"], labels.STREETLIGHT: (62, 64, 80),
        labels.ANIMAL: NAMED["brown"],
    }  # fmt: skip
    for index in set(range(CLASSES)) - plain.keys() - {labels.SKY, labels.WINDOW}:
        # Golden angles keep neighbours apart.
        r, g, b = colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.6, 0.85)
        plain[index] = mix((r * 255, g * 255, b * 255), CREAM, 0.25)
    return {index: palette.tint(colour) for index, colour in plain.items()} | {labels.WINDOW: palette.window}


def compose_layout(seed: int) -> Scene:
    """The painted layout of `seed`: a sky, one to three bands, and one to five blobs."""
    rng = np.random.default_rng((5, seed))
    time = "day" if rng.random() < 0.5 else one_of(rng, tuple(PALETTES))
    season = "summer" if rng.random() < 0.5 else one_of(rng, ("spring", "autumn", "winter"))
    palette = PALETTES[time]
    colours = class_colours(palette, season) | {labels.SKY: palette.sky_low}
    sheet = Sheet(rng, palette, season, 0.5)
    sheet.backdrop((1e-4, 0.0))
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), palette.sky_low, labels.SKY)

    def lay(points: Points, label: int, lift: float) -> None:
        sheet.begin(Thing("blob"), 0, near=(0.1, 0.0))
        sheet.add(points, colours[label], label, lift=lift)

    level = float(rng.uniform(0.35, 0.65))
    if rng.random() < 0.4:
        lay(_band(rng, level - rng.uniform(0.04, 0.16)), int(rng.choice(_FAR)), 0.15)
    lay(_band(rng, level), int(rng.choice(_GROUNDS)), 0.15)
    if rng.random() < 0.4:
        lay(_band(rng, min(0.92, level + rng.uniform(0.1, 0.3))), int(rng.choice(_NEAR)), 0.15)
    for _ in range(int(rng.integers(1, 6))):
        label = int(rng.choice(_SOLID)) if rng.random() < 0.75 else int(rng.integers(CLASSES))
        size = np.array([rng.uniform(0.05, 0.2), rng.uniform(0.05, 0.2)]) * (1, 1.4 if label in _TALL else 1)
        at = np.array([rng.uniform(0.08, 0.92), min(0.95, level + rng.normal(0.05, 0.15))])
        lay(_blob(rng) * size + at, label, 0.2)
    words = [] if season == "summer" else [one_of(rng, SEASONS[season])]
    if time != "day" or rng.random() < 0.3:
        words.append(one_of(rng, TIMES_SAID[time]))
    return Scene(
        seed, "layout", time, season, 0.5, palette, tuple(sheet.shapes), tuple(sheet.things), (), said=", ".join(words)
    )


def _band(rng: np.random.Generator, level: float) -> Points:
    x = np.linspace(-0.02, 1.02, 24)
    y = level + np.interp(x, np.linspace(-0.02, 1.02, 7), rng.normal(0, rng.uniform(0.003, 0.03), 7))
    return np.concatenate([np.stack([x, y], 1), [[1.02, 1.05], [-0.02, 1.05]]])


def _blob(rng: np.random.Generator) -> Points:
    """A blob or a box with round corners about the origin, of about unit radius."""
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    r = np.ones_like(t)
    for k in range(2, 6):
        r += rng.normal(0, 0.16) / (k - 1) * np.cos(k * t + rng.uniform(0, 6.3))
    if rng.random() < 0.35:
        r /= np.maximum(np.abs(np.cos(t)), np.abs(np.sin(t)))
    return np.stack([np.cos(t), np.sin(t)], 1) * r[:, None]
