"""What every condition owes the rest of the studio, whichever file it stands in."""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from annotator import control, controls, detection
from controlnet_core.domain.control import Group, values
from controlnet_core.domain.document import DocumentKind, Person, Point, Raster, Skeleton
from controlnet_core.domain.errors import InputError, ModelMissing
from controlnet_core.models.catalog import shipped

KEYS = tuple(controls())
WEIGHT_FREE = [(key, one.key) for key in KEYS for one in controls()[key].detectors if not one.weights]
WITH_WEIGHTS = [(key, one.key) for key in KEYS for one in controls()[key].detectors if one.weights]


@dataclass
class Scene:
    picture: np.ndarray
    classes: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    outlines: np.ndarray
    edges: np.ndarray
    lines: np.ndarray
    skeleton: Skeleton


def person(width, height):
    return Person(body=tuple(Point(x=width * (0.3 + 0.02 * i), y=height * (0.1 + 0.04 * i)) for i in range(18)))


def scene(height=96, width=128):
    """A ball before a wall, left of it a post, seen from 4 m."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    square = (20**2 - (x - 80) ** 2 - (y - 50) ** 2).astype(np.float32)
    ball = square > 0
    normal = np.zeros((height, width, 3), np.float32)
    normal[..., 2] = 1
    rise = np.sqrt(np.maximum(square, 0))
    normal[ball] = np.stack([x - 80, y - 50, rise], 2)[ball] / 20
    depth = np.where(ball, 3 - rise / 20, 4).astype(np.float32)
    outlines = np.zeros((height, width), np.uint8)
    outlines[30, 10:100] = 255
    lines = np.array([[20, 10, 20, 90], [5, 90, 120, 90]], np.float32)
    classes = np.where(ball, 119, 0).astype(np.uint8)
    picture = np.where(ball[..., None], 200, 60).astype(np.uint8).repeat(3, 2)
    people = Skeleton(width=width, height=height, people=(person(width, height),))
    return Scene(picture, classes, depth, normal, outlines, outlines.copy(), lines, people)


def sample(kind, height, width):
    rng = np.random.default_rng(0)
    if kind == "skeleton":
        return Skeleton(width=width, height=height, people=(person(width, height),))
    high = 150 if kind == "classes" else 256
    shape = {"rgb": (height, width, 3), "rgba": (height, width, 4)}.get(kind, (height, width))
    return Raster(kind, rng.integers(0, high, shape).astype(np.uint8))


def kind_of(document):
    return document.kind if isinstance(document, Raster) else "skeleton"


def channels_of(one):
    return 4 if one.document == "rgba" else 3


def photo(golden, name="house.jpg"):
    return np.array(Image.open(golden / "pictures" / name).convert("RGB"))


def test_conditions_come_in_their_groups_and_each_has_a_place_of_its_own():
    listed = list(controls().values())
    assert [get_args(Group).index(one.group) for one in listed] == sorted(
        get_args(Group).index(one.group) for one in listed
    )
    assert listed[0].group == "draw", "drawing is what a newcomer finds first"
    for mark in ("key", "title", "icon", "order"):
        assert len({getattr(one, mark) for one in listed}) == len(listed), f"two conditions have the same {mark}"
    for key in KEYS:
        assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", key), "recipes name it"


def test_cards_and_conditions_know_each_other():
    networks = [card for card in shipped().values() if card.kind == "controlnet"]
    for card in networks:
        assert set(card.controls) <= set(KEYS), f"{card.id} serves what nobody can ask for"
        assert set(card.feed) <= set(card.controls)
    assert set(KEYS) == {key for card in networks for key in card.controls}, "nothing carries one of them"


def test_importing_the_conditions_loads_no_deep_learning():
    heavy = "{'torch', 'diffusers', 'transformers', 'scipy', 'streamlit'}"
    code = f"import sys, annotator, annotator.detection, annotator.formats.openpose_json; annotator.controls(); " \
           f"sys.exit(str(sorted({heavy} & set(sys.modules))) if {heavy} & set(sys.modules) else 0)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", KEYS)
def test_a_condition_says_everything(key):
    one = controls()[key]
    assert one.key == key and one.title and one.help.endswith(".") and one.placeholder
    assert one.icon.startswith(":material/") and one.icon.endswith(":")
    assert {one.document: one.editor} in (
        {"mask": "scribble"}, {"skeleton": "pose"}, {"classes": "seg"}, {"rgb": "view"}, {"rgb": "colour"}, {"rgba": "inpaint"},
    )  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_detectors_and_parameters_are_complete(key):
    one = controls()[key]
    keys = [found.key for found in one.detectors]
    assert len(set(keys)) == len(keys) >= 1
    assert any(found.reads == "photo" for found in one.detectors), "a photo is a way to every condition"
    for found in one.detectors:
        assert found.title and found.help
        assert values(found.params, {}) == {param.key: param.default for param in found.params}
        for card in found.weights:
            assert shipped()[card].kind == "detector" and shipped()[card].licence
    for param in (*one.params, *(p for found in one.detectors for p in found.params)):
        assert param.title and param.check(param.default) == param.default
        assert param.choices or isinstance(param.default, bool) or (param.low < param.high and param.step > 0)


def test_the_originals_parameters():
    table = {
        ("canny", "canny", "low"): (100, 1, 255), ("canny", "canny", "high"): (200, 1, 255),
        ("lines", "mlsd", "score"): (0.1, 0.01, 2), ("lines", "mlsd", "distance"): (0.1, 0.01, 20),
        ("lines", "mlsd", "resolution"): (512, 128, 1024), ("softedge", "hed", "resolution"): (512, 128, 1024),
        ("scribble", "hed", "resolution"): (512, 128, 1024), ("pose", "openpose", "resolution"): (512, 128, 1024),
        ("seg", "upernet", "resolution"): (512, 128, 1024), ("depth", "dpt", "resolution"): (384, 128, 1024),
        ("normal", "dpt", "resolution"): (384, 128, 1024), ("normal", "dpt", "background"): (0.4, 0, 1),
    }  # fmt: skip
    for (key, name, param), wanted in table.items():
        found = next(p for p in detection.detector(control(key), name).params if p.key == param)
        assert (found.default, found.low, found.high) == wanted, (key, name, param)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 260), (1, 1), (2048, 16)])
def test_every_condition_renders_its_document(key, height, width):
    one = controls()[key]
    drawn = one.render(sample(one.document, height, width), values(one.params, {}))
    assert drawn.dtype == np.uint8 and drawn.shape == (height, width, channels_of(one))


@pytest.mark.parametrize("key", KEYS)
def test_other_documents_are_refused(key):
    one = controls()[key]
    for kind in {*get_args(DocumentKind)} - {one.document}:
        with pytest.raises(InputError):
            one.render(sample(kind, 16, 16), {})


@pytest.mark.parametrize("key", KEYS)
def test_truth_is_a_document_that_renders(key):
    one, world = controls()[key], scene()
    assert one.teaches == (one.truth is not None)
    if not one.teaches:
        with pytest.raises(InputError, match="no map"):
            one.truth_of(world)
        return
    document = one.truth(world)
    assert kind_of(document) == one.document and (document.height, document.width) == (96, 128)
    assert one.render(document, {}).any()


def test_truths_say_what_the_scene_says():
    world = scene()
    near = controls()["depth"].truth(world).pixels[..., 0]
    assert near[50, 80] == 255 and near[5, 5] == 0, "near is bright"
    inverse = 1 / world.depth
    expected = (inverse - inverse.min()) / (inverse.max() - inverse.min()) * 255
    assert np.abs(near - expected).max() <= 1
    colours = controls()["normal"].truth(world).pixels
    assert tuple(colours[5, 5]) == (127, 127, 255)
    assert colours[50, 96, 0] < 60 and colours[50, 64, 0] > 200, "red faces left"
    assert colours[66, 80, 1] < 60 and colours[34, 80, 1] > 200, "green faces up"
    lines = controls()["lines"].truth(world).pixels
    assert (lines[10:91, 20] == 255).all() and (lines[90, 5:121] == 255).all() and lines.sum() < 255 * 220
    soft = controls()["softedge"].truth(world).pixels
    assert soft[30, 50] > 150 and 0 < soft[32, 50] < soft[30, 50], "soft edges fade"
    assert controls()["pose"].truth(world) == world.skeleton


@pytest.mark.parametrize(("key", "name"), WEIGHT_FREE)
def test_detectors_without_weights_work_on_a_photo(golden, key, name):
    one = controls()[key]
    way, rgb = detection.detector(one, name), photo(golden)
    document = detection.detect(one, way, rgb, {}, 320, 256)
    assert kind_of(document) == one.document and (document.width, document.height) == (320, 256)
    drawn = one.render(document, values(one.params, {}))
    assert drawn.shape == (256, 320, channels_of(one))
    if one.document == "mask" and way.reads == "photo":
        assert 0.001 < (drawn > 127).mean() < 0.5, "lines, neither nothing nor everything"


@pytest.mark.parametrize(("key", "name"), WEIGHT_FREE)
@pytest.mark.parametrize("shape", [(1, 1), (8000, 100), (100, 8000), (3, 7)])
def test_odd_pictures(key, name, shape):
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    one = controls()[key]
    try:
        document = detection.detect(one, detection.detector(one, name), rgb, {}, 192, 128)
    except InputError as error:
        assert "found" in error.message or "same depth" in error.message
        return
    assert (document.width, document.height) == (192, 128)


@pytest.mark.parametrize(("key", "name"), WITH_WEIGHTS)
def test_missing_weights_are_said_in_a_sentence(key, name, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_MODELS", str(tmp_path))
    one = controls()[key]
    with pytest.raises(ModelMissing) as caught:
        detection.detect(one, detection.detector(one, name), scene().picture, {}, 64, 64)
    assert "not on this machine" in caught.value.message and str(tmp_path) in caught.value.hint


def test_every_condition_but_pose_works_without_weights():
    free = {key for key, _ in WEIGHT_FREE}
    assert set(KEYS) - free == {"pose"}


def test_unknown_names_are_refused():
    for wrong in (lambda: control("sketch"), lambda: detection.detector(control("canny"), "hed")):
        with pytest.raises(InputError, match="Known"):
            wrong()
    with pytest.raises(InputError, match="parameter"):
        one = control("canny")
        detection.detect(one, one.detectors[0], scene().picture, {"lo": 3}, 64, 64)
    with pytest.raises(InputError, match="too large"):
        detection.detect(one, one.detectors[0], scene().picture, {}, 4096, 64)


def test_detection_size_is_the_originals_and_has_bounds(oracles):
    table = np.load(oracles / "annotators" / "resize_hwc3.npz")["size_table"]
    for height, width, resolution, new_height, new_width in table.tolist():
        if max(new_height, new_width) <= 2048:
            assert detection.detection_size(height, width, resolution) == (new_height, new_width)
    for shape in ((1, 1), (8000, 100), (100, 8000), (1, 5000)):
        size = detection.detection_size(*shape, 512)
        assert all(64 <= side <= 2048 and side % 64 == 0 for side in size), shape


def test_skeletons_scale_with_the_picture():
    small = sample("skeleton", 64, 128)
    large = detection.resized(small, 256, 256, nearest=True)
    assert (large.width, large.height) == (256, 256)
    for before, after in zip(small.people[0].body, large.people[0].body, strict=True):
        assert (after.x, after.y, after.confidence) == pytest.approx((before.x * 2, before.y * 4, before.confidence))


def test_class_maps_are_never_mixed():
    halves = np.zeros((64, 64), np.uint8)
    halves[:, 32:] = 140
    bigger = detection.resized(Raster("classes", halves), 200, 120, nearest=False)
    assert set(np.unique(bigger.pixels)) == {0, 140}
