"""Shuffle: a picture whose content is moved about, so that only its colours and materials are left (ControlNet 1.1).

Every pixel is taken from a place of its own, x and y both by a smooth random field: the content shuffle that the network was
trained on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator import depth
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster

SEED = Param("seed", "Seed", 0, 0, 9999, help="Another seed moves everything elsewhere.")
SPACING = Param("spacing", "Size of the swirls", 256, 64, 512, 16, unit="px", help="ControlNet is trained with 256.")


def field(height: int, width: int, spacing: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth random field over a picture, float32 H,W, from exactly 0 to exactly 1.

    Uniform random numbers on a grid of `spacing` pixels, joined by cubic interpolation; a margin of one cell is cut off.
    """
    grid = rng.uniform(size=(height // spacing + 2, width // spacing + 2)).astype(np.float32)
    smooth = cv2.resize(grid, (width + 2 * spacing, height + 2 * spacing), interpolation=cv2.INTER_CUBIC)
    inner = np.asarray(smooth, np.float32)[spacing : spacing + height, spacing : spacing + width]
    low, high = float(inner.min()), float(inner.max())
    return (inner - low) / (high - low) if high > low else np.zeros_like(inner)


def shuffled(picture: Rgb, seed: int = 0, spacing: int = 256) -> Rgb:
    """The colours of `picture` at other places; the same seed moves them in the same way."""
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    x = field(height, width, spacing, rng) * np.float32(width - 1)
    y = field(height, width, spacing, rng) * np.float32(height - 1)
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR), np.uint8)


def _shuffle(picture: Rgb, values: Values) -> Document:
    return Raster("rgb", shuffled(picture, int(values["seed"]), int(values["spacing"])))


def _truth(world: Truth) -> Document:
    # A seed of the scene's own: a network that always saw the same swirls would learn to undo them.
    return Raster("rgb", shuffled(world.picture, int(world.picture.sum(dtype=np.uint64) % 10_000)))


CONTROL = ControlType(
    key="shuffle",
    title="Shuffle",
    icon=":material/shuffle:",
    group="rework",
    order=130,
    help="Takes colours and materials from a picture; what it shows comes from the prompt.",
    document="rgb",
    editor="view",
    options=lambda: {"adjust": []},
    render=depth.render,
    truth=_truth,
    detectors=(
        Detector("shuffle", "Content shuffle", _shuffle, "Moves everything about.", (SPACING, SEED)),
        Detector("as_is", "The picture as it is", depth.itself, "For pictures that are shuffled already.", reads="map"),
    ),
    placeholder="a village by the sea",
)
