"""The paper that a drawing lies on, where it is neither white nor black: kraft, coloured or photographed, with its light and shade.

    paper = found(rgb)      # None: a white or black ground, or none at all
    paper.ink               # what stands out from it
    whitened(rgb)           # the picture as if its paper were white

No condition is defined here. `components/assets/canvas/paper.js` finds the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import SIDE_MAX_PX
from controlnet_core.domain.picture import resize_to

CELLS = 24
"""The paper's colour is the middle one of so many cells across and down."""
ROUNDS = 8
KEPT = 0.6
"""The share of the cells, those that fit best, through which each round lays the paper anew."""
NEAR = 24
"""Levels by which paper differs from its colour: its grain, and a JPEG's noise."""
SHARE_MIN = 0.6
WHITE, BLACK = 231, 24
STRONG = 0.9
"""The share of the ink that is weaker than what counts as whole."""
LOOKED_AT_PX = 250_000
_FAR, _MIXED = 60, 40
"""From the paper's colour is ink; from the line between both is a mixture of them."""
_ONE_INK, _BETWEEN_MAX, _SOLID_MAX, _SOLID = 0.985, 0.6, 0.5, 20
_ROWS = 256
_PALE, _COLOURLESS, _PALE_SHARE_MIN = 0.6, 48, 0.02
"""Paper that little is left of is as light as this share of the lightest, and as colourless; less than so much of it is none."""
_GROUND_MIN = 96
"""Darker paper is no light one: nothing on it could be made white."""


@dataclass(frozen=True)
class Paper:
    """Paper under a drawing: the `ink` (uint8 H,W) that is `light` or dark on it, the strongest tenth of which counts as whole,
    and whether it is `drawn`: strokes of one ink, where a photo of something has shades, or is one dark thing.
    """

    ink: NDArray[np.uint8]
    light: bool
    drawn: bool


def found(rgb: Rgb) -> Paper | None:
    """The paper of a uint8 RGB picture: one colour under a light that changes slowly; None where most of it is no such thing, or
    where it is white or black.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < CELLS:
        return None
    if max(height, width) > SIDE_MAX_PX:  # no drawing is larger
        shrink = SIDE_MAX_PX / max(height, width)
        small = found(resize_to(rgb, max(1, round(width * shrink)), max(1, round(height * shrink))))
        return None if small is None else replace(small, ink=resize_to(small.ink, width, height, cv2.INTER_LINEAR))
    step = max(1, round((height * width / LOOKED_AT_PX) ** 0.5))
    surface = _surface(rgb[::step, ::step])
    x, y = _places(width), _places(height)
    middle = _colour(surface, x[::step], y[::step]).reshape(-1, 3).mean(axis=0)
    if middle.min() >= WHITE or middle.max() <= BLACK:
        return None
    below, above = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        away = rgb[rows] - _colour(surface, x, y[rows])
        below[rows] = np.clip(np.rint(-away.min(axis=2)), 0, 255)
        above[rows] = np.clip(np.rint(away.max(axis=2)), 0, 255)
    if np.mean((below <= NEAR) & (above <= NEAR)) < SHARE_MIN:
        return None
    counts = [np.bincount(one.ravel(), minlength=256) for one in (below, above)]
    levels = np.arange(256)
    dark, bright = (int((count * levels)[NEAR + 1 :].sum()) for count in counts)
    light = bright > dark
    strength, count = (above, counts[1]) if light else (below, counts[0])
    so_far: NDArray[np.int64] = np.cumsum(count[NEAR + 1 :])
    if not so_far[-1]:
        return Paper(np.zeros_like(strength), light, False)
    whole = NEAR + 1 + int(np.searchsorted(so_far, STRONG * float(so_far[-1])))
    scale = 255 / (whole - NEAR / 2)
    ink = np.clip(np.floor((levels - NEAR / 2) * scale), 0, 255).astype(np.uint8)[strength]
    some = rgb[::step, ::step] - _colour(surface, x[::step], y[::step])
    return Paper(ink, light, _is_drawn(ink, strength, whole, some))


def whitened(rgb: Rgb) -> Rgb:
    """A uint8 RGB picture of a drawing as if its paper were white and evenly lit, its colours as they are on such paper.

    Where most of it is coloured in, the paper is what is light and colourless. A picture without light paper stays as it is.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < CELLS:
        return rgb
    step = max(1, round((height * width / LOOKED_AT_PX) ** 0.5))
    some = rgb[::step, ::step]
    x, y = _places(width), _places(height)
    surface = _surface(some)
    away = np.abs(some - _colour(surface, x[::step], y[::step])).max(axis=2)
    if np.mean(away <= NEAR) < SHARE_MIN:
        surface = _pale_surface(some, x[::step], y[::step])
    if surface is None or _colour(surface, _places(3), _places(3)).max(axis=2).min() < _GROUND_MIN:
        return rgb
    white = np.empty_like(rgb)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        ground = np.maximum(_colour(surface, x, y[rows]), 1)
        white[rows] = np.clip(np.rint(rgb[rows] * (255 / ground)), 0, 255)
    return white


