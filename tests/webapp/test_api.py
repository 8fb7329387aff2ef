"""The API, over a real server: who may, what it takes and gives, and that every refusal is one sentence."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from typer.testing import CliRunner

from annotator import seg
from annotator.formats import openpose_json
from controlnet_core.domain import document as documents
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.domain.recipe import parse
from controlnet_core.storage.gallery import recipe_of
from tests.webapp.conftest import container, mask
from webapp.api import door
from webapp.api.door import Door
from webapp.api.v1 import OPERATIONS, common, recipes
from webapp.application.keys import Keys
from webapp.application.recipe_builder import Draft
from webapp.application.settings import ROOT, Settings
from webapp.application.studio import Studio
from webapp.cli import app as cli
from webapp.routes import gate

SMALL = {"model": "paperworld", "width": 64, "height": 64, "steps": 2, "seed": 7}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, str]]:
    """A studio with the embedded model's files and the tests' engine, its API on a real port."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "models").mkdir()
    (folder / "models" / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    studio = Studio(Settings(data=folder / "data", models=folder / "models", engine="tests.core.strokes_engine:build"))
    studio.start()

    async def page(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = Starlette(
        routes=[Route("/{path:path}", page, methods=["GET", "POST"])],
        middleware=[Middleware(Door, studio=lambda: studio, operations=OPERATIONS)],
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield studio, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    studio.close()
    server.should_exit = True
    thread.join(10)
    studio.stop()


@pytest.fixture(scope="module")
def studio(served: tuple[Studio, str]) -> Studio:
    return served[0]


def client_of(served: tuple[Studio, str], name: str, *scopes: str, **limits: int) -> httpx.Client:
    _, secret = served[0].keys.create(name, scopes or ("read", "make"), **limits)
    return httpx.Client(base_url=served[1], headers={"Authorization": f"Bearer {secret}"}, timeout=60)


@pytest.fixture(scope="module")
def client(served: tuple[Studio, str]) -> Iterator[httpx.Client]:
    with client_of(served, "everyday") as client:
        yield client


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["error"].endswith(".") and len(told["error"]) <= 1000, told
    return told["error"]


def b64(rgb: np.ndarray) -> str:
    return base64.b64encode(to_png(rgb)).decode()


def square() -> np.ndarray:
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[100:200, 100:200] = 255
    return photo


def ended(client: httpx.Client, job: str, seconds: float = 60) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while (told := client.get(f"/api/v1/jobs/{job}").json())["state"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return told


# ---- who may


def test_keys_are_told_once_kept_as_hashes_and_revoked(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    assert not keys
    key, secret = keys.create("bot")
    assert keys.find(secret) == key
    assert secret not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    beside = Keys(tmp_path / "keys.json")
    assert [one.name for one in beside.all()] == ["bot"]
    other, _ = beside.create("other", ["train"], pictures_per_hour=3)
    assert keys.all() == [key, other], "a change of another process is seen at once"
    assert len({key.owner, other.owner, key.session, other.session}) == 4
    keys.revoke("bot")
    assert beside.find(secret) is None
    for wrong in (("other",), ("",), ("x", ["fly"]), ("x", [])):
        with pytest.raises(Exception, match=r"\."):
            keys.create(*wrong)
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(Exception, match="cannot be read"):
        keys.find(secret)


def test_the_command_line_makes_lists_and_revokes_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    made = CliRunner().invoke(cli, ["keys", "create", "bot", "--scope", "make", "--pictures", "5"])
    assert made.exit_code == 0
    assert made.stdout.startswith("studio_")
    assert len(made.stdout.split()) == 1, "a script takes the key from standard output"
    listed = CliRunner().invoke(cli, ["keys", "list"]).stdout
    assert "bot" in listed
    assert "5 pictures an hour" in listed
    assert made.stdout.strip() not in listed
    assert CliRunner().invoke(cli, ["keys", "revoke", "bot"]).exit_code == 0
    assert CliRunner().invoke(cli, ["keys", "revoke", "bot"]).exit_code == 1


def test_the_api_is_closed_until_a_key_exists(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    studio = Studio(Settings(data=tmp_path / "data", models=tmp_path / "models"))

    async def page(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = Door(Starlette(routes=[Route("/{path:path}", page)]), lambda: studio, OPERATIONS)
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.get("/api/v1/models").text == "page"
    _, secret = studio.keys.create("first")
    refused(client.get("/api/v1/models"), 401)
    assert client.get("/api/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert client.get("/anything").text == "page"
    studio.keys.revoke("first")
    assert client.get("/api/v1/models").text == "page"
    studio.close()


def test_without_a_key_only_this_machine_is_let_in_and_only_when_asked(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    studio = Studio(Settings(data=tmp_path / "data", models=tmp_path / "models", api=True))
    app = Door(Starlette(), lambda: studio, OPERATIONS)

    def asks(host: str = "127.0.0.1", client: str = "127.0.0.1", **headers: str) -> int:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        here = TestClient(app, base_url=f"http://{host}", client=(client, 5))
        return here.get("/api/v1/conditions", headers=told).status_code

    empty = "Basic " + base64.b64encode(b":").decode()
    assert asks() == asks("localhost") == asks(authorization=empty) == 200
    assert asks("evil.example") == 401, "a name that was made to point here"
    assert asks(client="192.168.1.7") == 401
    for told in ("x_forwarded_for", "x_forwarded_server", "x_real_ip", "cf_connecting_ip", "forwarded", "via"):
        assert asks(**{told: "203.0.113.5"}) == 401, "through a proxy everybody has this machine's address"
    assert asks(origin="http://evil.example") == 403
    assert asks(origin="http://127.0.0.1") == 200
    assert asks(sec_fetch_site="cross-site") == asks(sec_fetch_site="same-site") == 401
    assert asks(authorization="Bearer studio_wrong") == 401
    studio.close()


def test_a_key_is_sent_as_bearer_or_basic(served: tuple[Studio, str]) -> None:
    _, secret = served[0].keys.create("both")
    url = f"{served[1]}/api/v1/conditions"
    assert httpx.get(url, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert httpx.get(url, auth=("anybody", secret)).status_code == 200
    assert httpx.get(url, auth=(secret, "")).status_code == 200
    answer = httpx.get(url)
    assert "needs a key" in refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    refused(httpx.get(url, headers={"Authorization": "Basic !!!"}), 401)
    refused(httpx.get(url, headers={"Authorization": "Bearer " + "x" * 5000}), 401)
    refused(httpx.get(url, headers={"Cookie": "studio_workspace=" + "a" * 32}), 401)


def test_scopes_bound_a_key(served: tuple[Studio, str]) -> None:
    with client_of(served, "reader", "read") as reader, client_of(served, "maker", "make") as maker:
        assert reader.get("/api/v1/models").status_code == 200
        assert "may not make" in refused(reader.post("/api/v1/jobs", json=SMALL), 403)
        assert "may not read" in refused(maker.get("/api/v1/models"), 403)


def test_limits_are_said_with_the_time_to_wait(served: tuple[Studio, str]) -> None:
    with client_of(served, "bounded", pictures_per_hour=3) as bounded:
        job = bounded.post("/api/v1/jobs", json=SMALL | {"images": 2}).json()["id"]
        answer = bounded.post("/api/v1/jobs", json=SMALL | {"images": 2})
        assert "made 2 of its 3" in refused(answer, 429)
        assert 3500 < int(answer.headers["retry-after"]) <= 3600
        refused(bounded.post("/api/v1/jobs", json=SMALL | {"images": 4}), 403)
        assert ended(bounded, job)["state"] == "done"
    with client_of(served, "timed", seconds_per_day=1) as timed:
        job = timed.post("/api/v1/jobs", json=SMALL | {"prompt": "slow=0.06", "steps": 20}).json()["id"]
        assert ended(timed, job)["state"] == "done"
        answer = timed.post("/api/v1/jobs", json=SMALL)
        assert "for today" in refused(answer, 429)
        assert 80_000 < int(answer.headers["retry-after"]) <= 86_400


def test_other_sites_pages_are_let_in_by_name_alone(served: tuple[Studio, str], client: httpx.Client) -> None:
    studio = served[0]
    answer = client.get("/api/v1/conditions", headers={"Origin": "http://photopea.example"})
    refused(answer, 403)
    assert "access-control-allow-origin" not in answer.headers
    object.__setattr__(studio.settings, "api_origins", ("http://photopea.example",))
    try:
        asked = client.options("/api/v1/conditions", headers={"Origin": "http://photopea.example"})
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == "http://photopea.example"
        answer = client.get("/api/v1/conditions", headers={"Origin": "http://photopea.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://photopea.example"
        assert (
            client.options("/api/v1/models", headers={"Origin": "http://evil.example"}).headers.get(
                "access-control-allow-origin"
            )
            is None
        )
    finally:
        object.__setattr__(studio.settings, "api_origins", ())


# ---- what there is


def test_conditions_come_with_their_parameters_as_schema(client: httpx.Client, studio: Studio) -> None:
    told = {one["key"]: one for one in client.get("/api/v1/conditions").json()["conditions"]}
    assert set(told) == set(studio.controls)
    (canny,) = (one for one in told["canny"]["detectors"] if one["key"] == "canny")
    assert canny["ready"]
    assert canny["parameters"]["properties"]["low"]["type"] == "integer"
    assert canny["parameters"]["properties"]["low"]["minimum"] < canny["parameters"]["properties"]["low"]["maximum"]
    models = {one["id"]: one for one in client.get("/api/v1/models").json()["models"]}
    assert models["paperworld"]["here"]
    assert not models["sd15"]["here"]


def test_the_description_is_whole_and_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    told = client.get("/api/openapi.json", headers={"Authorization": ""}).json()
    assert told["openapi"].startswith("3.1")
    for one in OPERATIONS:
        assert one.method.lower() in told["paths"][one.path]
    named = set(json.dumps(told).split('"#/components/schemas/')[1:])
    assert {text.split('"')[0] for text in named} <= set(told["components"]["schemas"])
    page = client.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("https://", "http").split("<style>")[0]
    assert "<script" not in page.text
    linked = set(page.text.split('href="#')[1:])
    assert linked
    for text in linked:
        assert f'<pre id="{text.split(chr(34))[0]}"' in page.text, "a link opens what it names"


# ---- jobs


def test_the_three_ways_of_a_control_make_the_same_picture_as_the_page(client: httpx.Client, studio: Studio) -> None:
    drawing = client.post("/api/v1/documents", content=container(1)).json()
    finished = b64(studio.render("scribble", mask(1)))
    recipe = studio.new_recipe([Draft("scribble", mask(1))], prompt="a house", negative="", added_prompt="", **SMALL)
    here = studio.submit("page", recipe, owner="ab" * 16)
    assert studio.wait(here, 60).state == "done"
    page = open_picture(studio.gallery.get(studio.queue.get(here).kept[0]).png.read_bytes())
    ways = [{"document": drawing["digest"]}, {"picture": finished}, {"picture": "data:image/png;base64," + finished}]
    for way in ways:
        asked = SMALL | {"prompt": "a house", "negative": "", "added_prompt": ""}
        answer = client.post("/api/v1/jobs", json=asked | {"controls": [{"control": "scribble"} | way]})
        assert answer.status_code == 202, answer.text
        told = ended(client, answer.json()["id"])
        assert told["state"] == "done"
        (made,) = told["pictures"]
        png = client.get(made["url"])
        assert np.array_equal(open_picture(png.content), page)
        assert recipe_of(png.content) == parse(told["recipe"])


def test_a_job_lives_without_listeners_and_tells_those_that_listen(client: httpx.Client) -> None:
    asked = SMALL | {"prompt": "slow=0.05", "steps": 12, "id": "my-own-number"}
    job = client.post("/api/v1/jobs", json=asked).json()
    assert job["id"] == client.post("/api/v1/jobs", json=asked).json()["id"], "the same id is the same job"
    kinds: list[str] = []
    with client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                kinds.append(event["kind"])
    assert kinds[-1] == "done"
    assert "step" in kinds
    assert event["pictures"][0]["url"].startswith("/api/v1/pictures/")
    with client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        assert json.loads(next(line for line in stream.iter_lines() if line)[6:])["kind"] == "done"


def test_a_job_is_stopped(client: httpx.Client) -> None:
    job = client.post("/api/v1/jobs", json=SMALL | {"prompt": "slow=0.1", "steps": 100}).json()["id"]
    assert job in [one["id"] for one in client.get("/api/v1/jobs").json()["open"]]
    client.delete(f"/api/v1/jobs/{job}")
    assert ended(client, job)["state"] == "cancelled"


def test_a_form_brings_its_pictures_along(client: httpx.Client, studio: Studio) -> None:
    edges = studio.render("scribble", mask(2))
    asked = SMALL | {
        "controls": [{"control": "scribble", "picture": "file:edges"}],
        "start_from": {"picture": "file:start"},
    }
    files = {"edges": ("e.png", to_png(edges), "image/png"), "start": ("s.png", to_png(square()), "image/png")}
    answer = client.post("/api/v1/jobs", data={"request": json.dumps(asked)}, files=files)
    assert answer.status_code == 202, answer.text
    recipe = parse(answer.json()["recipe"])
    assert np.array_equal(open_picture(studio.blobs.get(recipe.controls[0].picture)), edges)
    assert recipe.source is not None
    assert ended(client, answer.json()["id"])["state"] == "done"


def test_maps_are_found_kept_and_used(client: httpx.Client, studio: Studio) -> None:
    photo = client.post("/api/v1/pictures", content=to_png(square())).json()
    assert (photo["width"], photo["height"]) == (300, 300)
    found = client.post(
        "/api/v1/detect", json={"control": "canny", "photo": photo["digest"], "detector_values": {"low": 40}}
    ).json()
    assert (found["detector"], found["width"], found["height"]) == ("canny", 512, 512)
    seen = open_picture(base64.b64decode(found["png"]))
    assert (seen > 0).any()
    drawn = client.post("/api/v1/render", json={"control": "canny", "document": found["document"]})
    assert np.array_equal(open_picture(drawn.content), seen)
    lines = client.post("/api/v1/detect", json={"control": "lines", "photo": b64(square()), "detector": "mlsd"})
    assert lines.json()["detector"] == "mlsd", "the worker's network was waited for"
    job = client.post(
        "/api/v1/jobs", json=SMALL | {"controls": [{"control": "canny", "photo": photo["digest"], "weight": 0.5}]}
    )
    unit = parse(job.json()["recipe"]).controls[0]
    assert unit.found is not None
    assert unit.found.picture == photo["digest"]
    assert ended(client, job.json()["id"])["state"] == "done"


def test_people_go_in_and_out_as_openpose_json(client: httpx.Client, studio: Studio) -> None:
    body = [value for k in range(18) for value in (20 + 4 * k, 30 + 3 * k, 1)]
    people = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 128, "canvas_height": 128}
    kept = client.post("/api/v1/documents", content=json.dumps(people)).json()
    assert (kept["kind"], kept["width"], kept["height"]) == ("skeleton", 128, 128)
    back = client.get(f"/api/v1/documents/{kept['digest']}", params={"form": "openpose"})
    assert openpose_json.read(back.content) == openpose_json.read(json.dumps(people))
    drawn = client.post("/api/v1/render", json={"control": "pose", "document": kept["digest"]})
    skeleton = documents.decode(studio.blobs.get(kept["digest"]))
    assert np.array_equal(open_picture(drawn.content), studio.render("pose", skeleton))
    text = json.dumps(people).encode()
    for sent, files in ((base64.b64encode(text).decode(), {}), ("file:pose", {"pose": text})):
        draft = recipes._draft(studio, recipes.ControlRequest(control="pose", picture=sent), files, "", [])
        assert draft.given == skeleton, "in the place of a picture, too"
    with pytest.raises(InputError, match="not a picture"):
        recipes._draft(studio, recipes.ControlRequest(control="canny", picture="file:pose"), {"pose": text}, "", [])


STROKE = np.zeros((64, 64), np.uint8)
STROKE[20:26, 8:56] = STROKE[20:56, 30:36] = 255


def on_nothing(ink: int, alpha: np.ndarray) -> str:
    """Ink on a transparent ground, in base64."""
    colour = np.full((*alpha.shape, 3), ink, np.uint8)
    return base64.b64encode(to_png(np.dstack([colour, alpha]))).decode()


def unit_of(client: httpx.Client, studio: Studio, **control: Any) -> tuple[np.ndarray, list[str]]:
    """What the ControlNet is to see of a control that is sent, and what was said of it."""
    answer = client.post("/api/v1/jobs", json=SMALL | {"controls": [control]})
    assert answer.status_code == 202, answer.text
    unit = parse(answer.json()["recipe"]).controls[0]
    ended(client, answer.json()["id"])
    return open_picture(studio.blobs.get(unit.picture), alpha=True), answer.json()["said"]


@pytest.mark.parametrize(
    "drawing",
    [
        b64(np.dstack([STROKE] * 3)),
        b64(np.dstack([255 - STROKE] * 3)),
        on_nothing(255, STROKE),
        on_nothing(0, STROKE),
        on_nothing(0, STROKE // 2),
    ],
    ids=["light on dark", "dark on light", "white on nothing", "black on nothing", "half transparent"],
)
@pytest.mark.parametrize("way", ["base64", "digest"])
def test_ink_is_ink_whatever_its_colour_and_the_papers(
    client: httpx.Client, studio: Studio, drawing: str, way: str
) -> None:
    if way == "digest":
        drawing = client.post("/api/v1/pictures", content=base64.b64decode(drawing)).json()["digest"]
    seen, said = unit_of(client, studio, control="scribble", picture=drawing)
    assert np.array_equal(seen, np.dstack([STROKE] * 3))
    assert said[0].startswith("Scribble: Taken as a finished map:")


def test_class_numbers_are_read_and_a_photo_is_said_to_be_no_map(client: httpx.Client, studio: Studio) -> None:
    classes = np.repeat(np.array([[2, 6], [9, 25]], np.uint8), 32, axis=0).repeat(32, axis=1)
    seen, said = unit_of(client, studio, control="seg", picture=b64(np.dstack([classes + 1] * 3)))
    assert np.array_equal(seen, seg.palette()[classes])
    assert "count from 1" in said[0]
    colours = seg.palette()[classes]
    assert np.array_equal(unit_of(client, studio, control="seg", picture=b64(colours))[0], colours)
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    wrong = {"controls": [{"control": "seg", "picture": b64(noise)}]}
    assert "looks like a photo" in refused(client.post("/api/v1/jobs", json=SMALL | wrong), 422)


def test_what_of_a_pose_is_left_out_is_said(client: httpx.Client, studio: Studio) -> None:
    body = [value for k in range(18) for value in (8 + 2 * k, 10 + 2 * k, 1)]
    person = {"pose_keypoints_2d": body, "face_keypoints_2d": body}
    people = json.dumps({"people": [person], "canvas_width": 64, "canvas_height": 64}).encode()
    _, said = unit_of(client, studio, control="pose", picture=base64.b64encode(people).decode())
    assert "The face of person 1 was left out" in said[0]
    kept = client.post("/api/v1/documents", content=people).json()
    assert "The face of person 1 was left out" in kept["said"][0]
    drawn = studio.render("pose", documents.decode(studio.blobs.get(kept["digest"])))
    seen, _ = unit_of(client, studio, control="pose", picture=b64(drawn))
    assert np.array_equal(seen, drawn), "a skeleton picture is used to the pixel"
    clear = np.dstack([drawn, np.where(drawn.any(axis=2), 255, 0).astype(np.uint8)])
    seen, _ = unit_of(client, studio, control="pose", picture=base64.b64encode(to_png(clear)).decode())
    assert np.array_equal(seen, drawn), "on a transparent ground, too"


def test_a_map_of_no_ink_and_no_classes_is_what_the_network_sees(client: httpx.Client, studio: Studio) -> None:
    depth = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    seen, said = unit_of(client, studio, control="depth", picture=b64(depth))
    assert np.array_equal(seen, depth)
    assert said == []


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("way", ["base64", "digest"])
def test_a_mask_on_a_transparent_layer_is_its_alpha(client: httpx.Client, studio: Studio, ink: int, way: str) -> None:
    painted = on_nothing(ink, STROKE)
    if way == "digest":
        painted = client.post("/api/v1/pictures", content=base64.b64decode(painted)).json()["digest"]
    asked = SMALL | {
        "start_from": {"picture": b64(square()), "mask": painted},
        "controls": [{"control": "scribble", "picture": b64(np.dstack([STROKE] * 3)), "mask": painted}],
    }
    job = client.post("/api/v1/jobs", json=asked).json()
    recipe = parse(job["recipe"])
    assert recipe.source is not None
    for digest in (recipe.source.mask, recipe.controls[0].mask):
        assert np.array_equal(open_picture(studio.blobs.get(digest or "")), np.dstack([STROKE] * 3))
    ended(client, job["id"])


@pytest.mark.parametrize("way", ["picture", "photo"])
def test_what_is_transparent_is_a_hole_to_inpaint(client: httpx.Client, studio: Studio, way: str) -> None:
    holed = np.dstack([np.full((256, 256, 3), 90, np.uint8), np.full((256, 256), 255, np.uint8)])
    holed[64:128, 64:192, 3] = 0
    sent = base64.b64encode(to_png(holed)).decode()
    seen, _ = unit_of(client, studio, control="inpaint", weight=0.0, **{way: sent})
    assert seen.shape[2] == 4
    assert np.array_equal(np.argwhere(seen[..., 3] == 0)[[0, -1]] * 256 // seen.shape[0], [[64, 64], [127, 191]])


def test_a_key_sees_its_own_things_alone(served: tuple[Studio, str], client: httpx.Client) -> None:
    job = client.post("/api/v1/jobs", json=SMALL | {"prompt": "a <b>boat</b>", "seed": 99}).json()["id"]
    picture = ended(client, job)["pictures"][0]["id"]
    wall = client.get("/api/v1/gallery", params={"text": "boat"}).json()
    assert [one["id"] for one in wall["pictures"]] == [picture]
    about = client.get(f"/api/v1/pictures/{picture}").json()
    assert dict(about["words"])["Seed"] == "99"
    with client_of(served, "stranger") as stranger:
        for address in (f"/api/v1/jobs/{job}", f"/api/v1/jobs/{job}/events", f"/api/v1/pictures/{picture}"):
            refused(stranger.get(address), 404)
        refused(stranger.get(f"/api/v1/pictures/{picture}.png"), 404)
        refused(stranger.delete(f"/api/v1/jobs/{job}"), 404)
        assert stranger.get("/api/v1/gallery").json()["pictures"] == []
        # A recipe names what it was made of by digests; they open nothing to others.
        photo = client.post("/api/v1/pictures", content=to_png(square())).json()["digest"]
        drawing = client.post("/api/v1/documents", content=container(5)).json()["digest"]
        assert client.get(f"/api/v1/documents/{drawing}").content == container(5)
        refused(stranger.get(f"/api/v1/documents/{drawing}"), 404)
        refused(stranger.post("/api/v1/render", json={"control": "scribble", "document": drawing}), 404)
        refused(stranger.post("/api/v1/detect", json={"control": "canny", "photo": photo}), 422)
        for given in (
            {"document": drawing},
            {"picture": photo},
            {"photo": photo},
            {"picture": b64(255 - square()), "mask": photo},
        ):
            answer = stranger.post("/api/v1/jobs", json=SMALL | {"controls": [{"control": "scribble"} | given]})
            refused(answer, 404 if "document" in given else 422)
        refused(stranger.post("/api/v1/jobs", json=SMALL | {"start_from": {"picture": photo}}), 422)
        assert stranger.get("/api/v1/jobs").json() == {"open": [], "over": []}


def test_many_listen_at_once(served: tuple[Studio, str], client: httpx.Client) -> None:
    job = client.post("/api/v1/jobs", json=SMALL | {"prompt": "slow=0.05", "steps": 40}).json()["id"]
    last: list[str] = []

    def listen() -> None:
        with client.stream("GET", f"/api/v1/jobs/{job}/events") as stream:
            told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        last.append(told[-1]["kind"])

    threads = [threading.Thread(target=listen) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert last == ["done"] * 50


def test_a_key_has_so_many_streams_open_and_no_more(
    client: httpx.Client, served: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "LISTENERS_MAX", 2)
    job = client.post("/api/v1/jobs", json=SMALL | {"prompt": "slow=0.05", "steps": 40}).json()["id"]
    with (
        client.stream("GET", f"/api/v1/jobs/{job}/events") as one,
        client.stream("GET", f"/api/v1/jobs/{job}/events") as two,
    ):
        lines = one.iter_lines(), two.iter_lines()  # kept: httpx closes a stream whose lines nobody wants any more
        assert all(next(each) for each in lines)
        assert "2 streams" in refused(client.get(f"/api/v1/jobs/{job}/events"), 429)
        with client_of(served, "listens too") as other:
            mine = other.post("/api/v1/jobs", json=SMALL).json()["id"]
            assert other.get(f"/api/v1/jobs/{mine}/events").status_code == 200
    client.delete(f"/api/v1/jobs/{job}")
    ended(client, job)
    assert client.get(f"/api/v1/jobs/{job}/events").status_code == 200, "those that were closed count no longer"


# ---- bad input


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"evil": 1}, "evil"),
        ({"steps": "many"}, "steps"),
        ({"width": 63}, "width"),
        ({"images": -1}, "images"),
        ({"images": 10**30}, "images"),
        ({"prompt": "x" * 10_000}, "prompt"),
        ({"sampler": "magic"}, "sampler"),
        ({"model": "nothing"}, "no model called"),
        ({"model": "n" * 100_000}, "no model called"),
        ({"n" * 100_000: 1}, "extra inputs"),
        ({"loras": [{"key": "nothing", "weight": 99}]}, "weight"),
        ({"id": "../x"}, "8 to 64 letters, digits"),
        ({"controls": [{"control": "nothing", "document": "0" * 64}]}, "nothing"),
        ({"controls": [{"control": "scribble"}]}, "one of document, picture and photo"),
        ({"controls": [{"control": "scribble", "picture": "/etc/passwd"}]}, "base64"),
        ({"controls": [{"control": "scribble", "picture": "https://example.com/x.png"}]}, "base64"),
        ({"controls": [{"control": "scribble", "picture": "file:nothing"}]}, "no file called"),
        ({"controls": [{"control": "scribble", "picture": "0" * 64}]}, "not here any more"),
        ({"controls": [{"control": "scribble", "picture": "aGVsbG8="}]}, "picture"),
        ({"controls": [{"control": "scribble", "document": "0" * 64}]}, "."),
        ({"controls": [{"control": "scribble", "document": "0" * 64}] * 1000}, "controls"),
        ({"start_from": {"picture": "aGVsbG8=", "strength": 7}}, "."),
        ({"micro_conditioning": {"crop": [-1, 0]}}, "crop"),
        ({"micro_conditioning": {"original": [4096, 4096]}}, "told no sizes"),
        ({"references": [{"picture": "aGVsbG8=", "kind": "magic"}]}, "kind"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, wrong: dict[str, Any], words: str) -> None:
    answer = client.post("/api/v1/jobs", json=SMALL | wrong)
    assert answer.status_code in (404, 422), answer.text
    assert words.lower() in refused(answer, answer.status_code).lower() + answer.json()["hint"].lower()


def test_bombs_numbers_that_are_none_and_broken_bodies_are_refused(client: httpx.Client) -> None:
    refused(client.post("/api/v1/pictures", content=bomb()), 422)
    refused(client.post("/api/v1/jobs", content=b'{"guidance": NaN}'), 422)
    refused(client.post("/api/v1/jobs", content=b"[" * 100_000), 422)
    refused(client.post("/api/v1/jobs", content=b"\xff\xfe{"), 422)
    refused(client.post("/api/v1/documents", content=b"garbage"), 422)
    refused(client.post("/api/v1/documents", content=b'{"people": 3}'), 422)
    refused(client.get("/api/v1/documents/nothing"), 404)
    refused(client.post("/api/v1/conditions"), 405)
    for nowhere in ("/api/v1/job", "/api/v1/jobs/a/b/c", "/api/v1/documents/%2fetc%2fpasswd", "/api/"):
        assert "no such address" in refused(client.get(nowhere), 404), "not a page, which a program cannot read"
    refused(client.get("/api/v1/gallery", params={"n": "-1"}), 422)


def many(around: str) -> bytes:
    """JSON of 30,000 values in the place of %s."""
    return (around % ("[" + "[]," * 30_000 + "0]")).encode()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/api/v1/jobs", many('{"prompt": %s}')),
        ("/sdapi/v1/txt2img", many('{"prompt": "a", "alwayson_scripts": {"x": %s}}')),
        ("/sdapi/v1/options", many('{"x": %s}')),
        ("/v1/images/generations", many('{"prompt": "a", "studio": {"x": %s}}')),
        # As text, in which what is counted is written otherwise.
        ("/v1/images/generations", b'{"prompt": "a", "studio": "' + b"\\u005b\\u005d\\u002c" * 30_000 + b'"}'),
        ("/controlnet/render_openpose_json", many('[{"people": %s}]') * 10),
        ("/api/v1/documents", many('{"people": %s}') * 10),
        ("/api/v1/documents", documents.MAGIC + struct.pack("<I", 200_000) + b"[" * 200_000),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_would_keep_everybody_else_waiting_is_not_read(
    served_api: tuple[Studio, int], path: str, data: bytes
) -> None:
    """Reading JSON of ten million values holds all threads for ten seconds."""
    answer = httpx.post(f"http://127.0.0.1:{served_api[1]}{path}", content=data, timeout=60)
    assert answer.status_code in (400, 422) and "values" in answer.text, answer.text[:400]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/sdapi/v1/txt2img", {"override_settings": {"sd_model_checkpoint": None}}),
        ("/sdapi/v1/txt2img", {"override_settings": {"sd_vae": None}}),
        ("/sdapi/v1/options", {"sd_model_checkpoint": None}),
        ("/v1/images/generations", {"prompt": "a", "model": None}),
    ],
)
def test_a_name_longer_than_any_is_not_looked_for(
    served_api: tuple[Studio, int], path: str, asked: dict[str, Any]
) -> None:
    """To cut off a hash behind 50,000 blanks took all threads for half a minute."""
    text = json.dumps(asked).replace("null", json.dumps(" " * 20_000 + "x"))
    answer = httpx.post(f"http://127.0.0.1:{served_api[1]}{path}", content=text, timeout=60)
    assert answer.status_code == 404 and "20001 characters" in answer.text


def test_a_body_that_is_announced_too_large_is_not_waited_for(client: httpx.Client) -> None:
    url = httpx.URL(str(client.base_url))
    connection = HTTPConnection(url.host, url.port or 80, timeout=20)
    connection.putrequest("POST", "/api/v1/jobs")
    connection.putheader("Authorization", client.headers["authorization"])
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"larger than 64 MB" in answer.read()
    connection.close()


def test_a_body_that_never_ends_is_ended_and_leaves_room(
    served: tuple[Studio, str], client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PART_MAX_S", 0.3)
    monkeypatch.setattr(door, "BODIES_MAX", 2)
    app = Door(PlainTextResponse("no address of the API"), lambda: served[0], OPERATIONS)
    key = client.headers["authorization"]

    async def ask(data: bytes, ends: bool = True) -> tuple[int, dict[str, str], bytes]:
        told: list[Any] = []
        left = [data]

        async def receive() -> dict[str, Any]:
            if not left:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": left.pop(), "more_body": not ends}

        async def send(message: Any) -> None:
            told.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/api/v1/documents", "raw_path": b"/api/v1/documents",
            "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), (b"authorization", key.encode())],
        }  # fmt: skip
        await app(scope, receive, send)
        fields = {name.decode(): value.decode() for name, value in told[0]["headers"]}
        return told[0]["status"], fields, told[1]["body"]

    async def check() -> None:
        slow = [asyncio.create_task(ask(b"ab", ends=False)) for _ in range(2)]
        await asyncio.sleep(0)
        status, fields, _ = await ask(container())
        assert status == 429 and int(fields["retry-after"]) > 0, "two may be on their way here"
        for status, _, said in await asyncio.gather(*slow):
            assert status == 408 and b"did not arrive" in said
        assert (await ask(container()))[0] == 200

    asyncio.run(check())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "prompt",
    "steps",
    "guidance",
    "controls",
    "start_from",
    "width",
    "seed",
    "loras",
    "images",
    "model",
    "id",
    "eta",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_nothing_that_is_sent_is_an_error_of_ours(client: httpx.Client, asked: dict[str, Any]) -> None:
    answer = client.post("/api/v1/jobs", content=json.dumps(asked))
    if answer.status_code == 202:
        client.delete(f"/api/v1/jobs/{answer.json()['id']}")
        return
    assert 400 <= answer.status_code < 500, answer.text
    refused(answer, answer.status_code)
