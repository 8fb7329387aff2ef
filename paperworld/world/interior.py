"""Rooms of the picture world: wall, floor, window and furniture."""

from __future__ import annotations

from dataclasses import replace

from paperworld.world import figures, people
from paperworld.world.labels import BED, CURTAIN, FLOOR, LAMP, PAINTING, PLANT, RUG, SOFA, TABLE, WALL, WINDOW
from paperworld.world.palette import NAMED, PALETTES, Palette, darker, lighter, mix
from paperworld.world.shapes import GROUND, Sheet, Thing, box, disc, polygon


def room(sheet: Sheet, time: str, portrait: bool) -> None:
    """A room with a window and one large piece of furniture; with `portrait`, somebody lives there."""
    rng = sheet.rng
    floor = float(rng.uniform(0.64, 0.72))
    sheet.horizon, sheet.eye_m = floor - 0.25, 1.0
    sheet.palette = _lamplight(sheet.palette, time)
    tint = sheet.palette.tint
    wall = tint((238, 214, 190))
    wall_m = sheet.standing(floor)
    sheet.backdrop(wall_m)
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), wall, WALL)
    sheet.add(box(-0.01, -0.01, 1.01, 1.01), wall, WALL)
    sheet.backdrop(sheet.ground())
    sheet.add(box(-0.02, floor, 1.02, 1.02), tint((190, 140, 98)), FLOOR, normal=GROUND, straight=True, lift=0.15)
    middle = float(rng.choice((0.28, 0.72)))
    _pane(sheet, middle, floor)
    other = 1 - middle
    kind = figures.pick(sheet, ("bed", "sofa", "table"))
    name = figures.colour_of(sheet, kind, ("red", "blue", "green", "yellow", "pink"))
    if kind == "table":  # no caption names the colour of its pot
        name = "red"
    foot = floor + 0.1
    if kind == "table" or portrait:
        _painting(sheet, other + float(rng.uniform(-0.04, 0.04)), wall_m)
    if rng.random() < 0.6:
        sheet.begin(Thing("rug", "red"), 0, near=sheet.ground())
        sheet.add(disc(0.5, floor + 0.2, 0.4, 0.08, 32), tint((206, 92, 84)), RUG, normal=GROUND)
        sheet.add(disc(0.5, floor + 0.2, 0.32, 0.055, 32), tint((240, 206, 160)), RUG, normal=GROUND, same=True)
    {"bed": bed, "sofa": sofa, "table": _table}[kind](sheet, other if kind != "bed" else 0.5, foot, name)
    if rng.random() < 0.6:
        _lamp(sheet, 0.08 if middle < 0.5 else 0.92, foot + 0.03)
    if portrait:
        size = float(rng.uniform(0.56, 0.7))
        doing = figures.pick(sheet, ("standing", "waving", "dancing"))
        people.person(sheet, middle, 0.95, size, doing)
    elif rng.random() < 0.5:
        figures.animal(sheet, float(rng.uniform(0.3, 0.7)), 0.95, 0.17, figures.pick(sheet, ("cat", "dog")))


def _lamplight(outside: Palette, time: str) -> Palette:
    """The light of a room: its own, warmer at night; the windows show the sky outside."""
    pane = outside.sky_top if time == "night" else mix(outside.sky_top, outside.sky_low, 0.5)
    light = (0.96, 0.86, 0.74) if time == "night" else (1.0, 0.98, 0.95)
    return replace(PALETTES["day"], light=light, window=pane)


def _pane(sheet: Sheet, x: float, floor: float) -> None:
    tint = sheet.palette.tint
    sheet.begin(Thing("window"), 0, near=sheet.standing(floor))
    pale = tint((250, 246, 238))
    sheet.add(box(x - 0.17, 0.1, x + 0.17, 0.47), pale, WINDOW, straight=True, lift=0.15)
    for left, right in ((x - 0.145, x - 0.012), (x + 0.012, x + 0.145)):
        sheet.add(box(left, 0.125, right, 0.445), sheet.palette.window, WINDOW, same=True, straight=True)
    cloth = tint(NAMED["orange"])
    for side in (-1, 1):
        edge, inner = x + side * 0.24, x + side * 0.145
        sheet.add(
            polygon((edge, 0.07), (inner, 0.07), (inner + side * 0.03, 0.54), (edge, 0.54)), cloth, CURTAIN, lift=0.15
        )


