"""The route of the painter's regions, under /studio/:

    POST documents/{token}/regions?count=N    body: a PNG, JPEG or WebP as large as the drawing; about N superpixels of it

The answer is the region of every pixel, row by row, uint16 little-endian, compressed with zlib. The checks before each route
stand in `guard`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from annotator.regions import regions
from controlnet_core.domain.document import SIDE_MAX_PX
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES
from controlnet_core.execution import decoder
from webapp.application.studio import Studio
from webapp.routes.guard import PRIVATE, TURNS, Endpoint, RateLimit, body

REQUESTS_PER_S = 2.0
REQUESTS_BURST = 8.0


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route."""
    pace = RateLimit(REQUESTS_PER_S, REQUESTS_BURST)

    async def found(request: Request) -> Response:
        token = request.path_params["token"]
        studio().documents.session_of(token)
        pace.check(token)
        count = request.query_params.get("count", "")
        if not count.isdecimal() or len(count) > 6:
            raise InputError("The address must say how many regions are wanted.")
        data = await body(request, UPLOAD_MAX_BYTES)
        async with TURNS.turn(studio().documents.place_of(token)[0]):
            content = await to_thread.run_sync(packed, data, int(count), limiter=TURNS.limiter)
        return Response(content, media_type="application/octet-stream", headers=PRIVATE)

    return [("POST", "/documents/{token}/regions", found)]


def packed(data: bytes, count: int) -> bytes:
    """The answer for an encoded picture."""
    picture = decoder.decode(data, pixels_max=SIDE_MAX_PX**2)
    if max(picture.shape[:2]) > SIDE_MAX_PX:
        raise InputError(f"The picture is larger than {SIDE_MAX_PX} px.", "Send it at the size of the drawing.")
    return zlib.compress(regions(picture, count).astype("<u2").tobytes(), 1)
