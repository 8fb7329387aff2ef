"""Composing: from a seed to a whole scene, in the unit frame and therefore at no particular resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paperworld.world import backdrops, buildings, figures, people
from paperworld.world.interior import room
from paperworld.world.palette import GROUND, PALETTES, Palette
from paperworld.world.shapes import Body, Points, Shape, Sheet, Thing

PLACES = ("country", "coast", "city", "river", "room")


@dataclass(frozen=True, eq=False)
class Scene:
    """A composed scene: shapes back to front, its things (shape.thing counts from 1), its people, and its setting.

    `strokes` are open lines of ink that bound nothing: whiskers, veins, steam. `said` is the caption where composing decides
    it; else `caption` finds words for what is visible.
    """

    seed: int
    place: str
    time: str
    season: str
    horizon: float
    palette: Palette
    shapes: tuple[Shape, ...]
    things: tuple[Thing, ...]
    bodies: tuple[Body, ...]
    strokes: tuple[Points, ...] = ()
    said: str | None = None


def compose(seed: int) -> Scene:
    """The scene of `seed`: always the same one."""
    rng = np.random.default_rng(seed)
    place = str(rng.choice(PLACES, p=(0.34, 0.24, 0.18, 0.12, 0.12)))
    time = str(rng.choice(tuple(PALETTES), p=(0.38, 0.12, 0.2, 0.16, 0.14)))
    season = str(rng.choice(tuple(GROUND), p=(0.2, 0.4, 0.2, 0.2)))
    if place in ("coast", "city", "room"):  # nothing there shows the season
        season = "summer"
    sheet = Sheet(rng, PALETTES[time], season, float(rng.uniform(0.42, 0.58)))
    portrait = bool(rng.random() < 0.45)
    {"country": _country, "coast": _coast, "city": _city, "river": _river, "room": room}[place](sheet, time, portrait)
    return Scene(
        seed,
        place,
        time,
        season,
        sheet.horizon,
        sheet.palette,
        tuple(sheet.shapes),
        tuple(sheet.things),
        tuple(sheet.bodies),
    )


def _country(sheet: Sheet, time: str, portrait: bool) -> None:
    rng = sheet.rng
    backdrops.sky(sheet, time)
    backdrops.land(sheet)
    backdrops.meadow(sheet)
    line = sheet.horizon
    if rng.random() < 0.5 and not portrait:
        sheet.taken.append(backdrops.road(sheet))
    if rng.random() < (0.35 if portrait else 0.75):
        size = float(rng.uniform(0.26, 0.4))
        x = sheet.room(size * 1.15, 0.0, 1.0)
        if x is not None:
            buildings.house(sheet, x, line + float(rng.uniform(0.1, 0.2)), size)
    _grove(sheet, int(rng.integers(1, 4)), 0.0, 1.0, (line + 0.06, line + 0.24))
    if rng.random() < 0.3 and not any(t.name == "road" for t in sheet.things):
        buildings.fence(sheet, -0.03, 1.03, line + 0.3, 0.1)
    elif rng.random() < 0.6 and not portrait:
        for _ in range(int(rng.integers(1, 3))):
            x = sheet.room(0.18)
            if x is not None:
                (figures.bush if rng.random() < 0.6 else figures.rock)(sheet, x, float(rng.uniform(0.85, 0.95)), 0.08)
    if sheet.season in ("spring", "summer") and not portrait and rng.random() < 0.4:
        _flowers(sheet)
    _front(sheet, portrait)


def _flowers(sheet: Sheet) -> None:
    """A few flowers of one colour in the foreground."""
    rng = sheet.rng
    name = figures.colour_of(sheet, "flower", ("red", "yellow", "pink", "white", "purple"))
    for _ in range(int(rng.integers(2, 5))):
        x = sheet.room(0.09)
        if x is not None:
            figures.flower(sheet, x, float(rng.uniform(0.92, 0.98)), 0.15, name)


def _coast(sheet: Sheet, time: str, portrait: bool) -> None:
    rng = sheet.rng
    backdrops.sky(sheet, time)
    if rng.random() < 0.35:
        backdrops.land(sheet, far=rng.random() < 0.5)
    shore, water = backdrops.sea(sheet)
    if rng.random() < 0.85:
        for _ in range(int(rng.integers(1, 3))):
            size = float(rng.uniform(0.2, 0.32))
            x = sheet.room(size * 1.15)
            if x is not None:
                figures.boat(sheet, x, sheet.horizon + float(rng.uniform(0.06, 0.12)), size)
    backdrops.beach(sheet, shore, water)
    _ashore(sheet, shore)
    if not portrait and rng.random() < 0.4:
        x = sheet.room(0.2)
        if x is not None:
            figures.rock(sheet, x, float(rng.uniform(0.86, 0.94)), 0.1)
    _front(sheet, portrait)


def _ashore(sheet: Sheet, shore: float) -> None:
    """A house or a lighthouse, and a palm, where the sand begins."""
    rng = sheet.rng
    if rng.random() < 0.3:
        size = float(rng.uniform(0.3, 0.38))
        x = sheet.room(size * 1.15, 0.0, 1.0)
        if x is not None:
            buildings.house(sheet, x, shore + float(rng.uniform(0.05, 0.09)), size)
    elif rng.random() < 0.5:
        size = float(rng.uniform(0.45, 0.6))
        x = sheet.room(size * 0.36)
        if x is not None:
            buildings.lighthouse(sheet, x, shore + 0.06, size)
    if rng.random() < 0.5:
        size = float(rng.uniform(0.4, 0.55))
        x = sheet.room(size * 0.5, -0.05, 1.05)
        if x is not None:
            figures.palm(sheet, x, shore + float(rng.uniform(0.06, 0.12)), size)


def _city(sheet: Sheet, time: str, portrait: bool) -> None:
    rng = sheet.rng
    backdrops.sky(sheet, time)
    sheet.horizon = float(rng.uniform(0.56, 0.62))
    base = sheet.horizon + 0.08
    backdrops.skyline(sheet, base)
    backdrops.street(sheet, base, 0.88 if portrait else 0.94)
    for x in (0.1, 0.62) if rng.random() < 0.5 else (0.4, 0.92):
        if rng.random() < 0.6:
            buildings.streetlight(sheet, x, base + 0.045, 0.3)
    if rng.random() < (0.4 if portrait else 0.9):
        for _ in range(int(rng.integers(1, 3))):
            x = sheet.room(0.34, -0.04, 1.04)
            if x is not None:
                figures.car(sheet, x, base + 0.06 + float(rng.uniform(0.08, 0.14)), float(rng.uniform(0.13, 0.15)))
    if portrait:
        sheet.taken.clear()
        _crowd(sheet, most=2)
    elif rng.random() < 0.35:
        x = sheet.room(0.21)
        if x is not None:
            people.person(sheet, x, 0.97, 0.42, str(rng.choice(("walking", "standing", "waving"))))


def _river(sheet: Sheet, time: str, portrait: bool) -> None:
    rng, line = sheet.rng, sheet.horizon
    backdrops.sky(sheet, time)
    backdrops.land(sheet)
    backdrops.meadow(sheet)
    _grove(sheet, int(rng.integers(2, 5)), 0.0, 1.0, (line + 0.05, line + 0.08))
    backdrops.river(sheet, line + 0.1, line + 0.32)
    if rng.random() < 0.75:
        backdrops.bridge(sheet, line)
    else:
        figures.boat(sheet, float(rng.uniform(0.25, 0.75)), line + 0.22, 0.26)
    sheet.taken.clear()
    _front(sheet, portrait)


def _front(sheet: Sheet, portrait: bool) -> None:
    """What stands nearest: people, or small things."""
    rng = sheet.rng
    if portrait:
        if not (rng.random() < 0.16 and _sitter(sheet)):
            _crowd(sheet)
        if rng.random() < 0.35:
            _beast(sheet, float(rng.uniform(0.15, 0.2)), 0.95)
        return
    if rng.random() < 0.5:
        name = figures.pick(sheet, ("dog", "sheep", "cow", "horse", "cat"))
        for _ in range(int(rng.integers(1, 3))):
            _beast(sheet, float(rng.uniform(0.17, 0.26)), float(rng.uniform(0.88, 0.96)), name)


def _crowd(sheet: Sheet, low: float = 0.04, high: float = 0.96, most: int = 3) -> None:
    """One to three people in the foreground."""
    rng = sheet.rng
    if rng.random() < 0.14:  # so near that the frame cuts the legs
        size = float(rng.uniform(1.0, 1.25))
        x = float(rng.uniform(0.3, 0.7))
        sheet.taken.append((x - 0.3, x + 0.3))
        people.person(sheet, x, 0.34 + size, size, str(rng.choice(("standing", "waving"))))
        return
    many = int(rng.choice((1, 2, 3), p=(0.5, 0.33, 0.17)))
    for _ in range(min(many, most)):
        size = float(rng.uniform(0.56, 0.82) if many == 1 else rng.uniform(0.5, 0.62))
        doing = str(rng.choice(people.DOING[:6], p=(0.22, 0.2, 0.14, 0.16, 0.12, 0.16)))
        x = sheet.room(size * 0.46, low, high)
        if x is None:
            continue
        people.person(sheet, x, float(rng.uniform(0.9, 0.97)), size, doing)


def _sitter(sheet: Sheet) -> bool:
    """Somebody on a bench."""
    size = float(sheet.rng.uniform(0.56, 0.7))
    x = sheet.room(size * 0.85)
    if x is None:
        return False
    foot = float(sheet.rng.uniform(0.9, 0.95))
    buildings.bench(sheet, x, foot, size * 0.24)
    people.person(sheet, x, foot, size, "sitting")
    return True


def _beast(sheet: Sheet, size: float, foot: float, name: str = "") -> None:
    x = sheet.room(size * 1.6)
    if x is not None:
        figures.animal(sheet, x, foot, size, name or figures.pick(sheet, ("dog", "cat", "sheep")))


def _grove(sheet: Sheet, many: int, low: float, high: float, foot: tuple[float, float]) -> None:
    """Trees of one kind in free places, far ones first."""
    rng = sheet.rng
    kind = figures.pine if rng.random() < 0.35 else figures.round_tree
    for y in np.sort(rng.uniform(*foot, many)):
        size = float(0.22 + (y - sheet.horizon) * 0.6) * rng.uniform(0.9, 1.15)
        x = sheet.room(size * 0.7, low, high)
        if x is not None:
            kind(sheet, x, float(y), float(size))
