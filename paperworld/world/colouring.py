"""Scenes as somebody colours them in: ink lines on white paper, and crayons that say which colour the picture has where.

A part that is coloured in has any colour, whatever its caption says: what is drawn is seen. White paper says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator.colour import INK, INK_BELOW, PAPER_FROM
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import Raster
from paperworld.world import freehand
from paperworld.world.labels import WALL
from paperworld.world.palette import NAMED, Colour
from paperworld.world.rendering import Rendering, parts_of
from paperworld.world.scene import Scene

PAPER = 255
_LEAST_PX = 24


@dataclass(frozen=True)
class Colouring:
    """A scene some of whose parts have colours of their own, by the numbers of outlined parts, and how those are drawn: `bare`
    of lines, or in colours that are laid flat (`solid`) or by strokes."""

    scene: Scene
    colours: dict[int, Colour]
    bare: bool
    solid: bool


def coloured_in(scene: Scene, rng: np.random.Generator) -> Colouring:
    """`scene` as somebody colours it in, who takes a few crayons; without lines every part has a colour that is drawn."""
    bare = rng.random() < 0.12
    share = 1.0 if bare or rng.random() < 0.3 else rng.uniform(0.3, 1)
    few = [_crayon(rng) for _ in range(int(rng.integers(2, 7)))]
    ground = scene.shapes[0].part
    parts = dict.fromkeys(shape.part for shape in scene.shapes if shape.label >= 0 and shape.part != ground)
    colours = {
        part: _crayon(rng) if bare else few[int(rng.integers(len(few)))] for part in parts if rng.random() < share
    }
    palette = scene.palette
    if _on_paper(scene) and rng.random() < 0.4:
        colours[ground] = _crayon(rng)
        palette = replace(palette, sky_top=colours[ground], sky_low=colours[ground])
    shapes = tuple(
        replace(shape, colour=colours[shape.part]) if shape.part in colours and shape.label >= 0 else shape
        for shape in scene.shapes
    )
    made = replace(scene, shapes=shapes, palette=palette, strokes=() if bare else scene.strokes)
    return Colouring(made, colours, bare, bool(bare or rng.random() < 0.4))


def _on_paper(scene: Scene) -> bool:
    """Whether nothing but paper is behind the things."""
    behind = [shape for shape in scene.shapes if shape.thing == 0]
    return len(behind) == 1 and behind[0].label == WALL


def drawing(made: Colouring, truth: Rendering, rng: np.random.Generator) -> Raster:
    """The drawing on white paper of a scene and its rendering: parts coloured in, the others in lines alone."""
    height, width = truth.outlines.shape
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    parts = parts_of(made.scene, width, height)
    for part, colour in made.colours.items():
        laid = _laid(parts == part, rng, 1.0 if made.solid else rng.uniform(0.15, 1), max(height, width) / 256)
        sheet[laid] = colour
    if made.bare:
        return Raster("rgb", sheet)
    ink = freehand.scribble(made.scene, truth, rng).pixels[..., None].astype(np.float32) / 255
    return Raster("rgb", np.round(sheet * (1 - ink) + np.array(INK) * ink).astype(np.uint8))


def _crayon(rng: np.random.Generator) -> Colour:
    """One of the named colours or any other."""
    if rng.random() < 0.45:
        base = np.array(list(NAMED.values())[int(rng.integers(len(NAMED)))]) + rng.normal(0, 8, 3)
    else:
        hsv = np.array([[[rng.integers(180), rng.integers(30, 240), rng.integers(60, 250)]]], np.uint8)
        base = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)
    base = np.clip(np.round(base), 24, 250).astype(int)
    base[base.argmin()] = min(int(base.min()), PAPER_FROM - 2)
    r, g, b = base.tolist()
    return (r, g, b)


def _laid(region: NDArray[np.bool_], rng: np.random.Generator, share: float, scale: float) -> NDArray[np.bool_]:
    """Where a crayon lies in `region` H,W: all of it, or a zigzag that covers about `share` of it."""
    ys, xs = np.nonzero(region)
    if share > 0.9 or len(xs) < _LEAST_PX * scale**2:
        return region
    wide = rng.uniform(4, 14) * scale
    turn = rng.uniform(0, np.pi)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    middle = np.array([xs.mean(), ys.mean()])
    spots = np.stack([xs, ys], 1) - middle
    reach, depth = spots @ along, spots @ across
    if share < 0.4:  # a dab somewhere
        start = rng.uniform(np.quantile(depth, 0.2), np.quantile(depth, 0.7))
        levels = np.array([start, start + 0.5 * wide])
    else:
        levels = np.arange(depth.min(), depth.max() + wide, wide / share)
    ends = np.array([reach.min(), reach.max()]) * rng.uniform(0.7, 1.0)
    path = [
        middle + along * ends[(side + number) % 2] + across * level + rng.normal(0, 0.8 * scale, 2)
        for number, level in enumerate(levels)
        for side in (0, 1)
    ]
    stroke = np.zeros(region.shape, np.uint8)
    fixed = np.round(np.array(path) * 16).astype(np.int32)
    cv2.polylines(stroke, [fixed], False, 1, max(2, round(wide)), cv2.LINE_8, 4)
    limits = region
    if rng.random() < 0.3:  # a little over the line
        limits = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return (stroke > 0) & limits


def said(sheet: Rgb) -> NDArray[np.bool_]:
    """H,W: where a drawing says the colour of the picture, a little off its ink."""
    ink = (sheet.max(2) < INK_BELOW).astype(np.uint8)
    return (sheet.min(2) < PAPER_FROM) & (cv2.dilate(ink, np.ones((5, 5), np.uint8)) == 0)
