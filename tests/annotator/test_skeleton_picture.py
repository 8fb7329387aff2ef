"""Skeleton pictures read back: joints lie where they were drawn, and the picture drawn again is nearly the same."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image

from annotator import pose
from annotator.formats.skeleton_picture import read
from controlnet_core.domain.document import MISSING, Person, Point, Skeleton
from tests.conftest import golden_folder

NEAR_PX = 3.0
STANDING = (
    (0, -170), (0, -120), (-45, -115), (-60, -60), (-60, 0), (45, -115), (60, -60), (60, 0), (-25, 0), (-28, 80),
    (-30, 160), (25, 0), (28, 80), (30, 160), (-10, -182), (10, -182), (-24, -175), (24, -175),
)  # fmt: skip


def crowd(seed: int, missing: float = 0.12) -> Skeleton:
    """One to four people who cross each other, with joints that are not there."""
    random = np.random.default_rng(seed)
    people: list[Person] = []
    for _ in range(1 + seed % 4):
        size, across, down = random.uniform(0.6, 1.0), random.uniform(90, 420), random.uniform(220, 330)
        points: list[Point] = []
        for joint, (x, y) in enumerate(STANDING):
            loose = 3 if joint in (0, 14, 15, 16, 17) else 14
            there = random.random() >= missing
            at = Point(x=across + size * x + random.normal(0, loose), y=down + size * y + random.normal(0, loose))
            points.append(at if there else MISSING)
        people.append(Person(body=tuple(points)))
    return Skeleton(width=512, height=512, people=tuple(people))


def joints(skeleton: Skeleton, scale: float = 1.0) -> list[tuple[int, float, float]]:
    """Those on the frame, and those so near it that their dots are; moved to a frame of another scale."""
    return [
        (number, point.x * scale, point.y * scale)
        for person in skeleton.people
        for number, point in enumerate(person.body)
        if point.confidence > 0 and -3 <= point.x < skeleton.width + 3 and -3 <= point.y < skeleton.height + 3
    ]


def missed(wanted: list[tuple[int, float, float]], found: list[tuple[int, float, float]], near: float = NEAR_PX) -> int:
    """How many of `wanted` none of `found` is near to, each of which serves once."""
    left = list(found)
    count = 0
    for joint, x, y in wanted:
        close = [one for one in left if one[0] == joint and np.hypot(one[1] - x, one[2] - y) <= near]
        if close:
            left.remove(min(close, key=lambda one: np.hypot(one[1] - x, one[2] - y)))
        count += not close
    return count


def told(skeleton: Skeleton, picture: np.ndarray, scale: float = 1.0) -> tuple[int, int, int, Skeleton]:
    """Joints that were drawn, of these missed, read without being there, and what was read."""
    got = read(picture)
    assert got is not None
    wanted, found = joints(skeleton, scale), joints(got.skeleton)
    near = NEAR_PX * max(1.0, scale)
    return len(wanted), missed(wanted, found, near), missed(found, wanted, near), got.skeleton


@pytest.mark.parametrize("style", ["1.0", "1.1"])
def test_what_was_drawn_is_read_within_three_pixels_and_drawn_again_nearly_the_same(style: str) -> None:
    drawn = lost = more = 0
    for seed in range(4):
        skeleton = crowd(seed)
        picture = pose.render(skeleton, {"style": style})
        count, gone, extra, got = told(skeleton, picture)
        drawn, lost, more = drawn + count, lost + gone, more + extra
        assert len(got.people) >= len(skeleton.people)
        again = pose.render(got, {"style": style}).astype(int)
        ink = np.maximum(picture, again).max(axis=2) > 0
        assert np.abs(again - picture)[ink].mean() < 32, seed  # of another pose of as many people: over 90
    assert drawn > 100 and lost <= 0.03 * drawn and more <= 0.06 * drawn


@pytest.mark.parametrize("scale", [0.7, 1.5, "jpeg"])
def test_other_sizes_and_a_jpegs_noise(scale: float | str) -> None:
    drawn = lost = 0
    for seed in (0, 1):
        skeleton = crowd(seed)
        picture = pose.render(skeleton, {"style": "1.1"})
        if isinstance(scale, str):
            picture = np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 1))
            factor = 1.0
        else:
            factor = round(512 * scale) / 512
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            picture = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=way))
        count, gone, _, _ = told(skeleton, np.ascontiguousarray(picture), factor)
        drawn, lost = drawn + count, lost + gone
    assert lost <= 0.08 * drawn


def test_who_misses_joints_stays_one_person_without_them() -> None:
    points = [Point(x=256 + x, y=240 + y) for x, y in STANDING]
    for gone in (1, 3, 9, 14):  # the neck among them: nothing connects arms, legs and head any more
        points[gone] = MISSING
    skeleton = Skeleton(width=512, height=512, people=(Person(body=tuple(points)),))
    got = read(pose.render(skeleton, {}))
    assert got is not None and len(got.skeleton.people) == 1
    there = [point.confidence > 0 for point in got.skeleton.people[0].body]
    assert there == [point.confidence > 0 for point in points]


def test_hands_and_faces_are_said_and_take_no_joint() -> None:
    body = tuple(Point(x=256 + x, y=240 + y) for x, y in STANDING)
    spread = [Point(x=316 + 12 * finger, y=244 + 14 * step) for finger in range(5) for step in range(4)]
    face = tuple(Point(x=236 + 4 * (at % 10), y=40 + 5 * (at // 10)) for at in range(70))
    whole = Person(body=body, left_hand=(Point(x=316, y=240), *spread), face=face)
    got = read(pose.render(Skeleton(width=512, height=512, people=(whole,)), {}))
    assert got is not None and got.hands and got.faces and len(got.skeleton.people) == 1
    plain = read(pose.render(Skeleton(width=512, height=512, people=(Person(body=body),)), {}))
    assert plain is not None and not plain.hands and not plain.faces
    below = [point for point in joints(got.skeleton) if 1 <= point[0] <= 13]
    assert missed([one for one in joints(plain.skeleton) if 1 <= one[0] <= 13], below) == 0


def test_what_the_original_drew() -> None:
    folder = golden_folder() / "oracles" / "annotators"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    drawn = lost = 0
    for number, entry in enumerate(json.loads((folder / "pose_sets.json").read_text())[:4]):
        people = []
        for one in entry["people"]:
            flat = np.array(one["pose_keypoints_2d"], float).reshape(18, 3)
            people.append(Person(body=tuple(Point(x=x, y=y, confidence=c) for x, y, c in flat)))
        picture = np.asarray(Image.open(folder / f"pose_{number:02d}_512x512.png").convert("RGB"))
        count, gone, _, _ = told(Skeleton(width=512, height=512, people=tuple(people)), picture)
        drawn, lost = drawn + count, lost + gone
    assert drawn > 50 and lost <= 0.05 * drawn


def test_what_is_no_skeleton_is_none() -> None:
    random = np.random.default_rng(4)
    assert read(np.zeros((64, 64, 3), np.uint8)) is None
    night = np.zeros((256, 256, 3), np.uint8)
    for low, high in pairwise(random.integers(0, 256, 12).tolist()):
        cv2.line(night, (low, 20), (high, 230), tuple(random.integers(60, 256, 3).tolist()), 9)
    assert read(night) is None
    assert read(random.integers(0, 256, (96, 96, 3), np.uint8)) is None
    lamps = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(lamps, (80, 80), 30, (255, 190, 90), -1)
    cv2.circle(lamps, (190, 160), 18, (255, 220, 160), -1)
    assert read(lamps) is None
