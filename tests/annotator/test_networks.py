"""Our own networks and what follows them equal the original's."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from annotator import controls, detection
from annotator.networks import hed, lineart, loading, mlsd, openpose, people
from controlnet_core.domain.control import values
from controlnet_core.domain.document import MISSING, Point
from controlnet_core.domain.errors import InputError, ModelError


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def nets(oracles):
    return np.load(oracles / "annotators" / "nets_128.npz")


def off(ours, theirs):
    return float(np.abs(np.asarray(ours, np.float64) - theirs).max())


def test_hed(oracle_tensors, nets):
    model = hed.Hed()
    model.load_state_dict(oracle_tensors("hed"))
    sides = [side[0, 0].numpy() for side in model(loading.to_tensor(nets["crop"], scale=1.0))]
    for number, side in enumerate(sides, start=1):
        assert off(side, nets[f"hed_projection{number}"]) <= 1e-4
    assert off(hed.edges(sides, 128, 128), nets["hed_edge"]) <= 1


def test_hed_from_its_file_through_both_conditions(oracle_tensors, nets, models):
    torch.save(oracle_tensors("hed"), models / "detectors" / "ControlNetHED.pth")
    for key in ("softedge", "scribble"):
        one = detection.detector(controls()[key], "hed")
        found = one.run(nets["crop"], values(one.params, {})).pixels
        if key == "softedge":
            assert off(found, nets["hed_edge"]) <= 1
        else:
            assert set(np.unique(found)) == {0, 255}
    assert hed.detect(nets["crop"][:5, :7]).shape == (5, 7)


def test_openpose_networks(oracle_tensors, nets):
    tensor = loading.to_tensor(nets["crop"][:, :, ::-1], scale=256.0, offset=0.5)
    body = openpose.BodyNet()
    body.load_state_dict(oracle_tensors("body"))
    paf, heat = body(tensor)
    assert off(paf[0], nets["body_paf"]) <= 1e-4 and off(heat[0], nets["body_heat"]) <= 1e-4
    hand = openpose.HandNet()
    hand.load_state_dict(oracle_tensors("hand"))
    assert off(hand(tensor)[0], nets["hand_heat"]) <= 1e-4


@pytest.mark.parametrize("case", [0, 1])
def test_body_postprocess(oracles, case):
    data = np.load(oracles / "annotators" / "body_postprocess.npz")
    given = {name: data[f"case{case}_{name}"] for name in ("image_size", "heat", "paf", "candidate", "subset")}
    height, width = given["image_size"].tolist()
    candidates, found = openpose.bodies(*(given[k].astype(np.float32) for k in ("heat", "paf")), height, width)
    assert candidates.shape == given["candidate"].shape and found.shape == given["subset"].shape
    assert off(candidates[:, :2], given["candidate"][:, :2]) <= 1
    assert off(candidates[:, 2:], given["candidate"][:, 2:]) <= 1e-3
    for person in given["subset"]:
        assert min(off(ours, person) for ours in found) <= 1e-3


def test_nobody_has_no_candidates():
    heat, paf = np.zeros((19, 23, 23), np.float32), np.zeros((38, 23, 23), np.float32)
    candidates, found = openpose.bodies(heat, paf, 184, 184)
    assert candidates.shape == (0, 4) and found.shape == (0, 20)


def test_half_people_become_one():
    candidates = np.array([[0, 0, 0.9, i] for i in range(6)], float)
    empty = [np.zeros((0, 3)) for _ in people.LIMBS]
    links = list(empty)
    links[2] = np.array([[0, 1, 0.8]])  # right shoulder, elbow
    links[3] = np.array([[1, 2, 0.8]])  # right elbow, wrist
    links[6] = np.array([[3, 4, 0.8]])  # neck, right hip
    found = people.assemble(candidates, links)
    assert len(found) == 0, "three joints and two joints: both too few"
    links[0] = np.array([[3, 0, 0.8]])  # neck, right shoulder
    found = people.assemble(candidates, links)
    assert found.shape == (1, 20) and found[0, [1, 2, 3, 4, 8]].tolist() == [3, 0, 1, 2, 4]
    assert found[0, 19] == 5


def test_hand_points_and_box():
    heat = np.zeros((64, 64, 22), np.float32)
    y, x = np.mgrid[:64, :64]
    for part in range(20):
        heat[..., part] = np.exp(-((x - 10 - part) ** 2 + (y - 30) ** 2) / 18)
    points = openpose.hand_points(heat)
    assert [(p.x, p.y) for p in points[:20]] == [(10 + part, 30) for part in range(20)] and points[20] == MISSING
    body = [MISSING] * 18
    body[5], body[6], body[7] = (Point(x=x, y=50) for x in (20, 60, 100))
    # Elbow to wrist 40 px: a square of 60 px around a point 13.2 px beyond the wrist.
    assert openpose.hand_box(tuple(body), (5, 6, 7), 200, 300) == (83, 20, 60)
    assert openpose.hand_box(tuple(body), (2, 3, 4), 200, 300) is None


def face_file(place):
    """A file with the keys and shapes of facenet.pth whose answer is known.

    The stem passes blue brightness on in channel 0; stage 6 shows it to point k moved by `moves[k]` cells (of 8 px). Point 69
    sees nothing, and the background is sure of itself everywhere.
    """
    moves = [(k % 7 - 3, k // 7 % 7 - 3) for k in range(69)]
    keys = {
        name: torch.zeros_like(tensor, dtype=torch.float16) for name, tensor in openpose.FaceNet().state_dict().items()
    }
    for name, tensor in keys.items():
        if name.endswith(".weight") and "stage6" not in name:
            tensor[0, 0, tensor.shape[2] // 2, tensor.shape[3] // 2] = 1
    for k, (dx, dy) in enumerate(moves):
        keys["Mconv1_stage6.weight"][k, 71, 3 - dy, 3 - dx] = (
            1  # after the 71 maps of the stage before come the features
        )
        for number in range(2, 8):
            weight = keys[f"Mconv{number}_stage6.weight"]
            weight[k, k, weight.shape[2] // 2, weight.shape[3] // 2] = 1
    keys["Mconv7_stage6.bias"][70] = 1
    torch.save(keys, place)
    return moves


def test_the_face_file_has_the_published_layers():
    keys = openpose.FaceNet().state_dict()
    names = [f"conv{a}_{b}" for a, count in ((1, 2), (2, 2), (3, 4), (4, 4), (5, 2)) for b in range(1, count + 1)]
    names += ["conv5_3_CPM", "conv6_1_CPM", "conv6_2_CPM"]
    names += [f"Mconv{number}_stage{stage}" for stage in range(2, 7) for number in range(1, 8)]
    assert set(keys) == {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    assert keys["conv5_3_CPM.weight"].shape == (128, 512, 3, 3) and keys["conv6_2_CPM.weight"].shape == (71, 512, 1, 1)
    assert keys["Mconv1_stage2.weight"].shape == (128, 199, 7, 7) and keys["Mconv7_stage6.bias"].shape == (71,)


def test_face_points_from_a_file_lie_where_its_weights_put_them(models):
    moves = face_file(models / "detectors" / "facenet.pth")
    body = [MISSING] * 18
    body[0], body[15] = Point(x=300, y=250), Point(x=364, y=240)
    left, top, right, bottom = openpose.face_box(tuple(body), 512, 600)
    assert (left, top, right, bottom) == (108, 58, 492, 442), "three times 64 px around the nose"
    rgb = np.zeros((512, 600, 3), np.uint8)
    rgb[top + 160 : top + 168, left + 192 : left + 200, 2] = 255  # row 20, column 24 of the 48 x 48 maps
    rgb[top + 40 : top + 48, left + 40 : left + 48, 0] = 255
    face = openpose.find_face(rgb, tuple(body))
    assert face is not None and len(face) == 70 and face[69] == MISSING
    for point, (dx, dy) in zip(face, moves, strict=False):
        x, y = left + (24 + dx) * 383 / 47, top + (20 + dy) * 383 / 47
        assert abs(point.x - x) <= 0.5 and abs(point.y - y) <= 0.5
        assert 0.44 < point.confidence <= 255 / 256 - 0.5, "cells lie between pixels"
    assert openpose.find_face(np.zeros_like(rgb), tuple(body)) is None


def test_the_box_of_a_face():
    def box(height=200, width=300, **points):
        body = [MISSING] * 18
        for name, (x, y) in points.items():
            body[{"nose": 0, "eye": 14, "ear": 17}[name]] = Point(x=x, y=y)
        return openpose.face_box(tuple(body), height, width)

    assert box(nose=(100, 100), eye=(110, 95)) == (70, 70, 130, 130)
    assert box(nose=(100, 100), eye=(110, 95), ear=(140, 100)) == (40, 40, 160, 160)
    assert box(nose=(20, 20), ear=(60, 20)) == (0, 0, 120, 120), "shifted into the picture"
    assert box(nose=(290, 190), ear=(250, 190)) == (230, 130, 300, 200), "cut off at its end"
    assert box(nose=(100, 100)) is None and box(eye=(110, 95), ear=(140, 100)) is None
    assert box(nose=(100, 100), eye=(103, 100)) is None, "18 px are no face"


def test_faces_of_the_people_that_are_found(oracles, monkeypatch):
    data = np.load(oracles / "annotators" / "body_postprocess.npz")
    height, width = data["case0_image_size"].tolist()
    heat = torch.zeros(1, 71, 48, 48)
    for part in range(71):
        heat[0, part, 10 + part // 10, 20 + part % 10] = 0.9
    body = tuple(torch.from_numpy(data[f"case0_{name}"].astype(np.float32))[None] for name in ("paf", "heat"))
    answers = {"openpose-body": body, "openpose-face": heat}
    monkeypatch.setattr(loading, "network", lambda card, _make: lambda _tensor: answers[card])
    found = openpose.detect(np.zeros((height, width, 3), np.uint8), faces=True)
    boxes = [openpose.face_box(person.body, height, width) for person in found.people]
    assert len(boxes) == len(data["case0_subset"]) and any(boxes)
    for person, box in zip(found.people, boxes, strict=True):
        assert (person.face is None) == (box is None) and person.left_hand is person.right_hand is None
        if person.face is not None:
            assert all(box[0] <= point.x <= box[2] and box[1] <= point.y <= box[3] for point in person.face)
            assert person.face[0].x < person.face[9].x and person.face[0].y < person.face[69].y
    assert all(person.face is None for person in openpose.detect(np.zeros((height, width, 3), np.uint8)).people)


@pytest.fixture
def tiny(golden, models):
    shutil.copy(golden / "weights" / "mlsd_tiny_512_fp32.pth", models / "detectors")
    return detection.detector(controls()["lines"], "mlsd_tiny")


@pytest.mark.parametrize("name", ["dog", "room", "human"])
def test_mlsd_tiny_on_real_weights(oracles, tiny, name):
    rgb = np.array(Image.open(oracles / "annotators" / f"{name}_512.png"))
    wanted = np.array(Image.open(oracles / "annotators" / f"{name}_mlsd_tiny.png"))
    wanted = wanted if wanted.ndim == 2 else wanted[:, :, 0]
    assert (tiny.run(rgb, values(tiny.params, {})).pixels != wanted).mean() <= 2e-3
    full = np.load(oracles / "annotators" / "mlsd_full.npz")
    for distance, suffix in ((0.1, ""), (20.0, "_dist20")):
        ours = mlsd.detect(rgb, "mlsd-tiny", 0.1, distance)
        theirs = full[f"{name}_segments{suffix}"]
        assert abs(len(ours) - len(theirs)) <= 0.02 * len(theirs)
        gaps = np.abs(ours[:, None] - theirs[None]).max(axis=2).min(axis=0)
        assert (gaps <= 0.01).mean() >= 0.98


def test_no_line_is_said_not_drawn_black(tiny):
    with pytest.raises(InputError, match="No straight line"):
        tiny.run(np.full((128, 128, 3), 90, np.uint8), values(tiny.params, {}))


@pytest.mark.parametrize("case", ["net", "synthetic"])
def test_mlsd_decode(oracles, case):
    data = np.load(oracles / "annotators" / "mlsd_decode.npz")
    output = torch.from_numpy(data[f"{case}_output"].astype(np.float32))
    places, scores = mlsd.centres(output)
    assert off(scores, data[f"{case}_scores"]) <= 1e-6
    assert {tuple(p) for p in places.tolist()} == {tuple(p) for p in data[f"{case}_points_yx"].tolist()}
    for number in range(3):
        score, distance, height, width, seen_height, seen_width = data[f"{case}_params_{number}"].tolist()
        size, seen = (int(height), int(width)), (int(seen_height), int(seen_width))
        ours, theirs = mlsd.decode(output, score, distance, size, seen), data[f"{case}_segments_{number}"]
        assert ours.shape == theirs.shape
        assert np.abs(ours[:, None] - theirs[None]).max(axis=2).min(axis=0).max() <= 1e-3


def test_mlsd_large_has_the_published_shape(models):
    torch.manual_seed(0)
    model = mlsd.Mlsd(large=True).eval()
    keys = model.state_dict()
    assert keys["block15.conv1.0.weight"].shape == (64, 96, 1, 1) and keys["block23.conv3.weight"].shape == (
        16,
        64,
        1,
        1,
    )
    assert keys["backbone.features.13.conv.2.weight"].shape == (96, 576, 1, 1)
    size = sum(tensor.numel() for name, tensor in keys.items() if not name.endswith("_tracked")) * 4
    assert 5.9e6 < size < 6.4e6, "the published file has 6.3 MB"
    assert model(torch.zeros(1, 4, 64, 96)).shape == (1, 9, 32, 48)
    torch.save(keys, models / "detectors" / "mlsd_large_512_fp32.pth")
    rgb = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    assert mlsd.detect(rgb, "mlsd-large", 0.01, 0.01).shape[1] == 4


def test_lineart_networks(models):
    torch.manual_seed(0)
    drawing, anime = lineart.Drawing(), lineart.AnimeDrawing()
    keys = drawing.state_dict()
    assert keys["model0.1.weight"].shape == (64, 3, 7, 7) and keys["model2.2.conv_block.5.bias"].shape == (256,)
    assert keys["model3.0.weight"].shape == (256, 128, 3, 3) and keys["model4.1.weight"].shape == (1, 64, 7, 7)
    assert len(keys) == 24
    inner = anime.state_dict()
    assert inner["model.model.0.weight"].shape == (64, 3, 4, 4) and inner["model.model.3.bias"].shape == (1,)
    deepest = "model.model.1.model.3.model.3.model.3.model.3.model.3.model.3.model.1.weight"
    assert inner[deepest].shape == (512, 512, 4, 4)
    torch.save(keys, models / "detectors" / "sk_model.pth")
    torch.save({f"module.{key}": value for key, value in inner.items()}, models / "detectors" / "netG.pth")
    rgb = np.random.default_rng(0).integers(0, 256, (66, 90, 3)).astype(np.uint8)
    paper = drawing.eval()(loading.to_tensor(rgb[:64, :88]))[0, 0].numpy()
    ours = lineart.detect(np.ascontiguousarray(rgb[:64, :88]), "lineart-fine")
    np.testing.assert_array_equal(ours, 255 - (paper * 255).astype(np.uint8))
    assert lineart.detect(rgb, "lineart-fine").shape == (66, 90)
    assert lineart.detect_anime(rgb).shape == (66, 90)


def test_files_that_do_not_fit_are_refused(models):
    place = models / "detectors" / "ControlNetHED.pth"
    rgb = np.zeros((32, 32, 3), np.uint8)
    place.write_bytes(b"<!doctype html><title>Sign in</title>")
    with pytest.raises(ModelError, match="web page"):
        hed.detect(rgb)
    torch.save({"norm": torch.zeros(1, 3, 1, 1)}, place)
    with pytest.raises(ModelError, match="block1"):
        hed.detect(rgb)


def test_weights_are_never_unpickled_freely(models):
    class Bomb:
        def __reduce__(self):
            return (print, ("boom",))

    torch.save({"norm": Bomb()}, models / "detectors" / "ControlNetHED.pth")
    with pytest.raises(ModelError, match="program code"):
        hed.detect(np.zeros((32, 32, 3), np.uint8))
