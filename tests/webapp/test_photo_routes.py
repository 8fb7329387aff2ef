"""The routes of the photo view and of all maps: a photo in, the drawing changed; what was there comes back."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from annotator.formats import openpose_json
from controlnet_core.domain.document import Raster, Skeleton, decode, encode
from controlnet_core.domain.picture import open_picture, to_png
from tests.annotator.test_skeleton_picture import STANDING
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application import examples
from webapp.application.studio import Studio
from webapp.routes import table

DARK = np.full((64, 96, 3), 230, np.uint8)
DARK[16:48, 24:72] = 20
LIME = np.array([120, 210, 10], np.uint8)


@pytest.fixture(scope="module")
def client(studio: Studio) -> Iterator[TestClient]:
    app = Starlette(routes=table.routes(lambda: studio))
    with TestClient(app, base_url="http://localhost", headers={"Origin": "http://localhost"}) as client:
        yield client


@pytest.fixture
def token(studio: Studio) -> str:
    """A drawing of its own: a hand's strokes."""
    return studio.documents.open(f"{time.monotonic_ns():032x}", "tab", "canny", encode(mask(3)))


def find(client: TestClient, token: str, detector: str = "canny", control: str = "canny", **more: Any) -> Any:
    body = {"control": control, "detector": detector, "values": {}, "shorter": 256} | more
    return client.post(f"/studio/detections/{token}", json=body)


def test_a_photo_becomes_the_drawing_and_the_hands_work_comes_back(
    client: TestClient, studio: Studio, token: str
) -> None:
    taken = client.post(f"/studio/photos/{token}", content=to_png(DARK)).json()
    assert (taken["width"], taken["height"]) == (768, 512)
    shown = client.get(f"/studio/photos/{token}/{taken['photo']}/stretch-96x64.jpg")
    assert shown.headers["content-type"] == "image/jpeg"
    first = find(client, token).json()
    assert (first["width"], first["height"], first["job"], first["aside"]) == (384, 256, "", True)
    rev, found = studio.documents.latest(token)
    assert rev == first["rev"]
    assert isinstance(found, Raster)
    assert found.pixels.shape == (256, 384)
    assert found.pixels.any()
    again = find(client, token, values={"low": 10, "high": 20}).json()
    assert again["rev"] > first["rev"]
    back = client.post(f"/studio/detections/{token}/undo").json()
    assert (back["width"], back["height"], back["aside"]) == (64, 64, False)
    drawn = studio.documents.latest(token)[1]
    assert isinstance(drawn, Raster)
    assert np.array_equal(drawn.pixels, mask(3).pixels)
    assert client.post(f"/studio/detections/{token}/undo").status_code == 400


def test_what_a_hand_made_of_a_map_is_set_aside_too(client: TestClient, studio: Studio, token: str) -> None:
    client.post(f"/studio/photos/{token}", content=to_png(DARK))
    rev = find(client, token).json()["rev"]
    studio.documents.write(token, encode(mask(8)), rev)
    find(client, token, values={"low": 10, "high": 20})
    client.post(f"/studio/detections/{token}/undo")
    drawn = studio.documents.latest(token)[1]
    assert isinstance(drawn, Raster)
    assert np.array_equal(drawn.pixels, mask(8).pixels)


def test_a_network_looks_in_the_worker_and_its_find_lands(client: TestClient, studio: Studio, token: str) -> None:
    client.post(f"/studio/photos/{token}", content=to_png(DARK))
    asked = find(client, token, "hed", "softedge").json()
    assert asked["job"]
    end = time.monotonic() + 30
    # Its job is done a moment before what it found has landed: an event says so to the page.
    while studio.documents.latest(token)[1].width == 64 and time.monotonic() < end:
        time.sleep(0.02)
    assert studio.queue.get(asked["job"]).state == "done"
    found = studio.documents.latest(token)[1]
    assert (found.width, found.height) == (384, 256)
    assert find(client, token, "hed", "softedge").json()["job"] == ""  # known by now


