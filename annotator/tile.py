"""Tile: the picture itself, coarser; what is small in it is made anew, what is large stays (ControlNet 1.1)."""

from __future__ import annotations

import cv2

from annotator import depth
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.picture import resize_to

RATE = Param(
    "rate",
    "Down sampling rate",
    1.0,
    1.0,
    8.0,
    0.25,
    unit="×",
    help="Higher leaves more detail to the model; 1 leaves the picture as it is.",
)
TRUTH_RATE = 4.0
"""How much coarser a rendered scene is shown: enough that its details have to be found again."""


def coarser(picture: Rgb, rate: float) -> Rgb:
    """`picture` with its sides shrunk to 1 / `rate` (averaged over areas) and brought back to its size (Lanczos)."""
    height, width = picture.shape[:2]
    small = max(1, int(width / rate)), max(1, int(height / rate))
    if small == (width, height):
        return picture
    return resize_to(resize_to(picture, *small, cv2.INTER_AREA), width, height)


def _resample(picture: Rgb, values: Values) -> Document:
    return Raster("rgb", coarser(picture, float(values["rate"])))


def _truth(world: Truth) -> Document:
    return Raster("rgb", coarser(world.picture, TRUTH_RATE))


CONTROL = ControlType(
    key="tile",
    title="Tile",
    icon=":material/grid_on:",
    group="rework",
    order=120,
    help="Keeps the picture and finds its details anew: for enlarging, and for pictures that are blurred.",
    document="rgb",
    editor="view",
    options=lambda: {"adjust": []},
    render=depth.render,
    truth=_truth,
    detectors=(
        Detector("resample", "The picture, resampled", _resample, "Shrunk by the rate and enlarged again.", (RATE,)),
    ),
    placeholder="best quality, sharp details",
)
