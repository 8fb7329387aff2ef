"""Our own routes beside Streamlit's, all under /studio/: assets, documents, events, jobs, pictures.

    GET  assets/{version}/{path}     modules of the editors, all.js all in one; for ever under their content's version
    GET  documents/{token}           a drawing's container, its revision in X-Rev
    PUT  documents/{token}           a newer one; X-Rev is the revision it builds upon; 200 or 409 {"rev": N}
    GET  events/{token}              server-sent events of one session: JSON with the fields of `job.Event`
    POST jobs/{token}/cancel/{job}   stop a job of the session whose events the token opens, or of its workspace
    GET  pictures/{id}.png           a picture of the gallery; ?thumb for the small WebP
    GET  control/{token}.png         what the model sees of a drawing

and those of the other modules beside this one: `gallery`, `layers`, `models`, `photos`, `regions`, `training`; the websocket of
`live`; `health` stands beside /studio/.

Whoever knows a token or an id may use it; none can be guessed. Writing needs the page's own origin. Errors are JSON,
{"error": sentence, "hint": sentence}. Decides nothing that the application could.
"""

from __future__ import annotations

import gzip
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http.cookies import SimpleCookie

import anyio
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components import ASSETS, BUNDLE, assets_version, bundle
from controlnet_core.domain import picture, resize
from controlnet_core.domain.errors import InputError
from webapp.application import validation, views
from webapp.application.events import Events
from webapp.application.open_documents import OpenDocuments, Stale
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes import frontend, gallery, gate, health, layers, live, models, photos, regions, sockets, training
from webapp.routes.guard import PAGE, PRIVATE, Endpoint, RateLimit, body, guarded
from webapp.routes.origin import is_secure, option

DOCUMENT_MAX_BYTES = 8 * 1024**2
PUTS_PER_S = 60.0
PUTS_BURST = 120.0
BEAT_S = 15.0
YEAR_S = 31_536_000
_KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".png": "image/png",
    ".webp": "image/webp",
    ".json": "application/json",
}


def routes(studio: Callable[[], Studio]) -> list[BaseRoute]:
    """The routes, under /studio below `server.baseUrlPath`."""
    return [_Below(_Endpoints(studio))]


def middleware() -> list[Middleware]:
    """The gate; what bounds websockets; Streamlit's front end from memory; what every page brings along, see `PageHeaders`."""
    return [
        Middleware(gate.Gate),
        Middleware(sockets.Sockets),
        Middleware(frontend.FromMemory),
        Middleware(PageHeaders),
    ]


class PageHeaders:
    """Sends a page's visitor a random workspace id (renewed with every visit), by which drawings are kept.

    The modules that it is going to need are named, so that the browser fetches them while Streamlit's own still start up.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; pages come back with headers and cookie, and so does what a page asks for first."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        known = validation.workspace(request.cookies.get(validation.COOKIE))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                page = headers.get("content-type", "").startswith("text/html")
                # No other answers: two requests of one new visitor at a time must not get two workspaces.
                if (page and (known or not _comes_from_elsewhere(request))) or (
                    not known and _is_first_of_a_page(scope)
                ):
                    headers.append("set-cookie", _cookie(known or secrets.token_hex(16), scope))
                if page:
                    headers.append("link", _early())
                    for name, value in page_headers(scope).items():
                        headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, sending)


def page_headers(scope: Scope) -> dict[str, str]:
    """What every page brings along; see `guard.PAGE`."""
    host = Headers(scope=scope).get("host", "localhost")
    own = f"wss://{host}" if is_secure(scope) else f"ws://{host}"
    return {name: value.replace("{socket}", own) for name, value in PAGE.items()}


def _comes_from_elsewhere(request: Request) -> bool:
    """Whether a visitor without a cookie may have one all the same: browsers leave it out when a link of another site was followed.

    A new one would replace it, and all drawings with it. What the page itself asks for next says more; see
    `_is_first_of_a_page`. Over plain HTTP from another machine browsers do not say where a visitor comes from.
    """
    site = request.headers.get("sec-fetch-site")
    return site not in ("none", "same-origin") if site else "upgrade-insecure-requests" in request.headers


def _is_first_of_a_page(scope: Scope) -> bool:
    """Whether this is what Streamlit's page asks for, once, before it opens its websocket."""
    return str(scope["path"]).endswith("/_stcore/host-config")


