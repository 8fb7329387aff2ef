"""Brings a control picture to the size of the picture that is made: what the model sees. Imports no torch."""

from __future__ import annotations

import math

import cv2
import numpy as np

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.recipe import Resize

_MARGIN = 4
"""How many times what is seen of a picture a crop enlarges at most: of a strip of 1 x 2048 px, all would be gigabytes."""


def fit(picture: Rgb, width: int, height: int, resize: Resize = "stretch", nearest: bool = False) -> Rgb:
    """`picture` at exactly `width` x `height` pixels.

    "stretch" ignores the aspect, "crop" keeps it and cuts what is over, "fit" keeps it and fills the rest with the most
    frequent colour of the border. `nearest` invents no new colours; else bilinear, averaged over areas when shrinking.
    """
    if picture.shape[:2] == (height, width):
        return picture
    if resize == "stretch":
        return _scaled(picture, width, height, nearest)
    tall, wide = picture.shape[:2]
    choose = max if resize == "crop" else min
    scale = choose(width / wide, height / tall)
    if resize == "crop":
        rows, columns = math.ceil(_MARGIN * height / scale), math.ceil(_MARGIN * width / scale)
        top, left = max(0, (tall - rows) // 2), max(0, (wide - columns) // 2)
        picture = picture[top : top + rows, left : left + columns]
        tall, wide = picture.shape[:2]
    inner_width, inner_height = max(1, round(wide * scale)), max(1, round(tall * scale))
    inner = _scaled(picture, inner_width, inner_height, nearest)
    if resize == "crop":
        top, left = (inner_height - height) // 2, (inner_width - width) // 2
        return np.ascontiguousarray(inner[top : top + height, left : left + width])
    full = np.empty((height, width, picture.shape[2]), np.uint8)
    full[:] = _border_colour(picture)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    full[top : top + inner_height, left : left + inner_width] = inner
    return full


def _scaled(picture: Rgb, width: int, height: int, nearest: bool) -> Rgb:
    shrinks = width * height < picture.shape[0] * picture.shape[1]
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(
        cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST if nearest else smooth), np.uint8
    )


def _border_colour(picture: Rgb) -> Rgb:
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colours, counts = np.unique(border, axis=0, return_counts=True)
    return colours[counts.argmax()]
