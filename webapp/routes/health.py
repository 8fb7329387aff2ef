"""Whether the studio lives and can draw, for what watches over servers; below no /studio/, where such programs look.

    GET  healthz    200 for as long as queue and dispatcher work: what does not is to be started again
    GET  readyz     200 while pictures can be made; 503 while every worker starts, or none can

Both say one word and nothing of anybody: ok, starting, broken, stopped. The figures are in `webapp.api.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from webapp.application.studio import Studio
from webapp.routes.guard import PRIVATE, Endpoint


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route. `studio()` is asked with the first request, not before."""

    async def alive(_request: Request) -> Response:
        health = await to_thread.run_sync(lambda: studio().health())
        return JSONResponse({"status": health}, 503 if health == "stopped" else 200, PRIVATE)

    async def ready(_request: Request) -> Response:
        health = await to_thread.run_sync(lambda: studio().health())
        return JSONResponse({"status": health}, 200 if health == "ok" else 503, PRIVATE)

    return [("GET", "/healthz", alive), ("GET", "/readyz", ready)]
