"""Anime line art: the clean, even lines of an animation cel."""

from __future__ import annotations

from annotator import ink
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Values
from controlnet_core.domain.document import Document

XDOG_PARAMS = (
    Param("sigma", "Line scale", 1.3, 0.5, 4, 0.1, unit="px"),
    Param("amount", "Amount of ink", 0.94, 0.5, 1.0, 0.01),
)


def _network(picture: Rgb, values: Values) -> Document:
    from annotator.networks import lineart

    return ink.found(lineart.detect_anime(picture), "line")


def _xdog(picture: Rgb, values: Values) -> Document:
    return ink.found(ink.line_drawing(picture, float(values["sigma"]), float(values["amount"])), "line")


CONTROL = ControlType(
    key="lineart_anime",
    title="Anime lines",
    icon=":material/animated_images:",
    group="photo",
    order=80,
    help="Even cel lines for anime models.",
    document="mask",
    editor="scribble",
    render=ink.render_soft,
    truth=ink.outlines_truth,
    detectors=(
        Detector("anime", "Anime line art", _network, "The 1.1 network.", (ink.RESOLUTION,), ("lineart-anime",)),
        Detector(
            "xdog", "Line drawing (XDoG)", _xdog, "Fine pen lines; needs no weights.", (ink.RESOLUTION, *XDOG_PARAMS)
        ),
    ),
    placeholder="1girl, in classroom, skirt, uniform, red hair",
)