def _early() -> str:
    """The value of a page's Link header; relative, because a proxy may have put the studio anywhere."""
    return ", ".join(
        f"<{path}>;rel=modulepreload;fetchpriority=low"
        for path in (*frontend.chunks(), f"studio/assets/{assets_version()}/{BUNDLE}")
    )


def _cookie(workspace: str, scope: Scope) -> str:
    cookie: SimpleCookie = SimpleCookie()
    cookie[validation.COOKIE] = workspace
    morsel = cookie[validation.COOKIE]
    morsel["path"], morsel["max-age"], morsel["httponly"], morsel["samesite"] = "/", YEAR_S, True, "Strict"
    if is_secure(scope):
        morsel["secure"] = True
    return morsel.OutputString()


class _Below(BaseRoute):
    """The routes at their place, which is known only when the server's configuration has been read."""

    def __init__(self, endpoints: _Endpoints) -> None:
        self._endpoints = endpoints
        self._routes: list[BaseRoute] = []

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not self._routes:
            base = option("server.baseUrlPath").strip("/")
            base = f"/{base}" if base else ""
            self._routes = [Mount(f"{base}/studio", routes=self._endpoints.routes()), *self._endpoints.watched(base)]
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return match, dict(child) | {"endpoint": route.handle}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["endpoint"](scope, receive, send)


