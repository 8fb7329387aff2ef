"""What the line-like conditions share: masks become white lines on black, and the classical ways to find lines.

No condition is defined here. Masks are uint8 H,W: 0 = paper, 255 = ink. Pictures are uint8 H,W,3 RGB.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import hwc3

Mask = NDArray[np.uint8]
Plane = NDArray[np.float32]

RESOLUTION = Param(
    "resolution", "Detection size", 512, 128, 1024, 64, unit="px", help="Shorter side of the picture that is searched."
)


def pixels_of(document: Document, kind: str) -> NDArray[np.uint8]:
    """The pixels of a raster of `kind`; InputError for every other document."""
    if not isinstance(document, Raster) or document.kind != kind:
        raise InputError("This drawing belongs to another control.", "Open it on the page that it was drawn on.")
    return document.pixels


def render_hard(document: Document, values: Values) -> Rgb:
    """White on black with exact 0 and 255: ink covers more than half a pixel or it is not there."""
    return hwc3(np.where(pixels_of(document, "mask") > 127, 255, 0).astype(np.uint8))


def render_soft(document: Document, values: Values) -> Rgb:
    """White on black, coverage kept as grey."""
    return hwc3(pixels_of(document, "mask"))


def found(mask: Mask, what: str) -> Raster:
    """`mask` as a document; InputError when it is all paper, because a black map would say nothing."""
    if not mask.any():
        raise InputError(f"No {what} was found in the picture.", "Lower the thresholds, or draw the map by hand.")
    return Raster("mask", mask)


def outlines_truth(world: Truth) -> Raster:
    """The outlines that a person would draw of a rendered scene."""
    return Raster("mask", np.ascontiguousarray(world.outlines))


def segments_mask(segments: NDArray[np.float32], height: int, width: int) -> Mask:
    """Straight segments (N,4: x1 y1 x2 y2) drawn 1 px wide, end points truncated to whole pixels."""
    mask = np.zeros((height, width), np.uint8)
    for x1, y1, x2, y2 in segments.astype(np.int64).tolist():
        cv2.line(mask, (x1, y1), (x2, y2), 255, 1)
    return mask


def thin(soft: Mask, threshold: int = 127, sigma: float = 3.0) -> Mask:
    """Non-maximum suppression of a soft edge map: 255 on ridges above `threshold`, else 0.

    A pixel is on a ridge if, after a Gaussian blur of `sigma`, it equals the maximum along one of four directions of a
    3 x 3 neighbourhood. Exact float comparison, as the original's `nms`.
    """
    blurred = np.asarray(cv2.GaussianBlur(soft.astype(np.float32), (0, 0), sigma))
    lines = (np.eye(3), np.eye(3)[::-1], np.outer((0, 1, 0), (1, 1, 1)), np.outer((1, 1, 1), (0, 1, 0)))
    ridge = np.zeros(soft.shape, bool)
    for line in lines:
        ridge |= np.asarray(cv2.dilate(blurred, np.ascontiguousarray(line, np.uint8))) == blurred
    return np.where(ridge & (blurred > threshold), 255, 0).astype(np.uint8)


def fake_scribble(soft: Mask) -> Mask:
    """Strokes of a few pixels along the ridges of a soft edge map: the original's fake scribble."""
    thick = np.asarray(cv2.GaussianBlur(thin(soft), (0, 0), 3.0))
    return np.where(thick > 4, 255, 0).astype(np.uint8)


