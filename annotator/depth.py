"""Depth: how near things are; near is bright."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from annotator import ink
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import hwc3

RESOLUTION = Param(
    "resolution", "Detection size", 384, 128, 1024, 64, unit="px", help="Shorter side of the picture that is searched."
)
INVERT = Param("invert", "Near is dark in this picture", False)


def brightness(nearness: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.uint8]:
    """Nearness in any unit as 8 bits: lowest 0, highest 255, as the original. InputError when it is flat."""
    low, high = float(nearness.min()), float(nearness.max())
    if not high > low:
        raise InputError("The picture has the same depth everywhere.", "Use another picture or another detector.")
    return ((nearness - low) / (high - low) * 255.0).clip(0, 255).astype(np.uint8)


def estimate(picture: Rgb, card: str) -> NDArray[np.float32]:
    """Inverse depth of `picture` as the network behind `card` gives it: float32 H,W, larger is nearer, no unit."""
    from annotator.networks import depth as network

    return network.detect(picture, card)


def _dpt(picture: Rgb, values: Values) -> Document:
    return Raster("rgb", hwc3(brightness(estimate(picture, "depth-dpt-hybrid"))))


def _anything(picture: Rgb, values: Values) -> Document:
    return Raster("rgb", hwc3(brightness(estimate(picture, "depth-anything-v2-small"))))


def itself(picture: Rgb, values: Values) -> Document:
    """A picture that is a map already, as a document: what `render` gives back."""
    return Raster("rgb", picture)


def _as_is(picture: Rgb, values: Values) -> Document:
    grey = np.asarray(picture.mean(axis=2), np.float32)
    return Raster("rgb", hwc3(brightness(-grey if values["invert"] else grey)))


def _truth(world: Truth) -> Document:
    nearness = 1.0 / np.maximum(world.depth.astype(np.float32), 1e-3)  # MiDaS predicts inverse depth
    if nearness.min() == nearness.max():
        return Raster("rgb", np.zeros_like(world.picture))
    return Raster("rgb", hwc3(brightness(nearness)))


def render(document: Document, values: Values) -> Rgb:
    """The picture itself: depth and normal maps are documents of colours."""
    return ink.pixels_of(document, "rgb")


CONTROL = ControlType(
    key="depth",
    title="Depth",
    icon=":material/filter_hdr:",
    group="photo",
    order=90,
    help="Keeps how near everything is; shapes inside a plane are free.",
    document="rgb",
    editor="view",
    render=render,
    truth=_truth,
    detectors=(
        Detector(
            "dpt",
            "MiDaS (DPT hybrid)",
            _dpt,
            "The network whose depth ControlNets are trained on.",
            (RESOLUTION,),
            ("depth-dpt-hybrid",),
        ),
        Detector(
            "anything",
            "Depth Anything V2 small",
            _anything,
            "Newer, smaller, with finer borders.",
            (RESOLUTION,),
            ("depth-anything-v2-small",),
        ),
        Detector("as_is", "A depth map", _as_is, "The picture is a depth map already.", (INVERT,), reads="map"),
    ),
    placeholder="Stormtrooper's lecture",
)