def _pale_surface(rgb: Rgb, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The colour of what is light and colourless, as `_surface` gives it; None where that is next to nothing."""
    lightest = rgb.min(axis=2)
    pale = (lightest >= _PALE * np.percentile(lightest, 99)) & (rgb.max(axis=2) - lightest <= _COLOURLESS)
    if pale.mean() < _PALE_SHARE_MIN:
        return None
    rows, columns = np.nonzero(pale)
    basis = _basis(x[columns], y[rows])
    colours = rgb[pale].astype(np.float64)
    fitted = np.zeros((6, 3))
    fitted[0] = np.percentile(colours, 90, axis=0)  # what is darker than the rest of it is faint colour
    for _ in range(ROUNDS):
        kept = np.abs(colours - basis @ fitted).max(axis=1) <= NEAR
        if np.count_nonzero(kept) < 6:
            return None
        some = basis[kept]
        fitted = np.asarray(np.linalg.solve(some.T @ some + 1e-3 * np.eye(6), some.T @ colours[kept]), np.float64)
    return fitted


def _basis(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def _surface(rgb: Rgb) -> NDArray[np.float64]:
    """The paper's colour as a quadratic in x and y, each from -1 to 1: coefficients 6,3, through the cells that agree."""
    height, width = rgb.shape[:2]
    rows, columns = ([side * at // CELLS for at in range(CELLS + 1)] for side in (height, width))
    middles = np.array(
        [_middle(rgb[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]) for i in range(CELLS) for j in range(CELLS)],
        np.float64,
    )
    at = _places(CELLS)
    y, x = np.repeat(at, CELLS), np.tile(at, CELLS)
    basis = _basis(x, y)
    fitted = np.zeros((6, 3))
    fitted[0] = _middle(middles)
    for _ in range(ROUNDS):
        order = np.argsort(np.abs(middles - basis @ fitted).max(axis=1), kind="stable")
        kept = order[: int(KEPT * len(order))]
        some = basis[kept]
        fitted = np.asarray(np.linalg.solve(some.T @ some + 1e-9 * np.eye(6), some.T @ middles[kept]), np.float64)
    return fitted


def _middle(colours: NDArray[Any]) -> NDArray[np.float64]:
    flat = np.sort(colours.reshape(-1, 3), axis=0)
    return flat[len(flat) // 2].astype(np.float64)


def _places(count: int) -> NDArray[np.float64]:
    """The middles of so many equal parts of -1 to 1."""
    return np.asarray((np.arange(count) + 0.5) / count * 2 - 1, np.float64)


def _colour(surface: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """The paper's colour, float len(y),len(x),3."""
    out = np.empty((len(y), len(x), 3), np.float32)
    for channel, (whole, right, down, wide, both, tall) in enumerate(surface.T):
        across = (whole + right * x + wide * x * x).astype(np.float32)
        out[..., channel] = (down * y + tall * y * y).astype(np.float32)[:, None] + across
        out[..., channel] += (both * y).astype(np.float32)[:, None] * x.astype(np.float32)
    return out


def _is_drawn(ink: NDArray[np.uint8], strength: NDArray[np.uint8], whole: int, away: NDArray[Any]) -> bool:
    far = np.abs(away).max(axis=2)
    inked = away[far >= _FAR]
    if not len(inked):
        return False
    colour = np.median(inked, axis=0)
    along = np.clip(away @ colour / float(colour @ colour), 0, 1)
    if np.mean(np.abs(away - along[..., None] * colour).max(axis=2) <= _MIXED) < _ONE_INK:
        return False
    between = np.count_nonzero((strength > 0.35 * whole) & (strength < 0.75 * whole))
    if between > _BETWEEN_MAX * np.count_nonzero(strength >= 0.75 * whole):
        return False
    inside = (ink > 127).astype(np.uint8)
    brush = np.ones((max(3, min(ink.shape) // _SOLID),) * 2, np.uint8)
    solid = np.count_nonzero(cv2.morphologyEx(inside, cv2.MORPH_OPEN, brush))
    return bool(solid <= _SOLID_MAX * np.count_nonzero(inside))
