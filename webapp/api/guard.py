"""Who may use the API: a key as Bearer or as the password of Basic, or, where that was allowed, somebody on this very machine.

A browser's cookie opens nothing here, and a page of another site reaches nothing: without a key only requests to a loopback
name from a loopback address pass, which no page of elsewhere sent, unless it was named. The checks of the browser's routes
stand in `routes.guard`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.queue import QueueEntry
from webapp.application.keys import SCOPES, ApiKey, Keys, Scope
from webapp.application.studio import Studio

HOUR_S, DAY_S = 3600, 24 * 3600
ENTRIES_MAX = 10_000
"""Jobs of one key that are counted; whoever made more within a day has met every sensible limit."""


_PROXIES = ("forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "via")
"""Beside x-forwarded-..., what proxies say of whom they ask for."""


class Unauthorised(StudioError):
    """No key, or none that is known."""


class NotAllowed(StudioError):
    """A key that may not do this, or a page of another site."""


class Exhausted(StudioError):
    """A key whose limit is reached; it may come back after `retry_s`."""

    def __init__(self, message: str, hint: str, retry_s: float) -> None:
        super().__init__(message, hint)
        self.retry_s = max(1, math.ceil(retry_s))


@dataclass(frozen=True)
class Caller:
    """Who asks: the session and the workspace (owner) of its jobs and pictures, what it may, and its key if it has one."""

    session: str
    owner: str
    scopes: frozenset[Scope]
    key: ApiKey | None = None

    def check(self, scope: Scope) -> None:
        """Raise NotAllowed where it may not do what a route needs."""
        if scope not in self.scopes:
            raise NotAllowed(
                f"This key may not {scope}.", f"Make one that may: studio keys create NAME --scope {scope}"
            )


LOCAL = Caller("api-local", hashlib.sha256(b"workspace of this machine's api").hexdigest()[:32], frozenset(SCOPES))
"""Whoever calls from this machine without a key, where the studio was started with --api."""
NOBODY = Caller("api-nobody", "", frozenset())
"""Whoever follows a link that says by itself what it opens."""


def caller_of(request: Request, keys: Keys, *, local: bool, origins: Collection[str] = ()) -> Caller:
    """Who sends a request; `local` lets in this machine's own programs without a key, `origins` are pages that may.

    Raises Unauthorised or NotAllowed.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins and not _own(origin, request):
        raise NotAllowed(
            "Pages of this site may not use the API.", f"Allow them: studio run --api-origin {origin[:200]}"
        )
    secret = _secret(request.headers.get("authorization", ""))
    if secret:
        key = keys.find(secret)
        if key is None:
            raise Unauthorised("This key is not known here.", "Make one: studio keys create NAME")
        return Caller(key.session, key.owner, key.scopes, key)
    if local and _is_local(request, named=origin is not None and origin in origins):
        return LOCAL
    raise Unauthorised("The API needs a key.", "Make one with studio keys create NAME, and send it as Bearer or Basic.")


def check_limits(studio: Studio, key: ApiKey, images: int) -> None:
    """Raise Exhausted where `images` more pictures, or any more work, would pass a key's limits."""
    if key.pictures_per_hour is None and key.seconds_per_day is None:
        return
    now = time.time()
    entries = [entry for entry in studio.queue.of(key.owner, ENTRIES_MAX) if entry.owner == key.owner]
    if key.pictures_per_hour is not None:
        recent = [(entry.created, _images(entry)) for entry in entries if entry.created > now - HOUR_S]
        made = sum(count for _, count in recent)
        if images > key.pictures_per_hour:
            raise NotAllowed(f"This key makes at most {key.pictures_per_hour} pictures an hour.", "Ask for fewer.")
        if made + images > key.pictures_per_hour:
            oldest = min((created for created, count in recent if count), default=now)
            raise Exhausted(
                f"This key made {made} of its {key.pictures_per_hour} pictures an hour.",
                "Wait, or ask for fewer.",
                oldest + HOUR_S - now,
            )
    if key.seconds_per_day is not None:
        ran = [(entry.started or now, (entry.ended or now) - (entry.started or now)) for entry in entries]
        ran = [(begun, seconds) for begun, seconds in ran if begun > now - DAY_S and seconds > 0]
        if sum(seconds for _, seconds in ran) >= key.seconds_per_day:
            raise Exhausted(
                f"This key used its {key.seconds_per_day} seconds of the device for today.",
                "Wait until the oldest of them are a day old.",
                min(begun for begun, _ in ran) + DAY_S - now,
            )


def _images(entry: QueueEntry) -> int:
    if entry.kind != "recipe" or entry.state in ("failed", "cancelled"):
        return 0
    return Recipe.model_validate_json(entry.work).images


def _secret(header: str) -> str:
    """What an Authorization header says: the token of Bearer, password or else name of Basic; "" for an empty pair."""
    kind, _, told = header.partition(" ")
    if kind.lower() == "bearer":
        return told.strip()
    if kind.lower() != "basic":
        return ""
    try:
        name, _, password = base64.b64decode(told.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password or name


def _own(origin: str, request: Request) -> bool:
    """Whether a page of this very server sent it, such as that of the API's description."""
    try:
        found = urlsplit(origin)
    except ValueError:
        return False
    return found.scheme == request.url.scheme and bool(found.netloc) and found.netloc == request.headers.get("host")


def _is_local(request: Request, *, named: bool = False) -> bool:
    """Whether a program on this machine asks: by address and name, through no proxy, from no foreign page but a `named` one."""
    headers = request.headers
    through = any(name in _PROXIES or name.startswith("x-forwarded") for name in headers)
    foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") and not named
    if through or foreign or request.client is None:
        return False
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        return _is_loopback(request.client.host) and (host == "localhost" or _is_loopback(host))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
