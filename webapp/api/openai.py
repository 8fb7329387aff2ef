"""The shape that clients of OpenAI's picture API speak: /v1/images/generations, /v1/images/edits and /v1/models.

A request becomes a job of /api/v1. What has no place in that shape (controls, seed, steps, ...) goes under `studio`, in the words
of /api/v1; what a request asks for and the studio does not do is refused, or named as `ignored` or `corrected` in the answer.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
import secrets
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from anyio import to_thread
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controlnet_core.domain import json_input, picture
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.recipe import PROMPT_MAX
from controlnet_core.execution import decoder
from controlnet_core.execution.queue import QueueEntry
from controlnet_core.families import family
from controlnet_core.models.catalog import ModelCard
from webapp.api import pictures
from webapp.api.guard import Caller, check_limits
from webapp.api.names import Notes, pick
from webapp.api.routing import VALUES_MAX, Operation, parsed, read
from webapp.api.v1.common import parts
from webapp.api.v1.recipes import JobRequest, recipe_of
from webapp.api.work import finished
from webapp.application.photos import LONGEST_PX
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown

LINK_S = 3600
"""How long the address of a picture opens it."""
IMAGES_MAX = 10
Format = Literal["png", "jpeg", "webp"]
_UNUSED = {"quality": ("auto",), "style": (), "background": ("auto", "opaque"), "input_fidelity": ()}
"""What the studio does not do, with the values that ask for nothing."""
_SILENT = {"user", "safety_identifier", "moderation", "partial_images"}
"""What changes no picture that is made here, and is passed over."""
_OWN = ("id", "prompt", "model", "images", "width", "height")
_SECRET = secrets.token_bytes(32)


def _object(given: object) -> object:
    """An object that came as text: a form has nothing else."""
    if not isinstance(given, str):
        return given
    json_input.check_value_count(given, VALUES_MAX, "studio")
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise ValueError("this is no JSON") from error


class ImageRequest(BaseModel):
    """What is read of a request; the rest is passed over, and named."""

    model_config = ConfigDict(extra="allow", frozen=True)
    prompt: Annotated[str, Field(max_length=PROMPT_MAX)]
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=IMAGES_MAX)] | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Format | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    stream: bool | None = None
    studio: Annotated[dict[str, Any] | None, BeforeValidator(_object)] = None


async def generations(studio: Studio, request: Request, caller: Caller) -> Response:
    """Pictures from words."""
    return await _made(studio, request, caller, await read(request, ImageRequest), {}, Notes())


async def edits(studio: Studio, request: Request, caller: Caller) -> Response:
    """Pictures from a picture: wholly anew where the mask is transparent, or everywhere to some degree without one."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InputError("A picture to edit comes in a form.", "Send multipart/form-data with image, mask and prompt.")
    fields, files = await parts(request)
    asked = parsed(ImageRequest, json.dumps(fields).encode())
    notes = Notes()
    images = [data for name, data in files if name in ("image", "image[]")]
    masks = [data for name, data in files if name == "mask"]
    if not images:
        raise InputError("There is no picture to edit.", "Send it as image.")
    if len(images) > 1:
        notes.ignored("all pictures but the first")
    for name in sorted({name for name, _ in files} - {"image", "image[]", "mask"}):
        notes.ignored(name[:40])
    mask = await to_thread.run_sync(_mask, images[0], masks[0] if masks else None)
    start = {"image": images[0]} | ({"mask": mask} if mask else {})
    return await _made(studio, request, caller, asked, start, notes)


