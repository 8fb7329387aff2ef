"""OpenPose JSON in and out, and everything that only looks like it."""

import contextlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.formats import openpose_json
from controlnet_core.domain.document import MISSING, Person, Point, Skeleton
from controlnet_core.domain.errors import InputError
from tests.conftest import golden_folder


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


@settings(max_examples=20)
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
        json.dumps({"people": [{}] * 10_000}), b"\xff\xfe\x00", " " * (5 << 20),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(text):
    with pytest.raises(InputError) as caught:
        openpose_json.read(text)
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("part", "value", "why"),
    [
        ("face_keypoints_2d", flat(69), "it has 69 points, and 68 or 70 points are read"),
        ("face_keypoints_2d", flat(56), "it has 56 points"),
        ("hand_left_keypoints_2d", flat(20), "it has 20 points, and 21 points are read"),
        ("hand_right_keypoints_2d", flat(21)[:-1], "it has 62 numbers"),
        ("face_keypoints_2d", "abc", "it is no list"),
        ("face_keypoints_2d", [None, *flat(70)[1:]], "it holds something that is no number"),
        ("hand_left_keypoints_2d", [1e9, *flat(21)[1:]], "it holds joints far outside any picture"),
    ],
)
def test_a_wrong_part_is_lost_with_a_sentence_and_the_pose_stays(part, value, why):
    content = json.dumps(frame(**{part: value}))
    skeleton, lost = openpose_json.read_with_losses(content)
    one = skeleton.people[0]
    assert one.body[3] == Point(x=13, y=26, confidence=0.8) and one.face is one.left_hand is one.right_hand is None
    assert len(lost) == 1 and " of person 1 was left out: " in lost[0] and why in lost[0]


def test_a_wrong_body_leaves_the_hands_and_the_other_people():
    people = [
        {"pose_keypoints_2d": flat(17), "hand_left_keypoints_2d": flat(21)},
        None,
        {"pose_keypoints_2d": flat(18)},
    ]
    skeleton, lost = openpose_json.read_with_losses(json.dumps({"people": people}))
    assert [one.body[0].confidence for one in skeleton.people] == [0, 0.8] and skeleton.people[0].left_hand is not None
    assert [words.split(" was")[0] for words in lost] == ["The body of person 1", "Person 2"]


def test_every_part_has_its_own_unit():
    shares = [n for i in range(70) for n in (0.2 + i / 200, 0.3, 1)]
    one = openpose_json.read(json.dumps(frame(face_keypoints_2d=shares))).people[0]
    assert one.body[0].x == 10 and one.face is not None and one.face[0].x == 128 and one.face[0].y == 144


def test_a_face_of_68_points_has_no_pupils():
    one = openpose_json.read(json.dumps(frame(face_keypoints_2d=flat(68)))).people[0]
    assert one.face is not None and one.face[67].x == 77 and one.face[68:] == (MISSING, MISSING)


def test_without_a_canvas_size_everybody_fits():
    far = [n for i in range(18) for n in (50 * i, 70 * i, 1)]
    got = openpose_json.read(json.dumps({"people": [{"pose_keypoints_2d": far}]}))
    assert (got.width, got.height) == (896, 1216)
    got = openpose_json.read(json.dumps({"people": [{"pose_keypoints_2d": flat(18)}]}))
    assert (got.width, got.height) == (512, 512)


@pytest.mark.parametrize("side", [0, -4, 1e6, math.nan, True, "", "0", "640px", "1_000", "１２８", None, [640]])
def test_an_unusable_canvas_size_is_left_out_and_the_pose_stays(side):
    """More of it stands in the cases that the page runs, too."""
    skeleton, lost = openpose_json.read_with_losses(json.dumps(frame() | {"canvas_height": side}), 300, 200)
    assert (skeleton.width, skeleton.height) == (300, 200) and skeleton.people[0].body[3].x == 13
    assert lost == ("The canvas size of the file was left out: it cannot be used.",)


def test_a_large_canvas_comes_out_smaller_with_everybody_on_it():
    far = [4000, 2000, 1] * 18
    got = openpose_json.read(
        json.dumps({"people": [{"pose_keypoints_2d": far}], "canvas_width": 8192, "canvas_height": 4096})
    )
    assert (got.width, got.height, got.people[0].body[0]) == (2048, 1024, Point(x=1000, y=500))


def test_the_first_frame_with_somebody_counts_and_weak_joints_are_ghosts():
    weak = flat(18)
    weak[11] = 0.1
    got = openpose_json.read(json.dumps([{"people": []}, frame(pose_keypoints_2d=weak)]))
    assert got.people[0].ghosts == {3}


SHARED = json.loads((Path(__file__).parents[1] / "js" / "fixtures" / "poses.json").read_text())


@pytest.mark.parametrize("case", SHARED, ids=[case["name"] for case in SHARED])
def test_files_are_read_as_in_the_page(case):
    """The page runs the same cases (pose-json.test.mjs)."""
    if case["expected"] is None:
        with pytest.raises(InputError):
            openpose_json.read_with_losses(case["text"])
        return
    assert said(*openpose_json.read_with_losses(case["text"])) == case["expected"]


def said(skeleton, lost):
    def flat_part(points):
        return None if points is None else [round(n, 6) for p in points for n in (p.x, p.y, p.confidence)]

    people = [
        {"body": flat_part(one.body), "left_hand": flat_part(one.left_hand), "right_hand": flat_part(one.right_hand),
         "face": flat_part(one.face), "ghosts": sorted(one.ghosts)}
        for one in skeleton.people
    ]  # fmt: skip
    return {"width": skeleton.width, "height": skeleton.height, "people": people, "lost": list(lost)}


@pytest.mark.parametrize("name", ["pose_comfy_list.json", "pose_face69.json"])
def test_files_that_people_brought(name):
    path = golden_folder() / "cases" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    skeleton, lost = openpose_json.read_with_losses(path.read_bytes())
    assert skeleton.people[0].body[0] == Point(x=256, y=120) and len(lost) == name.count("69")


def test_a_person_without_points_is_kept():
    got = openpose_json.read(json.dumps({"people": [{"pose_keypoints_2d": []}]}), 300, 200)
    assert got.people[0].body == (MISSING,) * 18 and (got.width, got.height) == (300, 200)


@settings(max_examples=150)
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
