"""Colour strokes: ink lines on white paper, coloured in with crayons.

Ink is an outline. Every other colour that is laid is the colour of the picture there. White paper says nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator import depth, ink, paper
from annotator.scribble import CONTOUR_PARAMS
from annotator.seg import grown
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError

INK = (20, 20, 24)
INK_BELOW = 41
"""A pixel of which no channel reaches this is ink; the darkest crayon is lighter."""
PAPER_FROM = 233
"""A pixel all channels of which reach this is paper; the lightest crayon is darker in one."""
CRAYONS = {
    "red": (206, 66, 58), "orange": (236, 138, 56), "yellow": (240, 194, 70), "green": (74, 146, 92), "blue": (62, 112, 184),
    "purple": (134, 92, 164), "pink": (238, 150, 168), "brown": (146, 98, 66), "black": (52, 50, 62), "grey": (150, 150, 160),
    "white": (244, 240, 230),
}  # fmt: skip
"""The box of crayons: colours that have a name."""
_PEN_PX = 3
_SPECK_SHARE = 1 / 4000
_ROUNDS = 12
_HUE_FIRST = np.array([0.6, 1.0, 1.0])
"""Weights of CIELAB's axes: light and shade of one crayon differ less than two crayons."""
_LEAST_PX = 24
"""Less than this of a region between outlines is left white: nobody's crayon is as fine."""

COLOURS = Param("colours", "Crayons", 10, 2, 24, help="How many colours there are to colour with.")
PAPER = Param("paper", "Paper from", 225, 120, 254, help="What is lighter than this in every channel is paper.")
PEN = Param("ink", "Ink below", 90, 10, 200, help="What is darker than this in every channel is ink.")


def crayon(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`colours` (uint8 ...,3) as crayons: what would be read as ink is made as light as it has to be, paper stays white."""
    short = np.maximum(INK_BELOW + 4 - colours.max(axis=-1, keepdims=True).astype(np.int16), 0)
    lifted = (colours + short).astype(np.uint8)
    return np.where(colours.min(axis=-1, keepdims=True) >= PAPER_FROM, np.uint8(255), lifted)


def _truth(world: Truth) -> Document:
    outlined = world.outlines > 127
    count, regions = cv2.connectedComponents((~outlined).astype(np.uint8), connectivity=4)
    regions = np.asarray(regions, np.int32)
    medians = np.full((count, 3), 255, np.uint8)
    order = np.argsort(regions.ravel(), kind="stable")
    starts = np.searchsorted(regions.ravel()[order], np.arange(1, count + 1))
    for number in range(1, count):
        of_region = order[starts[number - 1] : starts[number]]
        medians[number] = np.median(world.picture.reshape(-1, 3)[of_region], axis=0)
    sheet = crayon(medians)[regions]
    sheet[(np.bincount(regions.ravel(), minlength=count) < _LEAST_PX)[regions]] = 255
    sheet[outlined] = INK
    return Raster("rgb", sheet)


def _flat(picture: Rgb, values: Values) -> Document:
    lines = ink.contours(picture, float(values["sigma"]), float(values["strength"]), _PEN_PX)
    sheet = crayon(flattened(picture, int(values["colours"])))
    sheet[lines > 0] = INK
    return Raster("rgb", sheet)


def flattened(picture: Rgb, colours: int) -> Rgb:
    """`picture` in at most so many colours, in areas without specks; the same picture gives the same colours.

    Colours are the middles of k-means over a histogram in CIELAB, begun with colours that are frequent and far from each other.
    """
    height, width = picture.shape[:2]
    smooth = np.asarray(cv2.bilateralFilter(picture, 9, 40, 7), np.uint8)
    lab = np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), np.uint8).reshape(-1, 3)
    cells = (lab >> 2).astype(np.int32) @ np.array([1 << 12, 1 << 6, 1], np.int32)
    kinds, kind, counts = np.unique(cells, return_inverse=True, return_counts=True)
    found = np.stack([np.bincount(kind, lab[:, k], len(kinds)) for k in range(3)], 1) / counts[:, None]
    seen = found * _HUE_FIRST
    middles = seen[[counts.argmax()]]
    away = ((seen - middles[0]) ** 2).sum(1)
    while len(middles) < min(colours, len(seen)):
        middles = np.vstack([middles, seen[(away * np.sqrt(counts)).argmax()]])
        away = np.minimum(away, ((seen - middles[-1]) ** 2).sum(1))
    nearest = np.zeros(len(seen), np.intp)
    for _ in range(_ROUNDS):
        nearest = ((middles**2).sum(1) - 2 * (seen @ middles.T)).argmin(axis=1)
        weights = np.maximum(np.bincount(nearest, counts, len(middles)), 1e-9)
        sums = np.stack([np.bincount(nearest, counts * seen[:, k], len(middles)) for k in range(3)], 1)
        middles = np.where(weights[:, None] < 1, middles, sums / weights[:, None])
    labels = nearest[kind].astype(np.uint8).reshape(height, width)
    labels = _without_specks(labels, len(middles), round(height * width * _SPECK_SHARE))
    flat = np.clip(np.rint(middles / _HUE_FIRST), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(flat[None], cv2.COLOR_LAB2RGB), np.uint8)[0][labels]


def _without_specks(labels: NDArray[np.uint8], count: int, smallest: int) -> NDArray[np.uint8]:
    """`labels` H,W with those of the nearest large area in pieces of fewer than `smallest` pixels."""
    large = np.zeros(labels.shape, bool)
    for label in range(count):
        of_label = np.asarray(labels == label).astype(np.uint8)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(of_label, connectivity=4)
        keeps = np.asarray(stats)[:, cv2.CC_STAT_AREA] >= smallest
        keeps[0] = False
        large |= np.asarray(keeps, bool)[np.asarray(pieces, np.int32)]
    return grown(labels, ~large)


def _from_drawing(picture: Rgb, values: Values) -> Document:
    sheet = paper.whitened(picture)
    drawn = sheet.min(axis=2) < int(values["paper"])
    if not drawn.any():
        raise InputError("No drawing was found in the picture.", "Lower the paper's level, or draw by hand.")
    inked = sheet.max(axis=2) < int(values["ink"])
    sheet = np.where(drawn[..., None], crayon(sheet), np.uint8(255))
    sheet[inked] = INK
    return Raster("rgb", sheet)


CONTROL = ControlType(
    key="colour",
    title="Colour strokes",
    icon=":material/brush:",
    group="draw",
    order=15,
    help="Draw lines with ink and colour them in: the picture has those lines, and those colours there.",
    document="rgb",
    editor="colour",
    paper=255,
    options=lambda: {"crayons": [{"name": name, "rgb": list(rgb)} for name, rgb in CRAYONS.items()]},
    render=depth.render,
    truth=_truth,
    detectors=(
        Detector(
            "flat",
            "Flat colours and lines",
            _flat,
            "A photo as somebody would colour it in: few colours, and lines along its contours.",
            (ink.RESOLUTION, COLOURS, *CONTOUR_PARAMS),
        ),
        Detector("as_is", "The map itself", depth.itself, "Ink and colours on white paper already.", reads="map"),
        Detector(
            "drawing",
            "A drawing",
            _from_drawing,
            "A photo or a scan of a coloured drawing: its paper becomes white, its lines ink, its colours stay.",
            (PAPER, PEN),
            reads="map",
        ),
    ),
    placeholder="a red house under a blue sky",
)
