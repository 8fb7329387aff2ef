"""The picture world: the same seed gives the same scene, and every truth agrees with the picture and the others."""

import re

import cv2
import numpy as np
import pytest

import paperworld
from paperworld.world import people
from paperworld.world.caption import Facts
from paperworld.world.rendering import Rendering
from paperworld.world.scene import Scene
from paperworld.world.words import NOUNS

SEEDS = range(120)
SKY, PERSON = 2, 12


@pytest.fixture(scope="module")
def world() -> list[tuple[Scene, Rendering]]:
    return [(scene, paperworld.render(scene)) for scene in map(paperworld.compose, SEEDS)]


def test_the_same_seed_gives_the_same_pixels_and_words() -> None:
    for seed in (0, 7, 123456789):
        a, b = (paperworld.render(paperworld.compose(seed)) for _ in range(2))
        for name in ("picture", "classes", "depth", "normal", "outlines", "edges", "lines"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert a.skeleton == b.skeleton
        words = {paperworld.caption(paperworld.compose(seed), np.random.default_rng(5)) for _ in range(2)}
        assert len(words) == 1


def test_different_seeds_differ(world: list[tuple[Scene, Rendering]]) -> None:
    assert len({r.picture.tobytes() for _, r in world}) == len(world)


def test_shapes_ranges_and_types(world: list[tuple[Scene, Rendering]]) -> None:
    for _, r in world:
        assert r.picture.shape == (256, 256, 3) and r.picture.dtype == np.uint8
        assert r.classes.dtype == np.uint8 and int(r.classes.max()) < 150
        assert r.depth.dtype == np.float32 and np.isfinite(r.depth).all() and float(r.depth.min()) > 0.2
        assert r.normal.dtype == np.float32
        assert np.allclose(np.linalg.norm(r.normal, axis=2), 1, atol=1e-3)
        assert float(r.normal[..., 2].min()) > 0, "a visible surface faces the viewer"
        assert set(np.unique(r.outlines)) <= {0, 255} and set(np.unique(r.edges)) <= {0, 255}
        assert r.lines.ndim == 2 and r.lines.shape[1] == 4 and r.lines.dtype == np.float32
        assert (r.skeleton.width, r.skeleton.height) == (256, 256) == (r.width, r.height)


def test_classes_do_not_depend_on_resolution(world: list[tuple[Scene, Rendering]]) -> None:
    same = []
    for scene, r in world[:30]:
        small = paperworld.render(scene, 128, 128)
        same.append(np.mean(small.classes == r.classes[1::2, 1::2]))
        for a, b in zip(small.skeleton.people, r.skeleton.people, strict=True):
            for p, q in zip(a.body, b.body, strict=True):
                if p.confidence:
                    assert abs((p.x + 0.5) * 2 - (q.x + 0.5)) < 1e-3
    # Only borders differ; towers of many small windows have most of them.
    assert np.mean(same) > 0.97 and np.min(same) > 0.93


@pytest.mark.parametrize(("width", "height"), [(320, 192), (192, 320), (64, 64), (333, 257)])
def test_any_size_renders(width: int, height: int) -> None:
    for seed in range(8):
        r = paperworld.render(paperworld.compose(seed), width, height)
        assert r.picture.shape == (height, width, 3) and r.normal.shape == (height, width, 3)
        assert r.depth.shape == r.classes.shape == r.outlines.shape == (height, width)


def test_the_world_is_varied(world: list[tuple[Scene, Rendering]]) -> None:
    assert {s.place for s, _ in world} == {"country", "coast", "city", "river", "room"}
    assert len({s.time for s, _ in world}) == 5 and len({s.season for s, _ in world}) == 4
    large = {
        int(c) for _, r in world for c, n in zip(*np.unique(r.classes, return_counts=True), strict=True) if n > 150
    }
    assert len(large) >= 30
    doing = {t.doing for seed in range(400) for t in paperworld.compose(seed).things if t.doing}
    assert doing == set(people.DOING)


def test_the_sky_is_farthest(world: list[tuple[Scene, Rendering]]) -> None:
    for _, r in world:
        sky = r.classes == SKY
        if sky.any():
            assert float(r.depth[sky].min()) > float(r.depth[~sky].max())


def test_ground_recedes_and_lies_flat(world: list[tuple[Scene, Rendering]]) -> None:
    for _, r in world:
        for label in (9, 26, 46, 6, 3):
            column, rows = r.depth[:, 128], np.flatnonzero(r.classes[:, 128] == label)
            if len(rows) > 20 and label != 6:
                assert (np.diff(column[rows]) <= 1e-3).all(), "lower on the picture is nearer"
                assert float(r.normal[rows, 128, 1].max()) < -0.8


def test_what_covers_is_nearer(world: list[tuple[Scene, Rendering]]) -> None:
    """People stand before what surrounds them."""
    nearer, all_ = 0, 0
    for _, r in world:
        person = r.classes == PERSON
        if person.sum() < 400:
            continue
        ring = cv2.dilate(person.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~person
        feet = np.flatnonzero(person.any(1)).max()
        ring[feet - 12 :] = False
        nearer += int((r.depth[ring] > float(np.median(r.depth[person])) * 0.98).sum())
        all_ += int(ring.sum())
    assert nearer / all_ > 0.95


def test_joints_lie_on_people(world: list[tuple[Scene, Rendering]]) -> None:
    inside, all_ = 0, 0
    for scene, r in world:
        assert len(scene.bodies) == len(r.skeleton.people)
        if len(scene.bodies) != 1:
            continue
        mask = cv2.dilate((r.classes == PERSON).astype(np.uint8), np.ones((3, 3), np.uint8))
        for p in r.skeleton.people[0].body:
            if p.confidence and 0 <= p.x < 255 and 0 <= p.y < 255:
                all_ += 1
                inside += int(mask[round(p.y), round(p.x)])
    assert all_ > 300 and inside / all_ > 0.98


def test_left_and_right_are_the_persons_own() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        joints, _ = people.joints_of(people.pose_for("standing", rng), 0.5, 0.9, 0.6)
        for right, left in ((2, 5), (8, 11), (14, 15), (16, 17)):
            assert joints[right, 0] < joints[left, 0], "facing us, a right side is on the viewer's left"
        assert joints[0, 1] < joints[1, 1] < joints[8, 1] < joints[9, 1] < joints[10, 1]


def test_profile_hides_the_far_ear() -> None:
    pose = people.Pose((0, 0), (0, 0), (0, 0), (0, 0), turn=0.9)
    joints, seen = people.joints_of(pose, 0.5, 0.9, 0.6)
    assert joints[0, 0] > joints[1, 0] and seen[16] and not seen[17] and seen[14] and not seen[15]


def _near(mask: np.ndarray, reach: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def test_class_borders_are_outlined(world: list[tuple[Scene, Rendering]]) -> None:
    for scene, r in world:
        border = np.zeros_like(r.classes)
        border[:, 1:] = r.classes[:, 1:] != r.classes[:, :-1]
        border[1:] |= r.classes[1:] != r.classes[:-1]
        assert _near(r.outlines, 1)[border > 0].mean() > 0.97, scene.seed


def test_edges_are_where_the_picture_changes(world: list[tuple[Scene, Rendering]]) -> None:
    """Outlines have an edge near them, except where two colours are alike in dark scenes."""
    shares = [float(_near(r.edges, 3)[r.outlines > 0].mean()) for s, r in world if s.time == "day"]
    assert np.mean(shares) > 0.9


def test_lines_lie_on_edges_and_are_straight_sides(world: list[tuple[Scene, Rendering]]) -> None:
    hits, all_ = 0, 0
    for scene, r in world:
        if scene.time != "day":
            continue
        near = _near(r.edges, 3)
        for x1, y1, x2, y2 in r.lines:
            assert np.hypot(x2 - x1, y2 - y1) >= 256 / 40 - 1e-3
            t = np.linspace(0.05, 0.95, 9)
            xs = np.clip(np.round(x1 + (x2 - x1) * t).astype(int), 0, 255)
            ys = np.clip(np.round(y1 + (y2 - y1) * t).astype(int), 0, 255)
            hits, all_ = hits + int(near[ys, xs].sum()), all_ + 9
    assert all_ > 1000 and hits / all_ > 0.9


LABELS = {"house": 25, "tree": 4, "car": 20, "boat": 76, "bridge": 61, "lighthouse": 84, "palm": 72, "fence": 32}


def test_what_facts_name_is_visible(world: list[tuple[Scene, Rendering]]) -> None:
    for scene, r in world:
        known = paperworld.facts(scene)
        assert isinstance(known, Facts)
        for seen in known.objects:
            assert (r.classes == seen.label).sum() > 40, (scene.seed, seen)
            assert LABELS.get(seen.name, seen.label) == seen.label
        assert len(known.people) <= len(scene.bodies)


def test_captions_name_only_what_is_there(world: list[tuple[Scene, Rendering]]) -> None:
    rng = np.random.default_rng(3)
    single = {word: name for name, forms in NOUNS.items() for one, many in forms for word in (one, many)}
    for scene, _ in world:
        known = paperworld.facts(scene)
        names = {o.name for o in known.objects} | ({"person"} if known.people else set())
        for _ in range(4):
            text = paperworld.caption(scene, rng)
            for word in (
                "house",
                "cottage",
                "car",
                "boat",
                "dog",
                "cat",
                "horse",
                "lighthouse",
                "bridge",
                "man",
                "woman",
                "bed",
            ):
                if re.search(rf"\b{word}s?\b", text):
                    assert single[word] in names, (scene.seed, text)
            if "sunset" in text or "dusk" in text:
                assert scene.time == "sunset"
            if "snow" in text or "winter" in text:
                assert scene.season == "winter" and scene.place in ("country", "river")


def test_captions_vary_and_use_the_vocabulary(world: list[tuple[Scene, Rendering]]) -> None:
    rng = np.random.default_rng(1)
    known = set(paperworld.WORDS)
    for scene, _ in world[:60]:
        said = {paperworld.caption(scene, rng) for _ in range(12)}
        assert len(said) >= 4
        for text in said:
            assert set(text.replace(",", "").split()) <= known
            assert 0 < len(text.split()) <= 40
    assert list(paperworld.WORDS) == sorted(set(paperworld.WORDS)) and len(paperworld.WORDS) < 300


def test_count_in_caption_is_the_count_visible(world: list[tuple[Scene, Rendering]]) -> None:
    numbers = {"two": 2, "three": 3, "four": 4}
    rng = np.random.default_rng(9)
    for scene, _ in world:
        known = {o.name: o.count for o in paperworld.facts(scene).objects}
        found = re.search(
            r"\b(two|three|four) (?:\w+ )?(houses|trees|cars|boats|dogs|palms)\b", paperworld.caption(scene, rng)
        )
        if found and found[2][:-1] in known and "pine trees" not in found[0] and "palm trees" not in found[0]:
            assert known[found[2][:-1]] == numbers[found[1]], scene.seed


@pytest.mark.slow
def test_five_hundred_scenes() -> None:
    for seed in range(10_000, 10_500):
        scene = paperworld.compose(seed)
        r = paperworld.render(scene, 96, 96)
        paperworld.caption(scene, np.random.default_rng(seed))
        assert np.isfinite(r.depth).all() and np.isfinite(r.normal).all() and np.isfinite(r.lines).all()
