"""Our own API, below /api/v1: conditions, models, maps, jobs with their events, pictures and the gallery.

A job of the API lives although nobody listens. What a key made is seen by that key alone. A control comes as a document, as a
finished picture, or as a photo with a detector; a field that is not known here is refused, never ignored.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, cast

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from annotator.detection import CANVAS_MAX_PX, CANVAS_MIN_PX
from annotator.formats import openpose_json
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import ControlType, Param, Value
from controlnet_core.domain.errors import InputError, ModelMissing
from controlnet_core.domain.recipe import Fill, Lora, Mode, Recipe, Resize, Sampler
from controlnet_core.execution.queue import Entry
from controlnet_core.storage.gallery import Query, Result
from webapp.api import pictures
from webapp.api.guard import Caller, check_limits
from webapp.api.routing import BODY_MAX_BYTES, Operation, given, parsed, read
from webapp.application import jobs, validation, views
from webapp.application.recipe_builder import Draft, Finished, Photo, RecipeBuilder
from webapp.application.recipe_words import described
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes.guard import body
from webapp.routes.table import EventStream

PAGE_MAX = 200
BEAT_S = 15.0
Picture = Annotated[str, Field(description="base64, a data-URL, the digest of what was sent before, or file:NAME")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Asked(BaseModel):
    """The base of what is asked for: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ControlRequest(Asked):
    """One control. Exactly one of `document`, `picture` and `photo` says what it is given."""

    control: str
    document: Digest | None = None
    picture: Picture | None = None
    photo: Picture | None = None
    detector: str = ""
    detector_values: dict[str, Value] = {}
    values: dict[str, Value] = {}
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    network: str | None = None
    resize: Resize = "stretch"
    mask: Picture | None = None


class StartRequest(Asked):
    """The picture to start from, and what of it is made anew (white in the mask)."""

    picture: Picture
    strength: float = 0.75
    mask: Picture | None = None
    blur_px: int = 4
    fill: Fill = "original"
    resize: Resize = "crop"


class LoraRequest(Asked):
    """A LoRA of this machine and its weight."""

    key: str
    weight: float = 1.0


class JobRequest(Asked):
    """A recipe. What is left out is what the model's card suggests; `seed` -1 draws one; the same `id` again is the same job."""

    id: str | None = None
    model: str | None = None
    prompt: str = ""
    added_prompt: str | None = None
    negative: str | None = None
    controls: Annotated[list[ControlRequest], Field(max_length=4)] = []
    start_from: StartRequest | None = None
    width: int | None = None
    height: int | None = None
    images: int = 1
    steps: int | None = None
    guidance: float | None = None
    sampler: Sampler | None = None
    seed: int = -1
    eta: float | None = None
    loras: Annotated[list[LoraRequest], Field(max_length=8)] = []
    embeddings: Annotated[list[str], Field(max_length=16)] = []
    vae: str | None = None
    clip_skip: int | None = None
    variation_seed: int | None = None
    variation_strength: float | None = None


class DetectRequest(Asked):
    """A photo and what is to be found in it; `shorter` is the shorter side of the map in pixels."""

    control: str
    photo: Picture
    detector: str = ""
    detector_values: dict[str, Value] = {}
    values: dict[str, Value] = {}
    shorter: Annotated[int, Field(ge=CANVAS_MIN_PX, le=CANVAS_MAX_PX)] = 512


class RenderRequest(Asked):
    """A document and how it is drawn."""

    control: str
    document: Digest
    values: dict[str, Value] = {}


class Found(views.View):
    """A map: the digest of its document, and of its picture as a ControlNet sees it; the picture in base64."""

    control: str
    detector: str
    document: str
    picture: str
    width: int
    height: int
    png: str


class Kept(views.View):
    """What was sent and is kept for a week after its last use."""

    digest: str
    width: int
    height: int


class Document(views.View):
    """A document that is kept."""

    digest: str
    kind: str
    width: int
    height: int


class DetectorView(views.View):
    """A detector: `ready` says whether its networks are on this machine, `parameters` is a JSON schema."""

    key: str
    title: str
    help: str
    reads: Literal["photo", "map"]
    ready: bool
    parameters: dict[str, Any]


