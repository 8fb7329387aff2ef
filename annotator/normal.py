"""Normals: which way every surface faces, as colour.

Documents follow the Stable Diffusion models, 1.0 and 1.1: red faces left, green up, blue the viewer. The embedded model
learnt the axes of the rendered world, right and down, so it is fed their opposites.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator import depth
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster

BACKGROUND = Param(
    "background", "Background threshold", 0.4, 0.0, 1.0, 0.01, help="What is farther than this share faces the viewer."
)
REVERSED = Param(
    "reversed", "Channels the other way round", False, help="For maps that are blue where a surface faces right."
)


def from_depth(nearness: NDArray[np.float32], background: float, z: float = 2 * math.pi) -> Rgb:
    """Normal map of a depth map (larger is nearer, raw scale): the original's formula.

    x and y are the 3 x 3 Sobel derivatives of the raw depth, 0 where the normalised depth lies below `background`; z is
    constant; the vector of unit length is shown as (x, y, z) * 127.5 + 127.5.
    """
    low, high = float(nearness.min()), float(nearness.max())
    near = (nearness - low) / (high - low) if high > low else np.zeros_like(nearness)
    x = np.asarray(cv2.Sobel(nearness, cv2.CV_32F, 1, 0, ksize=3), np.float32)
    y = np.asarray(cv2.Sobel(nearness, cv2.CV_32F, 0, 1, ksize=3), np.float32)
    x[near < background] = 0
    y[near < background] = 0
    return shown(np.stack([x, y, np.full_like(x, z)], axis=2))


def shown(normal: NDArray[np.float32]) -> Rgb:
    """Vectors H,W,3 as colours: unit length, then (x, y, z) * 127.5 + 127.5, truncated."""
    length = np.maximum(np.sqrt((normal**2).sum(axis=2, keepdims=True)), 1e-12)
    return (normal / length * 127.5 + 127.5).clip(0, 255).astype(np.uint8)


def _from_network(card: str, picture: Rgb, values: Values) -> Document:
    return Raster("rgb", from_depth(depth.estimate(picture, card), float(values["background"])))


def _dpt(picture: Rgb, values: Values) -> Document:
    return _from_network("depth-dpt-hybrid", picture, values)


def _anything(picture: Rgb, values: Values) -> Document:
    return _from_network("depth-anything-v2-small", picture, values)


def _from_map(picture: Rgb, values: Values) -> Document:
    grey = np.asarray(picture.mean(axis=2), np.float32)
    # 8 bits over the whole range: the scale at which the original's constant z suits depth in MiDaS units.
    return Raster("rgb", from_depth(-grey if values["invert"] else grey, float(values["background"])))


def _as_is(picture: Rgb, values: Values) -> Document:
    return Raster("rgb", picture[:, :, ::-1].copy() if values["reversed"] else picture)


def _truth(world: Truth) -> Document:
    return Raster("rgb", shown(world.normal * np.array([-1, -1, 1], np.float32)))


CONTROL = ControlType(
    key="normal",
    title="Normal",
    icon=":material/3d_rotation:",
    group="photo",
    order=100,
    help="Keeps the relief of every surface; light and material are free.",
    document="rgb",
    editor="view",
    options=lambda: {"adjust": []},
    render=depth.render,
    truth=_truth,
    detectors=(
        Detector(
            "dpt",
            "From MiDaS depth",
            _dpt,
            "From the depth of MiDaS, as ControlNets for normals are trained.",
            (depth.RESOLUTION, BACKGROUND),
            ("depth-dpt-hybrid",),
        ),
        Detector(
            "anything",
            "From Depth Anything V2",
            _anything,
            "The same formula on a newer depth.",
            (depth.RESOLUTION, BACKGROUND),
            ("depth-anything-v2-small",),
        ),
        Detector("as_is", "A normal map", _as_is, "The picture is a normal map already.", (REVERSED,), reads="map"),
        Detector(
            "depth_map",
            "From a depth map",
            _from_map,
            "The picture is a depth map.",
            (depth.INVERT, BACKGROUND),
            reads="map",
        ),
    ),
    placeholder="a plaster head of a young man",
)
