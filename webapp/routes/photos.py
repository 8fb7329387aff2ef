"""The routes of the photo view and of the page of all maps, under /studio/:

    POST photos/{token}             body: a PNG, JPEG or WebP of at most 25 MB; the photo for the drawing under the token. What
                                    is a map of the drawing's condition already, or a pose's JSON, becomes the drawing at
                                    once: then the answer says {"rev", "aside", "said"} as well
    POST detections/{token}         {"control", "detector", "values", "shorter"}; {"rev", "width", "height"} or {"job", ...}
    POST detections/{token}/undo    brings back what the detection replaced; {"rev", "width", "height"}
    POST maps/{stream}              body: a photo, for no drawing; {"photo", "width", "height", "said"}
    POST maps/{stream}/{photo}/{control}/{detector}    asks for a map; {"job"}, "" when it is there already
    GET  maps/{stream}/{photo}/{control}/{detector}.png    a map, as the model sees it, where it is known or found at once

`stream` is the token of a session's events. The checks before each route stand in `guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from annotator.detection import CANVAS_MAX_PX, CANVAS_MIN_PX
from annotator.finished import is_json
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES, to_png
from webapp.application import given_maps, validation
from webapp.application.given_maps import GivenMap
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes.guard import PRIVATE, TURNS, Endpoint, RateLimit, body, json_body

FINDS_PER_S = 60.0
FINDS_BURST = 120.0
UPLOADS_PER_S = 2.0
UPLOADS_BURST = 20.0


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route."""
    answers = _Answers(studio)
    return [
        ("POST", "/photos/{token}", answers.photo),
        ("POST", "/detections/{token}", answers.detect),
        ("POST", "/detections/{token}/undo", answers.undo),
        ("POST", "/maps/{stream}", answers.keep),
        ("POST", "/maps/{stream}/{photo}/{control}/{detector}", answers.ask),
        ("GET", "/maps/{stream}/{photo}/{control}/{detector}.png", answers.map),
    ]


class _Answers:
    """`studio()` is asked with the first request, not before."""

    def __init__(self, studio: Callable[[], Studio]) -> None:
        self._studio = studio
        self._pace = RateLimit(FINDS_PER_S, FINDS_BURST)
        self._uploads = RateLimit(UPLOADS_PER_S, UPLOADS_BURST)

    async def photo(self, request: Request) -> Response:
        """Take a photo for a drawing."""
        token, studio = request.path_params["token"], self._studio()
        studio.documents.session_of(token)
        visitor = studio.documents.place_of(token)[0]
        data = await self._sent(request, visitor)
        async with TURNS.turn(visitor):
            given = await to_thread.run_sync(self._given, token, data, limiter=TURNS.limiter)
        kept: dict[str, Any] = {"photo": ""}
        if given is None or not is_json(data):
            kept = await self._kept(data, visitor)
            studio.photo_detections.take(token, kept["photo"])
        if given is not None:
            kept |= await to_thread.run_sync(self._brought, token, given)
        return JSONResponse(kept, headers=PRIVATE)

    def _given(self, token: str, data: bytes) -> GivenMap | None:
        try:
            view = self._studio().documents.view_of(token)
        except Unknown:
            raise
        except InputError:  # no page says which condition it is of
            return None
        return given_maps.read(self._studio().control(view.control), data)

    def _brought(self, token: str, given: GivenMap) -> dict[str, Any]:
        looks = self._studio().photo_detections
        rev = looks.bring(token, given.document)
        size = {"width": given.document.width, "height": given.document.height}
        return size | {"rev": rev, "aside": looks.of(token).aside, "said": given.sentence}

    async def _sent(self, request: Request, visitor: str) -> bytes:
        self._uploads.check(visitor)
        return await body(request, UPLOAD_MAX_BYTES, "photo", "Save it smaller or as JPEG.")

    async def _kept(self, data: bytes, visitor: str) -> dict[str, Any]:
        photos = self._studio().photos
        async with TURNS.turn(visitor):
            digest = await to_thread.run_sync(photos.keep, data, visitor, limiter=TURNS.limiter)
        width, height = photos.canvas(digest)
        return {"photo": digest, "width": width, "height": height}

    async def keep(self, request: Request) -> Response:
        """Keep a photo that is for no drawing yet; "said" is told where it looks like a finished map."""
        workspace = self._studio().workspace_of(request.path_params["stream"])
        data = await self._sent(request, workspace)
        async with TURNS.turn(workspace):
            said = await to_thread.run_sync(given_maps.said_beside, data, limiter=TURNS.limiter)
        return JSONResponse({**await self._kept(data, workspace), "said": said}, headers=PRIVATE)

    async def ask(self, request: Request) -> Response:
        """See to it that a map is found."""
        asked = request.path_params
        session, workspace = self._studio().events.visitor(asked["stream"])
        self._pace.check(session)
        self._studio().belongings.check(workspace, asked["photo"], "photo")
        job = await to_thread.run_sync(self._asked, session, asked["control"], asked["detector"], asked["photo"])
        return JSONResponse({"job": job}, headers=PRIVATE)

    def _asked(self, session: str, control: str, detector: str, photo: str) -> str:
        studio = self._studio()
        detection = studio.photos.detection(control, detector, photo)
        return "" if studio.photos.find(detection) is not None else studio.submit(session, detection)

    async def map(self, request: Request) -> Response:
        """A map as the model sees it."""
        asked = request.path_params
        self._studio().belongings.check(self._studio().workspace_of(asked["stream"]), asked["photo"], "photo")
        content = await to_thread.run_sync(self._map, asked["control"], asked["detector"], asked["photo"])
        return Response(content, media_type="image/png", headers=PRIVATE)

    def _map(self, control: str, detector: str, photo: str) -> bytes:
        studio = self._studio()
        found = studio.photos.find(studio.photos.detection(control, detector, photo))
        if found is None:
            raise Unknown("Nobody has looked at this photo yet.")
        return to_png(studio.render(control, found))

    async def detect(self, request: Request) -> Response:
        """Find a document in the photo of a drawing."""
        token = request.path_params["token"]
        self._studio().documents.session_of(token)
        self._pace.check(token)
        told = await json_body(request)
        return JSONResponse(await to_thread.run_sync(self._found, token, told), headers=PRIVATE)

    def _found(self, token: str, told: dict[str, Any]) -> dict[str, Any]:
        studio, values = self._studio(), told.get("values", {})
        if not isinstance(values, dict) or len(values) > 32:
            raise InputError("This message cannot be read.")
        outcome = studio.photo_detections.detect(
            token,
            studio.documents.session_of(token),
            validation.text(told.get("control"), 64, "The control"),
            validation.text(told.get("detector"), 64, "The detector"),
            {str(key): value for key, value in values.items()},
            validation.whole(told.get("shorter"), CANVAS_MIN_PX, CANVAS_MAX_PX, "The map size"),
        )
        aside = studio.photo_detections.of(token).aside
        width, height = outcome.size
        return {"width": width, "height": height, "rev": outcome.rev, "job": outcome.job, "aside": aside}

    async def undo(self, request: Request) -> Response:
        """Bring back what was there before."""
        return JSONResponse(await to_thread.run_sync(self._undone, request.path_params["token"]), headers=PRIVATE)

    def _undone(self, token: str) -> dict[str, Any]:
        studio = self._studio()
        studio.documents.session_of(token)
        rev = studio.photo_detections.undo(token)
        document = studio.documents.latest(token)[1]
        return {"width": document.width, "height": document.height, "rev": rev, "job": "", "aside": False}