def test_all_maps_says_of_a_finished_map_where_it_belongs(client: TestClient, studio: Studio) -> None:
    stream = studio.events.stream("maps-given", WORKSPACE)
    standing = {"people": [{"pose_keypoints_2d": [value for x, y in STANDING for value in (256 + x, 240 + y, 1)]}]}
    skeleton = openpose_json.read(json.dumps(standing))
    for pose in (json.dumps(standing).encode(), to_png(studio.render("pose", skeleton))):
        refused = client.post(f"/studio/maps/{stream}", content=pose)
        assert refused.status_code == 400 and "finished pose" in refused.json()["error"]
        assert "Pose page" in refused.json()["hint"]
    lines = np.zeros((96, 96, 3), np.uint8)
    lines[40:43, 10:80] = 255
    told = client.post(f"/studio/maps/{stream}", content=to_png(lines)).json()
    assert len(told["photo"]) == 64 and "finished map" in told["said"]
    photo = client.post(f"/studio/maps/{stream}", content=examples.photo(next(iter(examples.photos())))).json()
    assert photo["said"] == ""


def test_all_maps_of_a_photo(client: TestClient, studio: Studio) -> None:
    stream = studio.events.stream("maps-tab", WORKSPACE)
    photo = client.post(f"/studio/maps/{stream}", content=to_png(DARK)).json()["photo"]
    edges = open_picture(client.get(f"/studio/maps/{stream}/{photo}/canny/canny.png").content)
    assert edges.shape == (512, 768, 3)
    assert set(np.unique(edges)) == {0, 255}
    assert client.get(f"/studio/maps/{stream}/{photo}/softedge/hed.png").status_code == 404
    job = client.post(f"/studio/maps/{stream}/{photo}/softedge/hed").json()["job"]
    end = time.monotonic() + 30
    while not studio.queue.get(job).over and time.monotonic() < end:
        time.sleep(0.02)
    soft = open_picture(client.get(f"/studio/maps/{stream}/{photo}/softedge/hed.png").content)
    assert soft.shape == (512, 768, 3)
    assert client.post(f"/studio/maps/{stream}/{photo}/softedge/hed").json()["job"] == ""


def drawn_lines() -> NDArray[np.uint8]:
    rgb = np.zeros((512, 512, 3), np.uint8)
    cv2.polylines(rgb, [np.array([[60, 60], [400, 90], [300, 450]], np.int32)], True, (255, 255, 255), 2)
    return rgb


@pytest.mark.parametrize("control", ["canny", "lines", "softedge", "lineart", "scribble"])
@pytest.mark.parametrize("dark", [False, True], ids=["light on dark", "dark on light"])
def test_a_finished_map_is_not_looked_at_again(
    client: TestClient, studio: Studio, token: str, control: str, dark: bool
) -> None:
    studio.documents.view(token, control, {})
    rgb = drawn_lines()
    told = client.post(f"/studio/photos/{token}", content=to_png(255 - rgb if dark else rgb)).json()
    assert (told["width"], told["height"], told["aside"]) == (512, 512, True)
    assert told["said"] == f"Taken as a finished map: {'dark lines on light' if dark else 'light lines on dark'} paper."
    rev, found = studio.documents.latest(token)
    assert isinstance(found, Raster) and rev == told["rev"]
    assert np.array_equal(found.pixels, rgb[:, :, 0])
    assert studio.photo_detections.found(token) is None, "nothing was detected"
    assert client.post(f"/studio/detections/{token}/undo").json()["width"] == 64, "the hand's drawing comes back"
    assert find(
        client,
        token,
        "gradient" if control == "softedge" else "canny",
        "softedge" if control == "softedge" else "canny",
    ).json()["rev"]


def test_a_photo_on_its_page_is_still_a_photo(client: TestClient, studio: Studio, token: str) -> None:
    for control in ("canny", "seg", "pose", "depth", "scribble", "tile"):
        studio.documents.view(token, control, {})
        told = client.post(f"/studio/photos/{token}", content=examples.photo(next(iter(examples.photos())))).json()
        assert "said" not in told and len(told["photo"]) == 64, control
    assert client.post(f"/studio/photos/{token}", content=b"words").status_code == 400
    night = np.zeros((300, 300, 3), np.uint8)
    night[100:200, 100:200] = (120, 110, 100)
    studio.documents.view(token, "pose", {})
    assert "said" not in client.post(f"/studio/photos/{token}", content=to_png(night)).json()


