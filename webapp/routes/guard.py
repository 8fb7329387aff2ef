"""What stands before every route of ours: pace and size; and the words and headers of every answer.

By what name the server was asked, `gate` looked at before. Decides nothing about what is behind a route.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controlnet_core.domain.errors import Busy, InputError, NoSpace, QueueFull, StudioError
from webapp.application.tokens import Unknown
from webapp.application.views import View
from webapp.routes.origin import is_own

PRIVATE = {"Cache-Control": "no-store"}
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
}
"""On every answer of a route of ours: nothing of it may be run, framed or read by another site."""
PAGE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; "
    "connect-src 'self' {socket} data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-src 'self'; frame-ancestors 'self'",
}
"""On every page. Streamlit builds functions from text and modules from blobs, so these stay allowed; what remains is that a
page neither loads from nor tells anything to another server, and stands in no other site's frame. `{socket}` is the address of
this server's own websocket, which older browsers do not count as 'self'."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
JSON_MAX_BYTES = 256 * 1024
log = logging.getLogger("studio.routes")

Endpoint = Callable[[Request], Awaitable[Response]]


class TooFast(StudioError):
    """More requests than a person makes."""


class TooLarge(StudioError):
    """A body over its limit."""


class Foreign(StudioError):
    """A request from another site's page."""


class Late(StudioError):
    """A body that does not come."""


_STATUS: list[tuple[type[StudioError], int]] = [
    (Unknown, 404),
    (TooFast, 429),
    (TooLarge, 413),
    (Foreign, 403),
    (Late, 408),
    (QueueFull, 429),
    (NoSpace, 507),
    (Busy, 503),
    (InputError, 400),
]


class RateLimit:
    """A token bucket for each key: `per_s` in the long run, `burst` at once."""

    def __init__(self, per_s: float, burst: float, keys_max: int = 4096) -> None:
        self.per_s, self.burst, self.keys_max = per_s, burst, keys_max
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, key: str, count: float = 1.0) -> None:
        """Count one, or so many; raises TooFast when it is too many."""
        if not self.takes(key, count):
            raise TooFast("Too many changes at once.", "Wait a second.")

    def takes(self, key: str, count: float = 1.0) -> bool:
        """Whether there is room for one, or so many, which then are counted."""
        now = time.monotonic()
        left, at = self._left.pop(key, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.per_s)
        room = left >= count
        self._left[key] = (left - count if room else left, now)
        while len(self._left) > self.keys_max:
            self._left.popitem(last=False)
        return room


class Turns:
    """One at a time for each visitor, of what takes long, and few of all; waiting takes no thread."""

    def __init__(self, waiting_max: int = 8, threads: int = 8) -> None:
        self.waiting_max, self._threads = waiting_max, threads
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._limiter: CapacityLimiter | None = None

    @property
    def limiter(self) -> CapacityLimiter:
        """The threads for it: never those that everything else runs in."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        return self._limiter

    @asynccontextmanager
    async def turn(self, visitor: str) -> AsyncIterator[None]:
        """The visitor's turn. Raises TooFast when too many of theirs wait."""
        lock, waiting = self._locks.get(visitor, (asyncio.Lock(), 0))
        if waiting >= self.waiting_max:
            raise TooFast("Too many pictures at once.", "Wait until the others are there.")
        self._locks[visitor] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[visitor]
            if waiting > 1:
                self._locks[visitor] = lock, waiting - 1
            else:
                del self._locks[visitor]


TURNS = Turns()
"""Of pictures that are read."""


def guarded(method: str, path: str, endpoint: Endpoint) -> Route:
    """A route behind its checks, whose every failure is a sentence."""

    async def answer(request: Request) -> Response:
        try:
            if method not in ("GET", "HEAD") and not is_own(request.scope):
                raise Foreign("Only the studio's own pages may do this.")
            response = await endpoint(request)
        except StudioError as error:
            response = _refusal(error)
        except ClientDisconnect:
            response = Response(status_code=400)
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("%s %s failed, reference %s", method, path, reference)  # never the address: it holds tokens
            words = {
                "error": "Something went wrong on the server.",
                "hint": f"studio.log says what it was, under {reference}.",
            }
            response = JSONResponse(words, 500, PRIVATE)
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        return response

    return Route(path, answer, methods=[method])


async def body(
    request: Request, max_bytes: int, name: str = "drawing", hint: str = "Make the canvas smaller."
) -> bytes:
    """The body of a request, of which never more than `max_bytes` are taken. Raises TooLarge."""
    size_max = f"{max_bytes >> 20} MB" if max_bytes >= 1 << 20 else f"{max_bytes >> 10} KB"
    too_large = TooLarge(f"The {name} is larger than {size_max}.", hint)
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > max_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)


async def json_body(request: Request) -> dict[str, Any]:
    """A body of JSON, an object of at most 256 KB. Raises TooLarge, InputError."""
    data = await body(request, JSON_MAX_BYTES, "message", "")
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("This message cannot be read.") from error
    if not isinstance(told, dict):
        raise InputError("This message cannot be read.")
    return told


def viewed(view: View) -> Response:
    """A view as the answer: JSON that nobody keeps. Fields that say nothing (None by default) are left out."""
    return Response(view.model_dump_json(exclude_unset=True), media_type="application/json", headers=PRIVATE)


def status_of(error: StudioError) -> int:
    """The status of an answer that tells of `error`."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def _refusal(error: StudioError) -> JSONResponse:
    return JSONResponse({"error": error.message, "hint": error.hint}, status_of(error), PRIVATE)
