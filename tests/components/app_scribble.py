"""A page with one editor and nothing else, served with the smallest routes that keep the components' protocol.

`streamlit run tests/components/app_scribble.py`. The query decides the kind of editor and the slot.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from starlette.requests import Request  # noqa: E402
from starlette.responses import FileResponse, JSONResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402
from streamlit.starlette import App  # noqa: E402

from components import ASSETS, BUNDLE, bundle  # noqa: E402
from webapp.routes.regions import packed  # noqa: E402

DRAWINGS: dict[str, tuple[int, bytes]] = {}


async def asset(request: Request) -> Response:
    if request.path_params["path"] == BUNDLE:
        headers = {"Content-Encoding": "gzip"}
        return Response(bundle(request.path_params["version"]), media_type="text/javascript", headers=headers)
    path = (ASSETS / request.path_params["path"]).resolve()
    if not path.is_relative_to(ASSETS) or not path.is_file():
        return Response(status_code=404)
    kinds = {".js": "text/javascript", ".css": "text/css"}
    return FileResponse(path, media_type=kinds.get(path.suffix))


async def drawing(request: Request) -> Response:
    slot = request.path_params["slot"]
    rev, stored = DRAWINGS.get(slot, (0, b""))
    if request.method == "GET":
        return Response(stored, headers={"X-Rev": str(rev)})
    if int(request.headers["X-Rev"]) != rev:
        return JSONResponse({"rev": rev}, status_code=409)
    DRAWINGS[slot] = (rev + 1, await request.body())
    return JSONResponse({"rev": rev + 1})


async def regions(request: Request) -> Response:
    return Response(packed(await request.body(), int(request.query_params["count"])))


app = App(
    Path(__file__).with_name("page_scribble.py"),
    routes=[
        Route("/studio/assets/{version}/{path:path}", asset),
        Route("/test/drawings/{slot}", drawing, methods=["GET", "PUT"]),
    ],
)
