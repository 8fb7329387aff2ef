"""Websockets: so many may be open, and what a page says on Streamlit's is taken no faster than a person clicks.

Streamlit runs a page for every message, each in a thread of its own, and hears nobody else while messages of one socket are there
to be read; a few thousand at once would hold the server for minutes. Here they wait in the socket instead, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webapp.routes.gate import visitor_of
from webapp.routes.guard import RateLimit, TooFast

OPEN_MAX = 512
"""At once; Streamlit takes four descriptors and a loop for each of its own."""
OPEN_OF_ONE_MAX = 128
"""Of one workspace, or of one address without any."""
MESSAGES_PER_S = 10.0
MESSAGES_BURST = 20.0
"""Of one visitor, on all of Streamlit's sockets; ours have a pace of their own."""
WAIT_S, WAIT_MAX_S = 0.1, 10.0
"""How long a message too many waits at a time, and a socket on which all of them wait, in all, before it is closed."""


class Sockets:
    """ASGI middleware behind the gate: counts websockets, and lets the pages' own wait."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._open: Counter[str] = Counter()
        self._pace = RateLimit(MESSAGES_PER_S, MESSAGES_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on. Raises TooFast for a websocket too many."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        visitor = visitor_of(scope)
        if self._open.total() >= OPEN_MAX or self._open[visitor] >= OPEN_OF_ONE_MAX:
            raise TooFast("Too many pages are open at once.", "Close some of them.")
        self._open[visitor] += 1

        waited = 0.0

        async def unhurried() -> Message:
            nonlocal waited
            message = await receive()
            if message["type"] != "websocket.receive" or self._pace.takes(visitor):
                waited = 0.0
                return message
            while waited < WAIT_MAX_S:
                await asyncio.sleep(WAIT_S)
                waited += WAIT_S
                if self._pace.takes(visitor):
                    return message
            await send({"type": "websocket.close", "code": 1008, "reason": "Too many changes at once."})
            return {"type": "websocket.disconnect", "code": 1008, "reason": ""}

        try:
            await self.app(scope, unhurried if scope["path"].endswith("/_stcore/stream") else receive, send)
        finally:
            self._open[visitor] -= 1
            self._open += Counter()  # who has none is forgotten