class ConditionView(views.View):
    """A condition: the kind of its document, its renderer's parameters as JSON schema, and its detectors."""

    key: str
    title: str
    help: str
    document: str
    parameters: dict[str, Any]
    detectors: list[DetectorView]


class Conditions(views.View):
    """Every condition."""

    conditions: list[ConditionView]


class ModelView(views.View):
    """A model; `here` says whether it is on this machine."""

    id: str
    title: str
    kind: str
    family: str
    controls: list[str]
    licence: str
    note: str
    here: bool


class Models(views.View):
    """Every model that is known."""

    models: list[ModelView]


class JobAnswer(views.Job):
    """A job; `seed` and `recipe` (as JSON) are those that it was queued with."""

    seed: int | None
    recipe: str | None


class JobsAnswer(views.View):
    """The jobs of a key: those that run or wait, then the last that ended."""

    open: list[JobAnswer]
    over: list[JobAnswer]


# ---- what there is


async def conditions(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Every condition with its parameters."""
    return given(Conditions(conditions=[_condition(studio, one) for one in studio.controls.values()]))


def _condition(studio: Studio, one: ControlType) -> ConditionView:
    installed = studio.catalog.installed
    return ConditionView(
        key=one.key,
        title=one.title,
        help=one.help,
        document=one.document,
        parameters=schema(one.params),
        detectors=[
            DetectorView(
                key=way.key,
                title=way.title,
                help=way.help,
                reads=way.reads,
                ready=all(installed(studio.catalog.card(card)) for card in way.weights),
                parameters=schema(way.params),
            )
            for way in one.detectors
        ],
    )


def schema(params: tuple[Param, ...]) -> dict[str, Any]:
    """Parameters as JSON schema."""
    properties: dict[str, Any] = {}
    for one in params:
        told: dict[str, Any] = {"title": one.title, "default": one.default}
        if one.help:
            told["description"] = one.help
        if one.choices:
            told |= {"type": "string", "enum": list(one.choices)}
        elif isinstance(one.default, bool):
            told["type"] = "boolean"
        else:
            told |= {"type": "integer" if isinstance(one.default, int) else "number"}
            told |= {"minimum": one.low, "maximum": one.high}
        properties[one.key] = told
    return {"type": "object", "properties": properties, "additionalProperties": False}


async def models(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Every model."""

    def listed() -> Models:
        return Models(
            models=[
                ModelView(
                    id=card.id,
                    title=card.title,
                    kind=card.kind,
                    family=card.family,
                    controls=list(card.controls),
                    licence=card.licence,
                    note=card.note,
                    here=studio.catalog.installed(card),
                )
                for card in studio.catalog.cards()
            ]
        )

    return given(await to_thread.run_sync(listed))


# ---- pictures, documents, maps


async def put_picture(studio: Studio, request: Request, _caller: Caller) -> Response:
    """Keep a picture: the body is a PNG, JPEG or WebP."""
    data = await body(request, picture.UPLOAD_MAX_BYTES, "picture", "Send it smaller or as JPEG.")

    def keep() -> Kept:
        digest = studio.photos.keep(data)
        height, width = studio.photos.photo(digest).shape[:2]
        return Kept(digest=digest, width=width, height=height)

    return given(await to_thread.run_sync(keep))


async def put_document(studio: Studio, request: Request, _caller: Caller) -> Response:
    """Keep a document: the body is a container as the editors store it, or people as OpenPose JSON."""
    data = await body(request, 8 << 20, "document", "Make it smaller.")

    def keep() -> Document:
        if data.lstrip()[:1] in (b"{", b"["):
            document: documents.Document = openpose_json.read(data)
        else:
            document = documents.decode(data)
        digest = studio.blobs.put(documents.encode(document))
        return Document(digest=digest, kind=document.kind, width=document.width, height=document.height)

    return given(await to_thread.run_sync(keep))


async def get_document(studio: Studio, request: Request, _caller: Caller) -> Response:
    """A document as it is stored; people as OpenPose JSON with ?form=openpose."""
    data = await to_thread.run_sync(studio.blobs.get, _digest(request.path_params["digest"]))
    document = documents.decode(data)
    if request.query_params.get("form") == "openpose":
        if not isinstance(document, documents.Skeleton):
            raise InputError("There are no people in this document.", "Leave form=openpose away.")
        return Response(openpose_json.write(document), media_type="application/json")
    return Response(data, media_type="application/octet-stream")


async def render(studio: Studio, request: Request, _caller: Caller) -> Response:
    """A document as a ControlNet sees it, PNG."""
    asked = await read(request, RenderRequest)

    def drawn() -> bytes:
        document = documents.decode(studio.blobs.get(asked.document))
        return picture.to_png(studio.render(asked.control, document, asked.values))

    return Response(await to_thread.run_sync(drawn), media_type="image/png")


async def detect(studio: Studio, request: Request, caller: Caller) -> Response:
    """Find a map in a photo; a network that has to look is waited for."""
    asked, files = await _form(request, DetectRequest)

    def find() -> Found:
        if caller.key is not None:
            check_limits(studio, caller.key, 0)
        photo = Photo(_kept(studio, asked.photo, files), asked.detector, asked.detector_values, asked.shorter)
        values = controls_of.values(studio.control(asked.control).params, asked.values)
        unit = _builder(studio, caller).unit(Draft(asked.control, photo, values))
        data = studio.blobs.get(unit.picture)
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


# ---- jobs


async def post_job(studio: Studio, request: Request, caller: Caller) -> Response:
    """Queue a recipe."""
    asked, files = await _form(request, JobRequest)
    return given(await to_thread.run_sync(_submitted, studio, caller, asked, files), 202)


def _submitted(studio: Studio, caller: Caller, asked: JobRequest, files: Mapping[str, bytes]) -> JobAnswer:
    if asked.id is not None:
        with suppress(InputError):  # the same job again: nothing is drawn anew
            return _answer(studio, _own(studio, caller, validation.job_id(asked.id)))
    if caller.key is not None:
        check_limits(studio, caller.key, max(1, asked.images))
    recipe = recipe_of(studio, _builder(studio, caller), asked, files)
    job = studio.submit(
        caller.session, recipe, owner=caller.owner, id=asked.id or secrets.token_hex(16), lifetime="detached"
    )
    return _answer(studio, studio.queue.get(job))


def recipe_of(studio: Studio, builder: RecipeBuilder, asked: JobRequest, files: Mapping[str, bytes]) -> Recipe:
    """The recipe that a request describes. Raises StudioError."""
    bases = studio.catalog.bases()
    if asked.model is None and not bases:
        raise ModelMissing("There is no base model on this machine.", "Download one: studio models list names them.")
    base = studio.catalog.card(asked.model) if asked.model is not None else bases[0]
    source = None
    if asked.start_from is not None:
        start = asked.start_from
        source = builder.source(
            _kept(studio, start.picture, files),
            strength=start.strength,
            mask=None if start.mask is None else _kept(studio, start.mask, files),
            blur_px=start.blur_px,
            fill=start.fill,
            resize=start.resize,
        )
    plain = asked.model_dump(exclude={"id", "model", "controls", "start_from", "loras", "embeddings"})
    return builder.for_base(
        base,
        [_draft(studio, one, files) for one in asked.controls],
        source=source,
        loras=tuple(_lora(one) for one in asked.loras),
        embeddings=tuple(asked.embeddings),
        **plain,
    )


def _draft(studio: Studio, asked: ControlRequest, files: Mapping[str, bytes]) -> Draft:
    if sum(one is not None for one in (asked.document, asked.picture, asked.photo)) != 1:
        raise InputError(f"The control {asked.control[:64]} needs one of document, picture and photo.")
    control = studio.control(asked.control)
    if asked.photo is None and (asked.detector or asked.detector_values):
        raise InputError("A detector looks at a photo.", "Send the picture as photo, or leave the detector away.")
    if asked.document is not None:
        what: documents.Document | Finished | Photo = documents.decode(studio.blobs.get(asked.document))
    elif asked.picture is not None:
        what = Finished(pictures.rgb_of(studio, _kept(studio, asked.picture, files)))
    else:
        what = Photo(_kept(studio, asked.photo or "", files), asked.detector, asked.detector_values)
    if asked.network is not None:
        studio.catalog.card(asked.network)  # says so at once where there is none
    return Draft(
        control.key,
        what,
        controls_of.values(control.params, asked.values),
        weight=asked.weight,
        start=asked.start,
        end=asked.end,
        mode=asked.mode,
        network=asked.network,
        resize=asked.resize,
        mask=None if asked.mask is None else _kept(studio, asked.mask, files),
    )


def _lora(asked: LoraRequest) -> Lora:
    if not -2 <= asked.weight <= 2:
        raise InputError("The weight of a LoRA must lie between -2 and 2.")
    return parsed(Lora, asked.model_dump_json().encode())


async def get_jobs(studio: Studio, _request: Request, caller: Caller) -> Response:
    """The jobs of this key."""

    def listed() -> JobsAnswer:
        own = [entry for entry in studio.queue.of(caller.owner, 64) if entry.owner == caller.owner]
        return JobsAnswer(
            open=[_answer(studio, entry) for entry in reversed(own) if not entry.over],
            over=[_answer(studio, entry) for entry in own if entry.over],
        )

    return given(await to_thread.run_sync(listed))


async def get_job(studio: Studio, request: Request, caller: Caller) -> Response:
    """One job."""
    id = request.path_params["id"]
    return given(await to_thread.run_sync(lambda: _answer(studio, _own(studio, caller, id))))


async def delete_job(studio: Studio, request: Request, caller: Caller) -> Response:
    """Stop a job that waits or runs."""

    def stop() -> JobAnswer:
        entry = _own(studio, caller, request.path_params["id"])
        studio.cancel(entry.id)
        return _answer(studio, studio.queue.get(entry.id))

    return given(await to_thread.run_sync(stop))


async def job_events(studio: Studio, request: Request, caller: Caller) -> Response:
    """Server-sent events of a job until it is over."""
    entry = await to_thread.run_sync(_own, studio, caller, request.path_params["id"])
    source = _follow(studio, entry)
    return EventStream(await anext(source), source)


async def _follow(studio: Studio, entry: Entry) -> AsyncGenerator[bytes]:
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    newest: list[views.Event] = []

    def hear(_session: str, event: views.Event) -> None:
        if event.job == entry.id:
            newest[:] = [event]  # of several steps the last is enough
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(news.set)

    end = studio.events.subscribe(hear)
    try:
        entry = await to_thread.run_sync(studio.queue.get, entry.id)
        if entry.over:
            yield _event(await to_thread.run_sync(_ended, studio, entry))
            return
        yield _event(studio.events.last(entry.session, entry.id) or views.Event(job=entry.id, kind="queued"))
        while not studio.events.closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), BEAT_S)
            news.clear()
            if not newest:
                yield b": still here\n\n"
                continue
            event = newest.pop()
            yield _event(event)
            if event.kind in ("done", "failed", "cancelled"):
                return
    finally:
        end()


