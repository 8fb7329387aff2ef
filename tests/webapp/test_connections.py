"""Connections whose heads and messages never end, and those that nobody reads."""

from __future__ import annotations

import socket
import struct
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from webapp.routes import connections, gate, sockets

PART = 64 << 10


@pytest.fixture
def taken() -> dict[str, int]:
    """How many messages the server below took on its websockets, by their paths."""
    return {"/_stcore/stream": 0, "/studio/live/x": 0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, taken: dict[str, int]) -> Iterator[uvicorn.Server]:
    """A server with these connections and the bounds of websockets."""
    monkeypatch.setattr(connections, "HEAD_MAX_S", 0.5)
    monkeypatch.setattr(connections, "WAITING_MAX", 4)
    monkeypatch.setattr(connections, "PART_MAX_S", 0.5)
    monkeypatch.setattr(connections, "READ_MAX_S", 0.5)
    monkeypatch.setattr(connections, "UNFINISHED_MAX_BYTES", 9 * PART)
    monkeypatch.setattr(connections, "MESSAGE_MAX_BYTES", 20 * PART)
    monkeypatch.setattr(sockets, "OPEN_OF_ONE_MAX", 3)
    monkeypatch.setattr(sockets, "MESSAGES_PER_S", 1e-9)
    monkeypatch.setattr(sockets, "MESSAGES_BURST", 5.0)
    monkeypatch.setattr(sockets, "WAIT_MAX_S", 1.0)
    monkeypatch.setattr(connections, "TAIL_MAX_S", 0.5)
    monkeypatch.setattr(connections, "TAIL_MAX_BYTES", 1 << 20)
    monkeypatch.setattr(uvicorn.Server, "startup", uvicorn.Server.startup)
    connections.install()

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"here, {len(await request.body())} bytes")

    async def large(_request: Request) -> Response:
        return Response(b"x" * LARGE)

    async def line(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_bytes()
                taken[socket.url.path] += 1

    app = Starlette(
        routes=[
            Route("/", page, methods=["GET", "POST"]),
            Route("/large", large),
            *(WebSocketRoute(path, line) for path in taken),
        ],
        middleware=[Middleware(gate.Gate), Middleware(sockets.Sockets)],
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield server
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    """Its port."""
    return server.servers[0].sockets[0].getsockname()[1]


def opened(port: int, data: bytes = b"") -> socket.socket:
    there = socket.create_connection(("127.0.0.1", port), timeout=30)
    there.sendall(data)
    return there


def rest(there: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    parts: list[bytes] = []
    while part := there.recv(65536):
        parts.append(part)
    there.close()
    return b"".join(parts)


def shaken(port: int, path: str = "/studio/live/x") -> socket.socket:
    """An open websocket, spoken by hand."""
    there = opened(
        port,
        b"GET %b HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: http://localhost:%d\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        % (path.encode(), port, port),
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = there.recv(1)
        assert part, head
        head += part
    if not head.startswith(b"HTTP/1.1 101"):
        there.close()
        raise ConnectionError(head.decode())
    return there


def begun(size: int, fin: bool = True) -> bytes:
    """The head of a binary message of so many bytes, behind a mask that changes nothing."""
    return struct.pack("!BBQ4x", 0x82 if fin else 0x02, 0xFF, size)


def code(there: socket.socket) -> int:
    """Why the server closes a websocket."""
    told = rest(there)
    assert told[0] == 0x88, told
    return int.from_bytes(told[2:4], "big")


GOOD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = 30 << 20
"""More than the system takes from the server while nobody reads."""


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y"])
def test_a_head_that_never_ends_is_ended(port: int, begun: bytes) -> None:
    assert rest(opened(port, begun)).startswith(b"HTTP/1.1 408")
    kept = opened(port, GOOD)
    assert kept.recv(65536).startswith(b"HTTP/1.1 200"), "the first on a connection that is kept"
    kept.sendall(begun or b"G")
    assert b"HTTP/1.1 408" in rest(kept), "and so is a later one"


def test_a_head_is_bounded_and_a_body_is_not_counted(port: int) -> None:
    large = opened(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    with large:
        with suppress(ConnectionError):  # it is ended while more comes
            for _ in range(100):
                large.sendall(b"X: " + b"y" * 4000 + b"\r\n")
        with suppress(ConnectionError):
            assert rest(large)[:12] in (b"HTTP/1.1 400", b"")
    assert not connections.Connection.waiting
    body = b"z" * 300_000
    asked = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    assert rest(opened(port, asked + body)).startswith(b"HTTP/1.1 200")


def test_heads_that_wait_leave_room_and_are_let_go(port: int) -> None:
    waiting = [opened(port) for _ in range(4)]
    asked = GOOD.replace(b"Host", b"Connection: close\r\nHost")
    assert rest(opened(port, asked)).startswith(b"HTTP/1.1 200"), (
        "one address may hold four here: the oldest makes room"
    )
    assert [rest(one)[:12] for one in waiting] == [b"HTTP/1.1 503"] + [b"HTTP/1.1 408"] * 3
    assert not connections.Connection.waiting


def test_a_body_that_was_answered_is_let_come_but_not_for_ever(server: uvicorn.Server, port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"  # of no page of ours
    whole = opened(port, head % (256 << 10) + b"x" * (256 << 10) + GOOD)
    told = b""
    while b"here, 0 bytes" not in told:
        part = whole.recv(65536)
        assert part, told
        told += part
    assert told.startswith(b"HTTP/1.1 403"), "the answer is read, and the next request is answered"
    slow = opened(port, head % 1000)
    assert slow.recv(65536).startswith(b"HTTP/1.1 403")
    begun = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() - begun < 5:
            slow.sendall(b"x")
            time.sleep(0.1)
    assert time.monotonic() - begun < 3
    large = opened(port, head % (1 << 30))
    assert large.recv(65536).startswith(b"HTTP/1.1 403")
    sent = 0
    with suppress(ConnectionError):
        for _ in range(1000):
            large.sendall(b"x" * PART)
            sent += PART
    assert sent < 50 << 20
    for one in (whole, slow, large):
        one.close()
    _until(lambda: not connections.Connection.waiting and not server.server_state.connections)


def test_messages_that_never_end_leave_room_and_are_let_go(port: int, taken: dict[str, int]) -> None:
    oldest, other, good = (shaken(port) for _ in range(3))
    oldest.sendall(begun(8 * PART, fin=False) + b"x" * 5 * PART)
    _until(lambda: sum(connections.Line.unfinished.values()) >= 5 * PART)
    other.sendall(begun(8 * PART) + b"x" * 5 * PART)
    assert code(oldest) == 1013, "all of them together may hold nine parts here"
    good.sendall(begun(2 * PART) + b"x" * 2 * PART)
    _until(lambda: taken["/studio/live/x"] == 1)
    assert code(other) == 1008, "what it began did not arrive"
    good.sendall(begun(PART) + b"x" * PART)
    _until(lambda: taken["/studio/live/x"] == 2)
    good.sendall(begun(21 * PART))
    assert code(good) == 1009
    assert not connections.Line.unfinished


def test_a_page_is_heard_no_faster_than_a_person_clicks_and_nobody_else_waits(port: int, taken: dict[str, int]) -> None:
    pages, live = shaken(port, "/_stcore/stream"), shaken(port)
    pages.sendall((begun(1) + b"x") * 5000)
    live.sendall((begun(1) + b"x") * 50)
    _until(lambda: taken == {"/_stcore/stream": 5, "/studio/live/x": 50})
    asked = GOOD.replace(b"Host", b"Connection: close\r\nHost")
    assert rest(opened(port, asked)).startswith(b"HTTP/1.1 200")
    assert taken["/_stcore/stream"] == 5, "the rest waits where it is"
    assert pages.recv(4)[2:] == (1008).to_bytes(2, "big"), "and who goes on like that is no page"
    for one in (pages, live):
        one.close()


def test_a_page_runs_in_one_thread() -> None:
    """Fast reruns would begin one for every message that comes meanwhile."""
    settings = tomllib.loads((Path(__file__).parents[2] / ".streamlit/config.toml").read_text(encoding="utf-8"))
    assert settings["runner"]["fastReruns"] is False
    assert settings["client"]["allowedOrigins"] == [], "and no page elsewhere may command it by messages"


def test_sockets_are_counted(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [shaken(port) for _ in range(3)]
    with pytest.raises(ConnectionError, match="403"):
        shaken(port)
    held.pop().close()
    _until(lambda: _opens(port))
    monkeypatch.setattr(sockets, "OPEN_MAX", 2)  # of everybody, where each may have three
    _until(lambda: not _opens(port))
    held.pop().close()
    _until(lambda: _opens(port))
    for one in held:
        one.close()


def test_who_takes_nothing_is_ended(server: uvicorn.Server, port: int) -> None:
    with opened(port, GOOD.replace(b"/ ", b"/large ", 1)) as there:
        _until(lambda: bool(server.server_state.connections))
        _until(lambda: not server.server_state.connections)
        size = 0
        with suppress(ConnectionError):
            while part := there.recv(1 << 20):
                size += len(part)
        assert size < LARGE


def test_who_takes_a_little_is_not_ended() -> None:
    class Transport:
        left, ended = 100, False

        def get_write_buffer_size(self) -> int:
            return self.left

        def abort(self) -> None:
            self.ended = True

    waits: list[tuple[float, int]] = []
    connection = connections.Connection.__new__(connections.Connection)
    connection.transport = there = Transport()  # type: ignore[assignment]
    connection.loop = type("Loop", (), {"call_later": lambda _, s, look, left: waits.append((s, left))})()  # type: ignore[assignment]
    connection._follow()
    there.left = 90
    connection._look(100)
    assert not there.ended and [left for _, left in waits] == [100, 90], "it took ten"
    connection._look(90)
    assert there.ended


def _opens(port: int) -> bool:
    with suppress(ConnectionError):
        shaken(port).close()
        return True
    return False


def _until(true: Callable[[], bool], limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
