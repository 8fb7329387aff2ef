"""The OpenPose JSON format, read and written: what other editors and programs exchange poses in.

Read: pixel or 0-1 coordinates, a list of frames (the first counts), 18 or 25 body points (BODY_25), hands and faces.
Written: pixels, 18 body points, confidence exactly 1.0 or 0.0, missing points 0, 0, 0. What of a document the format
does not have (hidden joints, ghosts) is written as missing; hidden people are left out, for they are not in the picture.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

from controlnet_core.domain.document import MISSING, PEOPLE_MAX, SIDE_MAX_PX, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError

FILE_MAX_BYTES = 4 << 20
COORDINATE_MAX_PX = 1e5
_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""The OpenPose-18 joints among the 25: the hip's middle (8) and the feet (19..24) have no place in 18."""
_UNIT_MAX = 2.0
"""Coordinates that all lie below this are shares of the canvas: a person of two pixels does not exist."""
_HINT = "Choose a file in the OpenPose format."

_PARTS = {
    "hand_left_keypoints_2d": ("left_hand", 21),
    "hand_right_keypoints_2d": ("right_hand", 21),
    "face_keypoints_2d": ("face", 70),
}


def read(data: str | bytes, width: int = 512, height: int = 512) -> Skeleton:
    """The first frame of an OpenPose JSON file; `width` and `height` (px) stand in for a canvas size it does not give.

    Raises InputError, in one sentence, for anything that is not such a file: wrong counts, text or NaN for a number,
    coordinates beyond 100,000 px, more than 64 people.
    """
    frame = _frame(data)
    width = _side(frame.get("canvas_width", width), "canvas_width")
    height = _side(frame.get("canvas_height", height), "canvas_height")
    people = frame.get("people")
    if not isinstance(people, list):
        raise InputError("The pose file has no list of people.", _HINT)
    entries = cast("list[object]", people)
    if len(entries) > PEOPLE_MAX:
        raise InputError(f"The pose file has {len(entries)} people, but {PEOPLE_MAX} are the most.", "Leave some out.")
    parsed = [_person(entry) for entry in entries]
    if _is_unit(parsed):
        parsed = [{part: _stretched(points, width, height) for part, points in one.items()} for one in parsed]
    return Skeleton(width=width, height=height, people=tuple(Person(**cast("Any", one)) for one in parsed))


def write(skeleton: Skeleton) -> str:
    """`skeleton` as one OpenPose JSON frame."""
    frame = {
        "people": [_written(person) for person in skeleton.people if person.visible],
        "animals": list[object](),
        "canvas_width": skeleton.width,
        "canvas_height": skeleton.height,
    }
    return json.dumps(frame, allow_nan=False)


def _frame(data: str | bytes) -> dict[str, object]:
    if len(data) > FILE_MAX_BYTES:
        raise InputError("The pose file is larger than 4 MB.", _HINT)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("The pose file is not JSON.", _HINT) from error
    if isinstance(content, list) and content:
        content = cast("list[object]", content)[0]
    if not isinstance(content, dict):
        raise InputError("The pose file holds no frame.", _HINT)
    return cast("dict[str, object]", content)


def _side(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= SIDE_MAX_PX:
        raise InputError(f"The pose file has a {name} that is no number from 1 to {SIDE_MAX_PX}.", _HINT)
    return int(value)


def _person(entry: object) -> dict[str, tuple[Point, ...]]:
    if not isinstance(entry, dict):
        raise InputError("The pose file has a person without named points.", _HINT)
    fields = cast("dict[str, object]", entry)
    body = _points(fields.get("pose_keypoints_2d"), "pose_keypoints_2d", (18, 25))
    if body is None:
        body = (MISSING,) * 18
    found = {"body": tuple(body[index] for index in _BODY_25) if len(body) == 25 else body}
    for name, (part, count) in _PARTS.items():
        points = _points(fields.get(name), name, (count,))
        if points is not None:
            found[part] = points
    return found


def _points(value: object, name: str, counts: tuple[int, ...]) -> tuple[Point, ...] | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise InputError(f"The pose file has a {name} that is no list.", _HINT)
    numbers = cast("list[object]", value)
    if len(numbers) not in [3 * count for count in counts]:
        wanted = " or ".join(str(count) for count in counts)
        raise InputError(
            f"The pose file has {len(numbers)} numbers in {name}, but {wanted} points need three each.", _HINT
        )
    plain = [_number(number, name) for number in numbers]
    return tuple(_point(*plain[at : at + 3]) for at in range(0, len(plain), 3))


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"The pose file has something in {name} that is no number.", _HINT)
    # An integer of a thousand digits fits no float: compare before converting.
    if not -COORDINATE_MAX_PX <= value <= COORDINATE_MAX_PX or not math.isfinite(value):
        raise InputError(f"The pose file has a number in {name} that lies beyond {COORDINATE_MAX_PX:.0f}.", _HINT)
    return float(value)


def _point(x: float, y: float, confidence: float) -> Point:
    return Point(x=x, y=y, confidence=min(confidence, 1.0)) if confidence > 0 else MISSING


def _is_unit(people: list[dict[str, tuple[Point, ...]]]) -> bool:
    present = [point for one in people for points in one.values() for point in points if point.confidence > 0]
    return bool(present) and all(abs(point.x) < _UNIT_MAX and abs(point.y) < _UNIT_MAX for point in present)


def _stretched(points: tuple[Point, ...], width: int, height: int) -> tuple[Point, ...]:
    return tuple(Point(x=p.x * width, y=p.y * height, confidence=p.confidence) for p in points)


def _written(person: Person) -> dict[str, list[float] | None]:
    shown = [point if person.drawn(index) else MISSING for index, point in enumerate(person.body)]
    entry: dict[str, list[float] | None] = {"pose_keypoints_2d": _flat(shown)}
    for name, (part, _) in _PARTS.items():
        points: tuple[Point, ...] | None = getattr(person, part)
        entry[name] = None if points is None else _flat(list(points))
    return entry


def _flat(points: list[Point]) -> list[float]:
    rows = [(point.x, point.y, 1.0) if point.confidence > 0 else (0.0, 0.0, 0.0) for point in points]
    return [number for row in rows for number in row]