def test_poses_come_as_json_and_as_skeleton_pictures(client: TestClient, studio: Studio) -> None:
    token = studio.documents.open(f"{time.monotonic_ns():032x}", "tab", "pose", encode(Skeleton(width=64, height=64)))
    studio.documents.view(token, "pose", {})
    body = [value for x, y in STANDING for value in (256 + x, 240 + y, 1)]
    people = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 512, "canvas_height": 512}
    told = client.post(f"/studio/photos/{token}", content=json.dumps(people)).json()
    assert (told["photo"], told["said"]) == ("", "Taken as a pose file of 1 person.")
    skeleton = studio.documents.latest(token)[1]
    assert isinstance(skeleton, Skeleton) and len(skeleton.people) == 1
    rendered = studio.render("pose", skeleton)
    given = client.post(f"/studio/photos/{token}", content=to_png(rendered)).json()
    assert "skeleton picture of 1 person" in given["said"] and (given["width"], given["height"]) == (512, 512)
    read = studio.documents.latest(token)[1]
    assert isinstance(read, Skeleton) and len(read.people) == 1
    apart = [abs(a.x - b.x) + abs(a.y - b.y) for a, b in zip(read.people[0].body, skeleton.people[0].body, strict=True)]
    assert max(apart) < 4
    lime = np.where(rendered.any(axis=2, keepdims=True), LIME, np.uint8(0))
    refused = client.post(f"/studio/photos/{token}", content=to_png(lime))
    assert refused.status_code == 400 and "colours" in refused.json()["error"]
    broken = client.post(f"/studio/photos/{token}", content=b'{"people": 7}')
    assert broken.status_code == 400 and broken.json()["error"].endswith(".")
    assert len(studio.documents.latest(token)[1].people) == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_only_the_scenes_that_are_offered_are_rendered(client: TestClient) -> None:
    for seed in examples.photos():
        assert open_picture(client.get(f"/studio/examples/{seed}.jpg").content).shape == (512, 512, 3)
    assert client.get("/studio/examples/12345.jpg").status_code == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"detector": "nothing"},
        {"control": "nothing"},
        {"control": 3},
        {"values": []},
        {"values": {"low": 9999}},
        {"values": {"low": "x"}},
        {"values": {"evil": 1}},
        {"shorter": 100_000},
        {"shorter": True},
    ],
)
def test_wrong_questions_are_refused_in_a_sentence(
    client: TestClient, studio: Studio, token: str, wrong: dict[str, Any]
) -> None:
    client.post(f"/studio/photos/{token}", content=to_png(DARK))
    answer = find(client, token, **wrong)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert studio.documents.read(token)[0] == 1


def test_strangers_bad_files_and_empty_photos_are_refused(client: TestClient, studio: Studio, token: str) -> None:
    assert client.post("/studio/photos/unknown", content=to_png(DARK)).status_code == 404
    assert client.post("/studio/maps/unknown", content=to_png(DARK)).status_code == 404
    assert client.post(f"/studio/photos/{token}", content=b"words").status_code == 400
    assert (
        client.post(f"/studio/photos/{token}", content=to_png(DARK), headers={"Origin": "http://evil"}).status_code
        == 403
    )
    assert find(client, token).json()["error"] == "There is no photo yet."
    client.post(f"/studio/photos/{token}", content=to_png(np.zeros((64, 64, 3), np.uint8)))
    answer = find(client, token)
    assert (answer.status_code, answer.json()["error"]) == (400, "No edge was found in the picture.")
    assert studio.documents.read(token)[0] == 1
    stream = studio.events.stream("maps-tab", WORKSPACE)
    for photo in ("0" * 64, "x"):
        assert client.get(f"/studio/maps/{stream}/{photo}/canny/canny.png").status_code == 404


