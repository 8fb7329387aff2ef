"""Pictures under a drawing: documents brought into another frame, and control pictures as see-through layers.

Pure: numpy and OpenCV in, arrays and bytes out; the routes serve them, `webapp.ui.compose` arranges them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain import resize as resizing
from controlnet_core.domain.control import ControlType, Rgb
from controlnet_core.domain.document import Document, DocumentKind, Person, Point, Raster, Skeleton
from controlnet_core.domain.picture import hwc3
from controlnet_core.domain.recipe import Resize

OPAQUE: tuple[DocumentKind, ...] = ("classes", "rgb", "rgba")
"""Kinds of documents that fill their frame: as layers they are shown whole, only fainter, where they are not drawn on paper."""

_COLOURLESS = 24


def placed(document: Document, width: int, height: int, resize: Resize) -> Document:
    """A document on a canvas of `width` x `height` pixels, brought there as a control picture would be."""
    if (document.width, document.height) == (width, height):
        return document
    if isinstance(document, Skeleton):
        return _placed_people(document, width, height, resize)
    given = document.pixels if document.pixels.ndim == 3 else hwc3(document.pixels)
    whole = resizing.fit(given, width, height, resize, nearest=document.kind == "classes")
    pixels = whole if document.pixels.ndim == 3 else np.ascontiguousarray(whole[:, :, 0])
    return Raster(document.kind, pixels)


def _placed_people(skeleton: Skeleton, width: int, height: int, resize: Resize) -> Skeleton:
    across, down = width / skeleton.width, height / skeleton.height
    if resize != "stretch":
        across = down = (max if resize == "crop" else min)(across, down)
    left, top = (width - skeleton.width * across) / 2, (height - skeleton.height * down) / 2

    def moved(points: tuple[Point, ...] | None) -> tuple[Point, ...] | None:
        if points is None:
            return None
        return tuple(
            point.model_copy(update={"x": point.x * across + left, "y": point.y * down + top})
            if point.confidence > 0
            else point
            for point in points
        )

    def person(one: Person) -> Person:
        parts = ("body", "left_hand", "right_hand", "face")
        return one.model_copy(update={part: moved(getattr(one, part)) for part in parts})

    return Skeleton(width=width, height=height, people=tuple(person(one) for one in skeleton.people))


def covers(control: ControlType) -> bool:
    """Whether the documents of a condition hide what lies under them."""
    return control.document in OPAQUE and not control.paper


def layer_png(rgb: Rgb, kind: DocumentKind, tint: tuple[int, int, int], paper: int = 0) -> bytes:
    """A control picture as a layer over or under others: PNG with alpha.

    Strokes (white on black) take the colour `tint` and are clear elsewhere, people keep their colours, maps are opaque. On white
    `paper` (255) what has no colour is as clear as it is light, and looks the same on white.
    """
    if kind == "rgb" and paper == 255:
        lowest = rgb.min(axis=2, keepdims=True)
        alpha = np.where(rgb.max(axis=2, keepdims=True) - lowest < _COLOURLESS, 255 - lowest, 255).astype(np.float32)
        colour = 255 - (255.0 - rgb) * (255 / np.maximum(alpha, 1))
        return _png(np.dstack([np.clip(np.rint(colour), 0, 255)[:, :, ::-1], alpha]).astype(np.uint8))
    if kind in OPAQUE:
        order = cv2.COLOR_RGB2BGR if rgb.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        return _png(np.asarray(cv2.cvtColor(rgb, order), np.uint8))
    alpha = rgb.max(axis=2)
    colour = np.broadcast_to(np.array(tint, np.uint8), rgb.shape) if kind == "mask" else rgb
    return _png(np.dstack([colour[:, :, ::-1], alpha]))


def photo_jpeg(rgb: Rgb, width: int, height: int, resize: Resize) -> bytes:
    """A photo in a frame of `width` x `height` pixels."""
    bgr = cv2.cvtColor(resizing.fit(rgb, width, height, resize), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(picture), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
