"""Skeletons as the pose ControlNet was trained to see them: colours, limbs, hands and faces, pixel for pixel.

Facts about the picture, none about documents: points come as (x, y) or None. Drawing happens in place on uint8 H,W,3
RGB canvases.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np

from controlnet_core.domain.control import Rgb

XY = tuple[float, float]
Points = Sequence[XY | None]

BODY_NAMES = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye",
    "right ear", "left ear",
)  # fmt: skip

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""The 17 drawn connections, 0-based, in drawing order; limb i has colour i."""

COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip

HAND_EDGES = tuple(
    (0 if step == 0 else 4 * finger + step, 4 * finger + step + 1) for finger in range(5) for step in range(4)
)
"""Wrist to fingertip, thumb first; edge i has hue i / 20."""

_RADIUS_PX = 4
_FACE_RADIUS_PX = 3
_FAR_PX = 30_000  # OpenCV's fixed-point drawing overflows not far beyond this


def draw_bodies(canvas: Rgb, people: Sequence[Points]) -> None:
    """ControlNet 1.0: points first, then every limb as an ellipse at 60 % over what is there."""
    for index in range(18):
        for points in people:
            _dot(canvas, points[index], _RADIUS_PX, COLOURS[index])
    for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
        for points in people:
            polygon = _limb(points[start], points[end])
            if polygon is not None:
                _blend(canvas, polygon, colour)


def draw_bodies_v11(canvas: Rgb, people: Sequence[Points]) -> None:
    """ControlNet 1.1: limbs in 60 % of their colour, opaque, and the points on top."""
    for points in people:
        for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
            polygon = _limb(points[start], points[end])
            if polygon is not None:
                cv2.fillConvexPoly(canvas, polygon, [int(channel * 0.6) for channel in colour])
    for points in people:
        for point, colour in zip(points, COLOURS, strict=True):
            _dot(canvas, point, _RADIUS_PX, colour)


def draw_hand(canvas: Rgb, points: Points) -> None:
    """One hand of 21 points: edges 2 px wide in the colours of the rainbow, then blue points."""
    for index, (start, end) in enumerate(HAND_EDGES):
        first, second = points[start], points[end]
        if first is not None and second is not None:
            red, green, blue = colorsys.hsv_to_rgb(index / len(HAND_EDGES), 1.0, 1.0)
            cv2.line(canvas, _whole(first), _whole(second), (red * 255, green * 255, blue * 255), thickness=2)
    for point in points:
        _dot(canvas, point, _RADIUS_PX, (0, 0, 255))


def draw_face(canvas: Rgb, points: Points) -> None:
    """One face: white points."""
    for point in points:
        _dot(canvas, point, _FACE_RADIUS_PX, (255, 255, 255))


def _whole(point: XY) -> tuple[int, int]:
    x, y = (int(min(max(value, -_FAR_PX), _FAR_PX)) for value in point)
    return x, y


def _dot(canvas: Rgb, point: XY | None, radius: int, colour: tuple[int, int, int]) -> None:
    if point is not None:
        cv2.circle(canvas, _whole(point), radius, colour, thickness=-1)


def _limb(first: XY | None, second: XY | None) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None:
    """The outline of a limb: an ellipse around the middle, as long as the limb, 8 px wide, at a whole-degree angle."""
    if first is None or second is None:
        return None
    middle = _whole(((first[0] + second[0]) / 2, (first[1] + second[1]) / 2))
    along_x, along_y = first[0] - second[0], first[1] - second[1]
    half = min(int(math.hypot(along_x, along_y) / 2), _FAR_PX)
    angle = int(math.degrees(math.atan2(along_y, along_x)))
    return np.asarray(cv2.ellipse2Poly(middle, (half, _RADIUS_PX), angle, 0, 360, 1), np.int32)


def _blend(canvas: Rgb, polygon: np.ndarray[tuple[int, ...], np.dtype[np.int32]], colour: tuple[int, int, int]) -> None:
    # Only the limb's surroundings: where nothing is drawn, 40 % + 60 % of the same is the same.
    low = np.maximum(polygon.min(axis=0) - 1, 0)
    high = np.minimum(polygon.max(axis=0) + 2, (canvas.shape[1], canvas.shape[0]))
    if (low >= high).any():
        return
    there = canvas[low[1] : high[1], low[0] : high[0]]
    painted = there.copy()
    cv2.fillConvexPoly(painted, polygon - low.astype(np.int32), colour)
    there[:] = cv2.addWeighted(there, 0.4, painted, 0.6, 0)