def test_a_photos_digest_opens_it_for_its_workspace_alone(client: TestClient, studio: Studio, token: str) -> None:
    photo = client.post(f"/studio/photos/{token}", content=to_png(DARK)).json()["photo"]
    assert find(client, token).status_code == 200
    own = studio.events.stream("another-tab", studio.documents.place_of(token)[0])
    theirs = studio.events.stream("a-stranger", "ef" * 16)
    drawing = studio.documents.open("ef" * 16, "a-stranger", "canny", encode(mask(4)))
    for opened in (token, own):
        assert client.get(f"/studio/photos/{opened}/{photo}/crop-64x64.jpg").status_code == 200
    assert client.get(f"/studio/maps/{own}/{photo}/canny/canny.png").status_code == 200
    refused = [client.get(f"/studio/photos/{shut}/{photo}/crop-64x64.jpg") for shut in (theirs, drawing, "nobody")]
    refused.append(client.get(f"/studio/maps/{theirs}/{photo}/canny/canny.png"))
    refused.append(client.post(f"/studio/maps/{theirs}/{photo}/softedge/hed"))
    assert [answer.status_code for answer in refused] == [404] * 5
    assert refused[0].json() == client.get(f"/studio/photos/{theirs}/{'0' * 64}/crop-64x64.jpg").json(), (
        "nor that it is here"
    )
    # Whoever sends the same photo has it anyway.
    assert client.post(f"/studio/maps/{theirs}", content=to_png(DARK)).json()["photo"] == photo
    assert client.get(f"/studio/photos/{theirs}/{photo}/crop-64x64.jpg").status_code == 200


def picture_bytes(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def upright() -> Image.Image:
    """Dark left half, light right half: lying, it would have its edge across."""
    image = np.full((80, 120, 3), 230, np.uint8)
    image[:, :60] = 20
    return Image.fromarray(image)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


KINDS = {
    "rgb": lambda: picture_bytes(upright()),
    "grey": lambda: picture_bytes(upright().convert("L")),
    "rgba": lambda: picture_bytes(upright().convert("RGBA")),
    "palette": lambda: picture_bytes(upright().quantize(4)),
    "16 bit": lambda: picture_bytes(Image.fromarray(np.asarray(upright().convert("L")).astype(np.uint16) * 257)),
    "cmyk": lambda: picture_bytes(upright().convert("CMYK"), "JPEG", quality=95),
    "turned": lambda: picture_bytes(upright().transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    "webp": lambda: picture_bytes(upright(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_map(client: TestClient, studio: Studio, token: str, kind: str) -> None:
    client.post(f"/studio/photos/{token}", content=KINDS[kind]())
    answer = find(client, token).json()
    assert (answer["width"], answer["height"]) == (384, 256)
    found = studio.documents.latest(token)[1]
    assert isinstance(found, Raster)
    across = np.flatnonzero(found.pixels.any(axis=0))
    assert 180 < across.min() <= across.max() < 204
    assert found.pixels.any(axis=1).mean() > 0.95


@pytest.mark.parametrize(("height", "width"), [(1, 1), (100, 8000), (8000, 100), (3, 500)])
@pytest.mark.parametrize(
    ("control", "detector"),
    [("canny", "canny"), ("lines", "lsd"), ("softedge", "gradient"), ("scribble", "xdog"), ("lineart", "classical")],
)
def test_strips_and_dots_are_handled(
    client: TestClient, studio: Studio, token: str, height: int, width: int, control: str, detector: str
) -> None:
    rgb = np.full((height, width, 3), 240, np.uint8)
    rgb[:, : width // 2] = 10
    client.post(f"/studio/photos/{token}", content=to_png(rgb))
    answer = find(client, token, detector, control)
    if answer.status_code != 200:
        assert "was found in the picture" in answer.json()["error"]
        return
    found = decode(studio.documents.read(token)[1])
    assert 256 <= min(found.width, found.height) <= max(found.width, found.height) <= 1024
