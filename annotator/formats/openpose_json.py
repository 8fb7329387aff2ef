"""The OpenPose JSON format, read and written: what other editors and programs exchange poses in.

Read: pixel or 0-1 coordinates, a list of frames (the first with somebody counts), 18 or 25 body points (BODY_25), hands,
faces of 70 points or of 68, which have no pupils, and a canvas size that is written as text.
`components/assets/editors/pose/openpose.js` reads alike.
Written: pixels, 18 body points, confidence exactly 1.0 or 0.0, missing points 0, 0, 0. What of a document the format
does not have (hidden joints, ghosts) is written as missing; hidden people are left out, for they are not in the picture.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

from controlnet_core.domain import json_input
from controlnet_core.domain.document import MISSING, PEOPLE_MAX, SIDE_MAX_PX, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError

FILE_MAX_BYTES = 4 << 20
VALUES_MAX = 250_000
"""Nine frames of as many people as may be, with faces and hands."""
COORDINATE_MAX_PX = 1e5
_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""The OpenPose-18 joints among the 25: the hip's middle (8) and the feet (19..24) have no place in 18."""
_UNIT_MAX = 2.0
"""A part whose coordinates all lie below this has shares of the canvas: a face of two pixels does not exist."""
_UNSURE = 0.3
_SIDE = re.compile(r" *([0-9]{1,6}(?:\.[0-9]{1,20})?) *")
_HINT = "Choose a file in the OpenPose format."

_PARTS = {
    "hand_left_keypoints_2d": ("left_hand", (21,)),
    "hand_right_keypoints_2d": ("right_hand", (21,)),
    "face_keypoints_2d": ("face", (68, 70)),
}


def read(data: str | bytes, width: int = 512, height: int = 512) -> Skeleton:
    """The skeleton of `read_with_losses`."""
    return read_with_losses(data, width, height)[0]


def read_with_losses(data: str | bytes, width: int = 512, height: int = 512) -> tuple[Skeleton, tuple[str, ...]]:
    """The first frame with somebody in it, and a sentence for everything that had to be left out.

    A part (body, hand, face) that is wrong, by its count of points or by something that is no number up to 100,000, is left
    out by itself; of the units (pixels or shares of the canvas) each part has its own. `width` and `height` (px) are the canvas
    where the file names none that can be used and everybody fits on it. A canvas of more than 2048 px comes out smaller, with
    everybody on it. Joints of little confidence become ghosts. Raises InputError, in one sentence, where nothing can be read
    and for more than 64 people.
    """
    frame = _frame(data)
    people = frame.get("people")
    if not isinstance(people, list):
        raise InputError("The pose file has no list of people.", _HINT)
    entries = cast("list[object]", people)
    if len(entries) > PEOPLE_MAX:
        raise InputError(f"The pose file has {len(entries)} people, but {PEOPLE_MAX} are the most.", "Leave some out.")
    lost: list[str] = []
    parsed = [_person(entry, number, lost) for number, entry in enumerate(entries, 1)]
    found = [person for person in parsed if person is not None]
    if lost and not any(found):
        raise InputError(f"The pose file cannot be read. {lost[0]}", _HINT)
    pixels = [p for one in found for points in one.values() if not _is_unit(points) for p in points if p.confidence > 0]
    wide, tall = _canvas(frame, (width, height), pixels, lost)
    shrink = min(1.0, SIDE_MAX_PX / max(wide, tall))
    moved = [{part: _placed(points, wide, tall, shrink) for part, points in one.items()} for one in found]
    sides = (max(1, math.floor(side * shrink + 0.5)) for side in (wide, tall))
    across, down = sides
    return Skeleton(width=across, height=down, people=tuple(map(_built, moved))), tuple(lost)


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
    json_input.check_value_count(data, VALUES_MAX, "The pose file")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("The pose file is not JSON.", _HINT) from error
    if isinstance(content, list):
        frames = [cast("dict[str, object]", one) for one in cast("list[object]", content) if isinstance(one, dict)]
        content = next((one for one in frames if one.get("people")), frames[0] if frames else None)
    if not isinstance(content, dict):
        raise InputError("The pose file holds no frame.", _HINT)
    return cast("dict[str, object]", content)


