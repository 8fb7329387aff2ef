"""Connections of browsers: what never comes, and what is never taken, is ended; and an address holds only so much of either.

uvicorn gives a head no time (its size h11 bounds, 64 KB), a message of a websocket neither time nor company, and waits for ever
for whoever reads nothing, or goes on with a body that was answered. What comes behind the head of a request is `gate`'s.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn import config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_MAX_S = 15.0
TAIL_MAX_S = 5.0
TAIL_MAX_BYTES = 64 << 20
"""Of a body that was answered before it was here: it is let come, or many clients would never read the answer."""
WAITING_MAX = 128
"""Connections of one address whose heads are not complete; behind a proxy all of them are the proxy's. The oldest makes room."""
MESSAGE_MAX_BYTES = 16 << 20
"""Of one message of a websocket: twice what anybody takes, so that a little too much is still told in a sentence."""
PART_MAX_S = 15.0
"""How long a part of a message may stay away."""
UNFINISHED_MAX_BYTES = 128 << 20
"""Of all messages that are on their way; the oldest makes room."""
READ_MAX_S = 60.0
"""How long somebody may take nothing of what was sent."""
FILES_MAX = 16384
"""Descriptors that this process may have, where the system lets it: a page's session takes four."""


def install() -> None:
    """Have every server of this process that begins to listen from now on use these connections.

    Not as uvicorn's choice of protocols: its own command makes that before it knows the app.
    """
    startup = uvicorn.Server.startup

    async def bounded(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        self.config.http_protocol_class, self.config.ws_protocol_class = Connection, Line
        await startup(self, sockets)

    uvicorn.Server.startup = bounded
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Read(asyncio.Protocol):
    """Beside uvicorn's protocols: ends a connection whose other side takes nothing."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _idle: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """More waits to be taken than is sent at once."""
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._unfollow()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._unfollow()
        super().connection_lost(exc)

    def _follow(self) -> None:
        self._unfollow()
        left = self.transport.get_write_buffer_size()
        self._idle = self.loop.call_later(READ_MAX_S, self._look, left)

    def _unfollow(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _look(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._follow()
        else:
            self.transport.abort()


class Connection(_Read, H11Protocol):
    """uvicorn's connection, with a bound for the heads of its requests."""

    waiting: ClassVar[dict[str, dict[Connection, None]]] = {}
    """Those of each address whose heads, or bodies that were answered, are not complete, the oldest first."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._late: asyncio.TimerHandle | None = None
        self._tail = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A browser is there; its first head is waited for."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a head or body."""
        super().data_received(data)
        answered = self._is_answered()
        if answered:
            self._tail += len(data)
            if self._tail > TAIL_MAX_BYTES:
                self.transport.abort()
                return
        elif self._tail or self.conn.their_state is not h11.IDLE:  # the tail has come, or the head is whole
            self._tail = 0
            self._done()
        if self._late is None and (answered or self.conn.their_state is h11.IDLE):
            self._begin()

    def _is_answered(self) -> bool:
        """Whether there is nothing left to say while a body is still on its way."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _who(self) -> str:
        return self.client[0] if self.client else ""

    def _begin(self) -> None:
        waiting = self.waiting.setdefault(self._who(), {})
        waiting[self] = None
        seconds = TAIL_MAX_S if self._is_answered() else HEAD_MAX_S
        self._late = self.loop.call_later(
            seconds, self._end, b"408 Request Timeout", "The head of this request did not arrive."
        )
        if len(waiting) > WAITING_MAX:
            next(iter(waiting))._end(b"503 Service Unavailable", "Too many connections wait.")

    def _done(self) -> None:
        if self._late is None:
            return
        self._late.cancel()
        self._late = None
        waiting = self.waiting[self._who()]
        del waiting[self]
        if not waiting:
            del self.waiting[self._who()]

    def _end(self, status: bytes, words: str) -> None:
        self._done()
        if self.transport.is_closing():
            return
        if self._is_answered():
            self.transport.abort()
            return
        text = words.encode()
        head = (
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        )
        self.transport.write(head % (status, len(text)) + text)
        self.transport.close()


class Line(_Read, WebSocketsSansIOProtocol):
    """uvicorn's websocket, with bounds for messages that are not complete."""

    unfinished: ClassVar[dict[Line, int]] = {}
    """Bytes of those that are on their way, the oldest first."""

    def __init__(self, config: config.Config, *args: Any, **more: Any) -> None:
        config.ws_max_size = min(config.ws_max_size, MESSAGE_MAX_BYTES)
        super().__init__(config, *args, **more)
        self._late: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """A part of a message, or several."""
        super().data_received(data)
        if self.transport.is_closing() or not (self.frames or self.conn.reader.buffer):
            self._done()
            return
        self.unfinished[self] = self.unfinished.get(self, 0) + len(data)
        self._wait()
        while sum(self.unfinished.values()) > UNFINISHED_MAX_BYTES:
            next(iter(self.unfinished))._end(1013, "Too much is being sent at once.")

    def send_receive_event_to_app(self) -> None:
        """A message is complete."""
        self._done()
        super().send_receive_event_to_app()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._done()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(PART_MAX_S, self._look_for_more)

    def _look_for_more(self) -> None:
        if self.read_paused:  # it is we who do not take what came
            self._wait()
        else:
            self._end(1008, "What was sent did not arrive.")

    def _done(self) -> None:
        self.unfinished.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self, code: int, reason: str) -> None:
        self._done()
        self.frames = []
        if self.close_sent or self.transport.is_closing():
            self.transport.abort()
            return
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
