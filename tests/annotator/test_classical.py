"""The classical steps equal the original's, picture by picture."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from annotator import canny, controls, depth, detection, ink, normal, pose, scribble, seg, skeleton_drawing
from controlnet_core.domain.control import fed, values
from controlnet_core.domain.document import MISSING, Person, Point, Raster, Skeleton
from controlnet_core.domain.errors import InputError
from controlnet_core.models.catalog import shipped

NAMES = ("dog", "room", "human")


def picture(oracles, name):
    return np.array(Image.open(oracles / "annotators" / f"{name}.png"))


def mask(oracles, name):
    array = picture(oracles, name)
    return array if array.ndim == 2 else array[:, :, 0]


def run(control, key, rgb, **given):
    one = detection.detector(control, key)
    return one.run(rgb, values(one.params, given))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("low", "high"), [(100, 200), (50, 150)])
def test_canny(oracles, name, low, high):
    found = run(canny.CONTROL, "canny", picture(oracles, f"{name}_512"), low=low, high=high)
    np.testing.assert_array_equal(found.pixels, mask(oracles, f"{name}_canny_{low}_{high}"))


@pytest.mark.parametrize("name", NAMES)
def test_scribble_of_a_drawing(oracles, name):
    found = run(scribble.CONTROL, "drawing", picture(oracles, f"{name}_512"))
    np.testing.assert_array_equal(found.pixels, mask(oracles, f"{name}_scribble"))


@pytest.mark.parametrize("name", NAMES)
def test_thinning_and_fake_scribble(oracles, name):
    soft = mask(oracles, f"{name}_softedge")
    np.testing.assert_array_equal(ink.thin(soft), mask(oracles, f"{name}_softedge_nms_127_3"))
    np.testing.assert_array_equal(ink.fake_scribble(soft), mask(oracles, f"{name}_fake_scribble"))
    found = run(scribble.CONTROL, "soft_edge_map", np.dstack([soft] * 3))
    np.testing.assert_array_equal(found.pixels, mask(oracles, f"{name}_fake_scribble"))


def test_normal_from_depth(oracles):
    data = np.load(oracles / "annotators" / "normal_from_depth.npz")
    depths = {"smooth": data["smooth_depth"], "scene": data["scene_depth"]}
    depths["scene_large"] = data["scene_depth"] * np.float32(97)
    for name, raw in depths.items():
        np.testing.assert_array_equal(depth.brightness(raw), data[f"{name}_depth_image"])
        for number, (z, background) in enumerate(data["variants_a_bg"]):
            off = np.abs(normal.from_depth(raw, background, z).astype(int) - data[f"{name}_normal_{number}"])
            assert off.max() <= 1 and (off > 0).mean() <= 1e-3


def test_detected_normals_are_red_to_the_left_and_green_upwards():
    y, x = np.mgrid[:64, :64].astype(np.float32)
    ball = np.sqrt(np.maximum(28.0**2 - (x - 32) ** 2 - (y - 32) ** 2, 0)).astype(np.float32)
    colours = normal.from_depth(ball, 0.1)
    assert colours[32, 16, 0] > 150 and colours[32, 48, 0] < 105
    assert colours[16, 32, 1] > 150 and colours[48, 32, 1] < 105
    assert colours[32, 32].tolist() == [127, 127, 255]


def test_the_worlds_normals_say_what_detected_ones_say_and_its_network_hears_what_it_learnt():
    import paperworld

    truth = paperworld.render(paperworld.compose(3), 64, 64)
    said = normal.CONTROL.truth(truth).pixels
    rightwards, downwards = truth.normal[..., 0] > 0.3, truth.normal[..., 1] > 0.3
    assert (said[rightwards, 0] < 127).all() and (said[downwards, 1] < 127).all()
    heard = fed(said, shipped()["paperworld-control"].feed["normal"]).astype(int)
    assert np.abs(heard - normal.shown(truth.normal)).max() <= 1
    black = np.zeros((2, 2, 3), np.uint8)
    assert not fed(black, "opposed").any()
    assert "normal" not in shipped()["sd15-normal-v11"].feed and fed(said, "rgb") is said


def skeleton(entry, width, height):
    people = []
    for one in entry["people"]:
        flat = np.array(one["pose_keypoints_2d"], float).reshape(18, 3)
        people.append(Person(body=tuple(Point(x=x, y=y, confidence=c) for x, y, c in flat)))
    return Skeleton(width=width, height=height, people=tuple(people))


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize(("height", "width"), [(512, 512), (512, 768)])
def test_pose_drawing(oracles, number, height, width):
    entry = json.loads((oracles / "annotators" / "pose_sets.json").read_text())[number]
    drawn = pose.render(skeleton(entry, width, height), {})
    np.testing.assert_array_equal(drawn, picture(oracles, f"pose_{number:02d}_{height}x{width}"))


def test_hand_drawing(oracles):
    sets = json.loads((oracles / "annotators" / "hand_sets.json").read_text())
    for number, hands in enumerate(sets):
        people = []
        for hand in hands:
            points = tuple(Point(x=x, y=y) if x and y else MISSING for x, y in hand)
            people.append(Person(body=(MISSING,) * 18, left_hand=points))
        ours = pose.render(Skeleton(width=512, height=512, people=tuple(people)), {})
        # The original draws the dot of a missing point at the corner; an editor's picture must not.
        expected = picture(oracles, f"hand_{number}_512x512")
        if any(not (x and y) for hand in hands for x, y in hand):
            assert (expected[0, 0] == (0, 0, 255)).all() and not ours[0, 0].any()
            cv2.circle(ours, (0, 0), 4, (0, 0, 255), -1)
        np.testing.assert_array_equal(ours, expected)


def test_palette(oracles):
    rows = json.loads((oracles / "annotators" / "ade20k.json").read_text())
    assert [(one.index, one.name, list(one.rgb)) for one in seg.classes()] == [
        (row["id"], row["name"], row["rgb"]) for row in rows
    ]


def test_pose_style_1_1_has_opaque_dark_limbs_and_points_on_top():
    body = [MISSING] * 18
    body[2], body[3] = Point(x=20, y=50), Point(x=80, y=50)
    drawn = pose.render(Skeleton(width=100, height=100, people=(Person(body=tuple(body)),)), {"style": "1.1"})
    assert tuple(drawn[50, 50]) == tuple(int(0.6 * c) for c in skeleton_drawing.COLOURS[2])
    assert tuple(drawn[50, 20]) == skeleton_drawing.COLOURS[2]
    assert tuple(drawn[50, 80]) == skeleton_drawing.COLOURS[3]


def test_faces_are_white_points_and_can_be_left_out():
    face = tuple(Point(x=10 + i, y=30) for i in range(70))
    one = Skeleton(width=100, height=60, people=(Person(body=(MISSING,) * 18, face=face),))
    assert (pose.render(one, {})[30, 10:80] == 255).all()
    assert not pose.render(one, {"faces": False}).any()


def test_hidden_joints_and_ghosts_are_not_drawn():
    body = tuple(Point(x=50, y=10 + 5 * i) for i in range(18))
    plain = Skeleton(width=100, height=120, people=(Person(body=body),))
    bare = Person(body=body, hidden=frozenset(range(9)), ghosts=frozenset(range(9, 18)))
    assert pose.render(plain, {}).any()
    assert not pose.render(Skeleton(width=100, height=120, people=(bare,)), {}).any()


@pytest.mark.parametrize("style", ["1.0", "1.1"])
def test_joints_far_off_the_frame(style):
    rng = np.random.default_rng(3)
    for _ in range(20):
        spots = rng.uniform(-1e5, 1e5, (18, 2))
        one = Person(body=tuple(Point(x=x, y=y) for x, y in spots))
        assert pose.render(Skeleton(width=64, height=48, people=(one,)), {"style": style}).shape == (48, 64, 3)


def test_lines_of_a_drawn_room():
    rgb = np.full((256, 256, 3), 255, np.uint8)
    cv2.rectangle(rgb, (60, 60), (200, 180), (0, 0, 0), 3)
    found = run(controls()["lines"], "lsd", rgb, length=50).pixels
    assert found[55:66, 100:160].any(axis=0).mean() > 0.9 and not found[80:160, 80:180].any()


def test_nothing_found_is_said():
    flat = np.full((128, 128, 3), 127, np.uint8)
    for key, one in (("canny", "canny"), ("lines", "lsd"), ("softedge", "gradient"), ("scribble", "gradient")):
        with pytest.raises(InputError, match="found"):
            run(controls()[key], one, flat)


def test_auto_thresholds_follow_the_median():
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert canny.auto_thresholds(grey, 0.33) == (67, 133)
    assert canny.auto_thresholds(grey * 0, 0.33) == (1, 2)
    assert canny.auto_thresholds(grey * 0 + 255, 0.5) == (127, 255)


def test_gradient_answers_to_contrast_and_is_soft():
    rgb = np.zeros((128, 128, 3), np.uint8)
    rgb[:, 64:] = 200
    soft = run(controls()["softedge"], "gradient", rgb).pixels
    assert soft[64, 60:68].max() > 200 and soft[64, 10] == 0
    assert len(np.unique(soft)) > 5


def test_line_drawing_inks_the_dark_line_of_a_picture():
    rgb = np.full((64, 64, 3), 230, np.uint8)
    rgb[:, 31:33] = 20
    for key, one in (("lineart", "classical"), ("lineart_anime", "xdog"), ("scribble", "xdog")):
        found = run(controls()[key], one, rgb).pixels
        assert found[32, 31:33].max() >= 127, (key, one)
        assert found[32, :20].max() < 20, (key, one)


def test_contours_are_closed_strokes_around_a_shape_and_leave_texture_out():
    rgb = np.full((256, 256, 3), (90, 130, 90), np.uint8)
    rgb[::3, ::3] += 12  # texture
    cv2.circle(rgb, (128, 128), 70, (150, 100, 90), -1)  # about as bright as what is around it
    found = run(controls()["scribble"], "gradient", rgb).pixels
    assert set(np.unique(found)) == {0, 255}
    y, x = np.mgrid[:256, :256]
    away = np.abs(np.hypot(x - 128, y - 128) - 70)
    assert not found[away > 8].any() and found[away < 1].mean() > 250
    outside = cv2.connectedComponents((found == 0).astype(np.uint8))[1]
    assert outside[128, 128] != outside[5, 5], "closed"
    cv2.putText(rgb, "abc", (8, 24), cv2.FONT_HERSHEY_PLAIN, 1, (60, 95, 60))
    fine = run(controls()["scribble"], "gradient", rgb, sigma=1.5, strength=2.0).pixels
    coarse = run(controls()["scribble"], "gradient", rgb, sigma=8.0).pixels
    assert fine[:40, :60].any() and not coarse[:40, :60].any()


def test_specks_go_and_lines_stay():
    mask = np.zeros((40, 40), np.uint8)
    mask[20, 5:35] = 200
    mask[21, 5:35] = 40  # the faint border of the line
    mask[5:7, 5:7] = 255
    clean = ink.without_specks(mask, 16)
    assert not clean[:15].any()
    np.testing.assert_array_equal(clean[15:], mask[15:])


def test_chalk_on_a_blackboard():
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[10:12] = 255
    found = run(scribble.CONTROL, "drawing", rgb, light=True).pixels
    assert (found[10:12] == 255).all() and found.sum() == 2 * 32 * 255


def test_renders_of_masks():
    coverage = np.array([[0, 127, 128, 255]], np.uint8)
    assert ink.render_hard(Raster("mask", coverage), {})[0, :, 1].tolist() == [0, 0, 255, 255]
    assert ink.render_soft(Raster("mask", coverage), {})[0, :, 1].tolist() == [0, 127, 128, 255]