def _painting(sheet: Sheet, x: float, wall: tuple[float, float]) -> None:
    tint = sheet.palette.tint
    sheet.begin(Thing("painting"), 0, near=wall)
    sheet.add(box(x - 0.12, 0.16, x + 0.12, 0.36), tint((150, 104, 68)), PAINTING, straight=True, lift=0.2)
    sheet.add(box(x - 0.095, 0.185, x + 0.095, 0.335), tint((140, 190, 214)), PAINTING, same=True)
    line = ((-0.095, 0.335), (-0.02, 0.23), (0.03, 0.29), (0.06, 0.26), (0.095, 0.335))
    peaks = polygon(*((x + dx, y) for dx, y in line))
    sheet.add(peaks, tint((96, 150, 100)), PAINTING, same=True)


def bed(sheet: Sheet, x: float, foot: float, name: str) -> None:
    """A bed from its side, with a blanket of the named colour."""
    tint = sheet.palette.tint
    figures.contact(sheet, x, foot, 0.36)
    sheet.begin(Thing("bed", name), foot)
    wood = tint((140, 94, 64))
    sheet.add(box(x - 0.36, foot - 0.24, x - 0.31, foot), wood, BED, straight=True)
    sheet.add(box(x - 0.33, foot - 0.13, x + 0.34, foot - 0.04), tint((246, 240, 230)), BED, straight=True)
    sheet.add(box(x - 0.12, foot - 0.15, x + 0.345, foot - 0.03), tint(NAMED[name]), BED, straight=True)
    sheet.add(disc(x - 0.22, foot - 0.15, 0.075, 0.035), tint((252, 250, 244)), BED)
    sheet.add(box(x + 0.33, foot - 0.17, x + 0.37, foot), wood, BED, straight=True)


def sofa(sheet: Sheet, x: float, foot: float, name: str) -> None:
    """A sofa of the named colour."""
    cloth = sheet.palette.tint(NAMED[name])
    figures.contact(sheet, x, foot, 0.24)
    sheet.begin(Thing("sofa", name), foot)
    sheet.add(box(x - 0.21, foot - 0.25, x + 0.21, foot - 0.05), darker(cloth, 0.1), SOFA, straight=True, lift=0.15)
    sheet.add(box(x - 0.2, foot - 0.12, x + 0.2, foot - 0.02), cloth, SOFA, straight=True)
    for side in (-1, 1):
        a, b = x + side * 0.19, x + side * 0.25
        sheet.add(box(min(a, b), foot - 0.17, max(a, b), foot), lighter(cloth, 0.1), SOFA, straight=True)


def _table(sheet: Sheet, x: float, foot: float, name: str) -> None:
    tint = sheet.palette.tint
    figures.contact(sheet, x, foot, 0.2)
    sheet.begin(Thing("table"), foot)
    wood = tint((150, 100, 66))
    for side in (-1, 1):
        a = x + side * 0.16
        sheet.add(box(a - 0.015, foot - 0.18, a + 0.015, foot), darker(wood, 0.15), TABLE, straight=True)
    sheet.add(box(x - 0.21, foot - 0.215, x + 0.21, foot - 0.17), wood, TABLE, straight=True)
    sheet.begin(Thing("plant"), foot)
    pot = foot - 0.215
    for lean in (-0.055, 0.0, 0.055):
        leaf = polygon(
            (x, pot - 0.05),
            (x + lean - 0.028, pot - 0.12),
            (x + lean * 1.3, pot - 0.19),
            (x + lean + 0.028, pot - 0.12),
        )
        sheet.add(leaf, tint((84, 152, 96)), PLANT, same=True)
    sheet.add(
        polygon((x - 0.045, pot - 0.07), (x + 0.045, pot - 0.07), (x + 0.03, pot), (x - 0.03, pot)),
        tint(NAMED[name]),
        PLANT,
    )


def _lamp(sheet: Sheet, x: float, foot: float) -> None:
    tint = sheet.palette.tint
    sheet.begin(Thing("lamp"), foot)
    dark = tint((80, 72, 80))
    sheet.add(box(x - 0.009, foot - 0.4, x + 0.009, foot), dark, LAMP, straight=True)
    sheet.add(disc(x, foot, 0.045, 0.014), dark, LAMP, same=True)
    sheet.add(
        polygon((x - 0.04, foot - 0.48), (x + 0.04, foot - 0.48), (x + 0.075, foot - 0.36), (x - 0.075, foot - 0.36)),
        (255, 230, 160),
        LAMP,
        straight=True,
    )
