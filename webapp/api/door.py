"""Where the API stands in the server: before the browser's gate, because it has its own guard, and closed until it is wanted.

It is open when a key exists, or when the studio was started with --api. Closed, its addresses are the pages' as any other, but
for standing operations.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from controlnet_core.domain.errors import InputError, ModelMissing, NoSpace, QueueFull, StudioError
from webapp.api import openapi
from webapp.api.guard import NOBODY, Exhausted, NotAllowed, Unauthorised, caller_of
from webapp.api.routing import BODY_MAX_BYTES, Operation
from webapp.api.work import ClientGone
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes import gate
from webapp.routes.guard import PRIVATE, Late, TooFast, TooLarge

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
METHODS = "GET, POST, PUT, DELETE"
_STATUS: list[tuple[type[StudioError], int]] = [
    (Unauthorised, 401),
    (NotAllowed, 403),
    (Unknown, 404),
    (TooLarge, 413),
    (Late, 408),
    (TooFast, 429),
    (Exhausted, 429),
    (QueueFull, 429),
    (NoSpace, 507),
    (ModelMissing, 404),
    (InputError, 422),
]
RETRY_QUEUE_S = 10
BODIES_MAX = 32
"""That are on their way at once, of all callers."""
BODIES_OF_ONE_MAX = 16
log = logging.getLogger("studio.api")
Words = Callable[[StudioError, int], tuple[dict[str, object], int]]
"""How a family of routes writes a refusal: its JSON and its status, for an error and the status that we would give."""


class Door:
    """ASGI middleware: answers for the API, and passes everything else on.

    `studio()` and `base()` (the path below which a proxy shows the studio) are asked with the first request, not before.
    `operations` are the API's routes; `words` says how those below a path write a refusal, where not as ours do.
    """

    def __init__(
        self,
        app: ASGIApp,
        studio: Callable[[], Studio],
        operations: Sequence[Operation],
        base: Callable[[], str] = lambda: "",
        words: Sequence[tuple[str, Words]] = (),
    ) -> None:
        self.app = app
        self._studio = studio
        self._operations = operations
        self._base = base
        self._words = words
        self._routes: list[Route] | None = None
        self._roots = {_root(one.path) for one in operations if not one.standing}
        self._bodies = gate.Bodies(BODY_MAX_BYTES, BODIES_MAX, BODIES_OF_ONE_MAX, who=_caller)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        base = self._base().strip("/")
        prefix = f"/{base}" if base else ""
        path: str = scope["path"]
        if not path.startswith(prefix):
            await self.app(scope, receive, send)
            return
        inner = dict(scope) | {"path": path[len(prefix) :], "root_path": prefix}
        found = self._found(inner)
        standing = isinstance(found, Operation) and found.standing
        if found is None or not (standing or self._is_open()):
            await self.app(scope, receive, send)
            return
        request = Request(inner, receive, send)
        try:
            with self._bodies.taken(inner, receive) as receiving:
                request = Request(inner, receiving, send)
                response = await self._answer(request, found)
        except StudioError as error:
            response = self._refusal(request, error)
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        self._allow(request, response)
        await response(inner, receive, send)

    def _is_open(self) -> bool:
        studio = self._studio()
        return studio.settings.api or bool(studio.keys)

    def _found(self, scope: Scope) -> Operation | str | None:
        """The operation of a request; "" for one of its addresses with another method, and "/" for none of them below the same
        roots; None where it is no address of the API."""
        if scope["path"] in (openapi.PAGE, openapi.DOCUMENT):
            return scope["path"]
        if self._routes is None:
            self._routes = [Route(one.path, _nothing, methods=[one.method]) for one in self._operations]
        other = "/" if _root(scope["path"]) in self._roots else None
        for operation, route in zip(self._operations, self._routes, strict=True):
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                return operation
            if match is Match.PARTIAL:
                other = ""
        return other

    async def _answer(self, request: Request, found: Operation | str) -> Response:
        studio = self._studio()
        origins = studio.settings.api_origins
        if isinstance(found, str):
            return self._described(request, found)
        try:
            caller = NOBODY
            if found.scope is not None:
                local = found.standing or studio.settings.api
                caller = caller_of(request, studio.keys, local=local, origins=origins)
                caller.check(found.scope)
            return await found.answer(studio, request, caller)
        except StudioError as error:
            return self._refusal(request, error)
        except (ClientDisconnect, ClientGone):
            return Response(status_code=499)
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("%s %s failed, reference %s", found.method, found.path, reference)  # never the address
            error = StudioError("Something went wrong on the server.", f"studio.log says what, under {reference}.")
            return self._refusal(request, error, 500)

    def _described(self, request: Request, path: str) -> Response:
        """The API's description; "" is an address that knows other methods, "/" none that is here."""
        if path == "/":
            raise Unknown("There is no such address in the API.", f"{openapi.PAGE} names them all.")
        if path:
            return openapi.answer(self._operations, path)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": METHODS})
        return JSONResponse({"error": "This address knows other methods.", "hint": ""}, 405, {"Allow": METHODS})

    def _refusal(self, request: Request, error: StudioError, status: int = 0) -> Response:
        status = status or next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
        words = next((words for prefix, words in self._words if request.scope["path"].startswith(prefix)), _own_words)
        told, status = words(error, status)
        response = JSONResponse(told, status, PRIVATE)
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if status == 429:
            response.headers["Retry-After"] = str(error.retry_s if isinstance(error, Exhausted) else RETRY_QUEUE_S)
        return response

    def _allow(self, request: Request, response: Response) -> None:
        """CORS for the pages that were named, and for no other."""
        origin = request.headers.get("origin")
        if origin is None:
            return
        response.headers.add_vary_header("Origin")
        if origin in self._studio().settings.api_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = METHODS
            # Clients add headers that say which program they are; what they mean to send is what they may.
            asked = request.headers.get("access-control-request-headers", "")
            response.headers["Access-Control-Allow-Headers"] = asked[:2000] or "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = "600"
            if request.headers.get("access-control-request-private-network") == "true":
                response.headers["Access-Control-Allow-Private-Network"] = "true"


def _own_words(error: StudioError, status: int) -> tuple[dict[str, object], int]:
    return {"error": error.message, "hint": error.hint}, status


def _root(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


def _caller(scope: Scope) -> str:
    """Who sends a body: by key, since behind a proxy all have one address."""
    return Headers(scope=scope).get("authorization") or gate.visitor_of(scope)


async def _nothing(_request: Request) -> Response:
    return Response(status_code=404)
