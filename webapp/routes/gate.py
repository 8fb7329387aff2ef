"""The one gate in front of everything: pages, Streamlit's own addresses, its websocket, and our routes behind them.

It lets through who asks for this server by a name that it has, and refuses what another site's page wants. A name that was
made to point at this machine, a page of another local port and a body that never ends all stop here, before any other line.

    Host     a name of this machine (localhost, 127.x, ::1), one that was given (`--name`, `server.allowedHosts`, `--host NAME`),
             or, for whoever comes over the network, an address in figures or this machine's own name: what is written in
             figures cannot be made to point elsewhere
    Origin   that of the page itself, scheme and port too; always there for a websocket and for whatever changes something

Knows no path and no visitor.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES
from webapp.routes import origin
from webapp.routes.guard import PRIVATE, SECURITY, Foreign, Late, TooFast, TooLarge, status_of

PATH_MAX_BYTES = 1024
NAME_MAX_BYTES = 255
"""Of one part of a path: more is no name on any disk."""
BODY_MAX_BYTES = UPLOAD_MAX_BYTES + (2 << 20)
"""Of any request: a photo or file in its form."""
PART_MAX_S = 15.0
"""How long a part of a body may stay away."""
BODY_MAX_S = 300.0
BODIES_MAX = 64
"""That are on their way at once, of all visitors."""
BODIES_OF_ONE_MAX = 16
PATIENCE_S = 2.0
"""How long a body may take while others want its place."""
HELD_MAX_BYTES = 512 << 20
"""Of all bodies, from their first byte until they are answered."""
_WORKSPACE = re.compile(r"studio_workspace=([0-9a-f]{32})")
BODILESS = ("GET", "HEAD", "OPTIONS")
log = logging.getLogger("studio.gate")


class Bodies:
    """What is sent to the server: each of a size and in time, and so many and so much at once.

    Where all places are taken, the oldest of whoever has most of them makes room, if it takes long.
    """

    def __init__(
        self,
        max_bytes: int,
        most: int,
        of_one: int,
        told_bytes: int = 0,
        who: Callable[[Scope], str] | None = None,
    ) -> None:
        """`told_bytes` is the bound that people are told, where the form around a file needs room of its own; `who` says whose a
        request is, `visitor_of` where it is None."""
        self.max_bytes, self.most, self.of_one = max_bytes, most, of_one
        self.told_bytes = told_bytes or max_bytes
        self._who = who or visitor_of
        self._on_their_way: dict[_Body, None] = {}
        self._held = 0

    @contextmanager
    def taken(self, scope: Scope, receive: Receive) -> Iterator[Receive]:
        """How to receive the body of a request; raises TooLarge, TooFast, and Late as soon as it stays away."""
        if scope["method"] in BODILESS:
            yield receive
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        if (
            not (announced.isascii() and announced.isdecimal())
            or len(announced) > 12
            or int(announced) > self.max_bytes
        ):
            raise self._too_large()
        body = _Body(self._who(scope))
        self._make_room(body.visitor)
        self._on_their_way[body] = None
        taken = 0

        async def receiving() -> Message:
            nonlocal taken
            if body.over:  # what comes now is the end of the connection, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(body.until()) as body.wait:
                    message = await receive()
            except TimeoutError as error:
                raise Late("What was sent did not arrive.", "Check the connection and send it again.") from error
            finally:
                body.wait = None
            taken += len(message.get("body", b""))
            self._held += len(message.get("body", b""))
            if taken > self.max_bytes:
                raise self._too_large()
            if self._held > HELD_MAX_BYTES:
                raise _too_much()
            if not message.get("more_body", False):
                self._on_their_way.pop(body, None)
                body.over = True
            return message

        try:
            yield receiving
        finally:
            self._on_their_way.pop(body, None)
            self._held -= taken

    def _make_room(self, visitor: str) -> None:
        count = Counter(body.visitor for body in self._on_their_way)
        if count[visitor] >= self.of_one:
            raise _too_much()
        if len(self._on_their_way) >= self.most:
            ((greedy, _),) = count.most_common(1)
            oldest = next(body for body in self._on_their_way if body.visitor == greedy)
            if oldest.age() < PATIENCE_S:
                raise _too_much()
            del self._on_their_way[oldest]
            oldest.give_up()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"What was sent is larger than {self.told_bytes >> 20} MB.", "Send it smaller.")


class _Body:
    """A body on its way; `wait` is what waits for its next part, `over` whether there is none any more."""

    def __init__(self, visitor: str) -> None:
        self.visitor, self.over = visitor, False
        self.wait: asyncio.Timeout | None = None
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._given_up = False

    def age(self) -> float:
        """Seconds since its head was here."""
        return self._loop.time() - self._begun

    def until(self) -> float:
        """When its next part must be here, in the loop's time."""
        now = self._loop.time()
        return now if self._given_up else min(now + PART_MAX_S, self._begun + BODY_MAX_S)

    def give_up(self) -> None:
        """Wait for no more of it."""
        self._given_up = True
        if self.wait is not None:
            self.wait.reschedule(self._loop.time())