def multiscale_gradient(picture: Rgb, strength: float = 1.0) -> Mask:
    """Soft edges without weights: the strongest colour gradient, averaged over three scales, as uint8.

    Scale s is the picture shrunk by s and lightly blurred, so coarse contours outweigh texture.
    """
    height, width = picture.shape[:2]
    total = np.zeros((height, width), np.float32)
    for scale, weight in ((1, 0.25), (2, 0.35), (4, 0.4)):
        size = (max(width // scale, 1), max(height // scale, 1))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 1.2).astype(np.float32)
        x, y = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
        magnitude: Plane = np.sqrt(np.asarray(x * x + y * y)).max(axis=2)
        total += weight * np.asarray(cv2.resize(magnitude, (width, height), interpolation=cv2.INTER_LINEAR))
    peak = max(float(np.percentile(total[::2, ::2], 98)), 24.0)  # a nearly flat picture keeps its edges faint
    return np.clip(total * (255.0 * strength / peak) - 16.0, 0, 255).astype(np.uint8)


def contours(picture: Rgb, sigma: float, strength: float, wide_px: int = 7) -> Mask:
    """Strokes of `wide_px` along the contours of a picture, as somebody would sketch them; hard 0 and 255.

    Canny's thinning and hysteresis on the colour gradient (CIELAB) after a blur of `sigma` px, which rounds corners as a hand
    does; pieces of under 32 px are left out. Higher `strength` draws weaker contours too.
    """
    lab = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), np.float32)
    smooth = cv2.GaussianBlur(lab, (0, 0), sigma)
    x, y = (np.asarray(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx), np.float32) for dx in (1, 0))
    steepest = (x * x + y * y).argmax(axis=2)[..., None]
    x, y = (np.take_along_axis(slope, steepest, axis=2)[..., 0] for slope in (x, y))
    peak = max(float(np.percentile(np.hypot(x, y)[::2, ::2], 97)), 8.0)  # a nearly flat picture has no contour
    dx, dy = (np.clip(slope * (1000.0 / peak), -32000, 32000).astype(np.int16) for slope in (x, y))
    edges = np.asarray(cv2.Canny(dx, dy, 220.0 / strength, 480.0 / strength, L2gradient=True), np.uint8)
    round_pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide_px, wide_px))
    return np.asarray(cv2.dilate(without_specks(edges, 32), round_pen), np.uint8)


def without_specks(mask: Mask, smallest: int) -> Mask:
    """`mask` without the connected pieces of ink of fewer than `smallest` pixels; 64 counts as ink, fainter hangs on to it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 63).astype(np.uint8), connectivity=8)
    keep = np.where(np.asarray(stats)[:, cv2.CC_STAT_AREA] >= smallest, 255, 0).astype(np.uint8)
    keep[0] = 0  # the paper
    near = cv2.dilate(keep[np.asarray(labels, np.int32)], np.ones((3, 3), np.uint8))
    return np.minimum(mask, np.asarray(near, np.uint8))


def line_drawing(picture: Rgb, sigma: float, threshold: float) -> Mask:
    """Ink where XDoG would put it (Winnemoeller 2012, extended difference of Gaussians, soft threshold), without specks.

    `sigma` is the stroke scale in px, `threshold` in 0-1 of the brightness: higher means more ink.
    """
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32) / 255.0
    narrow = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma))
    wide = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.6 * sigma))
    # Dividing by the wide blur makes the measure local, so that shadows do not fill with ink.
    response: Any = 1.0 + 6.0 * (narrow - wide) / (wide + 0.1)
    paper = np.where(response >= threshold, 1.0, 1.0 + np.tanh(10.0 * (response - threshold)))
    return without_specks(np.clip((1.0 - paper) * 255.0, 0, 255).astype(np.uint8), 16)


def dark_lines(picture: Rgb, sigma: float, floor: float) -> Mask:
    """Whatever is darker than its surroundings (blur of `sigma` px), scaled so that a typical line is half white.

    The "standard" line art of ControlNet 1.1: differences below `floor` do not count when the typical line is measured.
    """
    colour = picture.astype(np.float32)
    darker: Plane = np.clip((np.asarray(cv2.GaussianBlur(colour, (0, 0), sigma)) - colour).min(axis=2), 0, 255)
    lines = darker[darker > floor]
    typical = max(16.0, float(np.median(lines)) if lines.size else 0.0)
    return np.clip(darker / typical * 127.0, 0, 255).astype(np.uint8)