async def _made(
    studio: Studio, request: Request, caller: Caller, asked: ImageRequest, start: dict[str, bytes], notes: Notes
) -> Response:
    if asked.stream:
        raise InputError("Pictures are not streamed in this shape.", "Leave stream away; /api/v1 tells every step.")
    _name_unused(asked, notes)

    said: list[str] = []

    def submit() -> tuple[str, int, int]:
        job = _job(_base(studio, asked.model), asked, start, notes)
        if caller.key is not None:
            check_limits(studio, caller.key, job.images)
        recipe = recipe_of(studio, studio.builder_for(caller.session, caller.owner), job, start, caller.owner, said)
        id = studio.submit(caller.session, recipe, owner=caller.owner, lifetime="detached")
        return id, recipe.width, recipe.height

    id, width, height = await to_thread.run_sync(submit)
    entry = await finished(studio, id, request)
    if entry.state != "done":
        raise StudioError(entry.text or "The job was stopped.", entry.hint)
    data = await to_thread.run_sync(_data, studio, request, asked, entry)
    told = {"created": int(time.time()), "data": data, "size": f"{width}x{height}", "background": "opaque"}
    return JSONResponse(
        told | {"output_format": asked.output_format or "png"} | notes.lists() | ({"said": said} if said else {})
    )


def _base(studio: Studio, name: str | None) -> ModelCard:
    first = studio.catalog.base()
    return pick(name, studio.catalog.bases(), "model") if name else first


def _job(base: ModelCard, asked: ImageRequest, start: Mapping[str, bytes], notes: Notes) -> JobRequest:
    """The job of /api/v1 that a request means. Raises InputError."""
    job = dict(asked.studio or {})
    twice = next((name for name in _OWN if name in job), None)
    if twice:
        raise InputError(f"{twice} has no place under studio.", "Say it as prompt, model, n or size.")
    width, height = _size(base, asked.size, start.get("image"), notes)
    if start:
        way = job.get("start_from") or {}
        if not isinstance(way, dict) or {"picture", "mask"} & set(way):
            raise InputError("start_from says how the picture is edited: strength, blur_px, fill, resize.")
        given = {"picture": "file:image", "strength": 1.0 if "mask" in start else 0.75}
        job["start_from"] = given | ({"mask": "file:mask"} if "mask" in start else {}) | way
    job |= {"prompt": asked.prompt, "model": base.id, "images": asked.n or 1, "width": width, "height": height}
    return parsed(JobRequest, json.dumps(job).encode())


def _size(base: ModelCard, given: str | None, image: bytes | None, notes: Notes) -> tuple[int, int]:
    """Width and height: as asked, else those of the picture to edit at the model's own size, else the model's own."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", given or "auto")
    if found:
        return notes.size(int(found[1]), int(found[2]))
    if given not in (None, "auto"):
        raise InputError(f"{given[:40]!r} is not a size.", "Write WIDTHxHEIGHT, such as 512x768, or auto.")
    own = base.defaults
    sides = picture.size_of(image) if image is not None else None
    if not sides or not min(sides):
        return own.width, own.height
    return family(base.family).picture_size(*sides, min(own.width, own.height))


def _mask(image: bytes, given: bytes | None) -> bytes | None:
    """What is made anew as a PNG, white: where the mask is transparent, or without one the picture. Raises InputError."""
    whole = decoder.decode(image, longest=LONGEST_PX, alpha=True)
    if given is not None:
        size, whole = whole.shape[:2], decoder.decode(given, longest=LONGEST_PX, alpha=True)
        if whole.shape[:2] != size:
            raise InputError("The mask has another size than the picture.", "Send both with the same width and height.")
        if whole.shape[2] == 3:
            raise InputError("The mask is transparent nowhere.", "Make transparent what is to be drawn anew.")
    return picture.to_png(picture.hwc3(255 - whole[..., 3])) if whole.shape[2] == 4 else None


def _name_unused(asked: ImageRequest, notes: Notes) -> None:
    for name, value in (asked.model_extra or {}).items():
        if name == "background" and value == "transparent":
            raise InputError("Transparent pictures are not made here.", "Leave background away.")
        if name not in _SILENT and value is not None and value not in _UNUSED.get(name, ()):
            notes.ignored(name[:40])


def _data(studio: Studio, request: Request, asked: ImageRequest, entry: QueueEntry) -> list[dict[str, Any]]:
    form, quality = asked.output_format or "png", asked.output_compression
    made: list[dict[str, Any]] = []
    for id in entry.kept:
        result = studio.gallery.get(id)
        told: dict[str, Any] = {"seed": result.recipe.seed}
        if asked.response_format == "url":
            told["url"] = f"{request.base_url}v1/images/files/{_signed(f'{id}.{form}', int(time.time()) + LINK_S)}"
        else:
            told["b64_json"] = pictures.encoded(_written(result.png.read_bytes(), form, quality))
        made.append(told)
    return made


def _written(png: bytes, form: str, quality: int | None = None) -> bytes:
    """A picture of ours in another format; its recipe stays in a PNG alone."""
    if form == "png":
        return png
    file = io.BytesIO()
    image = Image.open(io.BytesIO(png))
    image.save(file, form.upper(), quality=95 if quality is None else max(1, quality))
    return file.getvalue()


# ---- addresses of pictures


def _signed(name: str, until: int) -> str:
    """A file's name with the time until which it opens, signed: whoever has it needs no key. A restart ends it."""
    signature = hmac.new(_SECRET, f"{until}.{name}".encode(), hashlib.sha256).hexdigest()[:40]
    return f"{until}.{signature}.{name}"


