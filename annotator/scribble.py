"""Scribble: strokes of any width, white on black, from a pen, a drawing or the soft edges of a photo."""

from __future__ import annotations

import cv2
import numpy as np

from annotator import ink, softedge
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Values
from controlnet_core.domain.document import Document

DRAWING_PARAMS = (
    Param("threshold", "Ink threshold", 127, 1, 254, help="What is darker than this in any channel is ink."),
    Param("light", "Light ink on dark paper", False, help="For chalk: what is lighter than the threshold is ink."),
)
CONTOUR_PARAMS = (
    Param("sigma", "Coarseness", 4.0, 1.5, 10.0, 0.5, unit="px", help="Higher leaves out small shapes and texture."),
    Param("strength", "Strength", 1.0, 0.2, 4.0, 0.1, help="Higher draws weaker contours too."),
)
XDOG_PARAMS = (
    Param("sigma", "Stroke scale", 1.6, 0.5, 4, 0.1, unit="px"),
    Param("amount", "Amount of ink", 0.94, 0.5, 1.0, 0.01),
)


def _from_drawing(picture: Rgb, values: Values) -> Document:
    limit = int(values["threshold"])
    inked = picture.max(axis=2) > limit if values["light"] else picture.min(axis=2) < limit
    return ink.found(np.where(inked, 255, 0).astype(np.uint8), "ink")


def _from_hed(picture: Rgb, values: Values) -> Document:
    return ink.found(ink.fake_scribble(softedge.hed(picture)), "edge")


def _from_soft_edge(picture: Rgb, values: Values) -> Document:
    return ink.found(ink.fake_scribble(picture.max(axis=2)), "edge")


def _from_gradient(picture: Rgb, values: Values) -> Document:
    return ink.found(ink.contours(picture, float(values["sigma"]), float(values["strength"])), "edge")


def _from_xdog(picture: Rgb, values: Values) -> Document:
    soft = ink.line_drawing(picture, float(values["sigma"]), float(values["amount"]))
    strokes = ink.without_specks(np.where(soft > 127, 255, 0).astype(np.uint8), 32)
    return ink.found(np.asarray(cv2.dilate(strokes, np.ones((2, 2), np.uint8)), np.uint8), "line")


CONTROL = ControlType(
    key="scribble",
    title="Scribble",
    icon=":material/draw:",
    group="draw",
    order=10,
    help="Rough strokes say where things are; the prompt says what they are.",
    document="mask",
    editor="scribble",
    render=ink.render_hard,
    truth=ink.outlines_truth,
    detectors=(
        Detector(
            "hed",
            "Fake scribble (HED)",
            _from_hed,
            "Strokes along the contours that the HED network finds.",
            (ink.RESOLUTION,),
            ("hed",),
        ),
        Detector(
            "gradient",
            "Contours",
            _from_gradient,
            "Strokes along strong colour changes; needs no weights.",
            (ink.RESOLUTION, *CONTOUR_PARAMS),
        ),
        Detector(
            "drawing",
            "A drawing",
            _from_drawing,
            "Takes the ink of a drawing on paper.",
            DRAWING_PARAMS,
            reads="map",
            reading={"light": True},
        ),
        Detector(
            "soft_edge_map",
            "A soft edge map",
            _from_soft_edge,
            "Strokes along the bright ridges of a soft edge map, whichever detector made it.",
            reads="map",
        ),
        Detector(
            "xdog",
            "Line drawing (XDoG)",
            _from_xdog,
            "Fine strokes as with a fountain pen.",
            (ink.RESOLUTION, *XDOG_PARAMS),
        ),
    ),
    nearest=True,
    placeholder="a turtle in a river",
)
