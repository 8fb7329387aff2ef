"""The route of a training's samples, under /studio/:

    GET  training/{stream}/{name}/{file}.png    control, target or sample of a run that the workspace of the events sees

The check before it stands in `guard`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes.guard import Endpoint

_FILE = re.compile(r"(control|target)-\d+|step-\d+-\d+")


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route. `studio()` is asked with the first request, not before."""

    async def sample(request: Request) -> Response:
        name, file = request.path_params["name"], request.path_params["file"]
        if not _FILE.fullmatch(file):
            raise Unknown("There is no such picture.")
        folder = studio().trainings.run(name, studio().workspace_of(request.path_params["stream"])).folder / "samples"
        try:
            data = await to_thread.run_sync((folder / f"{file}.png").read_bytes)
        except OSError as error:
            raise Unknown("There is no such picture.") from error
        # A training begun anew under an old name draws other samples.
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=30"})

    return [("GET", "/training/{stream}/{name}/{file}.png", sample)]
