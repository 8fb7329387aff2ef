"""The colours of the picture world: five strict palettes, one for each light, and the named colours of things.

A palette does not know shapes; it turns a thing's own colour into the colour seen in its light and at its distance.
"""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]
"""RGB, 0..255."""


@dataclass(frozen=True)
class Palette:
    """One light: the sky's gradient, what shines and floats in it, and how it tints things.

    `light` multiplies a colour; then `air` is mixed in by `haze` (0..1), and the low sky by distance.
    """

    sky_top: Colour
    sky_low: Colour
    disc: Colour
    cloud: Colour
    light: tuple[float, float, float]
    air: Colour
    haze: float
    window: Colour

    def tint(self, colour: Colour, distance: float = 0.0) -> Colour:
        """The colour seen in this light; `distance` 0 (here) .. 1 (lost in the low sky)."""
        lit = [c * k for c, k in zip(colour, self.light, strict=True)]
        aired = mix(tuple(lit), self.air, self.haze)
        return mix(aired, self.sky_low, distance)


def mix(a: tuple[float, ...], b: tuple[float, ...], share: float) -> Colour:
    """`a` with `share` (0..1) of `b`, rounded to RGB bytes."""
    x, y, z = (min(255, max(0, round(p + (q - p) * share))) for p, q in zip(a, b, strict=True))
    return (x, y, z)


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """The same hue, nearer to a deep warm blue: the colour of rims and shaded sides."""
    return mix(colour, (34, 26, 58), share)


def lighter(colour: Colour, share: float = 0.25) -> Colour:
    """The same hue, nearer to warm white."""
    return mix(colour, (255, 250, 238), share)


PALETTES: dict[str, Palette] = {
    "day": Palette(
        (112, 186, 226),
        (216, 238, 238),
        (255, 222, 110),
        (252, 252, 248),
        (1, 1, 1),
        (255, 248, 224),
        0.04,
        (150, 205, 226),
    ),
    "grey": Palette(
        (158, 174, 186),
        (216, 222, 222),
        (236, 232, 214),
        (238, 240, 240),
        (0.88, 0.9, 0.92),
        (176, 186, 192),
        0.16,
        (176, 196, 206),
    ),
    "sunset": Palette(
        (214, 94, 104),
        (255, 206, 132),
        (255, 240, 186),
        (255, 176, 140),
        (1.0, 0.8, 0.7),
        (128, 48, 92),
        0.15,
        (255, 214, 130),
    ),
    "night": Palette(
        (20, 26, 64),
        (66, 80, 138),
        (250, 244, 212),
        (92, 104, 158),
        (0.66, 0.68, 0.88),
        (30, 36, 92),
        0.2,
        (255, 214, 112),
    ),
    "dawn": Palette(
        (148, 172, 216),
        (255, 212, 204),
        (255, 246, 226),
        (255, 236, 232),
        (1.0, 0.9, 0.92),
        (222, 170, 190),
        0.16,
        (255, 226, 176),
    ),
}

NAMED: dict[str, Colour] = {
    "red": (206, 66, 58),
    "blue": (62, 112, 184),
    "yellow": (240, 194, 70),
    "green": (74, 146, 92),
    "white": (244, 240, 230),
    "orange": (236, 138, 56),
    "pink": (238, 150, 168),
    "purple": (134, 92, 164),
    "brown": (146, 98, 66),
    "black": (52, 50, 62),
    "grey": (150, 150, 160),
}

GROUND: dict[str, Colour] = {
    "spring": (156, 204, 104),
    "summer": (122, 178, 92),
    "autumn": (206, 172, 92),
    "winter": (240, 244, 248),
}

LEAVES: dict[str, Colour] = {
    "spring": (122, 184, 92),
    "summer": (70, 142, 82),
    "autumn": (226, 132, 52),
    "winter": (226, 236, 242),
}

SKIN: Colour = (232, 184, 146)
HAIR: Colour = (58, 42, 40)
TROUSERS: Colour = (76, 72, 98)
"""Of people in blue shirts; all others wear blue ones."""
INK: Colour = (46, 38, 58)
"""Of every outline."""
CREAM: Colour = (246, 238, 220)
"""Of the paper that nothing stands on."""
TERRACOTTA: Colour = (226, 122, 88)
"""Of whatever has neither a word nor a colour."""