def _ended(studio: Studio, entry: Entry) -> views.Event:
    kind = cast("Literal['done', 'failed', 'cancelled']", entry.state)
    made = studio.pictures(entry.kept) if entry.kind == "recipe" else []
    return views.Event(job=entry.id, kind=kind, pictures=made, text=entry.text, hint=entry.hint)


def _event(event: views.Event) -> bytes:
    shown = event.model_copy(update={"pictures": [_addressed(one) for one in event.pictures]})
    return f"data: {shown.model_dump_json()}\n\n".encode()


def _answer(studio: Studio, entry: Entry) -> JobAnswer:
    recipe = Recipe.model_validate_json(entry.work) if entry.kind == "recipe" else None
    view = jobs.view(studio, entry)
    told: dict[str, Any] = view.model_dump() | {"pictures": [_addressed(one) for one in view.pictures]}
    return JobAnswer(**told, seed=recipe.seed if recipe else None, recipe=recipe.to_json() if recipe else None)


def _addressed(one: views.Picture) -> views.Picture:
    return one.model_copy(update={"url": f"/api/v1/pictures/{one.id}.png"})


def _own(studio: Studio, caller: Caller, id: str) -> Entry:
    try:
        entry = studio.queue.get(validation.job_id(id))
    except InputError as error:
        raise Unknown(error.message, error.hint) from error
    if entry.owner != caller.owner:
        raise Unknown("There is no such job.", "It may have ended long ago.")
    return entry


