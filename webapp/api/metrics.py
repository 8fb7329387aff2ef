"""The studio's figures for Prometheus, at /metrics: for this machine's own programs, and for a key that may watch.

It stands open where the rest of the API is closed, because its own guard stands before it.
"""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from webapp.api.guard import Caller
from webapp.api.routing import Operation
from webapp.application.metrics import CONTENT_TYPE
from webapp.application.studio import Studio
from webapp.routes.guard import PRIVATE


async def metrics(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The figures of now."""
    text = await to_thread.run_sync(studio.metrics.text)
    return Response(text, media_type=CONTENT_TYPE, headers=PRIVATE)


OPERATIONS = [
    Operation(
        "GET",
        "/metrics",
        metrics,
        "Jobs, waiting, workers and memory in figures, as Prometheus reads them.",
        "watch",
        media="text/plain",
        group="Watching",
        standing=True,
    )
]
