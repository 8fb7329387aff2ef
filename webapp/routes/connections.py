"""Connections of browsers: one that never finishes its head is ended, and one address holds only so many of them.

uvicorn gives a head no time (its size h11 bounds, 64 KB). What comes behind the head is `gate`'s.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

import h11
from uvicorn import config
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_MAX_S = 15.0
WAITING_MAX = 128
"""Connections of one address whose heads are not complete; behind a proxy all of them are the proxy's."""


def install() -> None:
    """Have every server of this process that is started from now on use these connections."""
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:Connection"


class Connection(H11Protocol):
    """uvicorn's connection, with a bound for the heads of its requests."""

    waiting: ClassVar[Counter[str]] = Counter()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A browser is there; its first head is waited for."""
        super().connection_made(transport)
        if self.waiting[self._who()] >= WAITING_MAX:
            self._end(b"503 Service Unavailable", "Too many connections wait.")
            return
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a head or body."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the head is whole
            self._done()
        elif self._late is None:  # the next one, on a connection that was kept
            self._begin()

    def _who(self) -> str:
        return self.client[0] if self.client else ""

    def _begin(self) -> None:
        self.waiting[self._who()] += 1
        self._late = self.loop.call_later(
            HEAD_MAX_S, self._end, b"408 Request Timeout", "The head of this request did not arrive."
        )

    def _done(self) -> None:
        if self._late is None:
            return
        self._late.cancel()
        self._late = None
        self.waiting[self._who()] -= 1
        if self.waiting[self._who()] <= 0:
            del self.waiting[self._who()]

    def _end(self, status: bytes, words: str) -> None:
        self._done()
        if self.transport.is_closing():
            return
        text = words.encode()
        head = (
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        )
        self.transport.write(head % (status, len(text)) + text)
        self.transport.close()
