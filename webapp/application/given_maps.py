"""What is given and is a map already: told by the command line's reader, in a process of its own.

given = read(control, data)         # where a photo is asked for; None: it is one, and a detector looks at it
what, said = taken(control, data)   # where a map is asked for
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import annotator
from annotator import finished
from annotator.detection import canvas_size
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import open_picture
from controlnet_core.execution.confined import Confined, Header, Limits, Parts
from webapp.application.layers import placed
from webapp.application.photos import LONGEST_PX
from webapp.application.recipe_builder import Finished, finished_map

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


def taken(control: ControlType, data: bytes) -> tuple[Document | Finished, str]:
    """The file of a map as a control is given it, and what it was taken for: "" where nothing was read in it.

    Ink becomes light on dark, class numbers their colours, poses people; every other picture is the map as it is. Raises
    InputError for what cannot be read, an empty drawing, and a photo where a map of classes is wanted.
    """
    told, parts = _reader.call({"control": control.key, "whole": True}, [data])
    document = documents.decode(parts[1]) if len(parts) > 1 else None
    if not told["shape"]:
        assert document is not None
        return document, str(told["sentence"])
    height, width, channels = map(int, told["shape"])
    return Finished(np.frombuffer(parts[0], np.uint8).reshape(height, width, channels), document), str(told["sentence"])


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
    if header.get("whole"):
        return _whole(control, data)
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


def _whole(control: ControlType, data: bytes) -> tuple[Header, Parts]:
    """The shape of a finished picture, [] where there is none; its pixels, then its document where there is one."""
    given, sentence = finished_map(control, data) or (None, "")
    if given is None:
        given = Finished(open_picture(data, longest=LONGEST_PX, alpha=control.document == "rgba"))
    if not isinstance(given, Finished):
        return {"sentence": sentence, "shape": []}, [b"", documents.encode(given)]
    beside = [] if given.document is None else [documents.encode(given.document)]
    picture = np.ascontiguousarray(given.picture)
    return {"sentence": sentence, "shape": list(picture.shape)}, [picture.reshape(-1).data, *beside]