async def file(studio: Studio, request: Request, _caller: Caller) -> Response:
    """The picture behind a signed address."""
    given: str = request.path_params["name"]
    until, _, rest = given.partition(".")
    _, _, name = rest.partition(".")
    if not until.isdecimal() or len(until) > 12 or not hmac.compare_digest(_signed(name, int(until)), given):
        raise Unknown("There is no such picture.")
    if int(until) < time.time():
        raise Unknown("This address opened its picture for an hour.", "Ask for b64_json, or make the picture again.")
    id, _, form = name.rpartition(".")

    def opened() -> bytes:
        return _written(studio.gallery.get(id).png.read_bytes(), form)

    return Response(await to_thread.run_sync(opened), media_type=f"image/{form}")


# ---- models


async def models(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The base models of this machine."""
    found = await to_thread.run_sync(lambda: [_model(studio, card) for card in studio.catalog.bases()])
    return JSONResponse({"object": "list", "data": found})


async def model(studio: Studio, request: Request, _caller: Caller) -> Response:
    """One of them."""
    name: str = request.path_params["name"]
    return JSONResponse(await to_thread.run_sync(lambda: _model(studio, _base(studio, name))))


def _model(studio: Studio, card: ModelCard) -> dict[str, Any]:
    created = int(studio.catalog.locate(card).stat().st_mtime)
    return {"id": card.id, "object": "model", "created": created, "owned_by": card.family or "unknown"}


def words(error: StudioError, status: int) -> tuple[dict[str, object], int]:
    """A refusal as those clients read it: what cannot be used is a 400 there."""
    status = 400 if status == 422 else status
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    codes = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
    told = {"message": str(error), "type": kind, "param": None, "code": codes.get(status)}
    return {"error": told}, status


_GROUP = "As OpenAI's clients know it"
OPERATIONS: list[Operation] = [
    Operation("POST", "/v1/images/generations", generations, "Pictures from words; what OpenAI has no place for goes under studio",
              "make", takes=ImageRequest, group=_GROUP),
    Operation("POST", "/v1/images/edits", edits, "Pictures from a picture: the same fields in a form, with image and mask", "make",
              group=_GROUP),
    Operation("GET", "/v1/images/files/{name}", file, "A picture by the address that an answer gave, for an hour", None,
              media="image/png", group=_GROUP),
    Operation("GET", "/v1/models", models, "The base models of this machine", "read", group=_GROUP),
    Operation("GET", "/v1/models/{name:path}", model, "One of them", "read", group=_GROUP),
]  # fmt: skip
WORDS = [("/v1/", words)]
