"""What is bounded: threads of event streams, listeners, sessions; and what a kept photo no longer says."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.job import Job
from controlnet_core.storage import log_file
from controlnet_core.storage.gallery import Query
from tests.webapp.conftest import WORKSPACE, container, mask
from webapp.application import events
from webapp.application.events import Events
from webapp.application.recipe_builder import Draft
from webapp.application.settings import Settings
from webapp.application.studio import Studio
from webapp.routes import table
from webapp.routes.guard import TooFast, Turns


def test_streams_that_come_and_go_leave_one_thread() -> None:
    gone: list[str] = []
    bus: Events[str] = Events(gone.append, gone_s=0.6)
    token = bus.stream("s")

    async def come_and_go() -> None:
        for _ in range(300):
            async with bus.listen(token):
                pass

    before = threading.active_count()
    asyncio.run(come_and_go())
    assert threading.active_count() <= before + 1
    end = time.monotonic() + 10
    while not gone and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    assert gone == ["s"], "the end of a session is told once"
    bus.close()


def test_more_sessions_than_are_kept_are_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_MAX", 3)
    bus: Events[str] = Events()

    async def fill() -> None:
        waiting = [bus.listen(bus.stream(f"held{number}")) for number in range(3)]
        for one in waiting:
            await one.__aenter__()
        bus.publish("new", "job", "done")
        async with bus.listen(bus.stream("new")) as listener:
            assert await listener.get(1) == ["done"]
        for one in waiting:
            await one.__aexit__(None, None, None)

    asyncio.run(fill())
    bus.close()


def test_a_listener_too_many_is_refused_in_a_sentence(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LISTENERS_MAX", 0)
    client = TestClient(Starlette(routes=table.routes(lambda: quiet)), base_url="http://localhost")
    answer = client.get(f"/studio/events/{quiet.events.stream('s')}")
    assert answer.status_code == 400
    assert "too many" in answer.json()["error"]


def test_one_visitors_pictures_wait_for_each_other_and_for_nobody_else() -> None:
    async def crowd() -> None:
        turns, order, at_work = Turns(waiting_max=2), list[str](), list[str]()

        async def look(who: str, seconds: float) -> None:
            async with turns.turn(who):
                assert who not in at_work, "one after the other"
                at_work.append(who)
                await asyncio.sleep(seconds)
                at_work.remove(who)
                order.append(who)

        slow = [asyncio.create_task(look("slow", 0.3)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooFast):
            await look("slow", 0)
        await look("other", 0)
        await asyncio.gather(*slow)
        assert order == ["other", "slow", "slow"]
        await look("slow", 0)

    asyncio.run(crowd())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_kept_photo_says_nothing_but_its_picture(quiet: Studio, format: str) -> None:
    """Where it was taken, what lies behind its end, its first name: none of it is kept."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (6, 8, 3), np.uint8)).resize((128, 96))
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif[0x010E] = "SECRET PLACE"
    buffer = io.BytesIO()
    image.save(buffer, format, exif=exif)
    data = buffer.getvalue() + (b"SECRET TAIL" if format != "WEBP" else b"")
    digest = quiet.photos.keep(data)
    kept = quiet.blobs.get(digest)
    assert b"SECRET" not in kept
    assert not Image.open(io.BytesIO(kept)).getexif()
    shown = quiet.photos.photo(digest)
    assert np.array_equal(shown, picture.open_picture(kept))
    assert np.abs(shown.astype(int) - picture.open_picture(data)).mean() < 3


def test_a_photo_is_kept_no_larger_than_anything_takes(quiet: Studio) -> None:
    digest = quiet.photos.keep(picture.to_png(np.zeros((10, 9000, 3), np.uint8)))
    assert quiet.photos.photo(digest).shape[1] == 3072
    with pytest.raises(InputError):
        quiet.photos.keep(b"%!PS-Adobe-3.0 EPSF-3.0")


def test_the_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    studio = Studio(Settings(data=tmp_path / "data", models=tmp_path / "models"))
    studio.claim()
    try:
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        recipe = studio.new_recipe([Draft("scribble", mask(1))], model="paperworld", width=64, height=64, steps=3)
        studio.submit("tab", recipe, owner=WORKSPACE)
        studio.gallery.add(
            Job("job-00000001", "tab", recipe, owner=WORKSPACE), [picture.to_png(np.zeros((8, 8, 3), np.uint8))]
        )
        studio.gallery.find(Query(WORKSPACE), 1)
        studio.documents.open(WORKSPACE, "tab", "scribble", container(1))
        studio.pages.put(WORKSPACE, "page", 1, b"{}")
        studio.annotations.keep("photos", [("a.png", b"x")], WORKSPACE)
        studio.keys.create("bot")
        log_file.LogFile(studio.settings.log).handle(logging.makeLogRecord({"msg": "a line"}))
        studio.close()
        studio.pages.close()
        found = {path.relative_to(tmp_path): path.stat().st_mode & 0o077 for path in (tmp_path / "data").rglob("*")}
        assert len(found) > 20
        assert {path: mode for path, mode in found.items() if mode} == {}
    finally:
        studio.stop()
