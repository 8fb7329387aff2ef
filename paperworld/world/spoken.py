"""Compositions that words alone decide: where nothing is drawn, each thing has a place of its own in each kind of place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paperworld.world import buildings, figures, interior, people
from paperworld.world.caption import one_of, standing_before, with_article
from paperworld.world.palette import PALETTES
from paperworld.world.people import Pose
from paperworld.world.scene import Scene
from paperworld.world.shapes import Sheet
from paperworld.world.stages import stage
from paperworld.world.words import NOUNS, USUAL

STANDING = Pose((-15, -8), (15, 8), (-5, -2), (5, 2))
CLOTH = ("red", "blue", "green", "yellow", "pink")
FLOWERS = ("red", "yellow", "pink", "white", "purple")
_OPTIONS = {
    "country": ("house", "tree", "person", "dog", "flower", "cat", "horse", "cow", "sheep", "pine"),
    "coast": ("boat", "palm", "lighthouse", "person", "house"),
    "city": ("car", "person", "dog"),
    "room": ("sofa", "bed", "person", "cat"),
}
_COLOURS: dict[str, tuple[str, ...]] = {
    "house": buildings.HOUSE_COLOURS, "car": figures.CAR_COLOURS, "boat": figures.BOAT_COLOURS, "flower": FLOWERS,
    "sofa": CLOTH, "bed": CLOTH, **figures.ANIMALS,
}  # fmt: skip


def compose_spoken(seed: int) -> Scene:
    """The composition of `seed`: up to two things, each where it always is."""
    rng = np.random.default_rng((9, seed))
    time = "day" if rng.random() < 0.4 else one_of(rng, tuple(PALETTES))
    place = str(rng.choice(tuple(_OPTIONS), p=(0.4, 0.25, 0.2, 0.15)))
    sheet, words = stage(rng, time, place, outlined=True)
    said = []
    count = int(rng.choice((0, 1, 2), p=(0.15, 0.5, 0.35)))
    for name in sorted(str(each) for each in rng.choice(_OPTIONS[place], count, replace=False)):
        said.append(_person(sheet, rng) if name == "person" else _thing(sheet, name, rng))
    if rng.random() < 0.3:
        said.reverse()
    caption = standing_before(" and ".join(said), words)
    return Scene(
        seed, place, time, "summer", sheet.horizon, sheet.palette, tuple(sheet.shapes), tuple(sheet.things), (),
        said=caption,
    )  # fmt: skip


def _person(sheet: Sheet, rng: np.random.Generator) -> str:
    people.person(sheet, 0.5, 0.95, 0.7, "standing", STANDING)
    thing = sheet.things[-1]
    if thing.colour == "red" and thing.wears == "shirt" and thing.name == "man" and rng.random() < 0.6:
        return "a person"
    return f"a {thing.name} in {with_article(f'{thing.colour} {thing.wears}')}"


def _thing(sheet: Sheet, name: str, rng: np.random.Generator) -> str:
    usual, colours = USUAL.get(name, ""), _COLOURS.get(name, ())
    colour = (usual if rng.random() < 0.3 else one_of(rng, colours)) if colours else ""
    if colour:
        sheet.chosen[name] = colour
    # What else is free in a thing is as it always is.
    sheet.rng = np.random.default_rng(1)
    _PUT[name](sheet, colour)
    sheet.rng = rng
    single, plural = one_of(rng, NOUNS[name])
    told = colour if colour and (colour != usual or rng.random() < 0.5) else ""
    if name == "flower":
        return f"{told} {plural}".strip()
    return with_article(f"{told} {single}".strip())


def _flowers(sheet: Sheet, colour: str) -> None:
    for x in (0.12, 0.4, 0.86):
        figures.flower(sheet, x, 0.96, 0.18, colour)


_PUT: dict[str, Callable[[Sheet, str], object]] = {
    "house": lambda sheet, _: buildings.house(sheet, 0.68, 0.72, 0.42),
    "tree": lambda sheet, _: figures.round_tree(sheet, 0.24, 0.72, 0.42),
    "pine": lambda sheet, _: figures.pine(sheet, 0.24, 0.74, 0.46),
    "palm": lambda sheet, _: figures.palm(sheet, 0.78, 0.86, 0.5),
    "lighthouse": lambda sheet, _: buildings.lighthouse(sheet, 0.2, 0.8, 0.56),
    "boat": lambda sheet, _: figures.boat(sheet, 0.45, 0.62, 0.3),
    "car": lambda sheet, _: figures.car(sheet, 0.5, 0.84, 0.16),
    "flower": _flowers,
    "sofa": lambda sheet, colour: interior.sofa(sheet, 0.5, 0.8, colour),
    "bed": lambda sheet, colour: interior.bed(sheet, 0.5, 0.8, colour),
    "dog": lambda sheet, _: figures.animal(sheet, 0.32, 0.92, 0.3, "dog"),
    "cat": lambda sheet, _: figures.animal(sheet, 0.4, 0.92, 0.26, "cat"),
    "sheep": lambda sheet, _: figures.animal(sheet, 0.4, 0.92, 0.28, "sheep"),
    "cow": lambda sheet, _: figures.animal(sheet, 0.4, 0.92, 0.32, "cow"),
    "horse": lambda sheet, _: figures.animal(sheet, 0.4, 0.92, 0.34, "horse"),
}
