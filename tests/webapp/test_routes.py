"""Our routes: what they serve, whom they refuse, and that every failure is one sentence."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import streamlit
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from components import ASSETS, BUNDLE, assets_version
from components.linker import link
from controlnet_core.domain.picture import open_picture
from controlnet_core.storage import gallery
from controlnet_core.storage.gallery import recipe_of
from tests.webapp.conftest import WORKSPACE, container, mask
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio
from webapp.routes import origin, table


@pytest.fixture(scope="module")
def url(studio: Studio) -> Iterator[str]:
    """A real server on a free port, with a page and a file beside our routes."""

    async def page(_request: Any) -> HTMLResponse:
        return HTMLResponse("<p>page</p>")

    async def file(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("file")

    app = Starlette(
        routes=[*table.routes(lambda: studio), Route("/", page), Route("/file", file)], middleware=table.middleware()
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    studio.events.closed = True
    server.should_exit = True
    for stream in list(studio.events._streams.values()):
        for listener in stream.listeners:
            listener.wake()
    thread.join(10)
    studio.events.closed = False
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=20) as client:
        yield client


@pytest.fixture
def token(studio: Studio, request: pytest.FixtureRequest) -> str:
    return studio.documents.open(
        WORKSPACE, f"session {request.node.nodeid}", f"slot{abs(hash(request.node.nodeid))}", container()
    )


def refused(answer: httpx.Response, status: int) -> str:
    """Check that an answer is a refusal in one sentence; returns the sentence."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    error = answer.json()["error"]
    assert error.endswith(".")
    assert "Traceback" not in answer.text
    return error


def test_assets_are_served_with_their_type_and_kept_for_ever(client: httpx.Client) -> None:
    module = next(ASSETS.rglob("*.js"))
    path = module.relative_to(ASSETS).as_posix()
    answer = client.get(f"/studio/assets/{assets_version()}/{path}")
    assert answer.status_code == 200
    assert answer.content == module.read_bytes()
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(f"/studio/assets/000000000000/{path}").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "../__init__.py",
        "..%2f__init__.py",
        "%2e%2e/__init__.py",
        "canvas/../../mount.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..%5c..%5cmount.py",
        "canvas",
        "",
        "nothing.js",
        "a%00.js",
    ],
)
def test_assets_never_leave_their_folder(client: httpx.Client, path: str) -> None:
    where = client.base_url
    connection = HTTPConnection(where.host, where.port or 80, timeout=10)  # sends a path as it is
    connection.request("GET", f"/studio/assets/{assets_version()}/{path}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (400, 404)
    assert b"import" not in body


def test_a_link_out_of_the_assets_is_not_followed(
    client: httpx.Client, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "secret.js").write_text("secret")
    (tmp_path / "assets" / "link.js").symlink_to(tmp_path / "secret.js")
    (tmp_path / "assets" / "own.js").write_text("own")
    monkeypatch.setattr(table, "ASSETS", tmp_path / "assets")
    assert client.get("/studio/assets/x/own.js").text == "own"
    refused(client.get("/studio/assets/x/link.js"), 404)


def test_a_drawing_travels_there_and_back(client: httpx.Client, studio: Studio, token: str) -> None:
    where = f"/studio/documents/{token}"
    answer = client.get(where)
    assert (answer.content, answer.headers["x-rev"]) == (container(), "1")
    assert answer.headers["cache-control"] == "no-store"
    answer = client.put(where, content=container(1), headers={"X-Rev": "1"})
    assert (answer.status_code, answer.json()) == (200, {"rev": 2})
    assert studio.documents.read(token) == (2, container(1))
    stale = client.put(where, content=container(2), headers={"X-Rev": "1"})
    assert refused(stale, 409) == "This drawing was changed somewhere else."
    assert stale.json()["rev"] == 2
    assert client.get(where).content == container(1)


@pytest.mark.parametrize("rev", [None, "", "-1", "1.5", "x", "9" * 30, "²"])
def test_a_drawing_without_a_revision_is_refused(
    client: httpx.Client, studio: Studio, token: str, rev: str | None
) -> None:
    headers = {} if rev is None else {"X-Rev": rev.encode()}
    refused(client.put(f"/studio/documents/{token}", content=container(1), headers=headers), 400)
    assert studio.documents.read(token)[0] == 1


def test_garbage_and_cut_drawings_change_nothing(client: httpx.Client, studio: Studio, token: str) -> None:
    for body in (b"", b"garbage", container(1)[:-3], b"CNSD1" + b"\xff" * 20, Image.new("RGB", (9, 9)).tobytes()):
        refused(client.put(f"/studio/documents/{token}", content=body, headers={"X-Rev": "1"}), 400)
    assert studio.documents.read(token) == (1, container())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200), at=st.integers(0, 150), flip=st.integers(1, 255))
