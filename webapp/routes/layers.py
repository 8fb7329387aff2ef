"""The routes of pictures that lie under a drawing or are drawn from, under /studio/:

    GET  layers/{token}/{tint}.png                what the model sees of a drawing, see-through; tint: six hex digits
    GET  examples/{seed}.jpg                      a rendered scene to take as a photo
    GET  photos/{token}/{digest}/{resize}-{w}x{h}.jpg    a photo in a frame of w x h pixels; the token is that of a drawing
                                                  or of events, of the workspace that the photo belongs to

The checks before each route stand in `guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain.recipe import Resize
from webapp.application import examples, layers, validation
from webapp.application.studio import Studio
from webapp.routes.guard import PRIVATE, Endpoint

SIDE_MAX_PX = 2048
YEAR_S = 31_536_000
FOR_EVER = {"Cache-Control": f"private, max-age={YEAR_S}, immutable"}


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route."""
    answers = _Answers(studio)
    return [
        ("GET", "/layers/{token}/{tint}.png", answers.layer),
        ("GET", "/examples/{seed:int}.jpg", answers.example),
        ("GET", "/photos/{token}/{digest}/{resize}-{width:int}x{height:int}.jpg", answers.photo),
    ]


class _Answers:
    """`studio()` is asked with the first request, not before."""

    def __init__(self, studio: Callable[[], Studio]) -> None:
        self._studio = studio

    async def layer(self, request: Request) -> Response:
        """What the model sees of a drawing, as a layer. It changes with the drawing: not to be remembered."""
        token, tint = request.path_params["token"], validation.colour(request.path_params["tint"])
        content = await to_thread.run_sync(self._layer, token, tint)
        return Response(content, media_type="image/png", headers=PRIVATE)

    def _layer(self, token: str, tint: tuple[int, int, int]) -> bytes:
        studio = self._studio()
        view, (_, document) = studio.documents.view_of(token), studio.documents.latest(token)
        paper = studio.control(view.control).paper
        return layers.layer_png(studio.render(view.control, document, view.values), document.kind, tint, paper)

    async def example(self, request: Request) -> Response:
        """One of the scenes that stand in for a photo."""
        seed = validation.choice(request.path_params["seed"], tuple(examples.photos()), "The example")
        content = await to_thread.run_sync(examples.photo, seed)
        return Response(content, media_type="image/jpeg", headers=FOR_EVER)

    async def photo(self, request: Request) -> Response:
        """A photo in a frame; a digest always names the same photo."""
        asked = request.path_params
        width, height = (validation.whole(asked[side], 1, SIDE_MAX_PX, "The size") for side in ("width", "height"))
        how = validation.choice(asked["resize"], get_args(Resize), "The way to resize")
        workspace = self._studio().workspace_of(asked["token"])
        digest = self._studio().belongings.check(workspace, asked["digest"], "photo")
        content = await to_thread.run_sync(self._photo, digest, width, height, how)
        return Response(content, media_type="image/jpeg", headers=FOR_EVER)

    def _photo(self, digest: str, width: int, height: int, how: Resize) -> bytes:
        return layers.photo_jpeg(self._studio().photos.photo(digest), width, height, how)
