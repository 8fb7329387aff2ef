"""POST /detect: a map is found in a photo."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from annotator.detection import CANVAS_MAX_PX, CANVAS_MIN_PX
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import picture
from controlnet_core.domain.control import Value
from webapp.api import pictures
from webapp.api.guard import Caller, check_limits
from webapp.api.routing import Operation, given
from webapp.api.v1.common import V1, Asked, Picture, form
from webapp.application import views
from webapp.application.recipe_builder import Draft, Photo
from webapp.application.studio import Studio


class DetectRequest(Asked):
    """A photo and what is to be found in it; `shorter` is the shorter side of the map in pixels."""

    control: str
    photo: Picture
    detector: str = ""
    detector_values: dict[str, Value] = Field({})
    values: dict[str, Value] = Field({})
    shorter: Annotated[int, Field(ge=CANVAS_MIN_PX, le=CANVAS_MAX_PX)] = 512


class Found(views.View):
    """A map: the digest of its document, and of its picture as a ControlNet sees it; the picture in base64."""

    control: str
    detector: str
    document: str
    picture: str
    width: int
    height: int
    png: str


async def detect(studio: Studio, request: Request, caller: Caller) -> Response:
    """Find a map in a photo; a network that has to look is waited for."""
    asked, files = await form(request, DetectRequest)

    def find() -> Found:
        if caller.key is not None:
            check_limits(studio, caller.key, 0)
        photo = Photo(
            pictures.kept(studio, caller.owner, asked.photo, files),
            asked.detector,
            asked.detector_values,
            asked.shorter,
        )
        values = controls_of.values(studio.control(asked.control).params, asked.values)
        unit = studio.builder_for(caller.session, caller.owner).unit(Draft(asked.control, photo, values))
        data = studio.blobs.get(unit.picture)
        studio.belongings.give(caller.owner, unit.picture, *([unit.document] if unit.document else []))
        height, width = picture.open_picture(data).shape[:2]
        return Found(
            control=unit.control,
            detector=unit.found.detector if unit.found else "",
            document=unit.document or "",
            picture=unit.picture,
            width=width,
            height=height,
            png=pictures.encoded(data),
        )

    return given(await to_thread.run_sync(find))


OPERATIONS: list[Operation] = [
    Operation("POST", f"{V1}/detect", detect, "Find a map in a photo", "make", takes=DetectRequest, gives=Found,
              group="Maps and documents"),
]  # fmt: skip
