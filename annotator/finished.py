"""Maps that somebody has finished already: what a file is to a condition, and the sentence that says what it was taken for.

    read(control, path.read_bytes())     # Reading(document=Raster(...), sentence="Taken as a finished map: light lines on dark.")

The one reader for page, command line and recipes. A file that looks like a photo has no reading here: a detector looks at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator import paper, seg
from annotator.formats import openpose_json, skeleton_picture
from controlnet_core.domain.control import ControlType, Rgb
from controlnet_core.domain.document import Document, Raster, Skeleton
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import Layers, at_full_strength, open_layers

Polarity = Literal["auto", "dark", "light"]
"""Which ink a drawing has: told by the picture, dark on light paper, or light on dark paper."""
Numbers = Literal["auto", "0", "1"]
"""What the first class is called in a picture of class numbers: told by the picture, 0, or 1 as in ADE20K's files."""
POLARITIES = ("auto", "dark", "light")
NUMBERS = ("auto", "0", "1")

_COLOURLESS = 24
_PAPER_SHARE = 0.5
_FRAME_SHARE = 0.25
"""What is alike the border and less of the picture is a frame, no paper."""
_FAINT = 32
"""Of ink coverage: what is less everywhere is noise."""
_LOOKED_AT_PX = 250_000
_FAR, _NEAR = 96, 40
"""From the paper's colour is ink; from the line between both is a mixture of them."""
_SKELETON_PAPER, _SKELETON_PAPER_SHARE = 16, 0.6


@dataclass(frozen=True)
class Reading:
    """What a file was taken for: a `document`, the finished `picture` where it says more than that, or both."""

    sentence: str
    document: Document | None = None
    picture: Rgb | None = None


def read(
    control: ControlType, data: bytes, *, polarity: Polarity = "auto", numbers: Numbers = "auto", sure: bool = False
) -> Reading | None:
    """The finished map in a file of a picture, or in one of OpenPose JSON; None for what looks like a photo.

    `sure` says that it is one, whatever it looks like. Raises InputError for what cannot be read, for an empty drawing, and
    for a photo where a map of classes is wanted: any photo would have a nearest class everywhere.
    """
    if control.document == "skeleton" and is_json(data):
        skeleton, lost = openpose_json.read_with_losses(data)
        return Reading(" ".join([f"Taken as a pose file of {_people(skeleton)}.", *lost]), skeleton)
    layers = open_layers(data)
    if control.document == "mask":
        return _lines(layers, polarity, sure)
    if control.document == "classes":
        return _classes(layers, numbers, sure, lossy=data[:2] == b"\xff\xd8" or data[8:16] == b"WEBPVP8 ")
    if control.document == "skeleton":
        return _skeleton(layers, sure)
    return Reading("Taken as a finished map.", Raster("rgb", layers.rgb)) if sure else None


def is_json(data: bytes) -> bool:
    """Whether a file is a text of JSON rather than a picture."""
    return data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def ink_of(layers: Layers, polarity: Polarity = "auto") -> tuple[NDArray[np.uint8], str]:
    """Ink coverage of a drawing, uint8 H,W with 255 for ink, and in words how it was read.

    Ink on a transparent ground is its alpha, whatever its colour; the strongest counts as whole. On coloured or photographed
    paper it is what stands out from it. Else the paper is told by the picture's border, where that is half and half, or a frame,
    by the whole of it; of coloured ink the strongest channel counts.
    """
    rgb, alpha = layers.rgb, layers.alpha
    if polarity == "auto" and alpha is not None and _is_ground(layers):
        return at_full_strength(alpha), "ink on a transparent ground"
    if polarity == "auto":
        coloured = None if max(_plain_shares(rgb)) >= _PAPER_SHARE else paper.found(rgb)
        if coloured is not None and coloured.ink.any():
            return coloured.ink, f"{'light' if coloured.light else 'dark'} lines on coloured paper"
        luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        border = np.concatenate([luma[0], luma[-1], luma[1:-1, 0], luma[1:-1, -1]])
        edge = float(np.median(border))
        framed = _share((luma < 128) == (edge < 128)) < _FRAME_SHARE
        ground = float(np.median(luma)) if framed or 96 < edge < 160 else edge
        polarity = "light" if ground < 128 else "dark"
    if polarity == "light":
        return _seen(np.asarray(rgb.max(axis=2), np.uint8)), "light lines on dark paper"
    return _seen(np.asarray(255 - rgb.min(axis=2), np.uint8)), "dark lines on light paper"


