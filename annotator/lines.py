"""Straight lines: walls, windows, furniture (the original's "hough" app)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator import ink
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError

SCORE = Param("score", "Value threshold", 0.1, 0.01, 2.0, 0.01, help="How sure the network must be of a line.")
DISTANCE = Param("distance", "Distance threshold", 0.1, 0.01, 20.0, 0.01, help="Shorter lines are dropped.")
LENGTH = Param("length", "Shortest line", 16, 2, 256, 1, unit="px")


def _mlsd(size: str, picture: Rgb, values: Values) -> Document:
    from annotator.networks import mlsd

    height, width = picture.shape[:2]
    segments = mlsd.detect(picture, f"mlsd-{size}", float(values["score"]), float(values["distance"]))
    return _drawn(segments, height, width)


def _tiny(picture: Rgb, values: Values) -> Document:
    return _mlsd("tiny", picture, values)


def _large(picture: Rgb, values: Values) -> Document:
    return _mlsd("large", picture, values)


def _lsd(picture: Rgb, values: Values) -> Document:
    height, width = picture.shape[:2]
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    lines: Any = cv2.createLineSegmentDetector().detect(grey)[0]  # None when there is no line
    segments = np.zeros((0, 4), np.float32) if lines is None else np.asarray(lines, np.float32).reshape(-1, 4)
    length = np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])
    return _drawn(segments[length >= float(values["length"])], height, width)


def _drawn(segments: NDArray[np.float32], height: int, width: int) -> Document:
    if not len(segments):
        raise InputError("No straight line was found in the picture.", "Lower the thresholds, or draw lines by hand.")
    return Raster("mask", ink.segments_mask(segments, height, width))


def _truth(world: Truth) -> Document:
    return Raster("mask", ink.segments_mask(world.lines, *world.picture.shape[:2]))


CONTROL = ControlType(
    key="lines",
    title="Lines",
    icon=":material/architecture:",
    group="photo",
    order=50,
    help="Straight lines alone: good for rooms and buildings.",
    document="mask",
    editor="scribble",
    render=ink.render_hard,
    truth=_truth,
    detectors=(
        Detector(
            "mlsd",
            "M-LSD large",
            _large,
            "The network whose lines ControlNets are trained on.",
            (ink.RESOLUTION, SCORE, DISTANCE),
            ("mlsd-large",),
        ),
        Detector(
            "mlsd_tiny",
            "M-LSD tiny",
            _tiny,
            "A smaller, faster line network.",
            (ink.RESOLUTION, SCORE, DISTANCE),
            ("mlsd-tiny",),
        ),
        Detector("lsd", "OpenCV LSD", _lsd, "The classical line detector; needs no weights.", (ink.RESOLUTION, LENGTH)),
    ),
    nearest=True,
    placeholder="a modern bedroom",
)