# ---- pictures that were made


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


def _result(studio: Studio, caller: Caller, id: str) -> Result:
    try:
        result = studio.gallery.get(id)
    except InputError as error:
        raise Unknown(error.message, error.hint) from error
    if result.owner != caller.owner:
        raise Unknown("There is no such picture.")
    return result


# ---- shared


def _builder(studio: Studio, caller: Caller) -> RecipeBuilder:
    return studio.builder_for(caller.session, caller.owner)


def _kept(studio: Studio, text: str, files: Mapping[str, bytes]) -> str:
    return pictures.kept(studio, text, files)


def _digest(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise Unknown("There is no such document.")
    return text


async def _form(request: Request, model: type[Any]) -> tuple[Any, dict[str, bytes]]:
    """JSON alone; or a multipart form with the JSON as `request`, and pictures that it names file:NAME."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await read(request, model), {}
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal() or len(announced) > 12 or int(announced) > BODY_MAX_BYTES:
        raise InputError("The form is larger than 64 MB, or does not say how large it is.", "Send pictures one by one.")
    files: dict[str, bytes] = {}
    text = b"{}"
    async with request.form(max_files=16, max_fields=4, max_part_size=1 << 20) as form:
        for name, part in form.multi_items():
            if isinstance(part, UploadFile):
                files[name] = await part.read()
            elif name == "request":
                text = part.encode()
            else:
                raise InputError(f"The form has a field {name[:40]!r} that is not known.", "Name the JSON request.")
    return parsed(model, text), files


V1 = "/api/v1"
OPERATIONS: list[Operation] = [
    Operation("GET", f"{V1}/conditions", conditions, "Every condition, its parameters and detectors", "read",
              gives=Conditions, group="What there is"),
    Operation("GET", f"{V1}/models", models, "Every model, and whether it is here", "read", gives=Models,
              group="What there is"),
    Operation("POST", f"{V1}/jobs", post_job, "Queue a recipe", "make", takes=JobRequest, gives=JobAnswer, group="Jobs"),
    Operation("GET", f"{V1}/jobs", get_jobs, "The jobs of this key", "read", gives=JobsAnswer, group="Jobs"),
    Operation("GET", f"{V1}/jobs/{{id}}", get_job, "One job, with its pictures when it is done", "read", gives=JobAnswer,
              group="Jobs"),
    Operation("GET", f"{V1}/jobs/{{id}}/events", job_events, "Its events as they come, until it is over", "read",
              media="text/event-stream", group="Jobs"),
    Operation("DELETE", f"{V1}/jobs/{{id}}", delete_job, "Stop it", "make", gives=JobAnswer, group="Jobs"),
    Operation("GET", f"{V1}/gallery", gallery, "The pictures of this key, newest first", "read", gives=views.Wall,
              query=(("text", "words of the prompt"), ("control", "key of a condition"),
                     ("before", "the id of the last picture of the page before"), ("n", "how many, 60 by default")),
              group="Pictures"),
    Operation("GET", f"{V1}/pictures/{{id}}.png", get_png, "A picture, its recipe inside", "read", media="image/png",
              group="Pictures"),
    Operation("GET", f"{V1}/pictures/{{id}}", get_about, "Its recipe", "read", gives=views.About, group="Pictures"),
    Operation("POST", f"{V1}/pictures", put_picture, "Keep a picture (the body) and name it by digest", "make",
              gives=Kept, group="Maps and documents"),
    Operation("POST", f"{V1}/detect", detect, "Find a map in a photo", "make", takes=DetectRequest, gives=Found,
              group="Maps and documents"),
    Operation("POST", f"{V1}/documents", put_document, "Keep a document: a container or OpenPose JSON (the body)", "make",
              gives=Document, group="Maps and documents"),
    Operation("GET", f"{V1}/documents/{{digest}}", get_document, "A document", "read", media="application/octet-stream",
              query=(("form", "openpose: people as OpenPose JSON"),), group="Maps and documents"),
    Operation("POST", f"{V1}/render", render, "A document as a ControlNet sees it", "make", takes=RenderRequest,
              media="image/png", group="Maps and documents"),
]  # fmt: skip
