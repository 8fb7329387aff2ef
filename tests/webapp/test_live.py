"""The socket of Live: pictures follow a drawing, and whatever else comes is answered with a sentence."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from controlnet_core.domain import picture
from controlnet_core.domain.document import Raster, Skeleton, encode
from controlnet_core.domain.recipe import ControlUnit, Recipe
from tests.webapp.conftest import WORKSPACE, container, mask
from webapp.application import live as live_drawing
from webapp.application.live import Scene
from webapp.application.studio import Studio
from webapp.routes import live, table

SIDE = 64
SCENE = Scene(
    Recipe(
        model="paperworld",
        prompt="a house",
        width=SIDE,
        height=SIDE,
        steps=2,
        controls=(ControlUnit(control="scribble", picture="0" * 64),),
    ),
    seed=7,
)
PAGE = {"host": "localhost", "origin": "http://localhost"}


def prepared(studio: Studio, name: str = "one") -> str:
    token = studio.documents.open(WORKSPACE, name, "scribble", container())
    studio.live.prepare(token, SCENE)
    return token


@contextmanager
def line(studio: Studio, token: str, **headers: str) -> Iterator[WebSocketTestSession]:
    app = Starlette(routes=table.routes(lambda: studio), middleware=table.middleware())
    client = TestClient(app, base_url="http://localhost")
    with client.websocket_connect(f"/studio/live/{token}", headers=PAGE | headers) as socket:
        yield socket


def message(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(head)) + head + body


def part(side: int = 8, value: int = 255) -> bytes:
    return zlib.compress(np.full((side, side), value, np.uint8).tobytes())


def refusal(socket: WebSocketTestSession) -> dict[str, Any]:
    while True:
        told = socket.receive()
        if (text := told.get("text")) and json.loads(text)["kind"] == "refused":
            return json.loads(text)
        if told["type"] == "websocket.close":
            raise AssertionError("closed without a word")


def shown(socket: WebSocketTestSession, rev: int) -> tuple[dict[str, Any], np.ndarray]:
    """The header and the pixels of the first picture of `rev`."""
    while True:
        told = socket.receive()
        if data := told.get("bytes"):
            (length,) = struct.unpack_from("<I", data)
            header = json.loads(data[4 : 4 + length])
            if header["rev"] == rev:
                return header, picture.open_picture(data[4 + length :])


def test_pictures_follow_the_drawing_with_the_same_seed(studio: Studio) -> None:
    token = prepared(studio)
    with line(studio, token) as socket:
        blank = encode(Raster("mask", np.zeros((SIDE, SIDE), np.uint8)))
        socket.send_bytes(message({"rev": 1}, blank))
        first, before = shown(socket, 1)
        # The tests' engine puts the control's corner into its picture.
        assert before.shape == (SIDE, SIDE, 3) and before[:6, :6].mean() < 20
        socket.send_bytes(message({"rev": 2, "on": 1, "rects": [[0, 0, 8, 8]]}, part()))
        second, after = shown(socket, 2)
        assert after[:6, :6].mean() > 235 and np.abs(after[16:].astype(int) - before[16:]).mean() < 1
        assert first["seed"] == second["seed"] == 7
        socket.send_text(json.dumps({"kind": "seed"}))
        third, other = shown(socket, 2)
        assert third["seed"] == 8 and np.abs(other[16:].astype(int) - before[16:]).mean() > 20
        studio.live.prepare(token, replace(SCENE, recipe=SCENE.recipe.model_copy(update={"width": 128, "height": 128})))
        assert shown(socket, 2)[1].shape == (128, 128, 3), "the page's settings count at once"
    assert not studio.queue.open() and not studio.gallery.recent(1), "nothing live is kept"


def test_two_tabs_draw_beside_each_other(studio: Studio) -> None:
    with line(studio, prepared(studio, "left")) as left, line(studio, prepared(studio, "right")) as right:
        for socket in (left, right):
            socket.send_bytes(message({"rev": 1}, container()))
        assert shown(left, 1)[0]["rev"] == shown(right, 1)[0]["rev"] == 1


@pytest.mark.parametrize(
    ("sent", "says", "again"),
    [
        (b"", "cannot be read", False),
        (b"\xff\xff\xff\xff{}", "cannot be read", False),
        (message(b"[1]"), "cannot be read", False),
        (message(b"[" * 5000), "cannot be read", False),
        (message(b"[" * 100_000), "more than 10000 values", False),
        (message({}), "revision must be a whole number", False),
        (message({"rev": 1.5}), "revision must be a whole number", False),
        (message({"rev": 3}, b"CNSD1 no"), "not a drawing of the studio", False),
        (message({"rev": 3}, encode(Skeleton(width=64, height=64))), "belongs to another control", False),
        (message({"rev": 9, "on": 8, "rects": [[0, 0, 8, 8]]}, part()), "builds upon revision 8", True),
        (message({"rev": 2, "on": 0, "rects": [[0, 0, 8, 8]]}, part()), "builds upon revision 0", True),
        (message({"rev": 2, "on": 1, "rects": [[0, 0, 80, 8]]}, part()), "outside of the drawing", False),
        (message({"rev": 2, "on": 1, "rects": [[0, 0, 8, True]]}, part()), "four whole numbers", False),
        (message({"rev": 2, "on": 1, "rects": [[0, 0, 8, 8]] * 65}, part()), "1 to 64 parts", False),
        (message({"rev": 2, "on": 1, "rects": [[0, 0, 16, 8]]}, part()), "another size", False),
        (message({"rev": 2, "on": 1, "rects": [[0, 0, 8, 8]]}, zlib.compress(bytes(10**6))), "another size", False),
        (message({"rev": 2, "on": 1, "rects": [[0, 0, 8, 8]]}, b"no zlib"), "damaged", False),
        ("nonsense", "cannot be read", False),
        ('{"kind": "format the disk"}', "not one that is offered", False),
        ('{"kind": "prompt", "text": 5}', "must be a text", False),
        ('{"kind": "prompt", "text": "%s"}' % ("x" * 5000), "are allowed", False),
    ],
)
def test_bad_messages_are_refused_in_a_sentence(quiet: Studio, sent: bytes | str, says: str, again: bool) -> None:
    token = prepared(quiet)
    before = quiet.documents.read(token)
    with line(quiet, token) as socket:
        socket.send_bytes(message({"rev": 1}, encode(mask(3, SIDE))))
        (socket.send_text if isinstance(sent, str) else socket.send_bytes)(sent)  # pyright: ignore[reportArgumentType]
        told = refusal(socket)
        assert says in told["error"] and told["again"] is again
        # The drawing is what it was: the next change builds upon it.
        socket.send_bytes(message({"rev": 2, "on": 1, "rects": [[0, 0, 8, 8]]}, part()))
        socket.send_bytes(message({"rev": 9, "on": 7, "rects": [[0, 0, 8, 8]]}, part()))
        assert "revision 2 is here" in refusal(socket)["error"]
    assert quiet.documents.read(token) == before


def test_too_much_ends_the_line_with_a_sentence(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MESSAGE_MAX_BYTES", 1 << 12)
    with line(quiet, prepared(quiet)) as socket:
        socket.send_bytes(bytes(5000))
        assert "larger than" in refusal(socket)["error"]
        assert socket.receive()["code"] == live.LARGE
    monkeypatch.setattr(live, "MESSAGES_PER_S", 1)
    monkeypatch.setattr(live, "MESSAGES_BURST", 5)
    with line(quiet, prepared(quiet)) as socket:
        for rev in range(1, 7):
            socket.send_bytes(message({"rev": rev}, container()))
        assert "Too many changes" in refusal(socket)["error"]
        assert socket.receive()["code"] == live.POLICY
    monkeypatch.setattr(live, "REFUSALS_MAX", 2)
    with line(quiet, prepared(quiet, "other")) as socket:
        socket.send_text("no")
        socket.send_text("no")
        assert refusal(socket) and refusal(socket)
        assert socket.receive()["code"] == live.POLICY


def test_the_line_is_for_the_page_that_is_live(quiet: Studio) -> None:
    token = prepared(quiet)
    quiet.live.forget(token)
    for name, headers, says in (
        (token, {}, "Live is off"),
        ("nobody", {}, "no longer open"),
        (prepared(quiet, "three"), {"cookie": "studio_workspace=" + "cd" * 16}, "another browser"),
    ):
        with line(quiet, name, **headers) as socket:
            assert says in refusal(socket)["error"]
            assert socket.receive()["code"] == live.POLICY
    with pytest.raises(WebSocketDisconnect), line(quiet, prepared(quiet), origin="http://evil.example"):
        pass
    with pytest.raises(WebSocketDisconnect), line(quiet, prepared(quiet), host="evil.example"):
        pass


def test_who_opens_it_anew_takes_it_over(quiet: Studio) -> None:
    token = prepared(quiet)
    with line(quiet, token) as old, line(quiet, token) as new:
        assert json.loads(old.receive()["text"])["kind"] == "over"
        new.send_text("no")
        assert refusal(new)


def test_frames_take_less_while_they_are_slow_and_get_it_back() -> None:
    recipe = SCENE.recipe.model_copy(update={"width": 512, "height": 768, "steps": 4})
    effort = live_drawing.Effort()
    assert effort.of(recipe) == (512, 4) and effort.spared(recipe) == ""
    effort.excuse()
    effort.judge(30.0, recipe)  # the models were loaded in it
    seen: list[tuple[int, int]] = []
    for _ in range(5):
        for _ in range(live_drawing.FRAMES_JUDGED):
            effort.judge(2.0, recipe)
        seen.append(effort.of(recipe))
    assert seen == [(512, 2), (384, 2), (256, 2), (256, 2), (256, 2)]
    assert effort.spared(recipe) == "2 steps, 256 px"
    for _ in range(4 * live_drawing.FRAMES_JUDGED):
        effort.judge(0.05, recipe)
    assert effort.of(recipe) == (512, 4)
    small = SCENE.recipe.model_copy(update={"steps": 1})
    for _ in range(live_drawing.FRAMES_JUDGED):
        effort.judge(2.0, small)
    assert effort.of(small) == (SIDE, 1), "there is nothing to spare"


def test_real_models_are_drawn_live_in_few_steps(quiet: Studio) -> None:
    recipe = SCENE.recipe.model_copy(update={"model": "sd15", "steps": 20, "guidance": 9.0})
    assert live_drawing.quickened(quiet.catalog, recipe) == (recipe, ""), "nothing is here for it"
    for place in ("loras/lcm-lora-sdv1-5.safetensors", "vae/taesd/config.json"):
        (quiet.settings.models / place).parent.mkdir(parents=True, exist_ok=True)
        (quiet.settings.models / place).write_bytes(b"{}")
    quick, words = live_drawing.quickened(quiet.catalog, recipe)
    assert words == "LCM, 4 steps, TAESD"
    assert (quick.steps, quick.guidance, quick.sampler, quick.vae) == (4, 1.0, "lcm", "taesd")
    assert [lora.key for lora in quick.loras] == ["lcm-lora-sd15"]
    assert Recipe.model_validate(quick.model_dump()) == quick
    (quiet.settings.models / "loras/Hyper-SD15-1step-lora.safetensors").write_bytes(b"{}")
    quickest, words = live_drawing.quickened(quiet.catalog, recipe)
    assert words == "Hyper-SD, 1 step, TAESD"
    assert (quickest.steps, quickest.guidance, quickest.sampler, quickest.eta) == (1, 1.0, "tcd", 1.0)
    assert [lora.key for lora in quickest.loras] == ["hyper-sd15-1step-lora"]
    own = recipe.model_copy(update={"steps": 1, "vae": "vae-ft-mse"})
    assert live_drawing.quickened(quiet.catalog, own) == (own, ""), "what is quick stays as it is"