def _canvas(
    frame: dict[str, object], fallback: tuple[int, int], pixels: list[Point], lost: list[str]
) -> tuple[float, float]:
    given = [frame.get("canvas_width"), frame.get("canvas_height")]
    wide, tall = map(_side, given)
    if wide and tall:
        return wide, tall
    if given != [None, None]:
        lost.append("The canvas size of the file was left out: it cannot be used.")
    if all(point.x <= fallback[0] and point.y <= fallback[1] for point in pixels):
        return fallback
    return _up_to([point.x for point in pixels]), _up_to([point.y for point in pixels])


def _side(given: object) -> float | None:
    """A side of the canvas in pixels, from a number or a number as text; None for one that cannot be used."""
    if isinstance(given, str) and (number := _SIDE.fullmatch(given)):
        given = float(number[1])
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 1 <= given <= COORDINATE_MAX_PX:
        return None
    return float(given)


def _up_to(values: list[float]) -> int:
    return math.ceil(max(64.0, *values) / 64) * 64


def _person(entry: object, number: int, lost: list[str]) -> dict[str, tuple[Point, ...]] | None:
    """The parts of a person that can be read; None, and a sentence in `lost`, when there is none of them."""
    if not isinstance(entry, dict):
        lost.append(f"Person {number} was left out: it has no named points.")
        return None
    fields = cast("dict[str, object]", entry)
    found: dict[str, tuple[Point, ...]] = {}
    wrong = 0
    for name, (part, counts) in {"pose_keypoints_2d": ("body", (18, 25)), **_PARTS}.items():
        try:
            points = _points(fields.get(name), counts)
        except ValueError as error:
            lost.append(f"The {part.replace('_', ' ')} of person {number} was left out: {error}.")
            wrong += 1
            continue
        if points is None:
            continue
        if part == "body":
            found[part] = tuple(points[index] for index in _BODY_25) if len(points) == 25 else points
        elif any(point.confidence > 0 for point in points):
            whole = (*points, *[MISSING] * (counts[-1] - len(points)))
            found[part] = tuple(
                point.model_copy(update={"confidence": 1.0}) if point.confidence else point for point in whole
            )
    if wrong and not found:
        return None
    return {"body": (MISSING,) * 18, **found}


def _points(value: object, counts: tuple[int, ...]) -> tuple[Point, ...] | None:
    """The points of a flat list x, y, confidence; None where there is none. ValueError says what is wrong with it."""
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise ValueError("it is no list")
    numbers = cast("list[object]", value)
    if len(numbers) not in [3 * count for count in counts]:
        count = f"{len(numbers) // 3} points" if len(numbers) % 3 == 0 else f"{len(numbers)} numbers"
        raise ValueError(f"it has {count}, and {' or '.join(map(str, counts))} points are read")
    plain = [_number(number) for number in numbers]
    return tuple(_point(*plain[at : at + 3]) for at in range(0, len(plain), 3))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("it holds something that is no number")
    # An integer of a thousand digits fits no float: compare before converting.
    if not -COORDINATE_MAX_PX <= value <= COORDINATE_MAX_PX or not math.isfinite(value):
        raise ValueError("it holds joints far outside any picture")
    return float(value)


def _point(x: float, y: float, confidence: float) -> Point:
    if confidence < 0:
        raise ValueError("it holds a negative confidence")
    return Point(x=x, y=y, confidence=min(confidence, 1.0)) if confidence > 0 else MISSING


def _is_unit(points: tuple[Point, ...]) -> bool:
    present = [point for point in points if point.confidence > 0]
    return all(abs(point.x) < _UNIT_MAX and abs(point.y) < _UNIT_MAX for point in present)


def _placed(points: tuple[Point, ...], width: float, height: float, shrink: float) -> tuple[Point, ...]:
    across, down = (width * shrink, height * shrink) if _is_unit(points) else (shrink, shrink)
    return tuple(Point(x=p.x * across, y=p.y * down, confidence=p.confidence) for p in points)


def _built(parts: dict[str, tuple[Point, ...]]) -> Person:
    ghosts = {index for index, point in enumerate(parts["body"]) if 0 < point.confidence < _UNSURE}
    return Person(**cast("Any", parts), ghosts=frozenset(ghosts))


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
