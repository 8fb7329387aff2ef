"""What people build in the picture world: houses, towers, fences, street furniture.

The same terms as in `figures`: `x` is the middle, `foot` where the thing meets the ground, `size` its height.
"""

from __future__ import annotations

import numpy as np

from paperworld.world.figures import colour_of, contact
from paperworld.world.labels import BENCH, DOOR, FENCE, HOUSE, SKYSCRAPER, STREETLIGHT, TOWER, WINDOW
from paperworld.world.palette import NAMED, darker, lighter
from paperworld.world.shapes import Bulge, Sheet, Thing, box, disc, polygon

HOUSE_COLOURS = ("red", "blue", "yellow", "white", "pink", "orange")


def house(sheet: Sheet, x: float, foot: float, size: float, name: str = "") -> None:
    """A cottage: wall, pitched roof, chimney, a door and one or two windows."""
    rng, tint = sheet.rng, sheet.palette.tint
    name = name or colour_of(sheet, "house", HOUSE_COLOURS)
    roof = "brown"
    wide = size * (0.46 + 0.08 * rng.random())
    eaves = foot - size * 0.56
    contact(sheet, x, foot, wide)
    sheet.begin(Thing("house", name), foot)
    roof_colour, wall = tint(NAMED[roof]), tint(NAMED[name])
    if sheet.season == "winter":
        roof_colour = tint((238, 243, 248))
    chimney = x + wide * 0.5
    sheet.add(
        box(chimney - size * 0.06, foot - size * 0.98, chimney + size * 0.06, eaves), darker(wall), HOUSE, straight=True
    )
    sheet.add(box(x - wide, eaves - 0.004, x + wide, foot), wall, HOUSE, straight=True, lift=0.25)
    over = wide * 1.16
    sheet.add(
        polygon((x - over, eaves), (x - wide * 0.66, foot - size), (x + wide * 0.66, foot - size), (x + over, eaves)),
        roof_colour, HOUSE, straight=True, normal=(0.0, -0.6, 0.8), lift=0.2,
    )  # fmt: skip
    flip = 1 if rng.random() < 0.5 else -1
    door_x, half = x + flip * wide * (0.5 if rng.random() < 0.6 else 0.0), size * 0.085
    frame = tint((118, 80, 58))
    sheet.add(box(door_x - half, foot - size * 0.34, door_x + half, foot), frame, DOOR, straight=True)
    places = [x - flip * wide * 0.46] if abs(door_x - x) > wide * 0.3 else [x - wide * 0.56, x + wide * 0.56]
    for place in places:
        window(sheet, place, foot - size * 0.3, size * 0.12, size * 0.12)


def window(sheet: Sheet, x: float, y: float, half: float, tall: float, frame: bool = True) -> None:
    """A window pane in a pale frame, with a cross when it is large enough."""
    if frame:
        pale = sheet.palette.tint((250, 246, 236))
        sheet.add(box(x - half * 1.25, y - tall * 1.25, x + half * 1.25, y + tall * 1.25), pale, WINDOW)
    pane = sheet.palette.window
    sheet.add(box(x - half, y - tall, x + half, y + tall), pane, WINDOW, same=frame, straight=True)


def fence(sheet: Sheet, left: float, right: float, foot: float, size: float) -> None:
    """A fence of posts and two rails."""
    colour = sheet.palette.tint((164, 118, 82))
    sheet.begin(Thing("fence"), foot)
    for high in (0.78, 0.36):
        sheet.add(
            box(left, foot - size * (high + 0.1), right, foot - size * (high - 0.1)),
            darker(colour, 0.12),
            FENCE,
            straight=True,
            same=True,
        )
    for x in np.arange(left, right, size * 0.62):
        post = polygon(
            (x, foot),
            (x, foot - size * 0.95),
            (x + size * 0.12, foot - size * 1.1),
            (x + size * 0.24, foot - size * 0.95),
            (x + size * 0.24, foot),
        )
        sheet.add(post, colour, FENCE, same=True, straight=True)


def lighthouse(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A white tower with red bands and a lamp."""
    tint = sheet.palette.tint
    contact(sheet, x, foot, size * 0.2)
    sheet.begin(Thing("lighthouse"), foot)
    low, high = size * 0.15, size * 0.1
    round_ = Bulge((x, foot), (low, 0.0))
    at = [low + (high - low) * t for t in (0, 0.25, 0.5, 0.75, 1)]
    for n in range(4):
        y0, y1 = foot - size * 0.195 * n, foot - size * 0.195 * (n + 1)
        band = polygon((x - at[n + 1], y1), (x + at[n + 1], y1), (x + at[n], y0), (x - at[n], y0))
        sheet.add(
            band, tint(NAMED["white"] if n % 2 == 0 else NAMED["red"]), TOWER, bulge=round_, straight=True, same=n > 0
        )
    top = foot - size * 0.78
    sheet.add(box(x - high * 1.3, top - size * 0.03, x + high * 1.3, top), tint((70, 66, 82)), TOWER, straight=True)
    glow = (255, 236, 150)
    sheet.add(box(x - high * 0.75, top - size * 0.13, x + high * 0.75, top - size * 0.03), glow, TOWER, straight=True)
    roof = polygon((x - high, top - size * 0.13), (x, top - size * 0.24), (x + high, top - size * 0.13))
    sheet.add(roof, tint(NAMED["red"]), TOWER, straight=True)


def skyscraper(sheet: Sheet, left: float, right: float, foot: float, top: float, colour: tuple[int, int, int]) -> None:
    """A tower of windows; near ones carry panes large enough to see."""
    sheet.begin(Thing("skyscraper"), foot)
    sheet.add(box(left, top, right, foot), colour, SKYSCRAPER, straight=True, lift=0.3)
    columns = max(2, int((right - left) / 0.055))
    rows = max(2, int((foot - top) / 0.075))
    wide, tall = (right - left) / columns, (foot - top) / rows
    for row in range(rows - 1):
        for column in range(columns):
            pane = box(
                left + (column + 0.24) * wide,
                top + (row + 0.3) * tall,
                left + (column + 0.76) * wide,
                top + (row + 0.8) * tall,
            )
            sheet.add(pane, sheet.palette.window, WINDOW, straight=True)


def streetlight(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A street lamp."""
    dark = sheet.palette.tint((62, 64, 80))
    sheet.begin(Thing("streetlight"), foot)
    sheet.add(box(x - size * 0.03, foot - size, x + size * 0.03, foot), dark, STREETLIGHT, straight=True)
    sheet.add(disc(x, foot - size, size * 0.09, sides=20), (255, 232, 156), STREETLIGHT)


def bench(sheet: Sheet, x: float, foot: float, size: float) -> None:
    """A park bench; `size` is the height of its seat."""
    wood = sheet.palette.tint((168, 114, 76))
    contact(sheet, x, foot, size * 1.5)
    sheet.begin(Thing("bench"), foot)
    for dx in (-1.2, 1.2):
        sheet.add(
            box(x + (dx - 0.1) * size, foot - size, x + (dx + 0.1) * size, foot),
            darker(wood),
            BENCH,
            straight=True,
        )
    for y in (1.9, 1.45):
        sheet.add(
            box(x - size * 1.5, foot - size * y, x + size * 1.5, foot - size * (y - 0.3)), wood, BENCH, straight=True
        )
    sheet.add(
        box(x - size * 1.6, foot - size * 1.08, x + size * 1.6, foot - size * 0.78),
        lighter(wood, 0.1),
        BENCH,
        straight=True,
    )
