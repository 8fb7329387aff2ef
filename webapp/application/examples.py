"""What to start from: drawings made by hand, for every other condition the truth of a rendered scene, and rendered scenes in place
of photos.

`examples/scribble.json` holds strokes, lists of [x, y]; `examples/seg.json` areas, a class index and a polygon each;
`examples/colour.json` which scribble is coloured in, and with which crayon where. All in a unit frame, with a prompt that suits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import annotator
import paperworld
from annotator import colour, detection
from controlnet_core.domain import picture
from controlnet_core.domain.control import ControlType, Rgb, Truth
from controlnet_core.domain.document import Document, Raster
from paperworld.world.portraits import compose_people

FOLDER = Path(__file__).parent / "examples"
PHOTO_SIDE_PX = 512
STROKE_SHARE = 1 / 100
"""Width of an example's stroke as a share of the shorter side."""
POSES = (1, 7, 9, 10, 16, 17)
"""People before a stage: what a skeleton and a prompt can tell."""
SCENES = (103, 130, 166, 137, 134, 109)
FIRST = {"lines": 166}
"""The scene that a condition shows first where it is not the first: the skyscrapers have the most straight lines."""
_SHIFT = 4


@dataclass(frozen=True)
class Example:
    """Something to start from; `make(width, height)` is its document at a size in pixels."""

    title: str
    prompt: str
    make: Callable[[int, int], Document]


@cache
def examples(control: str) -> tuple[Example, ...]:
    """The examples of a condition, at least one."""
    path = FOLDER / f"{control}.json"
    return tuple(_drawn(path) if path.is_file() else _rendered(control))


def _drawn(path: Path) -> Iterator[Example]:
    for entry in json.loads(path.read_text(encoding="utf-8")):
        yield Example(entry["title"], entry["prompt"], _drawing(entry))


def _drawing(entry: dict[str, Any]) -> Callable[[int, int], Document]:
    if "strokes" in entry:
        return lambda width, height: Raster("mask", _strokes(entry["strokes"], width, height))
    if "fills" in entry:
        return lambda width, height: Raster("rgb", _coloured_in(entry, width, height))
    return lambda width, height: Raster("classes", _areas(entry["areas"], width, height))


def _rendered(control: str) -> Iterator[Example]:
    if control == "pose":
        return (_told(seed, control, alone=True) for seed in POSES)
    return (scene(seed, control) for seed in sorted(SCENES, key=lambda seed: seed != FIRST.get(control, SCENES[0])))


def photos() -> dict[int, str]:
    """Rendered scenes to take as a photo: their captions by seed."""
    return {seed: scene(seed, "seg").prompt for seed in SCENES}


@lru_cache(maxsize=len(SCENES))
def photo(seed: int) -> bytes:
    """The JPEG of one of `photos`."""
    return picture.to_jpeg(_world(seed, PHOTO_SIDE_PX, PHOTO_SIDE_PX).picture, 90)


@lru_cache(maxsize=64)
def scene(seed: int, control: str) -> Example:
    """The truth of a rendered scene for a condition; the same seed is the same scene for every condition."""
    return _told(seed, control, alone=False)


def _told(seed: int, control: str, *, alone: bool) -> Example:
    """What a condition shows of a scene, or of people `alone` before a stage; its words are the prompt."""
    caption = paperworld.caption(_composed(seed, alone), np.random.default_rng(seed))
    kind = annotator.control(control)
    truth = kind.truth or partial(_found, kind)
    prompt = caption if kind.truth else kind.placeholder  # the picture is what there is, not what is to come
    return Example(
        caption.split(",")[0].capitalize(), prompt, lambda width, height: truth(_world(seed, width, height, alone))
    )


def _composed(seed: int, alone: bool) -> paperworld.Scene:
    return compose_people(seed) if alone else paperworld.compose(seed)


def _found(control: ControlType, world: Truth) -> Document:
    """What a condition without a truth finds in a scene's picture, without any weights."""
    height, width = world.picture.shape[:2]
    one = next(one for one in control.detectors if not one.weights)
    return detection.detect(control, one, world.picture, {}, width, height)


@lru_cache(maxsize=8)
def _world(seed: int, width: int, height: int, alone: bool = False) -> Truth:
    return paperworld.render(_composed(seed, alone), width, height)


def _fixed(points: list[list[float]], width: int, height: int) -> np.ndarray:
    scaled = np.asarray(points, np.float64) * (width, height)
    return np.round(scaled * (1 << _SHIFT)).astype(np.int32)


def _strokes(strokes: list[list[list[float]]], width: int, height: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    thickness = max(2, round(min(width, height) * STROKE_SHARE))
    for stroke in strokes:
        cv2.polylines(mask, [_fixed(stroke, width, height)], False, 255, thickness, cv2.LINE_AA, _SHIFT)
    return mask


def _coloured_in(entry: dict[str, Any], width: int, height: int) -> Rgb:
    scribbles = json.loads((FOLDER / "scribble.json").read_text(encoding="utf-8"))
    ink = _strokes(next(one["strokes"] for one in scribbles if one["title"] == entry["of"]), width, height)
    _, regions = cv2.connectedComponents((ink < 128).astype(np.uint8), connectivity=4)
    sheet = np.full((height, width, 3), 255, np.uint8)
    for crayon, points in entry["fills"].items():
        for x, y in points:
            region = (regions == regions[int(y * height), int(x * width)]).astype(np.uint8)
            sheet[cv2.dilate(region, np.ones((3, 3), np.uint8)) > 0] = colour.CRAYONS[crayon]
    share = ink[..., None] / np.float32(255)
    return np.round(sheet * (1 - share) + np.array(colour.INK, np.float32) * share).astype(np.uint8)


def _areas(areas: list[dict[str, Any]], width: int, height: int) -> np.ndarray:
    classes = np.zeros((height, width), np.uint8)
    for area in areas:
        cv2.fillPoly(classes, [_fixed(area["points"], width, height)], int(area["class"]), cv2.LINE_8, _SHIFT)
    return classes
