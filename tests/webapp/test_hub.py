"""Documents keep their revisions and survive; events stay in their session."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.storage import store
from tests.webapp.conftest import WORKSPACE, container, mask
from webapp.application.document_store import Shelf
from webapp.application.hub import Hub, Stale, Unknown


def new_hub(folder: Path, on_gone: Callable[[str], None] = lambda _session: None, gone_s: float = 0.1) -> Hub:
    return Hub(Shelf(folder, delay_s=0.05), on_gone, gone_s)


def test_a_document_opens_at_revision_one_and_only_grows(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    assert len(token) >= 32
    assert hub.read(token) == (1, container(0))
    assert hub.write(token, container(1), 1) == 2
    rev, document = hub.latest(token)
    assert rev == 2
    assert isinstance(document, Raster)
    assert (document.pixels == mask(1).pixels).all()
    for stale in (0, 1, 3):
        with pytest.raises(Stale) as refused:
            hub.write(token, container(2), stale)
        assert refused.value.rev == 2
    assert hub.read(token) == (2, container(1))
    assert hub.replace(token, container(3)) == 3


def test_the_same_session_gets_the_same_token_and_another_its_own(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    assert hub.open(WORKSPACE, "s", "scribble", container(9)) == token
    other = hub.open(WORKSPACE, "t", "scribble", container(9))
    assert other != token
    assert hub.read(other) == (1, container(0))  # two tabs of one browser share the drawing
    hub.write(token, container(1), 1)
    with pytest.raises(Stale):
        hub.write(other, container(2), 1)


def test_workspaces_do_not_see_each_other(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    hub.open(WORKSPACE, "s", "scribble", container(0))
    other = hub.open("cd" * 16, "t", "scribble", container(5))
    assert hub.read(other) == (1, container(5))


def test_drawings_survive_a_restart_with_their_revision(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    hub.write(token, container(1), 1)
    hub.write(token, container(2), 2)
    assert hub.stored(WORKSPACE, "scribble") == container(2)
    path = tmp_path / WORKSPACE / "scribble.doc"
    end = time.monotonic() + 2
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    # No close: the process is gone without a word.
    later = new_hub(tmp_path)
    assert later.stored(WORKSPACE, "scribble") == container(2)
    assert later.read(later.open(WORKSPACE, "u", "scribble", container(7))) == (3, container(2))
    assert later.stored(WORKSPACE, "pose") is None


def test_writing_is_late_but_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[float] = []
    plain = store.write

    def counted(path: Path, data: bytes, **options: int) -> None:
        writes.append(time.monotonic())
        plain(path, data, **options)

    monkeypatch.setattr(store, "write", counted)
    hub = Hub(Shelf(tmp_path))
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    for rev in range(1, 30):
        hub.write(token, container(rev), rev)
    while not writes:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(writes) == 1
    assert hub.shelf.get(WORKSPACE, "scribble") == (30, container(29))


def test_a_full_disk_loses_no_live_drawing(tmp_path: Path) -> None:
    hub = Hub(Shelf(tmp_path, delay_s=0.01, free_min_bytes=2**60))
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    hub.write(token, container(1), 1)
    time.sleep(0.1)
    hub.write(token, container(2), 2)
    assert hub.read(token) == (3, container(2))


def test_a_damaged_file_is_replaced_by_the_first_document(tmp_path: Path) -> None:
    (tmp_path / WORKSPACE).mkdir()
    (tmp_path / WORKSPACE / "scribble.doc").write_bytes(b"12345678garbage")
    hub = new_hub(tmp_path)
    assert hub.read(hub.open(WORKSPACE, "s", "scribble", container(0))) == (1, container(0))


def test_garbage_is_no_document_and_changes_nothing(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    with pytest.raises(InputError):
        hub.write(token, b"garbage", 1)
    assert hub.read(token) == (1, container(0))
    with pytest.raises(InputError):
        hub.open(WORKSPACE, "s", "other", b"garbage")


@pytest.mark.parametrize(("workspace", "slot"), [("../x", "a"), ("AB" * 16, "a"), (WORKSPACE, "../a"), (WORKSPACE, "")])
def test_names_of_drawings_are_no_paths(tmp_path: Path, workspace: str, slot: str) -> None:
    with pytest.raises(InputError, match="name of a drawing"):
        new_hub(tmp_path).open(workspace, "s", slot, container())


def test_concurrent_writers_lose_no_revision(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    token = hub.open(WORKSPACE, "s", "scribble", container(0))
    won: list[int] = []

    def write() -> None:
        for _ in range(50):
            rev = hub.read(token)[0]
            try:
                won.append(hub.write(token, container(1), rev))
            except Stale:
                continue

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(2, len(won) + 2))


async def heard(hub: Hub, token: str) -> list[dict[str, object]]:
    async with hub.listen(token) as listener:
        return await listener.get(0.5)


def test_events_reach_their_own_session_alone(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    one, two = hub.stream("one"), hub.stream("two")
    assert one != two
    assert hub.stream("one") == one
    assert hub.session_of_stream(two) == "two"

    async def both() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        async with hub.listen(one) as first, hub.listen(two) as second:
            threading.Thread(target=hub.publish, args=("one", "job", {"n": 1})).start()
            return await first.get(1), await second.get(0.1)

    assert asyncio.run(both()) == ([{"n": 1}], [])


def test_a_late_listener_hears_the_newest_of_each_job(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)
    for n in range(100):
        hub.publish("s", "a", {"job": "a", "n": n})
    hub.publish("s", "b", {"job": "b"})
    assert asyncio.run(heard(hub, hub.stream("s"))) == [{"job": "a", "n": 99}, {"job": "b"}]
    for n in range(100):
        hub.publish("s", f"job{n}", {"n": n})
    assert len(asyncio.run(heard(hub, hub.stream("s")))) == 32


def test_a_slow_listener_piles_nothing_up(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)

    async def slow() -> list[dict[str, object]]:
        async with hub.listen(hub.stream("s")) as listener:
            for n in range(10_000):
                hub.publish("s", "a", {"n": n})
            return await listener.get(1)

    assert asyncio.run(slow()) == [{"n": 9999}]


def test_who_leaves_is_noticed_and_who_comes_back_is_not_gone(tmp_path: Path) -> None:
    gone: list[str] = []
    hub = new_hub(tmp_path, gone.append, gone_s=0.3)
    for session in ("leaves", "returns", "never listened"):
        hub.stream(session)
        hub.publish(session, "a", {})
    asyncio.run(heard(hub, hub.stream("leaves")))
    asyncio.run(heard(hub, hub.stream("returns")))

    async def back() -> None:
        async with hub.listen(hub.stream("returns")):
            await asyncio.sleep(0.6)

    asyncio.run(back())
    assert gone == ["leaves"]


def test_listeners_are_bounded_and_unknown_tokens_refused(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)

    async def many() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(9):
                group.create_task(heard(hub, hub.stream("s")))

    with pytest.raises(ExceptionGroup) as refused:
        asyncio.run(many())
    assert "too many tabs" in str(refused.value.exceptions[0])
    for ask in (hub.read, hub.latest, hub.session_of, hub.session_of_stream, hub.view_of):
        with pytest.raises(Unknown):
            ask("nothing")


def test_old_tokens_are_dropped_and_their_drawings_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.application.hub.TOKENS_MAX", 3)
    hub = new_hub(tmp_path)
    first = hub.open(WORKSPACE, "s0", "slot0", container(0))
    hub.write(first, container(1), 1)
    for n in range(1, 5):
        hub.open(WORKSPACE, f"s{n}", f"slot{n}", container(n))
    with pytest.raises(Unknown, match="no longer open"):
        hub.read(first)
    assert hub.read(hub.open(WORKSPACE, "s0", "slot0", container(9))) == (2, container(1))


def test_closing_ends_the_wait_of_every_listener(tmp_path: Path) -> None:
    hub = new_hub(tmp_path)

    async def wait() -> float:
        async with hub.listen(hub.stream("s")) as listener:
            begun = time.monotonic()
            threading.Timer(0.1, hub.close).start()
            await listener.get(60)
            return time.monotonic() - begun

    assert asyncio.run(wait()) < 60, "it did not wait to the end of its patience"
