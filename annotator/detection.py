"""From a photo to a document at the size that is wanted: the one way in which pages, worker, command line and data sets detect."""

from __future__ import annotations

from collections.abc import Mapping

import cv2

import annotator
from annotator.weights import locate, provide
from controlnet_core.domain.control import ControlType, Detector, Rgb, values
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import SIDE_MAX_PX, Document, Person, Point, Raster, Skeleton
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.job import OnLoad
from controlnet_core.domain.picture import resize_to, resized_size
from controlnet_core.storage.store import FREE_MIN_BYTES

_SIDE_MIN_PX = 64
CANVAS_MIN_PX, CANVAS_MAX_PX, CANVAS_STEP_PX = 256, 1024, 64
"""The sides that a canvas may have."""


def detector(control: ControlType, key: str = "") -> Detector:
    """The detector called `key` of a condition, or its first. Raises InputError that lists what there is."""
    if not control.detectors:
        raise InputError(f"{control.title} has no detector.", "Draw the map by hand.")
    if not key:
        return control.detectors[0]
    for one in control.detectors:
        if one.key == key:
            return one
    known = ", ".join(one.key for one in control.detectors)
    raise InputError(f"{control.key} has no detector called {key!r}.", f"Known: {known}.")


def detection_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    """Height and width for the shorter side near `resolution`, multiples of 64 of at most 2048.

    The original's rule for every ordinary picture; a very long one is made less long instead of refused.
    """
    longest = int(SIDE_MAX_PX / max(height, width) * min(height, width))
    size = resized_size(height, width, max(min(resolution, longest), 1))
    new_height, new_width = (min(max(side, _SIDE_MIN_PX), SIDE_MAX_PX) for side in size)
    return new_height, new_width


def canvas_size(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Width and height of the canvas for a photo: its shape, the shorter side near `shorter`, every side a canvas's."""
    scale = min(shorter / min(height, width), CANVAS_MAX_PX / max(height, width))
    sides = (round(side * scale / CANVAS_STEP_PX) * CANVAS_STEP_PX for side in (width, height))
    wide, tall = (min(max(side, CANVAS_MIN_PX), CANVAS_MAX_PX) for side in sides)
    return wide, tall


def photo_size(height: int, width: int) -> tuple[int, int]:
    """Width and height of a map in the photo's own size, or the largest of its shape that a document may have."""
    scale = min(SIDE_MAX_PX / max(height, width), 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def run(
    detection: Detection, picture: Rgb, on_load: OnLoad | None = None, free_min_bytes: int = FREE_MIN_BYTES
) -> Document:
    """What `detection` finds in its photo, uint8 RGB of any size.

    With `on_load`, networks that are not on this machine are fetched first, and it hears of that. Raises InputError when
    there is nothing to find, ModelMissing or DownloadError, ModelError, NoSpace.
    """
    control = annotator.control(detection.control)
    one = detector(control, detection.detector)
    if on_load is not None:
        provide(one.weights, on_load, free_min_bytes)
        on_load(f"{one.title} is looking")
    return detect(control, one, picture, detection.values, detection.width, detection.height)


def detect(
    control: ControlType, one: Detector, picture: Rgb, given: Mapping[str, object], width: int, height: int
) -> Document:
    """Run detector `one` of `control` on a uint8 RGB picture; the document has the size `width` x `height`.

    `given` are values for the detector's parameters, completed with defaults. A "resolution" among them decides the size
    at which is searched; without one it is the size that is wanted. Raises InputError and ModelMissing.
    """
    if not (1 <= width <= SIDE_MAX_PX and 1 <= height <= SIDE_MAX_PX):
        raise InputError(f"A map of {width} x {height} pixels is too large.", f"At most {SIDE_MAX_PX} pixels a side.")
    complete = values(one.params, given)
    for card in one.weights:
        locate(card)  # says what is missing before anything heavy is imported
    seen: tuple[int, int] = (height, width)
    if "resolution" in complete:
        seen = detection_size(picture.shape[0], picture.shape[1], int(complete["resolution"]))
    # Colours that mean something must not be mixed on the way in.
    interpolation = cv2.INTER_NEAREST if control.document == "classes" and not one.weights else None
    if picture.shape[:2] != seen:
        picture = resize_to(picture, seen[1], seen[0], interpolation)
    return resized(one.run(picture, complete), width, height, control.nearest)


def resized(document: Document, width: int, height: int, nearest: bool) -> Document:
    """`document` at another size; `nearest` keeps the values of a raster as they are."""
    if (document.width, document.height) == (width, height):
        return document
    if isinstance(document, Raster):
        interpolation = cv2.INTER_NEAREST if nearest or document.kind == "classes" else cv2.INTER_LINEAR
        return Raster(document.kind, resize_to(document.pixels, width, height, interpolation))
    scale = (width / document.width, height / document.height)
    people = tuple(_scaled(person, scale) for person in document.people)
    return Skeleton(width=width, height=height, people=people)


def _scaled(person: Person, scale: tuple[float, float]) -> Person:
    def move(points: tuple[Point, ...] | None) -> tuple[Point, ...] | None:
        if points is None:
            return None
        return tuple(Point(x=p.x * scale[0], y=p.y * scale[1], confidence=p.confidence) for p in points)

    return Person(
        body=move(person.body) or person.body,
        left_hand=move(person.left_hand),
        right_hand=move(person.right_hand),
        face=move(person.face),
        hidden=person.hidden,
        ghosts=person.ghosts,
    )
