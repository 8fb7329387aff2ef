"""Segmentation: one of the 150 ADE20K classes for every pixel.

The class index is the truth and the colour only its rendering: road (6) and skyscraper (48) share one colour.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator.ink import RESOLUTION, pixels_of
from controlnet_core.domain.control import ControlType, Detector, Rgb, Truth, Values
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError

CLASSES_JSON = Path(__file__).with_name("ade20k.json")


@dataclass(frozen=True)
class SegClass:
    """One class: its index in 0..149, name, colour and other words that people search it by."""

    index: int
    name: str
    rgb: tuple[int, int, int]
    synonyms: tuple[str, ...]


@cache
def classes() -> tuple[SegClass, ...]:
    """The 150 classes by index (data of the ADE20K benchmark)."""
    rows = json.loads(CLASSES_JSON.read_text("utf-8"))["classes"]
    return tuple(SegClass(row["index"], row["name"], tuple(row["rgb"]), tuple(row["synonyms"])) for row in rows)


@cache
def palette() -> NDArray[np.uint8]:
    """Colours by class index, uint8 150,3."""
    return np.array([one.rgb for one in classes()], np.uint8)


def search(words: str) -> list[SegClass]:
    """Classes whose name or synonyms contain every one of `words`: exact matches, then names, then the rest. "" is all."""
    wanted = words.lower().split()
    if not wanted:
        return list(classes())

    def rank(one: SegClass) -> int | None:
        terms = (one.name, *(word.lower() for word in one.synonyms))
        if not all(any(word in term for term in terms) for word in wanted):
            return None
        exact = " ".join(wanted)
        return 0 if exact == one.name else 1 if exact in terms else 2 if wanted[0] in one.name else 3

    places = {one: place for one in classes() if (place := rank(one)) is not None}
    return sorted(places, key=lambda one: (places[one], one.index))


def render(document: Document, values: Values) -> Rgb:
    """The palette colour of every pixel's class. InputError for an index above 149."""
    indices = pixels_of(document, "classes")
    if indices.size and int(indices.max()) >= len(classes()):
        raise InputError(f"The map holds class {int(indices.max())}, but the last class is 149.")
    return palette()[indices]


@dataclass(frozen=True)
class ColourMap:
    """A colour map as it was read: `classes` (uint8 H,W), `changed` pixels that had no class's colour, how `far` from it those
    were on average (RGB distance), and the `unsure` ones (bool H,W), whose class is a guess.
    """

    classes: NDArray[np.uint8]
    changed: int
    far: float
    unsure: NDArray[np.bool_]

    @property
    def looks_like_photo(self) -> bool:
        """Whether too much of it lies too far from any class's colour."""
        return self.changed > PHOTO_SHARE * self.classes.size and self.far >= PHOTO_DISTANCE

    def cleaned(self) -> NDArray[np.uint8]:
        """The classes, every guessed pixel with that of the nearest sure one: no threads of chance classes along edges."""
        return grown(self.classes, self.unsure)


PHOTO_SHARE, PHOTO_DISTANCE = 0.5, 24.0
NOISE_DISTANCE = 24.0
"""Noise of a good JPEG stays below, most mixed colours at the edges of regions lie above."""
CLEAN_SHARE = 0.8
"""Where more pixels than this are exact, there is no noise: every other one is a mixture."""


def read_colours(rgb: Rgb) -> ColourMap:
    """A colour map by the nearest class of every pixel, as the map editor reads it."""
    classes = nearest_classes(rgb)[0]
    distance = np.sqrt(((rgb.astype(np.int32) - palette()[classes]) ** 2).sum(axis=2))
    changed = int(np.count_nonzero(distance))
    noise = 0.0 if changed < (1 - CLEAN_SHARE) * classes.size else NOISE_DISTANCE
    return ColourMap(classes, changed, float(distance.sum()) / changed if changed else 0.0, distance > noise)


def from_numbers(values: NDArray[np.uint8], first: int) -> tuple[NDArray[np.uint8], int]:
    """Classes from numbers that count from `first`, and how many pixels had none and took the class beside them.

    Counted from 1, 0 says "nothing", as in ADE20K's annotation files; counted from 0, 255 does. InputError beyond the last.
    """
    holes = values == (0 if first else 255)
    last = int(values[~holes].max(initial=0))
    if last - first >= len(classes()):
        raise InputError(f"The picture holds the number {last}, but the last class is {len(classes()) - 1 + first}.")
    if holes.all():
        raise InputError("The picture holds no class.", "Choose another file.")
    indices = np.where(holes, 0, values - np.uint8(first)).astype(np.uint8)
    return grown(indices, holes), int(np.count_nonzero(holes))