def test_no_bytes_break_the_route(
    client: httpx.Client, studio: Studio, token: str, body: bytes, at: int, flip: int
) -> None:
    good = bytearray(container(3, 16))
    good[at % len(good)] ^= flip
    for content in (body, bytes(good), bytes(good[:at])):
        rev = studio.documents.read(token)[0]
        answer = client.put(f"/studio/documents/{token}", content=content, headers={"X-Rev": str(rev)})
        if answer.status_code == 429:
            time.sleep(0.5)
        else:
            assert answer.status_code in (200, 400)
        studio.documents.latest(token)  # what is kept can be read


def test_a_large_body_is_cut_off_while_it_comes(client: httpx.Client, studio: Studio, token: str) -> None:
    where = f"/studio/documents/{token}"
    announced = client.put(where, content=b"x" * (9 << 20), headers={"X-Rev": "1"})
    assert "8 MB" in refused(announced, 413)
    unannounced = client.put(where, content=(b"x" * (1 << 18) for _ in range(40)), headers={"X-Rev": "1"})
    refused(unannounced, 413)
    assert studio.documents.read(token)[0] == 1


def test_no_more_than_the_limit_is_ever_taken(studio: Studio, token: str) -> None:
    """A body without end, straight into the app."""
    taken, answers = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1 << 16
        return {"type": "http.request", "body": b"x" * (1 << 16), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"x-rev", b"1")]
    path = f"/studio/documents/{token}"
    scope = {"type": "http", "method": "PUT", "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    asyncio.run(Starlette(routes=table.routes(lambda: studio))(scope, receive, send))
    assert answers[0]["status"] == 413
    assert taken <= (8 << 20) + (1 << 16)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
        {"Host": "evil.example"},
    ],
)
def test_another_sites_page_may_not_write(
    client: httpx.Client, studio: Studio, token: str, headers: dict[str, str]
) -> None:
    answer = client.put(f"/studio/documents/{token}", content=container(1), headers={"X-Rev": "1"} | headers)
    refused(answer, 403)
    refused(client.post(f"/studio/jobs/{studio.events.stream('s')}/cancel/12345678", headers=headers), 403)
    assert studio.documents.read(token)[0] == 1


def test_without_an_origin_only_the_browsers_own_word_counts(url: str, token: str) -> None:
    where = f"{url}/studio/documents/{token}"
    refused(httpx.put(where, content=container(1), headers={"X-Rev": "1"}), 403)
    same = {"X-Rev": "1", "Sec-Fetch-Site": "same-origin"}
    assert httpx.put(where, content=container(1), headers=same).status_code == 200


def test_a_name_that_points_here_by_trick_is_refused(client: httpx.Client, token: str) -> None:
    assert "evil.example" in refused(client.get(f"/studio/documents/{token}", headers={"Host": "evil.example"}), 403)


