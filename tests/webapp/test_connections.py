"""Connections whose heads never end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn import config

from webapp.routes import connections


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server with these connections, on a free port."""
    monkeypatch.setattr(connections, "HEAD_MAX_S", 0.5)
    monkeypatch.setattr(connections, "WAITING_MAX", 4)
    monkeypatch.setattr(config, "HTTP_PROTOCOLS", dict(config.HTTP_PROTOCOLS))
    connections.install()

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"here, {len(await request.body())} bytes")

    app = Starlette(routes=[Route("/", page, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


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


GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: y"])
def test_a_head_that_never_ends_is_ended(port: int, begun: bytes) -> None:
    assert rest(opened(port, begun)).startswith(b"HTTP/1.1 408")
    kept = opened(port, GOOD)
    assert kept.recv(65536).startswith(b"HTTP/1.1 200"), "the first on a connection that is kept"
    kept.sendall(begun or b"G")
    assert b"HTTP/1.1 408" in rest(kept), "and so is a later one"


def test_a_head_is_bounded_and_a_body_is_not_counted(port: int) -> None:
    large = opened(port, b"GET / HTTP/1.1\r\nHost: x\r\n")
    with large:
        with suppress(ConnectionError):  # it is ended while more comes
            for _ in range(100):
                large.sendall(b"X: " + b"y" * 4000 + b"\r\n")
        with suppress(ConnectionError):
            assert rest(large)[:12] in (b"HTTP/1.1 400", b"")
    assert not connections.Connection.waiting
    body = b"z" * 300_000
    asked = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert rest(opened(port, asked + body)).startswith(b"HTTP/1.1 200")


def test_heads_that_wait_leave_room_and_are_let_go(port: int) -> None:
    waiting = [opened(port, b"GET ") for _ in range(4)]
    answers = {rest(opened(port))[:12] for _ in range(3)}
    assert answers == {b"HTTP/1.1 503"}, "one address may hold four here"
    assert [rest(one)[:12] for one in waiting] == [b"HTTP/1.1 408"] * 4
    assert rest(opened(port, GOOD.replace(b"Host", b"Connection: close\r\nHost"))).startswith(b"HTTP/1.1 200")
    assert not connections.Connection.waiting