def _seen(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A drawing all of which is faint, such as one in pencil, is no empty one."""
    return at_full_strength(ink) if _FAINT <= int(ink.max(initial=0)) < 128 else ink


def _is_ground(layers: Layers) -> bool:
    """Whether the transparent part is what was drawn on, not the cut-out edge of a whole picture."""
    alpha = layers.alpha
    if alpha is None:
        return False
    border = np.concatenate([alpha[0], alpha[-1], alpha[1:-1, 0], alpha[1:-1, -1]])
    if np.median(border) < 128:
        return True
    inked = layers.colour[alpha >= 128]
    return bool(inked.size) and int(np.ptp(inked.max(axis=1))) <= 2 * _COLOURLESS


def _lines(layers: Layers, polarity: Polarity, sure: bool) -> Reading | None:
    if not sure and polarity == "auto" and not _looks_drawn(layers):
        return None
    ink, words = ink_of(layers, polarity)
    if not ink.any():
        raise InputError(
            "There is no ink in this picture.", "Choose another file, or say which ink it has: light or dark."
        )
    return Reading(f"Taken as a finished map: {words}.", Raster("mask", np.ascontiguousarray(ink)))


def _looks_drawn(layers: Layers) -> bool:
    """Whether a picture is mostly paper with ink of one colour, or ink on a transparent ground."""
    if layers.alpha is not None and _is_ground(layers):
        return True
    rgb = layers.rgb
    dark, light = _plain_shares(rgb)
    if max(dark, light) < _PAPER_SHARE:
        coloured = paper.found(rgb)
        return coloured is not None and coloured.drawn
    colourless = rgb.max(axis=2) - rgb.min(axis=2) <= _COLOURLESS
    return _share(colourless) >= 0.99 or _is_of_one_ink(rgb, 0 if dark > light else 255)


def _plain_shares(rgb: Rgb) -> tuple[float, float]:
    """How much of a picture is black, and how much white."""
    return _share(rgb.max(axis=2) <= _COLOURLESS), _share(rgb.min(axis=2) >= 255 - _COLOURLESS)


def _is_of_one_ink(rgb: Rgb, ground: int) -> bool:
    """Whether every colour is the paper's, that of the ink, or between both: a photo of a thing on white has shades and lights."""
    step = max(1, round((rgb.shape[0] * rgb.shape[1] / _LOOKED_AT_PX) ** 0.5))
    away = rgb[::step, ::step].astype(np.float32) - ground
    inked = away[np.abs(away).max(axis=2) >= _FAR]
    if not len(inked):
        return False
    ink = np.median(inked, axis=0)
    along = np.clip(away @ ink / float(ink @ ink), 0, 1)
    return _share(np.abs(away - along[..., None] * ink).max(axis=2) <= _NEAR) >= 0.99


def _skeleton(layers: Layers, sure: bool) -> Reading | None:
    rgb = layers.rgb
    if layers.alpha is not None and _is_ground(layers):
        rgb = (layers.colour.astype(np.uint16) * layers.alpha[..., None] // 255).astype(np.uint8)
    high = rgb.max(axis=2)
    if _share(high <= _SKELETON_PAPER) < _SKELETON_PAPER_SHARE:
        return (
            Reading("Taken as a finished skeleton picture, though it looks like a photo.", picture=rgb)
            if sure
            else None
        )
    found = skeleton_picture.read(rgb)
    if found is not None:
        parts = " and ".join(name for name, there in (("hands", found.hands), ("faces", found.faces)) if there)
        lost = f" Its {parts} are no joints that can be moved." if parts else ""
        people = found.skeleton.people
        hidden = sum(point.confidence == 0 for one in people for point in one.body)
        if hidden:  # of whom a limb in the middle is not to be seen, both halves may have become people
            lost += f" {hidden} joint{'s are' if hidden > 1 else ' is'} not to be seen in it"
            lost += ": look whether each person is one." if len(people) > 1 else "."
        return Reading(f"Taken as a finished skeleton picture of {_people(found.skeleton)}.{lost}", found.skeleton, rgb)
    lit = rgb[high > 48].astype(np.int16)
    if sure or (len(lit) and float((np.ptp(lit, axis=1) > 60).mean()) > 0.8):  # strong colours, no person at night
        return Reading("Taken as a finished skeleton picture. Its joints were not recognised.", picture=rgb)
    return None


def _people(skeleton: Skeleton) -> str:
    count = len(skeleton.people)
    return "1 person" if count == 1 else f"{count} people"


def _classes(layers: Layers, numbers: Numbers, sure: bool, lossy: bool) -> Reading:
    if layers.indices is not None and _own_palette(layers):
        return Reading("Taken as a map of class indices.", Raster("classes", layers.indices))
    values = layers.indices if numbers != "auto" and layers.indices is not None else _grey(layers.rgb)
    first = _first(values, numbers) if values is not None else None
    if values is not None and first is not None and lossy:
        raise InputError(
            "This looks like class numbers saved as JPEG or lossy WebP, which changes them.",
            "Save it as PNG, or give a map in the classes' colours.",
        )
    if values is not None and first is not None:
        classes, holes = seg.from_numbers(values, first)
        filled = f" {holes} pixels without a class took the one beside them." if holes else ""
        files = "1, as in ADE20K's annotation files" if first else "0"
        return Reading(f"Taken as class numbers that count from {files}.{filled}", Raster("classes", classes))
    read = seg.read_colours(layers.rgb)
    if read.looks_like_photo and not sure:
        raise InputError(
            "This looks like a photo rather than a map of classes.",
            "Choose a detector that looks at photos, or say that it is a map: seg.map=FILE.",
        )
    moved = f" {read.changed} pixels were no class's colour and took the nearest." if read.changed else ""
    return Reading(f"Taken as a colour map.{moved}", Raster("classes", read.cleaned()))


def _own_palette(layers: Layers) -> bool:
    indices, palette = layers.indices, layers.palette
    if indices is None or palette is None:
        return False
    used = np.unique(indices)
    own = seg.palette()
    return int(used[-1]) < min(len(own), len(palette)) and bool((palette[used] == own[used]).all())


def _grey(rgb: Rgb) -> NDArray[np.uint8] | None:
    grey = np.ascontiguousarray(rgb[:, :, 0])
    return grey if (rgb == grey[:, :, None]).all() else None


def _first(values: NDArray[np.uint8], numbers: Numbers) -> int | None:
    """What the first class is called, None where these are no class numbers."""
    used = set(np.unique(values).tolist())
    if numbers != "auto":
        return int(numbers)
    greys = {red for red, green, blue in seg.palette().tolist() if red == green == blue}
    rest = used - {255}  # "nothing" in files that count from 0
    if used <= greys or not rest - {0} or max(rest) > len(seg.palette()):
        return None
    return 0 if 255 in used and max(rest) < len(seg.palette()) else 1


def _share(mask: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask)) / mask.size
