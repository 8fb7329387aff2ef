"""Pictures of /api/v1: those that were made, the gallery of a key, and those that are sent to be named by digest."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from controlnet_core.storage.gallery import Query, Result
from webapp.api.guard import Caller
from webapp.api.routing import Operation, given
from webapp.api.v1.common import V1
from webapp.application import validation, views
from webapp.application.recipe_words import described
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes.guard import body

PAGE_MAX = 200


class Kept(views.View):
    """What was sent and is kept for a week after its last use."""

    digest: str
    width: int
    height: int


async def get_png(studio: Studio, request: Request, caller: Caller) -> Response:
    """A picture, its recipe inside."""
    result = await to_thread.run_sync(_result, studio, caller, request.path_params["id"])
    return Response(await to_thread.run_sync(result.png.read_bytes), media_type="image/png")


async def get_about(studio: Studio, request: Request, caller: Caller) -> Response:
    """A picture's recipe, in words and as JSON."""

    def told() -> views.About:
        result = _result(studio, caller, request.path_params["id"])
        about = views.About.told(result, described(studio, result.recipe))
        return about.model_copy(update={"url": f"/api/v1/pictures/{result.id}.png"})

    return given(await to_thread.run_sync(told))


async def gallery(studio: Studio, request: Request, caller: Caller) -> Response:
    """The pictures of this key, newest first."""
    asked = request.query_params
    n = asked.get("n", "60")
    if not n.isdecimal() or len(n) > 4:
        raise InputError("n must be a whole number.")
    query = Query(
        owner=caller.owner,
        text=validation.text(asked.get("text", ""), 400, "The search"),
        control=validation.text(asked.get("control", ""), 64, "The control"),
        shelf="all",
    )
    count = min(PAGE_MAX, max(1, int(n)))

    def listed() -> views.Wall:
        before = validation.text(asked.get("before", ""), 32, "before")
        found = studio.gallery.find(query, count + 1, before)
        tiles = [views.Tile.of(one) for one in found[:count]]
        shown = [one.model_copy(update={"url": f"/api/v1/pictures/{one.id}.png"}) for one in tiles]
        return views.Wall(pictures=shown, more=len(found) > count, total=studio.gallery.count(query))

    return given(await to_thread.run_sync(listed))


async def put_picture(studio: Studio, request: Request, caller: Caller) -> Response:
    """Keep a picture: the body is a PNG, JPEG or WebP."""
    data = await body(request, picture.UPLOAD_MAX_BYTES, "picture", "Send it smaller or as JPEG.")

    def keep() -> Kept:
        digest = studio.photos.keep(data, caller.owner)
        height, width = studio.photos.photo(digest).shape[:2]
        return Kept(digest=digest, width=width, height=height)

    return given(await to_thread.run_sync(keep))


def addressed(one: views.Picture) -> views.Picture:
    """A picture with the address that it has here."""
    return one.model_copy(update={"url": f"/api/v1/pictures/{one.id}.png"})


def _result(studio: Studio, caller: Caller, id: str) -> Result:
    try:
        result = studio.gallery.get(id)
    except InputError as error:
        raise Unknown(error.message, error.hint) from error
    if result.owner != caller.owner:
        raise Unknown("There is no such picture.")
    return result


OPERATIONS: list[Operation] = [
    Operation("GET", f"{V1}/gallery", gallery, "The pictures of this key, newest first", "read", gives=views.Wall,
              query=(("text", "words of the prompt"), ("control", "key of a condition"),
                     ("before", "the id of the last picture of the page before"), ("n", "how many, 60 by default")),
              group="Pictures"),
    Operation("GET", f"{V1}/pictures/{{id}}.png", get_png, "A picture, its recipe inside", "read", media="image/png",
              group="Pictures"),
    Operation("GET", f"{V1}/pictures/{{id}}", get_about, "Its recipe", "read", gives=views.About, group="Pictures"),
    Operation("POST", f"{V1}/pictures", put_picture, "Keep a picture (the body) and name it by digest", "make",
              gives=Kept, group="Maps and documents"),
]  # fmt: skip
