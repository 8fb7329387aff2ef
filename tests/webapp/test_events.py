"""Events stay in their session and workspace, and only the newest of a subject waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from webapp.application.events import Events
from webapp.application.tokens import Unknown

Told = dict[str, object]


def new_bus(on_gone: Callable[[str], None] = lambda _session: None, gone_s: float = 0.1) -> Events[Told]:
    return Events(on_gone, gone_s)


async def heard(bus: Events[Told], token: str) -> list[dict[str, object]]:
    async with bus.listen(token) as listener:
        return await listener.get(0.5)


def test_events_reach_their_own_session_alone() -> None:
    bus = new_bus()
    one, two = bus.stream("one"), bus.stream("two")
    assert one != two
    assert bus.stream("one") == one
    assert bus.session_of_stream(two) == "two"

    async def both() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        async with bus.listen(one) as first, bus.listen(two) as second:
            threading.Thread(target=bus.publish, args=("one", "job", {"n": 1})).start()
            return await first.get(1), await second.get(0.1)

    assert asyncio.run(both()) == ([{"n": 1}], [])


def test_a_late_listener_hears_the_newest_of_each_job() -> None:
    bus = new_bus()
    for n in range(100):
        bus.publish("s", "a", {"job": "a", "n": n})
    bus.publish("s", "b", {"job": "b"})
    assert asyncio.run(heard(bus, bus.stream("s"))) == [{"job": "a", "n": 99}, {"job": "b"}]
    for n in range(100):
        bus.publish("s", f"job{n}", {"n": n})
    assert len(asyncio.run(heard(bus, bus.stream("s")))) == 32


def test_a_slow_listener_piles_nothing_up() -> None:
    bus = new_bus()

    async def slow() -> list[dict[str, object]]:
        async with bus.listen(bus.stream("s")) as listener:
            for n in range(10_000):
                bus.publish("s", "a", {"n": n})
            return await listener.get(1)

    assert asyncio.run(slow()) == [{"n": 9999}]


def test_who_leaves_is_noticed_and_who_comes_back_is_not_gone() -> None:
    gone: list[str] = []
    bus = new_bus(gone.append, gone_s=0.3)
    for session in ("leaves", "returns", "never listened"):
        bus.stream(session)
        bus.publish(session, "a", {})
    asyncio.run(heard(bus, bus.stream("leaves")))
    asyncio.run(heard(bus, bus.stream("returns")))

    async def back() -> None:
        async with bus.listen(bus.stream("returns")):
            await asyncio.sleep(0.6)

    asyncio.run(back())
    assert gone == ["leaves"]


def test_listeners_are_bounded_and_unknown_tokens_refused() -> None:
    bus = new_bus()

    async def many() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(9):
                group.create_task(heard(bus, bus.stream("s")))

    with pytest.raises(ExceptionGroup) as refused:
        asyncio.run(many())
    assert "too many tabs" in str(refused.value.exceptions[0])
    for ask in (bus.session_of_stream, bus.visitor):
        with pytest.raises(Unknown):
            ask("nothing")


def test_closing_ends_the_wait_of_every_listener() -> None:
    bus = new_bus()

    async def wait() -> float:
        async with bus.listen(bus.stream("s")) as listener:
            begun = time.monotonic()
            threading.Timer(0.1, bus.close).start()
            await listener.get(60)
            return time.monotonic() - begun

    assert asyncio.run(wait()) < 60, "it did not wait to the end of its patience"


def test_a_subscriber_hears_every_message_until_it_ends() -> None:
    bus, heard_so_far = new_bus(), list[tuple[str, Told]]()
    end = bus.subscribe(lambda session, message: heard_so_far.append((session, message)))
    bus.publish("s", "a", {"n": 1})
    bus.publish("t", "a", {"n": 2})
    assert bus.subscribers == 1
    end()
    end()
    bus.publish("s", "a", {"n": 3})
    assert heard_so_far == [("s", {"n": 1}), ("t", {"n": 2})]
    assert bus.subscribers == 0
