"""Free-hand documents: valid, different each time, and still about the same scene."""

import cv2
import numpy as np
import pytest

import paperworld
from controlnet_core.domain.document import Skeleton, decode, encode
from paperworld.world import freehand
from paperworld.world.rendering import Rendering

SEEDS = range(40)


@pytest.fixture(scope="module")
def truths() -> list[Rendering]:
    return [paperworld.render(paperworld.compose(seed)) for seed in SEEDS]


def test_a_scribble_is_a_mask_and_differs_each_time(truths: list[Rendering]) -> None:
    for n, truth in enumerate(truths):
        a, again, b = (freehand.scribble(truth, np.random.default_rng(s)) for s in (n, n, n + 1000))
        assert a.kind == "mask" and a.pixels.shape == truth.outlines.shape and a.pixels.dtype == np.uint8
        assert np.array_equal(a.pixels, again.pixels) and not np.array_equal(a.pixels, b.pixels)
        assert decode(encode(a)).pixels.shape == a.pixels.shape  # type: ignore[union-attr]


def test_a_scribble_stays_near_the_outlines_but_not_on_them(truths: list[Rendering]) -> None:
    near, ink_all, kept = 0, 0, []
    for n, truth in enumerate(truths):
        ink = freehand.scribble(truth, np.random.default_rng(n)).pixels > 127
        close = cv2.distanceTransform(255 - truth.outlines, cv2.DIST_L2, 3) <= 9
        near, ink_all = near + int((ink & close).sum()), ink_all + int(ink.sum())
        reach = cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        kept.append(float(reach[truth.outlines > 0].mean()))
    assert ink_all > 0 and near / ink_all > 0.9
    assert 0.4 < np.mean(kept) < 0.97, "much is drawn, something is always missing"


def test_stroke_widths_cover_thin_and_thick(truths: list[Rendering]) -> None:
    widths = []
    for seed in range(60):
        ink = (freehand.scribble(truths[seed % len(truths)], np.random.default_rng(seed)).pixels > 127).astype(np.uint8)
        inside = cv2.distanceTransform(ink, cv2.DIST_L2, 3)
        if ink.any():
            widths.append(2 * float(np.percentile(inside[inside > 0], 70)))
    assert min(widths) < 3 and max(widths) > 4.5


def test_a_layout_is_simpler_but_recognisable(truths: list[Rendering]) -> None:
    agreement = []
    for n, truth in enumerate(truths):
        a, b = (freehand.layout(truth, np.random.default_rng(s)) for s in (n, n + 1000))
        assert a.kind == "classes" and a.pixels.shape == truth.classes.shape
        assert set(np.unique(a.pixels)) <= set(np.unique(truth.classes)), "no new class appears"
        assert not np.array_equal(a.pixels, b.pixels)
        agreement.append(float((a.pixels == truth.classes).mean()))
    assert 0.85 < np.mean(agreement) < 0.995


def test_layouts_lose_objects(truths: list[Rendering]) -> None:
    lost = [
        len(set(np.unique(t.classes))) - len(set(np.unique(freehand.layout(t, np.random.default_rng(n)).pixels)))
        for n, t in enumerate(truths)
    ]
    assert sum(n > 0 for n in lost) > len(lost) / 10


def test_a_house_left_out_takes_its_windows_along() -> None:
    left_out = 0
    for seed in range(100):
        scene = paperworld.compose(seed)
        if scene.place != "country" or not any(thing.name == "house" for thing in scene.things):
            continue
        truth = paperworld.render(scene)
        for n in range(6):
            painted = freehand.layout(truth, np.random.default_rng(n)).pixels
            if (truth.classes == 25).sum() > 400 and (painted == 25).sum() == 0:
                left_out += 1
                assert (painted == 14).sum() + (painted == 8).sum() == 0, seed
    assert left_out >= 5


def test_a_pose_is_jittered_and_loses_joints(truths: list[Rendering]) -> None:
    moved, dropped, joints = 0, 0, 0
    for n, truth in enumerate(truths):
        drawn = freehand.pose(truth, np.random.default_rng(n))
        assert isinstance(drawn, Skeleton) and (drawn.width, drawn.height) == (256, 256)
        assert len(drawn.people) <= len(truth.skeleton.people)
        if len(drawn.people) != len(truth.skeleton.people):
            continue
        for a, b in zip(drawn.people, truth.skeleton.people, strict=True):
            for p, q in zip(a.body, b.body, strict=True):
                if not q.confidence:
                    assert not p.confidence
                    continue
                joints += 1
                dropped += not p.confidence
                moved += bool(p.confidence) and (p.x, p.y) != (q.x, q.y)
                if p.confidence:
                    assert np.hypot(p.x - q.x, p.y - q.y) < 60
    assert joints > 100 and 0.01 < dropped / joints < 0.3 and moved / joints > 0.6


@pytest.mark.parametrize(("width", "height"), [(64, 64), (320, 192)])
def test_other_sizes(width: int, height: int) -> None:
    for seed in range(6):
        truth = paperworld.render(paperworld.compose(seed), width, height)
        rng = np.random.default_rng(seed)
        assert freehand.scribble(truth, rng).pixels.shape == (height, width)
        assert freehand.layout(truth, rng).pixels.shape == (height, width)
