"""Documents: what an editor edits, a detector finds and a renderer turns into a control picture.

Two kinds exist. A `Raster` is a grid of numbers (strokes, class indices or colours), a `Skeleton` is a list of people.
Both travel between browser, web process and disk in one small container (`encode`, `decode`):

    b"CNSD1" | header length, uint32 little-endian | header, UTF-8 JSON | zlib-compressed pixels (rasters only)

with the header {"kind", "width", "height"} and, for a skeleton, {"people": [...]}. This module does not draw: the
renderers stand in `annotator`.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError

MAGIC = b"CNSD1"
SIDE_MAX_PX = 2048
HEADER_MAX_BYTES = 1 << 20
VALUES_MAX = 60_000
"""As many people as may be, with faces and hands, have 50,000."""
PEOPLE_MAX = 64

RasterKind = Literal["mask", "classes", "rgb", "rgba"]
_CHANNELS: dict[str, int] = {"mask": 1, "classes": 1, "rgb": 3, "rgba": 4}


@dataclass(frozen=True)
class Raster:
    """A document of pixels.

    kind "mask": uint8 H,W, coverage of a stroke, 0 = paper, 255 = ink. kind "classes": uint8 H,W, one class index per
    pixel (ADE20K, 0-based). kind "rgb": uint8 H,W,3 in RGB order. kind "rgba": uint8 H,W,4, a picture with holes: alpha 255
    where it stays, 0 where it is made anew; colours lie under holes too.
    """

    kind: RasterKind
    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        channels = _CHANNELS[self.kind]
        wanted = 2 if channels == 1 else 3
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != wanted:
            raise InputError(f"A {self.kind} document needs a uint8 array of {wanted} dimensions.")
        if channels > 1 and self.pixels.shape[2] != channels:
            raise InputError(f"A {self.kind} document needs {channels} channels.")

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


Coordinate = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Point(BaseModel):
    """One keypoint in document pixels. It may lie off the frame. `confidence` 0 means missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    x: Coordinate
    y: Coordinate
    confidence: Confidence = 1.0


MISSING = Point(x=0, y=0, confidence=0)


class Person(BaseModel):
    """One person: 18 OpenPose body keypoints and, where known, 21 points a hand and 70 of the face.

    `hidden` lists body keypoints that are kept but not drawn. `ghosts` lists body keypoints of low confidence that wait
    to be accepted; renderers do not draw them either. Nothing is drawn of somebody who is not `visible`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    body: Annotated[tuple[Point, ...], Field(min_length=18, max_length=18)]
    left_hand: Annotated[tuple[Point, ...], Field(min_length=21, max_length=21)] | None = None
    right_hand: Annotated[tuple[Point, ...], Field(min_length=21, max_length=21)] | None = None
    face: Annotated[tuple[Point, ...], Field(min_length=70, max_length=70)] | None = None
    hidden: frozenset[Annotated[int, Field(ge=0, lt=18)]] = frozenset()
    ghosts: frozenset[Annotated[int, Field(ge=0, lt=18)]] = frozenset()
    visible: bool = True

    def drawn(self, index: int) -> bool:
        """Whether body keypoint `index` (0..17) is present, accepted and shown."""
        if not self.visible:
            return False
        return self.body[index].confidence > 0 and index not in self.hidden and index not in self.ghosts


class Skeleton(BaseModel):
    """A document of people on a canvas of `width` x `height` pixels; later people lie on top."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["skeleton"] = "skeleton"
    width: Annotated[int, Field(ge=1, le=SIDE_MAX_PX)]
    height: Annotated[int, Field(ge=1, le=SIDE_MAX_PX)]
    people: Annotated[tuple[Person, ...], Field(max_length=PEOPLE_MAX)] = ()


Document = Raster | Skeleton
DocumentKind = Literal["mask", "classes", "rgb", "rgba", "skeleton"]


def encode(document: Document) -> bytes:
    """Pack a document into its container."""
    if isinstance(document, Skeleton):
        return _pack(document.model_dump_json().encode())
    header = {"kind": document.kind, "width": document.width, "height": document.height}
    return _pack(json.dumps(header).encode()) + zlib.compress(np.ascontiguousarray(document.pixels).tobytes(), 1)


def decode(data: bytes) -> Document:
    """Unpack a container that may come from anywhere.

    Raises InputError, in one sentence, for everything that is not a well-formed document of at most 2048 x 2048 px.
    """
    if len(data) < 9 or data[:5] != MAGIC:
        raise InputError("This is not a drawing of the studio.", "Upload a picture, or a file that was saved here.")
    (length,) = struct.unpack_from("<I", data, 5)
    if length > HEADER_MAX_BYTES or 9 + length > len(data):
        raise InputError("The drawing is cut off or damaged.", "Save it again, or choose another one.")
    json_input.check_value_count(data[9 : 9 + length], VALUES_MAX, "The drawing")
    try:
        if b'"people"' in data[9 : 9 + length]:  # thousands of points: no dictionaries on the way to them
            return _skeleton(data[9 : 9 + length])
        header = cast(dict[str, object], json.loads(data[9 : 9 + length]))
        # Anything else than an object of JSON fails here or on the first look-up, with an error of the list below.
        if header["kind"] == "skeleton":
            return Skeleton.model_validate(header)
        return _raster(header, data[9 + length :])
    except (ValueError, RecursionError, TypeError, KeyError, ValidationError, zlib.error) as error:
        raise InputError(
            "The drawing is damaged: its content does not fit its description.", "Choose another one."
        ) from error


def _pack(header: bytes) -> bytes:
    return MAGIC + struct.pack("<I", len(header)) + header


def _skeleton(header: bytes) -> Skeleton:
    skeleton = Skeleton.model_validate_json(header)
    if "kind" not in skeleton.model_fields_set:
        raise ValueError("no kind")
    return skeleton


def _raster(header: dict[str, object], packed: bytes) -> Raster:
    kind, width, height = header["kind"], header["width"], header["height"]
    if not isinstance(kind, str) or kind not in _CHANNELS or type(width) is not int or type(height) is not int:
        raise ValueError("unknown kind or size")
    if not (1 <= width <= SIDE_MAX_PX and 1 <= height <= SIDE_MAX_PX):
        raise ValueError("size out of range")
    size = width * height * _CHANNELS[kind]
    # Never inflate more than was announced: a few kilobytes can hold gigabytes.
    inflate = zlib.decompressobj()
    raw = inflate.decompress(packed, size + 1)
    if len(raw) != size or not inflate.eof:
        raise ValueError("pixel count differs")
    shape = (height, width) if _CHANNELS[kind] == 1 else (height, width, _CHANNELS[kind])
    return Raster(cast("RasterKind", kind), np.frombuffer(raw, np.uint8).reshape(shape))
