"""A page with the result pane and nothing else; the test says, through POST /test/tell, what happens to the job."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from app_scribble import asset  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, Response, StreamingResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402
from streamlit.starlette import App  # noqa: E402

TOLD: list[dict[str, object]] = []
CANCELLED: list[str] = []


async def tell(request: Request) -> Response:
    TOLD.append(await request.json())
    return JSONResponse(len(TOLD))


async def events(_request: Request) -> Response:
    async def stream():
        sent = 0
        while True:
            for event in TOLD[sent:]:
                yield f"data: {json.dumps(event)}\n\n"
            sent = len(TOLD)
            await asyncio.sleep(0.05)

    return StreamingResponse(stream(), media_type="text/event-stream")


async def cancel(request: Request) -> Response:
    CANCELLED.append(request.path_params["job"])
    TOLD.append({"job": request.path_params["job"], "kind": "cancelled"})
    return JSONResponse({})


async def picture(request: Request) -> Response:
    """A landscape whose sky depends on its name; "control" is white lines on black."""
    name = request.path_params["name"]
    lines = name == "control"
    colour = (0, 0, 0) if lines else ((90 + 37 * sum(name.encode())) % 160 + 60, 160, 220)
    image = Image.new("RGB", (512, 512), colour)
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, 400), (170, 180), (300, 340), (390, 260), (512, 420), (512, 512), (0, 512)],
                 fill=None if lines else (70, 120, 80), outline=(255, 255, 255) if lines else None, width=5)  # fmt: skip
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")


app = App(
    Path(__file__).with_name("page_results.py"),
    routes=[
        Route("/studio/assets/{version}/{path:path}", asset),
        Route("/test/tell", tell, methods=["POST"]),
        Route("/test/events", events),
        Route("/test/cancel/{job}", cancel, methods=["POST"]),
        Route("/test/picture/{name}", picture),
    ],
)