class _Endpoints:
    """The answers. `studio()` is asked with the first request, not before."""

    def __init__(self, studio: Callable[[], Studio]) -> None:
        self._studio = studio
        self._pace = RateLimit(PUTS_PER_S, PUTS_BURST)

    def routes(self) -> list[BaseRoute]:
        table: list[tuple[str, str, Endpoint]] = [
            ("GET", "/assets/{version}/{path:path}", self.asset),
            ("GET", "/documents/{token}", self.read_document),
            ("PUT", "/documents/{token}", self.write_document),
            ("GET", "/events/{token}", self.events),
            ("POST", "/jobs/{token}/cancel/{job}", self.cancel),
            ("GET", "/pictures/{id}.png", self.picture),
            ("GET", "/control/{token}.png", self.control),
        ]
        for more in (gallery, layers, models, photos, regions, training):
            table += more.table(self._studio)
        return [*(guarded(method, path, endpoint) for method, path, endpoint in table), *live.table(self._studio)]

    def watched(self, base: str) -> list[Route]:
        """The routes beside them, for what watches over servers."""
        return [guarded(method, f"{base}{path}", endpoint) for method, path, endpoint in health.table(self._studio)]

    @property
    def _documents(self) -> OpenDocuments:
        return self._studio().documents

    @property
    def _events(self) -> Events[views.Event]:
        return self._studio().events

    async def asset(self, request: Request) -> Response:
        name, version = request.path_params["path"], await to_thread.run_sync(assets_version)
        # A page from before an update still gets its modules, but nobody remembers them under the wrong name.
        fresh = request.path_params["version"] == version
        headers = {"Cache-Control": f"public, max-age={YEAR_S}, immutable" if fresh else "no-cache"}
        if name == BUNDLE:
            content = await to_thread.run_sync(bundle, version)
            if "gzip" in request.headers.get("accept-encoding", ""):
                headers["Content-Encoding"] = "gzip"
            else:
                content = gzip.decompress(content)
            return Response(content, media_type=_KINDS[".js"], headers=headers | {"Vary": "Accept-Encoding"})
        path = (ASSETS / name.replace("\0", "")).resolve()
        if not path.is_relative_to(ASSETS.resolve()) or path.suffix not in _KINDS or not path.is_file():
            raise Unknown("There is no such file.")
        content = await to_thread.run_sync(path.read_bytes)
        return Response(content, media_type=_KINDS[path.suffix], headers=headers)

    async def read_document(self, request: Request) -> Response:
        rev, data = self._documents.read(request.path_params["token"])
        return Response(data, media_type="application/octet-stream", headers={"X-Rev": str(rev)} | PRIVATE)

    async def write_document(self, request: Request) -> Response:
        token = request.path_params["token"]
        self._documents.session_of(token)
        self._pace.check(token)
        rev = request.headers.get("x-rev", "")
        if not rev.isdecimal() or len(rev) > 16:
            raise InputError("The header X-Rev must say which revision the drawing builds upon.")
        data = await body(request, DOCUMENT_MAX_BYTES)
        try:
            new = await to_thread.run_sync(self._documents.write, token, data, int(rev))
        except Stale as stale:
            return JSONResponse({"rev": stale.rev, "error": stale.message, "hint": stale.hint}, 409, PRIVATE)
        return JSONResponse({"rev": new}, headers=PRIVATE)

    async def events(self, request: Request) -> Response:
        token = request.path_params["token"]
        source = self._listen(token)
        # Up to its first part: who is one too many hears so before anything was promised.
        return EventStream(await anext(source), source)

    async def _listen(self, token: str) -> AsyncGenerator[bytes]:
        async with self._events.listen(token) as listener:
            yield b"retry: 1000\n\n"
            while not self._events.closed:
                messages = await listener.get(BEAT_S)
                for message in messages:
                    yield f"data: {message.model_dump_json()}\n\n".encode()
                if not messages:
                    yield b": still here\n\n"

    async def cancel(self, request: Request) -> Response:
        state = await to_thread.run_sync(self._cancel, request.path_params["token"], request.path_params["job"])
        return JSONResponse({"state": state}, headers=PRIVATE)

    def _cancel(self, token: str, job: str) -> str:
        studio, session = self._studio(), self._events.session_of_stream(token)
        entry = studio.queue.get(validation.job_id(job))
        if entry.owner and session in self._events.sessions_of(entry.owner):
            session = entry.session  # another tab of the same browser, or this one before a reload
        return studio.cancel(job, session)

    async def picture(self, request: Request) -> Response:
        result = await to_thread.run_sync(self._studio().gallery.get, request.path_params["id"])
        small = "thumb" in request.query_params
        content = await to_thread.run_sync((result.thumb if small else result.png).read_bytes)
        return Response(
            content,
            media_type="image/webp" if small else "image/png",
            headers={"Cache-Control": f"private, max-age={YEAR_S}, immutable"},
        )

    async def control(self, request: Request) -> Response:
        return Response(
            await to_thread.run_sync(self._rendered, request.path_params["token"]),
            media_type="image/png",
            headers=PRIVATE,
        )

    def _rendered(self, token: str) -> bytes:
        view = self._documents.view_of(token)
        _, document = self._documents.latest(token)
        rgb = self._studio().render(view.control, document, view.values)
        if view.size is not None:
            rgb = resize.fit(rgb, *view.size, nearest=self._studio().control(view.control).nearest)
        return picture.to_png(rgb)


class EventStream(Response):
    """Server-sent events; ends as soon as the browser goes away, and tells the source so."""

    def __init__(self, first: bytes, source: AsyncGenerator[bytes]) -> None:
        super().__init__(None, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.first, self.source = first, source
        del self.headers["content-length"]
        self.headers["content-type"] = "text/event-stream; charset=utf-8"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send parts until there are no more, or nobody to send them to."""
        async with anyio.create_task_group() as group:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self.source) as source:
                await send({"type": "http.response.body", "body": self.first, "more_body": True})
                async for part in source:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()
