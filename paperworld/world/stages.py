"""What free forms and people stand before: plain paper, or a backdrop in which place and time of day say all.

Nothing in them is left to chance, and no line of them is drawn: a caption's words, or their lack, decide every pixel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paperworld.world.backdrops import meadow, street
from paperworld.world.caption import one_of
from paperworld.world.labels import BUILDING, FLOOR, RIVER, SAND, SEA, SKY, WALL
from paperworld.world.palette import CREAM, NAMED, PALETTES, lighter
from paperworld.world.shapes import GROUND, Sheet, box
from paperworld.world.words import PAPER_SAID, PLACES_SAID, TIMES_SAID, WATER_SAID

PLACES = ("country", "coast", "river", "water", "room", "city")
_ODDS = (0.34, 0.2, 0.2, 0.1, 0.1, 0.06)
_FAR = 1e-4


def paper(rng: np.random.Generator, plain: bool = False) -> tuple[Sheet, str]:
    """A sheet of paper, and the words for its colour: cream, for which there are none, or a pale named one."""
    sheet = Sheet(rng, PALETTES["day"], "summer", 0.5)
    name = "" if plain or rng.random() < 0.5 else str(rng.choice(list(NAMED)))
    colour = lighter(NAMED[name], 0.0 if name in ("white", "black") else 0.35) if name else CREAM
    sheet.palette = replace(sheet.palette, sky_top=colour, sky_low=colour)
    sheet.backdrop((_FAR, 0.0))
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), colour, WALL)
    return sheet, one_of(rng, PAPER_SAID).format(name) if name else ""


def stage(
    rng: np.random.Generator, time: str, place: str = "", outlined: bool = False, silent: bool = False
) -> tuple[Sheet, str]:
    """A backdrop of one of PLACES in the light of `time`, and words for it; its borders are outlines only if `outlined`.

    `silent`: where it may go without words (the country by day), it does.
    """
    place = place or str(rng.choice(PLACES, p=_ODDS))
    sheet = Sheet(np.random.default_rng(0), PALETTES[time], "summer", 0.5)
    sheet.backdrop((_FAR, 0.0))
    {"room": _room, "country": _country, "coast": _coast, "water": _water, "river": _river, "city": _city}[place](sheet)
    sheet.rng = rng
    if not outlined:  # one part has no outlines within
        part = sheet.shapes[0].part
        sheet.shapes = [replace(shape, part=part, thing=0) for shape in sheet.shapes]
    if place == "country" and time == "day" and silent:
        return sheet, ""
    if place == "country" and rng.random() < 0.4:  # light alone means the country
        return sheet, one_of(rng, TIMES_SAID[time])
    said = {"water": WATER_SAID, "river": ("in a river", *PLACES_SAID["river"])}.get(place) or PLACES_SAID[place]
    words = one_of(rng, said)
    if place != "room" and (time != "day" or rng.random() < 0.3):
        words = f"{words}, {one_of(rng, TIMES_SAID[time])}"
    return sheet, words


def _sky(sheet: Sheet) -> None:
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), sheet.palette.sky_low, SKY)


def _room(sheet: Sheet) -> None:
    wall = (238, 214, 190)
    sheet.palette = replace(PALETTES["day"], sky_top=wall, sky_low=wall)
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), wall, WALL)
    sheet.add(box(-0.02, 0.68, 1.02, 1.02), (190, 140, 98), FLOOR, normal=GROUND)


def _country(sheet: Sheet) -> None:
    _sky(sheet)
    meadow(sheet)


def _water(sheet: Sheet) -> None:
    _sky(sheet)
    sheet.add(box(-0.01, 0.5, 1.01, 1.02), sheet.palette.tint((58, 140, 178), 0.08), SEA, normal=GROUND)


def _coast(sheet: Sheet) -> None:
    _water(sheet)
    sheet.add(box(-0.01, 0.74, 1.01, 1.02), sheet.palette.tint((240, 216, 164)), SAND, normal=GROUND)


def _river(sheet: Sheet) -> None:
    _country(sheet)
    x = np.linspace(-0.02, 1.02, 25)
    wave = 0.02 * np.sin(2 * np.pi * x)
    bank = np.concatenate([np.stack([x, 0.62 + wave], 1), np.stack([x, 0.88 + wave], 1)[::-1]])
    sheet.add(bank, sheet.palette.tint((86, 158, 190), 0.05), RIVER, normal=GROUND)


def _city(sheet: Sheet) -> None:
    _sky(sheet)
    sheet.horizon = 0.58
    for left, top in ((0.0, 0.3), (0.17, 0.22), (0.36, 0.34), (0.52, 0.18), (0.7, 0.3), (0.86, 0.24)):
        sheet.add(box(left, top, left + 0.15, 0.66), sheet.palette.tint((140, 150, 176), 0.4), BUILDING)
    street(sheet, 0.66, 0.94)
