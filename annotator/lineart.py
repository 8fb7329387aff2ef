"""Line art: the drawing an illustrator would make of a photo."""

from __future__ import annotations

from annotator import ink
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Values
from controlnet_core.domain.document import Document

CLASSICAL_PARAMS = (
    Param("sigma", "Line scale", 6.0, 0.5, 20.0, 0.5, unit="px", help="Larger also keeps broad shadows."),
    Param("floor", "Ignore differences below", 8, 0, 64),
)


def _fine(picture: Rgb, values: Values) -> Document:
    from annotator.networks import lineart

    return ink.found(lineart.detect(picture, "lineart-fine"), "line")


def _coarse(picture: Rgb, values: Values) -> Document:
    from annotator.networks import lineart

    return ink.found(lineart.detect(picture, "lineart-coarse"), "line")


def _classical(picture: Rgb, values: Values) -> Document:
    return ink.found(ink.dark_lines(picture, float(values["sigma"]), float(values["floor"])), "line")


CONTROL = ControlType(
    key="lineart",
    title="Line art",
    icon=":material/stylus_note:",
    group="photo",
    order=70,
    help="Clean pen lines, from a photo or your own ink.",
    document="mask",
    editor="scribble",
    render=ink.render_soft,
    truth=ink.outlines_truth,
    detectors=(
        Detector("fine", "Line art, fine", _fine, "The 1.1 network, detailed.", (ink.RESOLUTION,), ("lineart-fine",)),
        Detector(
            "coarse", "Line art, coarse", _coarse, "The 1.1 network, bold.", (ink.RESOLUTION,), ("lineart-coarse",)
        ),
        Detector(
            "classical",
            "Classical",
            _classical,
            "What is darker than its surroundings; needs no weights.",
            (ink.RESOLUTION, *CLASSICAL_PARAMS),
        ),
    ),
    placeholder="a bag of leather",
)