def grown(indices: NDArray[np.uint8], holes: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`indices` with the value of the nearest other pixel in every hole."""
    if not holes.any() or holes.all():
        return indices
    _, labels = cv2.distanceTransformWithLabels(holes.astype(np.uint8), cv2.DIST_L1, 3, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(labels, np.int64)
    owner = np.zeros(int(labels.max()) + 1, np.uint8)
    owner[labels[~holes]] = indices[~holes]
    return owner[labels]


def nearest_classes(rgb: Rgb) -> tuple[NDArray[np.uint8], int, int]:
    """Read a colour map: (class indices H,W, pixels whose colour had to be moved to the nearest, ambiguous pixels).

    Nearest in Euclidean RGB distance. Ambiguous are the pixels of a colour that two classes share; they get the lower
    index.
    """
    colours = palette().astype(np.int32)
    flat = rgb.reshape(-1, 3).astype(np.int32)
    packed = (flat[:, 0] << 16) | (flat[:, 1] << 8) | flat[:, 2]
    unique, inverse = np.unique(packed, return_inverse=True)
    # A photo has hundreds of thousands of colours: 4096 at a time keep the distance table small.
    chunks = np.split(unique, range(4096, len(unique), 4096))
    nearest = np.concatenate([_nearest(chunk, colours) for chunk in chunks])
    distance = np.abs(np.stack([unique >> 16, (unique >> 8) & 255, unique & 255], axis=1) - colours[nearest]).sum(
        axis=1
    )
    owners: dict[tuple[int, int, int], int] = {}
    shared = [first for one in classes() if (first := owners.setdefault(one.rgb, one.index)) != one.index]
    indices = nearest[inverse].astype(np.uint8).reshape(rgb.shape[:2])
    return indices, int((distance > 0)[inverse].sum()), int(np.isin(indices, shared).sum())


def _nearest(packed: NDArray[np.int32], colours: NDArray[np.int32]) -> NDArray[np.int64]:
    own = np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=1)
    return ((own[:, None, :] - colours[None]) ** 2).sum(axis=2).argmin(axis=1)


def _network(card: str, picture: Rgb) -> Document:
    from annotator.networks import seg as network

    return Raster("classes", network.detect(picture, card))


def _upernet(picture: Rgb, values: Values) -> Document:
    return _network("seg-upernet-convnext-small", picture)


def _oneformer(picture: Rgb, values: Values) -> Document:
    return _network("seg-oneformer-swin-tiny", picture)


def _segformer(picture: Rgb, values: Values) -> Document:
    return _network("seg-segformer-b0", picture)


def _colour_map(picture: Rgb, values: Values) -> Document:
    return Raster("classes", read_colours(picture).cleaned())


def _truth(world: Truth) -> Document:
    return Raster("classes", np.ascontiguousarray(world.classes))


CONTROL = ControlType(
    key="seg",
    title="Segmentation",
    icon=":material/palette:",
    group="draw",
    order=30,
    help="Paint what is where: 150 kinds of things, from sky to sofa.",
    document="classes",
    editor="seg",
    options=lambda: {"classes": [asdict(one) for one in classes()]},
    render=render,
    truth=_truth,
    detectors=(
        Detector(
            "upernet", "UperNet", _upernet, "Names every part of a photo; quick and good.", (RESOLUTION,),
            ("seg-upernet-convnext-small",),
        ),
        Detector(
            "oneformer", "OneFormer", _oneformer, "The most exact, the slowest.", (RESOLUTION,), ("seg-oneformer-swin-tiny",)
        ),
        Detector("segformer", "SegFormer B0", _segformer, "Small and fast.", (RESOLUTION,), ("seg-segformer-b0",)),
        Detector(
            "colour_map", "A colour map", _colour_map,
            "The picture is an ADE20K colour map already; stray colours move to the nearest class.", reads="map",
        ),
    ),
    nearest=True,
    placeholder="a house by the sea",
)  # fmt: skip