def _too_much() -> TooFast:
    return TooFast("Too much is being sent at once.", "Wait a moment.")


class Gate:
    """Checks each request and handshake once, before anybody else sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._bodies = Bodies(BODY_MAX_BYTES, BODIES_MAX, BODIES_OF_ONE_MAX, UPLOAD_MAX_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or refuse it in a sentence: JSON, plain text for a page, 403 before a websocket is open."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            check(scope)
            if scope["type"] == "websocket":
                await self.app(scope, receive, sending)
            else:
                with self._bodies.taken(scope, receive) as receiving:
                    await self.app(scope, receiving, sending)
        except (Foreign, TooLarge, TooFast, Late, InputError) as error:
            if not started:
                await refuse(scope, send, error)


def check(scope: Scope) -> None:
    """Raise Foreign or InputError for a request that is not for this server or not from its own pages."""
    raw = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    if len(raw) > PATH_MAX_BYTES or any(
        len(part) > NAME_MAX_BYTES for part in scope["path"].encode("utf-8", "replace").split(b"/")
    ):
        raise InputError("This address is longer than any that is here.")
    if "\0" in scope["path"]:
        raise InputError("This is not an address of the studio.")
    headers = Headers(scope=scope)
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) != 1 or len(origins) > 1:
        raise InputError("A request must say once which server it is for.")
    host, _ = origin.host_and_port(hosts[0])
    if not origin.is_known(host, scope):
        raise Foreign(
            f"This server does not know the address {host[:80]!r}.",
            "Start it with --name to add one: studio run --name HOST.",
        )
    if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD") or origins:
        same = origin.is_own(scope)
    else:
        # A person may follow a link to here; another page may neither embed nor fetch anything.
        elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        visits = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in ("document", None)
        same = not elsewhere or visits
    if not same:
        raise Foreign("Only the studio's own pages may do this.")


def visitor_of(scope: Scope) -> str:
    """Who asks: the workspace of the cookie, or the address."""
    found = _WORKSPACE.search(Headers(scope=scope).get("cookie", ""))
    client = scope.get("client")
    return found[1] if found else str(client[0]) if client else ""


async def refuse(scope: Scope, send: Send, error: StudioError) -> None:
    """Say why not."""
    headers = Headers(scope=scope)
    log.info("refused a %s: %s", scope["type"], error.message)
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:120]})
        return
    page = "text/html" in headers.get("accept", "")
    words = str(error) if page else json.dumps({"error": error.message, "hint": error.hint})
    kind = "text/plain; charset=utf-8" if page else "application/json"
    fields = {"Content-Type": kind} | PRIVATE | SECURITY
    raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status_of(error), "headers": raw})
    await send({"type": "http.response.body", "body": words.encode()})