def test_too_many_changes_are_slowed_down(studio: Studio, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PUTS_PER_S", 5.0)
    monkeypatch.setattr(table, "PUTS_BURST", 3.0)
    app = TestClient(Starlette(routes=table.routes(lambda: studio)), base_url="http://localhost")
    headers = {"Origin": "http://localhost", "X-Rev": "1"}
    answers = [app.put(f"/studio/documents/{token}", content=b"x", headers=headers).status_code for _ in range(5)]
    assert answers[:3] == [400] * 3
    assert answers[4] == 429
    time.sleep(0.3)
    assert app.put(f"/studio/documents/{token}", content=b"x", headers=headers).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "documents/nothing",
        "events/nothing",
        "control/nothing.png",
        "pictures/" + "0" * 32 + ".png",
        "pictures/..%2f..%2fx.png",
    ],
)
def test_what_nobody_made_is_not_there(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/studio/{path}")
    if answer.headers["content-type"] == "application/json":
        refused(answer, answer.status_code)
    assert answer.status_code in (400, 404)


def test_tokens_and_ids_have_the_bits_that_are_promised(studio: Studio) -> None:
    drawings = {studio.documents.open(WORKSPACE, f"bits-{n}", "bits", container()) for n in range(20)}
    streams = {studio.events.stream(f"bits-{n}") for n in range(20)}
    many = drawings | streams
    assert len(many) == 40 and all(len(base64.urlsafe_b64decode(one)) * 8 >= 192 for one in many)
    ids = {gallery._new_id()[12:] for _ in range(40)}  # after the time, by which they are sorted
    assert len(ids) == 40 and all(len(bytes.fromhex(one)) * 8 >= 80 for one in ids)
    for names in (many, ids):
        assert all(len(set(letters)) > 5 for letters in zip(*names, strict=True)), "every letter of them is drawn"


def test_other_methods_are_not_allowed(client: httpx.Client, token: str) -> None:
    assert client.post(f"/studio/documents/{token}").status_code == 405
    assert client.delete(f"/studio/documents/{token}").status_code == 405


def events_of(client: httpx.Client, stream: str, last: str) -> list[dict[str, Any]]:
    """The events of a stream up to the end of job `last`."""
    found: list[dict[str, Any]] = []
    with client.stream("GET", f"/studio/events/{stream}") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
                if found[-1]["job"] == last and found[-1]["kind"] in ("done", "failed", "cancelled"):
                    break
    return found


def submit(studio: Studio, session: str, prompt: str, id: str, **fields: Any) -> str:
    chosen = {"model": "paperworld", "width": 64, "height": 64, "steps": 12} | fields
    recipe = studio.new_recipe([Draft("scribble", mask())], prompt=prompt, seed=3, **chosen)
    return studio.submit(session, recipe, owner=WORKSPACE, id=id)


def test_a_job_is_followed_to_its_picture(client: httpx.Client, studio: Studio) -> None:
    stream = studio.events.stream("follower")
    job = submit(studio, "follower", "slow=0.06", "job-followed", images=2)
    events = events_of(client, stream, job)
    steps = [event["step"] for event in events if event["kind"] == "step"]
    assert steps == sorted(set(steps))
    assert len(steps) >= 8
    preview = next(event["preview"] for event in events if event["preview"])
    assert open_picture(base64.b64decode(preview)).shape == (64, 64, 3)
    done = events[-1]
    assert done["kind"] == "done"
    assert [picture["seed"] for picture in done["pictures"]] == [3, 4]
    assert done["pictures"][0]["url"].startswith("./studio/pictures/")
    assert done["pictures"][0]["name"].endswith(".png")
    answer = client.get(done["pictures"][1]["url"].removeprefix("."))
    assert answer.headers["content-type"] == "image/png"
    assert "sandbox" in answer.headers["content-security-policy"]
    recipe = recipe_of(answer.content)
    assert recipe is not None
    assert (recipe.prompt, recipe.seed, recipe.images) == ("slow=0.06", 4, 1)
    small = client.get(done["pictures"][1]["url"].removeprefix("."), params={"thumb": ""})
    assert Image.open(io.BytesIO(small.content)).format == "WEBP"


def test_a_late_listener_hears_the_outcome(client: httpx.Client, studio: Studio) -> None:
    job = submit(studio, "late", "", "job-late-one")
    end = time.monotonic() + 20
    while not studio.queue.get(job).over and time.monotonic() < end:
        time.sleep(0.02)
    assert events_of(client, studio.events.stream("late"), job)[-1]["kind"] == "done"


def test_streams_of_two_sessions_never_mix(client: httpx.Client, studio: Studio) -> None:
    jobs = {name: submit(studio, name, "slow=0.02", f"job-of-{name}") for name in ("anna", "bert")}
    for name, job in jobs.items():
        events = events_of(client, studio.events.stream(name), job)
        assert {event["job"] for event in events} == {job}


def test_cancel_by_route_and_only_ones_own(client: httpx.Client, studio: Studio) -> None:
    stream, other = studio.events.stream("owner"), studio.events.stream("stranger")
    job = submit(studio, "owner", "slow=0.1", "job-to-stop", steps=100)
    assert refused(client.post(f"/studio/jobs/{other}/cancel/{job}"), 400) == "There is no such job."
    refused(client.post(f"/studio/jobs/nothing/cancel/{job}"), 404)
    refused(client.post(f"/studio/jobs/{stream}/cancel/x"), 400)
    assert client.post(f"/studio/jobs/{stream}/cancel/{job}").json()["state"] in ("running", "cancelled")
    assert events_of(client, stream, job)[-1]["kind"] == "cancelled"


def test_closing_the_tab_frees_the_worker(
    client: httpx.Client, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.events, "gone_s", 0.3)
    submit(studio, "leaver", "slow=0.1", "job-of-leaver", steps=100)
    submit(studio, "leaver", "slow=0.1", "job2-of-leaver", steps=100)
    submit(studio, "never listened", "slow=0.01", "job-of-nobody")
    with client.stream("GET", f"/studio/events/{studio.events.stream('leaver')}") as answer:
        next(answer.iter_lines())
    end = time.monotonic() + 5
    while studio.queue.open("leaver") and time.monotonic() < end:
        time.sleep(0.05)
    assert [entry.state for entry in studio.queue.of("leaver")] == ["cancelled", "cancelled"]
    while studio.queue.open() and time.monotonic() < end + 10:
        time.sleep(0.05)
    assert studio.queue.get("job-of-nobody").state == "done"


def test_a_detached_job_outlives_its_listeners(
    client: httpx.Client, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.events, "gone_s", 0.3)
    recipe = studio.new_recipe([], prompt="slow=0.02", model="paperworld", width=64, height=64, steps=60)
    job = studio.submit("a client", recipe, owner=WORKSPACE, lifetime="detached")
    with client.stream("GET", f"/studio/events/{studio.events.stream('a client')}") as answer:
        next(answer.iter_lines())
    end = time.monotonic() + 20
    while not studio.queue.get(job).over and time.monotonic() < end:
        time.sleep(0.05)
    assert studio.queue.get(job).state == "done"
    assert studio.queue.get(job).lifetime == "detached"


def test_what_the_model_sees(client: httpx.Client, studio: Studio, token: str) -> None:
    where = f"/studio/control/{token}.png"
    assert refused(client.get(where), 400) == "Nothing is rendered from this drawing yet."
    studio.documents.view(token, "scribble", {})
    assert np.array_equal(open_picture(client.get(where).content), studio.render("scribble", mask()))
    studio.documents.write(token, container(1), 1)
    studio.documents.view(token, "scribble", {}, (128, 192))
    answer = client.get(where)
    assert answer.headers["cache-control"] == "no-store"
    rgb = open_picture(answer.content)
    assert rgb.shape == (192, 128, 3)
    assert np.array_equal(rgb[::3, ::2], studio.render("scribble", mask(1)))


def test_pages_alone_bring_a_workspace(client: httpx.Client, url: str) -> None:
    cookie = httpx.get(f"{url}/").headers["set-cookie"]
    value = cookie.split(";")[0].removeprefix("studio_workspace=")
    assert len(value) == 32
    int(value, 16)  # figures and letters of hexadecimal alone
    assert value not in httpx.get(f"{url}/").headers["set-cookie"]  # each visitor has another
    for part in ("HttpOnly", "Max-Age=31536000", "Path=/", "SameSite=Strict"):
        assert part in cookie
    assert "Secure" not in cookie
    assert "set-cookie" not in httpx.get(f"{url}/file").headers
    again = httpx.get(f"{url}/", headers={"Cookie": f"studio_workspace={value}"})
    assert f"studio_workspace={value};" in again.headers["set-cookie"]
    forged = httpx.get(f"{url}/", headers={"Cookie": "studio_workspace=../../x"})
    assert "../" not in forged.headers["set-cookie"]
    assert "Secure" in httpx.get(f"{url}/", headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]


def test_pages_name_the_modules_that_they_are_going_to_need(url: str) -> None:
    answer = httpx.get(f"{url}/")
    named = re.findall(r"<([^>]+)>;rel=modulepreload", answer.headers["link"])
    assert f"studio/assets/{assets_version()}/{BUNDLE}" in named
    assert any("/BidiComponent." in name for name in named)
    for name in named:
        module = httpx.get(f"{url}/{name}")
        assert module.status_code == 200 and "immutable" in module.headers["cache-control"]
        assert module.headers["content-type"].startswith("text/javascript")
    assert "link" not in httpx.get(f"{url}/file").headers
    assert len(answer.headers["link"]) < 4096  # what a proxy takes by default


def test_all_modules_come_as_one_packed_for_whoever_unpacks(client: httpx.Client) -> None:
    path = f"/studio/assets/{assets_version()}/{BUNDLE}"
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.text == plain.text == link(ASSETS)
    assert {packed.headers["vary"], plain.headers["vary"]} == {"Accept-Encoding"}
    assert client.get(f"/studio/assets/000000000000/{BUNDLE}").headers["cache-control"] == "no-cache"


def test_streamlits_files_are_what_streamlit_ships(client: httpx.Client) -> None:
    folder = Path(streamlit.__file__).parent / "static" / "static"
    for path in (
        next(folder.glob("js/index.*.js")),
        next(folder.glob("css/*.css")),
        next(folder.glob("media/*.woff2")),
    ):
        for _ in range(2):
            answer = client.get(f"/static/{path.relative_to(folder).as_posix()}")
            assert answer.content == path.read_bytes()
            assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"] == "font/woff2"
    # Everything else is the app's: here one that knows no such pages.
    large = max(folder.rglob("*.js"), key=lambda path: path.stat().st_size)
    for name in (f"js/{large.name}", "js/../../index.html", "js/%2e%2e/%2e%2e/index.html", "js/none.js", "js", ""):
        assert client.get(f"/static/{name}").status_code == 404, name
    assert client.get(f"/static/js/{path.name}", headers={"Range": "bytes=0-1"}).status_code == 404


def test_routes_follow_the_base_path(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"server.baseUrlPath": "/team/", "server.address": "127.0.0.1"}
    for module in (table, origin):
        monkeypatch.setattr(module, "option", lambda name: options.get(name, ""))
    below = TestClient(Starlette(routes=table.routes(lambda: studio)), base_url="http://localhost")
    path = next(ASSETS.rglob("*.js")).relative_to(ASSETS).as_posix()
    assert below.get(f"/team/studio/assets/x/{path}").status_code == 200
    assert below.get(f"/studio/assets/x/{path}").status_code == 404


def test_an_unexpected_failure_is_a_sentence_without_details(
    client: httpx.Client, studio: Studio, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_token: str) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(studio.documents, "read", broken)
    answer = client.get(f"/studio/documents/{token}")
    assert refused(answer, 500) == "Something went wrong on the server."
    assert "secret" not in answer.text


SERVER = """
import sys, contextlib, uvicorn
from pathlib import Path
from starlette.applications import Starlette
from webapp.application import settings
from webapp.application.studio import Studio
from webapp.routes import table
studio = Studio(settings.Settings(data=Path(sys.argv[1]), engine="tests.core.strokes_engine:build"))
@contextlib.asynccontextmanager
async def life(app):
    studio.start()
    print(studio.events.stream("s"), flush=True)
    yield
    studio.stop()
config = uvicorn.Config(Starlette(routes=table.routes(lambda: studio), lifespan=life), fd=int(sys.argv[2]))
uvicorn.Server(config).run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_open_stream_does_not_hold_up_the_end(tmp_path: Path, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        child = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path), str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
    assert child.stdout is not None
    token = child.stdout.readline().strip()
    with httpx.stream("GET", f"http://127.0.0.1:{port}/studio/events/{token}", timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        child.send_signal(number)
        begun = time.monotonic()
        list(lines)
    child.wait(10)
    child.stdout.close()
    assert time.monotonic() - begun < 10
