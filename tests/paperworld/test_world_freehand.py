"""Free-hand documents: valid, different each time, on the lines of their scene, and scenes that a hand moved."""

import cv2
import numpy as np
import pytest

import paperworld
from controlnet_core.domain.document import MISSING, decode, encode
from paperworld.world import freehand
from paperworld.world.freeform import compose_free
from paperworld.world.portraits import compose_people
from paperworld.world.rendering import Rendering
from paperworld.world.scene import Scene
from paperworld.world.warp import KEPT, thinned, wobbled

SEEDS = range(16)


@pytest.fixture(scope="module")
def world() -> list[tuple[Scene, Rendering]]:
    scenes = [compose_free(seed) if seed % 2 else paperworld.compose(seed) for seed in SEEDS]
    return [(scene, paperworld.render(scene)) for scene in scenes]


def test_a_scribble_is_a_mask_and_differs_each_time(world: list[tuple[Scene, Rendering]]) -> None:
    for n, (scene, truth) in enumerate(world):
        a, again, b = (freehand.scribble(scene, truth, np.random.default_rng(s)) for s in (n, n, n + 1000))
        assert a.kind == "mask" and a.pixels.shape == truth.outlines.shape and a.pixels.dtype == np.uint8
        assert np.array_equal(a.pixels, again.pixels) and not np.array_equal(a.pixels, b.pixels)
        assert decode(encode(a)).pixels.shape == a.pixels.shape  # type: ignore[union-attr]


def test_a_scribble_follows_the_outlines_of_its_picture(world: list[tuple[Scene, Rendering]]) -> None:
    near, ink_all, kept = 0, 0, []
    for n, (scene, truth) in enumerate(world):
        ink = freehand.scribble(scene, truth, np.random.default_rng(n)).pixels > 127
        close = cv2.distanceTransform(255 - truth.outlines, cv2.DIST_L2, 3) <= 5
        near, ink_all = near + int((ink & close).sum()), ink_all + int(ink.sum())
        reach = cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        kept.append(float(reach[truth.outlines > 0].mean()))
    assert ink_all > 0 and near / ink_all > 0.97
    assert np.mean(kept) > 0.9, "nearly everything is drawn"


def test_stroke_widths_cover_thin_and_thick(world: list[tuple[Scene, Rendering]]) -> None:
    widths = []
    for seed in range(40):
        scene, truth = world[seed % len(world)]
        ink = (freehand.scribble(scene, truth, np.random.default_rng(seed)).pixels > 127).astype(np.uint8)
        inside = cv2.distanceTransform(ink, cv2.DIST_L2, 3)
        if ink.any():
            widths.append(2 * float(np.percentile(inside[inside > 0], 70)))
    assert min(widths) < 3 and max(widths) > 4.5


def test_open_strokes_are_drawn_once_and_seen() -> None:
    for seed in range(60):
        scene = compose_free(seed)
        if scene.strokes:
            truth = paperworld.render(scene)
            plain = paperworld.render(Scene(**{**vars(scene), "strokes": ()}))
            assert (truth.outlines > 0).sum() > (plain.outlines > 0).sum()
            assert truth.picture.sum() < plain.picture.sum(), "they are ink in the picture, too"
            return
    pytest.fail("no scene has strokes")


def test_a_moved_scene_has_all_of_its_things_and_joints_on_its_people() -> None:
    inside = joints = 0
    for seed in range(12):
        scene = compose_people(seed)
        moved = wobbled(scene, np.random.default_rng(seed), 0.015)
        assert len(moved.shapes) == len(scene.shapes) and moved.things == scene.things
        assert not np.array_equal(moved.shapes[-1].points[:3], scene.shapes[-1].points[:3])
        truth = paperworld.render(moved)
        people = cv2.dilate((truth.classes == 12).astype(np.uint8), np.ones((5, 5), np.uint8))
        for person in truth.skeleton.people:
            for p in person.body:
                if p.confidence and 0 <= p.x < 255 and 0 <= p.y < 255:
                    joints += 1
                    inside += int(people[round(p.y), round(p.x)])
    assert joints > 100 and inside / joints > 0.97


def test_what_is_left_out_is_not_in_the_picture_either() -> None:
    fewer = 0
    for seed in range(20):
        scene = paperworld.compose(seed)
        less = thinned(scene, np.random.default_rng(seed), 0.6, sky=False)
        left = {shape.thing for shape in less.shapes}
        for number, thing in enumerate(scene.things, 1):
            if thing.name in KEPT or thing.doing:
                assert number in left
            if thing.name in ("sun", "moon", "cloud"):
                assert number not in left
        fewer += len(left) < len({shape.thing for shape in scene.shapes})
    assert fewer > 15


def test_a_pose_loses_joints_and_moves_none() -> None:
    lost = joints = 0
    for seed in range(40):
        skeleton = paperworld.render(compose_people(seed)).skeleton
        drawn = freehand.pose(skeleton, np.random.default_rng(seed))
        assert (drawn.width, drawn.height) == (256, 256) and len(drawn.people) == len(skeleton.people)
        for a, b in zip(drawn.people, skeleton.people, strict=True):
            for p, q in zip(a.body, b.body, strict=True):
                assert p in (q, MISSING)
                joints += q != MISSING
                lost += p != q
    assert joints > 300 and 0.02 < lost / joints < 0.2


@pytest.mark.parametrize(("width", "height"), [(64, 64), (320, 192)])
def test_other_sizes(width: int, height: int) -> None:
    for seed in range(6):
        scene = compose_free(seed)
        truth = paperworld.render(scene, width, height)
        assert freehand.scribble(scene, truth, np.random.default_rng(seed)).pixels.shape == (height, width)
