"""Inpaint: a picture with holes that are made anew, to suit what is around them (ControlNet 1.1).

The document is the picture with its holes as transparency, so rubbing a hole out brings the picture back. The network reads
-1 in place of every channel where there is a hole (`controlnet_core.diffusion.control_inputs.hint_of`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from annotator.ink import pixels_of
from controlnet_core.domain.control import HOLE_BELOW, ControlType, Detector, Rgb, Values
from controlnet_core.domain.document import Document, Raster


def _as_is(picture: Rgb, values: Values) -> Document:
    return Raster("rgba", opaque(picture))


def opaque(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of three or four channels with four; without holes where it had three."""
    if picture.shape[2] == 4:
        return picture
    return np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])


def render(document: Document, values: Values) -> Rgb:
    """uint8 H,W,4: the picture, alpha 0 in its holes and 255 elsewhere."""
    pixels = pixels_of(document, "rgba").copy()
    pixels[..., 3] = np.where(pixels[..., 3] < HOLE_BELOW, 0, 255)
    return pixels


CONTROL = ControlType(
    key="inpaint",
    title="Inpaint",
    icon=":material/healing:",
    group="rework",
    order=110,
    help="Paint over what should be made anew; the rest tells the model what fits.",
    document="rgba",
    editor="inpaint",
    render=render,
    detectors=(
        Detector(
            "as_is",
            "The picture itself",
            _as_is,
            "Paint the holes over it; where the file is transparent there are holes already.",
            alpha=True,
        ),
    ),
    placeholder="a wooden bench in a garden",
)
