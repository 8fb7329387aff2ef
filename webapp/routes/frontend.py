"""Streamlit's own front end, faster: its files from memory, the names of those that it asks for late, its page with our looks.

Streamlit reads each of some eighty files anew for every visitor, in blocks and by threads, behind four layers of middleware. They
never change while it runs and their names carry a hash of their content, so each is read once.
"""

from __future__ import annotations

import gzip
import mimetypes
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import streamlit
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webapp.routes.origin import option

FILE_MAX_BYTES = 1024**2
ALL_MAX_BYTES = 16 * 1024**2
WIDGETS = ("BidiComponent", "TextArea", "ButtonGroup", "Button", "Html")
"""The elements of the first page; Streamlit loads their modules once it has been told of them, one round trip after another."""
_FOLDER = Path(streamlit.__file__).parent / "static" / "static"
_HEADERS = {"Cache-Control": "public, immutable, max-age=31536000", "X-Content-Type-Options": "nosniff"}
_IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*["']\./([^"']+\.js)["']""")


class FromMemory:
    """Answers for Streamlit's hashed files, and leaves everything else to the app: odd requests, large or unknown files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._prefix: str | None = None
        self._answers: dict[str, Response] = {}
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a file that is known; the first request for one reads it."""
        answer = None
        if scope["type"] == "http" and scope["method"] == "GET" and "range" not in Headers(scope=scope):
            if self._prefix is None:
                base = option("server.baseUrlPath").strip("/")
                self._prefix = f"/{base}/static/" if base else "/static/"
            path: str = scope["path"]
            if path.startswith(self._prefix):
                name = path[len(self._prefix) :]
                answer = self._answers.get(name) or await to_thread.run_sync(self._read, name)
        await (answer or self.app)(scope, receive, send)

    def _read(self, name: str) -> Response | None:
        if name not in _names():
            return None
        content = (_FOLDER / name).read_bytes()
        if len(content) > FILE_MAX_BYTES or self._bytes + len(content) > ALL_MAX_BYTES:
            return None
        self._bytes += len(content)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self._answers[name] = Response(content, media_type=kind, headers=_HEADERS)
        return self._answers[name]


class Dressed:
    """Sends Streamlit's page of HTML as `dress` makes it, with title and looks; else they would come after the first paint."""

    def __init__(self, app: ASGIApp, dress: Callable[[bytes], bytes]) -> None:
        self.app = app
        self._dress = lru_cache(maxsize=2)(lambda page, packed: _packed(dress, page) if packed else dress(page))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a page comes back in another dress."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        started: Message | None = None
        page = b""

        async def sending(message: Message) -> None:
            nonlocal started, page
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    for name in ("etag", "last-modified"):  # of Streamlit's part alone
                        del headers[name]
                    started = message
                    return
            elif started is not None and message["type"] == "http.response.body":
                page += message.get("body", b"")
                if message.get("more_body"):
                    return
                headers = MutableHeaders(scope=started)
                message = {**message, "body": self._dress(page, headers.get("content-encoding") == "gzip")}
                headers["content-length"] = str(len(message["body"]))
                await send(started)
            await send(message)

        if "text/html" in Headers(scope=scope).get("accept", ""):
            # Streamlit would say that its page is still the same, whatever has become of its looks.
            asked = [one for one in scope["headers"] if one[0] not in (b"if-none-match", b"if-modified-since")]
            scope = {**scope, "headers": asked}
        await self.app(scope, receive, sending)


def _packed(dress: Callable[[bytes], bytes], page: bytes) -> bytes:
    return gzip.compress(dress(gzip.decompress(page)))


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """The files as their paths below static/, so that no other path is ever opened."""
    return frozenset(path.relative_to(_FOLDER).as_posix() for path in _FOLDER.rglob("*") if path.is_file())


@lru_cache(maxsize=1)
def chunks() -> tuple[str, ...]:
    """Paths of the modules that Streamlit loads late for `WIDGETS`, with all they import that the page does not name itself.

    Empty for a Streamlit that names its files otherwise: this saves time and nothing depends on it.
    """
    named = set(re.findall(r"static/js/([^\"']+\.js)", (_FOLDER.parent / "index.html").read_text(encoding="utf-8")))
    waiting = [
        name.removeprefix("js/")
        for widget in WIDGETS
        for name in _names()
        if re.fullmatch(rf"js/{widget}\.[\w-]+\.js", name)
    ]
    found: dict[str, None] = {}
    while waiting:
        name = waiting.pop(0)
        if name in found or name in named or f"js/{name}" not in _names():
            continue
        found[name] = None
        waiting += _IMPORT.findall((_FOLDER / "js" / name).read_text(encoding="utf-8"))
    return tuple(f"static/js/{name}" for name in found)
