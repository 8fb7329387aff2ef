"""What is given where a photo is asked for and is a map already: told by the command line's reader, in a process of its own.

given = read(control, data)     # None: a photo, which a detector looks at
"""

from __future__ import annotations

from dataclasses import dataclass

import annotator
from annotator import finished
from annotator.detection import canvas_size
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import InputError
from controlnet_core.execution.confined import Confined, Header, Limits, Parts
from webapp.application.layers import placed

CPU_S = 2.0
MEMORY_BYTES = 400 << 20
_reader = Confined("webapp.application.given_maps:read_here", Limits(CPU_S, MEMORY_BYTES), "file")


@dataclass(frozen=True)
class GivenMap:
    """A finished map as a drawing on a canvas of the pages, and what it was taken for."""

    document: Document
    sentence: str


def read(control: ControlType, data: bytes) -> GivenMap | None:
    """The drawing in a file; None for what looks like a photo, or like no file of this condition at all.

    Raises InputError for a map that is one and cannot be drawn on.
    """
    if control.group == "rework":  # a picture to rework is no map of anything
        return None
    told, parts = _reader.call({"control": control.key}, [data])
    return GivenMap(documents.decode(parts[0]), str(told["sentence"])) if parts else None


def said_beside(data: bytes) -> str:
    """What to say of a file that is looked at as a photo though a map is drawn in it already, "" where it is none.

    Nobody has said which condition it is of, and lines may be of several. Raises InputError for a pose, which is of one.
    """
    for control in annotator.controls().values():
        if control.document == "skeleton" and read(control, data) is not None:
            raise InputError(
                "This is a finished pose, and here photos are looked at.", f"Give it on the {control.title} page."
            )
    lines = next(one for one in annotator.controls().values() if one.document == "mask" and one.group == "photo")
    if read(lines, data) is None:
        return ""
    return (
        "This looks like a finished map: on its control's page it becomes the drawing. Here it is looked at as a photo."
    )


def read_here(header: Header, parts: list[bytes]) -> tuple[Header, Parts]:
    """The process's own end."""
    data = bytes(parts.pop())
    control = annotator.control(str(header["control"]))
    try:
        reading = finished.read(control, data)
    except InputError:
        if finished.is_json(data):
            raise
        return {}, []  # a photo where classes are wanted, or no picture: whoever reads photos says so
    if reading is None:
        return {}, []
    if reading.document is None:
        raise InputError(
            "This is a skeleton picture in colours that are not OpenPose's: its joints cannot be moved.",
            "Open the pose's JSON file, or a photo. The command line and the API take such a picture as it is.",
        )
    document = reading.document
    size = canvas_size(document.height, document.width, min(document.height, document.width))
    return {"sentence": reading.sentence}, [documents.encode(placed(document, *size, "stretch"))]
