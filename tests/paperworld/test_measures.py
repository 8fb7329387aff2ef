"""The measures of the evaluation: exact where the answer is known, and low for pictures that show nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from controlnet_core.domain.document import Person, Point, Skeleton
from controlnet_core.domain.errors import InputError
from paperworld.evaluation import evaluate, measures
from paperworld.evaluation.benchmark import (
    CONDITIONS,
    answered,
    benchmark,
    by_hand,
    colour_error,
    coloured,
    edge_agreement,
    measure_of,
    questions,
    right_colours,
)
from paperworld.evaluation.strangers import STROKES, drawings


@pytest.mark.parametrize("key", ["seg", "pose", "depth", "normal"])
def test_true_pictures_are_right_and_those_of_another_scene_and_noise_are_not(key: str) -> None:
    test = benchmark(key, 4)
    pictures = [truth.picture for truth in test.truths]
    measure = measure_of(key)
    best = measure.agree(pictures, test)
    assert measure.share(best, best) == 1
    other = measure.agree([*pictures[1:], pictures[0]], test)
    noise = measure.agree([np.random.default_rng(n).integers(0, 256, (256, 256, 3), np.uint8) for n in range(4)], test)
    if key == "normal":
        assert best < 6 and other > 15 and noise > 30
    else:
        assert best > 0.94
        # Far things are above near ones in most scenes: ranks of depth agree by themselves.
        assert other < (0.9 if key == "depth" else 0.5) * best
        assert noise < (0.5 if key == "depth" else 0.2)


def test_joints_are_found_near_their_place_and_faces_by_their_eyes() -> None:
    truth = benchmark("pose", 1).truths[0]
    found, total = measures.joints_found(truth.picture, truth.picture, truth.skeleton)
    assert found == total > 0
    away = np.roll(truth.picture, 14, axis=1)
    assert measures.joints_found(away, truth.picture, truth.skeleton)[0] < total / 2
    soft = cv2.GaussianBlur(truth.picture, (0, 0), 1.5).astype(np.uint8)
    assert measures.joints_found(soft, truth.picture, truth.skeleton)[0] > 0.8 * total, (
        "soft people stand where they stand"
    )
    assert measures.faces_found(truth.picture, truth.picture, truth.skeleton) == (1, 1)
    blank = truth.picture.copy()
    nose, neck = truth.skeleton.people[0].body[0], truth.skeleton.people[0].body[1]
    cv2.circle(blank, (round(nose.x), round(nose.y)), round(0.6 * (neck.y - nose.y)), (232, 184, 146), -1)
    assert measures.faces_found(blank, truth.picture, truth.skeleton) == (0, 1)
    small = Person(body=tuple(Point(x=9.0 + n, y=9.0 + n) for n in range(18)))
    alone = Skeleton(width=256, height=256, people=(small,))
    assert measures.joints_found(truth.picture, truth.picture, alone) == (0, 0)


def test_line_detector_finds_the_lines_of_true_pictures_and_none_in_noise() -> None:
    test = benchmark("lines", 4)
    measure = measure_of("lines")
    noise = [np.random.default_rng(n).integers(0, 256, (256, 256, 3), np.uint8) for n in range(4)]
    assert measure.agree([truth.picture for truth in test.truths], test) > 0.7
    assert measure.agree(noise, test) < 0.1


def test_rank_correlation_ignores_scale_and_knows_flat_maps() -> None:
    depth = np.random.default_rng(0).random((8, 8)) + 1
    assert measures.rank_correlation(np.log(depth), depth) == pytest.approx(1)
    assert measures.rank_correlation(-depth, depth) == pytest.approx(-1)
    assert measures.rank_correlation(np.ones((8, 8)), depth) == 0


@pytest.mark.parametrize("key", CONDITIONS)
def test_benchmarks_show_every_condition(key: str) -> None:
    test = benchmark(key, 2)
    assert len(test.truths) == len(test.prompts) == len(test.controls) == 2
    assert all(control.any() for control in test.controls)


def test_true_pictures_follow_what_a_hand_drew() -> None:
    test = by_hand("scribble", 6)
    assert edge_agreement([truth.picture for truth in test.truths], test.controls) > 0.8
    assert colour_error([truth.picture for truth in test.truths], test.truths) == 0


def test_forms_have_the_colour_that_is_asked_for_in_their_own_pictures_only() -> None:
    asked = coloured(12)
    truths = [np.zeros((256, 256, 3), np.uint8) + np.array(each.colours[each.name], np.uint8) for each in asked]
    assert right_colours(truths, asked) == 1
    assert right_colours([*truths[1:], truths[0]], asked) < 0.6
    assert all(each.name in each.prompt for each in asked)


def test_strangers_draw_the_same_every_time_in_lines_of_their_own(tmp_path: Path) -> None:
    one, two = drawings(), drawings()
    assert len(one) == len(STROKES) >= 29
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.control, b.control)
        assert 0.005 < (a.control > 0).mean() < 0.25, a.name
    paper = np.full((300, 300), 255, np.uint8)
    cv2.circle(paper, (150, 150), 90, 0, 4)
    cv2.imwrite(str(tmp_path / "turtle.png"), paper)
    more = drawings([tmp_path / "turtle.png"])
    assert more[0].prompt == "a turtle" and more[0].control.any() and len(more) == len(one) + 1
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png is not a picture"):
        drawings([tmp_path / "broken.png"])


def test_weights_are_better_by_one_figure_and_not_at_the_cost_of_the_other() -> None:
    now = evaluate.Merit(0.79, 16.0)
    assert evaluate.Merit(0.786, 11.2).better(now)
    assert evaluate.Merit(0.80, 16.2).better(now)
    assert not evaluate.Merit(0.78, 11.2).better(now)
    assert not evaluate.Merit(0.793, 15.9).better(now)
    assert not now.better(now)


def test_slopes_are_steep_at_crisp_lines_and_flat_on_paper() -> None:
    control = np.zeros((128, 128, 3), np.uint8)
    control[64, 20:108] = 255
    crisp = np.full((128, 128, 3), 240, np.uint8)
    crisp[63:65, 20:108] = 40
    blurred = cv2.GaussianBlur(crisp, (0, 0), 5).astype(np.uint8)
    steep, flat = measures.slopes(crisp, control)
    assert steep > 4 * measures.slopes(blurred, control)[0] and flat == 0


def test_questions_are_answered_by_their_own_pictures_only() -> None:
    asked = questions(6)
    pictures = [question.picture for question in asked]
    assert all(question.name in question.prompt for question in asked)
    right, wrong = answered(pictures, asked), answered([*pictures[1:], pictures[0]], asked)
    assert right == pytest.approx(dict.fromkeys(right, 1.0))
    assert wrong["object"] < 0.5 and wrong["colour"] < 0.7 and wrong["all"] < 0.6


def test_report_keeps_finished_parts_and_forgets_those_of_other_weights(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    report = evaluate.Report(None, 1, 1, kept, "a")  # type: ignore[arg-type]
    report.part("x", lambda: {"generated": 0.123456})
    assert json.loads(kept.read_text())["figures"] == {"x": {"generated": 0.1235}}
    again = evaluate.Report(None, 1, 1, kept, "a")  # type: ignore[arg-type]
    again.part("x", lambda: pytest.fail("measured twice"))
    assert evaluate.Report(None, 1, 1, kept, "b").figures == {}  # type: ignore[arg-type]
