"""Canny edges: thin, exact lines on every colour edge of a photo."""

from __future__ import annotations

import cv2
import numpy as np

from annotator import ink
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster

THRESHOLDS = (
    Param("low", "Low threshold", 100, 1, 255, help="Weaker edges are kept only where they continue a strong one."),
    Param("high", "High threshold", 200, 1, 255, help="Edges above this are always kept."),
)
SPREAD = Param("spread", "Spread around the median", 0.33, 0.05, 0.95, 0.01, help="Smaller keeps fewer edges.")


def auto_thresholds(picture: Rgb, spread: float) -> tuple[int, int]:
    """Low and high threshold from the median brightness: (1 - spread) and (1 + spread) times it, in 1..255."""
    median = float(np.median(picture))
    low, high = (int(np.clip((1 + sign * spread) * median, 1, 255)) for sign in (-1, 1))
    return low, max(high, 2)


def _canny(picture: Rgb, values: Values) -> Document:
    return ink.found(np.asarray(cv2.Canny(picture, int(values["low"]), int(values["high"])), np.uint8), "edge")


def _auto(picture: Rgb, values: Values) -> Document:
    low, high = auto_thresholds(picture, float(values["spread"]))
    return ink.found(np.asarray(cv2.Canny(picture, low, high), np.uint8), "edge")


def _truth(world: Truth) -> Document:
    return Raster("mask", np.ascontiguousarray(world.edges))


CONTROL = ControlType(
    key="canny",
    title="Edges",
    icon=":material/border_style:",
    group="photo",
    order=40,
    help="Every edge of the photo is kept; colours and light come from the prompt.",
    document="mask",
    editor="scribble",
    render=ink.render_hard,
    truth=_truth,
    detectors=(
        Detector("canny", "Canny", _canny, "Two thresholds decide which edges stay.", THRESHOLDS),
        Detector("auto", "Canny, automatic", _auto, "Thresholds from the median brightness.", (SPREAD,)),
    ),
    nearest=True,
    placeholder="a bird on a branch",
)
