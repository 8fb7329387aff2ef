"""Soft edges: grey contours that say how strongly things are separated (HED)."""

from __future__ import annotations

import cv2
import numpy as np

from annotator import ink
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster

STRENGTH = Param("strength", "Strength", 1.0, 0.2, 3.0, 0.1, help="Brightness of the edges.")


def hed(picture: Rgb) -> ink.Mask:
    """The HED network's edge map of `picture`, uint8 H,W."""
    from annotator.networks import hed as network

    return network.detect(picture)


def _hed(picture: Rgb, values: Values) -> Document:
    return ink.found(hed(picture), "edge")


def _gradient(picture: Rgb, values: Values) -> Document:
    return ink.found(ink.multiscale_gradient(picture, float(values["strength"])), "edge")


def _truth(world: Truth) -> Document:
    thick = np.asarray(cv2.dilate(world.edges, np.ones((2, 2), np.uint8)))
    soft = np.asarray(cv2.GaussianBlur(thick, (0, 0), 1.2), np.float32)
    return Raster("mask", np.clip(soft * 1.4, 0, 255).astype(np.uint8))


CONTROL = ControlType(
    key="softedge",
    title="Soft edge",
    icon=":material/blur_on:",
    group="photo",
    order=60,
    help="Contours with their softness: keeps shapes, leaves room for texture.",
    document="mask",
    editor="scribble",
    render=ink.render_soft,
    truth=_truth,
    detectors=(
        Detector(
            "hed", "HED", _hed, "The network whose soft edges ControlNets are trained on.", (ink.RESOLUTION,), ("hed",)
        ),
        Detector(
            "gradient",
            "Gradient",
            _gradient,
            "Colour changes at three scales; needs no weights.",
            (ink.RESOLUTION, STRENGTH),
        ),
    ),
    placeholder="an oil painting of a handsome old man",
)
