"""OpenPose JSON in and out, and everything that only looks like it."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.formats import openpose_json
from controlnet_core.domain.document import MISSING, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError


def flat(count, scale=1.0, confidence=0.8):
    return [n for i in range(count) for n in ((10 + i) * scale, (20 + 2 * i) * scale, confidence)]


def frame(**person):
    return {"people": [{"pose_keypoints_2d": flat(18), **person}], "canvas_width": 640, "canvas_height": 480}


def test_read_pixels():
    got = openpose_json.read(json.dumps(frame(hand_left_keypoints_2d=flat(21), face_keypoints_2d=None)))
    assert (got.width, got.height) == (640, 480)
    one = got.people[0]
    assert one.body[3] == Point(x=13, y=26, confidence=0.8)
    assert one.left_hand is not None and len(one.left_hand) == 21 and one.right_hand is None and one.face is None


def test_read_shares_of_the_canvas():
    got = openpose_json.read(json.dumps(frame(pose_keypoints_2d=flat(18, 0.01))))
    assert got.people[0].body[0] == Point(x=64, y=96, confidence=0.8)


def test_read_the_first_frame_of_a_list():
    got = openpose_json.read(json.dumps([frame(), {"people": []}]).encode())
    assert len(got.people) == 1


def test_read_body_25():
    points = flat(25)
    got = openpose_json.read(json.dumps(frame(pose_keypoints_2d=points)))
    xs = [point.x - 10 for point in got.people[0].body]
    # nose, neck, arms; then hips without their middle (8); then eyes and ears
    assert xs == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


def test_confidence_zero_is_missing_whatever_the_place():
    points = flat(18)
    points[5] = 0
    assert openpose_json.read(json.dumps(frame(pose_keypoints_2d=points))).people[0].body[1] == MISSING


def test_written_confidences_are_exact_and_missing_is_zero():
    body = (MISSING, Point(x=-20.5, y=3, confidence=0.2), *[Point(x=9, y=9)] * 16)
    one = Person(body=body, ghosts=frozenset({2}), hidden=frozenset({3}))
    text = openpose_json.write(Skeleton(width=64, height=64, people=(one,)))
    content = json.loads(text)
    numbers = content["people"][0]["pose_keypoints_2d"]
    assert numbers[:12] == [0, 0, 0, -20.5, 3, 1, 0, 0, 0, 0, 0, 0] and numbers[12:15] == [9, 9, 1]
    assert content["people"][0]["face_keypoints_2d"] is None and content["animals"] == []


def test_hidden_people_are_not_in_the_file():
    hand = (Point(x=30, y=30),) * 21
    shown, away = (Person(body=(Point(x=x, y=5),) * 18, left_hand=hand, visible=x > 0) for x in (40, -40))
    text = openpose_json.write(Skeleton(width=64, height=64, people=(away, shown)))
    assert openpose_json.read(text).people == (shown,)


point = st.builds(Point, x=st.floats(-5e3, 5e3), y=st.floats(-5e3, 5e3)) | st.just(MISSING)
one_person = st.builds(
    Person,
    body=st.tuples(st.just(Point(x=100.25, y=7)), *[point] * 17),
    left_hand=st.none() | st.tuples(*[point] * 21),
    right_hand=st.none() | st.tuples(*[point] * 21),
    face=st.none() | st.tuples(*[point] * 70),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(one_person, max_size=2), st.integers(1, 2048), st.integers(1, 2048))
def test_round_trip_loses_nothing(people, width, height):
    skeleton = Skeleton(width=width, height=height, people=tuple(people))
    assert openpose_json.read(openpose_json.write(skeleton)) == skeleton


def altered(at, value):
    points: list = flat(18)
    points[at] = value
    return json.dumps(frame(pose_keypoints_2d=points))


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "3", "[]", "{}", "not json", '{"people": 3}', '{"people": [3]}', '{"people": [[]]}',
        "[" * 100_000, altered(0, math.nan), altered(1, math.inf), altered(2, "1"), altered(3, None), altered(4, True),
        altered(0, 1e9), altered(0, 10**400), altered(7, [1]),
        json.dumps(frame(pose_keypoints_2d=flat(17))), json.dumps(frame(pose_keypoints_2d=flat(18)[:-1])),
        json.dumps(frame(hand_left_keypoints_2d=flat(20))), json.dumps(frame(face_keypoints_2d="abc")),
        json.dumps({"people": [{}] * 10_000}), json.dumps(frame() | {"canvas_width": 0}),
        json.dumps(frame() | {"canvas_height": "512"}), json.dumps(frame() | {"canvas_width": math.nan}),
        b"\xff\xfe\x00", " " * (5 << 20),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(text):
    with pytest.raises(InputError) as caught:
        openpose_json.read(text)
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message


def test_a_person_without_points_is_kept():
    got = openpose_json.read(json.dumps({"people": [{"pose_keypoints_2d": []}]}), 300, 200)
    assert got.people[0].body == (MISSING,) * 18 and (got.width, got.height) == (300, 200)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["people", "pose_keypoints_2d", "canvas_width", "face_keypoints_2d"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_only_our_error_escapes(content):
    with contextlib.suppress(InputError):
        openpose_json.read(json.dumps(content))
