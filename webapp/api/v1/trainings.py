"""Trainings of /api/v1: a ControlNet is trained by a process of its own, watched, told to wait, stopped. One at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Literal

from anyio import to_thread
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain.errors import InputError
from controlnet_core.training import run as runs
from controlnet_core.training.run import Config, Outline, Run
from webapp.api.guard import Caller
from webapp.api.routing import Operation, given, read
from webapp.api.v1.common import V1, Asked, stream
from webapp.application import views
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.application.trainings import BUILT_IN, suggested

LOOK_S = 1.0
BEATS = 15
"""Looks without news until a listener hears that the connection still stands."""


class DataRequest(Asked):
    """What is learnt from: `source` is "circles", "world", "gallery" (this key's own) or a folder of data/datasets by its name."""

    source: str
    pairs: int = 0
    held_out: int = 4
    bad: Literal["refuse", "skip"] = "refuse"
    size: int | None = None
    buckets: bool = False
    cache: bool = True


class TrainingRequest(Asked):
    """A training in the words of docs/training.md; what is left out is what suits the base model.

    The name of one that is over, with the same model and data, goes on from its checkpoint.
    """

    name: str
    title: str = ""
    base: str
    control: str
    start: str = "fresh"
    data: DataRequest
    training: dict[str, Any] = Field({})
    watch: dict[str, Any] = Field({})


class WishRequest(Asked):
    """What is wanted of a training: "wait" makes room until "run"; one that is over goes on."""

    wish: Literal["run", "wait"]


class CurvePoint(views.View):
    """The mean of some steps of the curve; numbers that are none are left out."""

    step: int
    loss: float | None
    norm: float | None
    rate: float | None


class TrainingView(views.View):
    """Where a training stands; `result` is the id of its ControlNet when there is one."""

    name: str
    title: str
    base: str
    control: str
    state: runs.State
    step: int
    steps: int
    seconds: float
    device: str
    memory_mib: int
    text: str
    hint: str
    result: str


class TrainingAnswer(TrainingView):
    """The same with its curve in at most 480 points, and the addresses of its samples by step."""

    curve: list[CurvePoint]
    samples: dict[str, list[str]]


class Trainings(views.View):
    """Every training, the newest first, and what can be learnt from."""

    trainings: list[TrainingView]
    sources: list[str]


async def start(studio: Studio, request: Request, caller: Caller) -> Response:
    """Start one, or go on with one."""
    asked = await read(request, TrainingRequest)

    def begin() -> TrainingView:
        return _view(studio.trainings.start(config_of(studio, asked, caller.owner), caller.owner))

    return given(await to_thread.run_sync(begin), 202)


def config_of(studio: Studio, asked: TrainingRequest, owner: str) -> Config:
    """The configuration that a request means. Raises InputError naming the first wrong field."""
    base, control = studio.catalog.card(asked.base), studio.control(asked.control)
    if not control.trains:
        raise InputError(f"{control.title} cannot be trained here.", "Choose another control.")
    sources = _sources(studio, owner)
    if asked.data.source not in sources:
        raise InputError(
            f"There is no data called {asked.data.source[:80]!r}.", f"Known: {', '.join(sources)}; see data/datasets."
        )
    steps = asked.training.get("steps")
    suits = suggested(base, steps if type(steps) is int and steps > 0 else 10_000)
    data = asked.data.model_dump() | {"source": sources[asked.data.source], "size": asked.data.size}
    data["size"] = asked.data.size if asked.data.size is not None else min(base.defaults.width, 512)
    if asked.data.source == "gallery":
        data["owner"] = owner
    watch = {"sample_steps": min(20, base.defaults.steps), "guidance": base.defaults.guidance}
    try:
        return Config.model_validate(
            asked.model_dump(include={"name", "title", "base", "control", "start"})
            | {"data": data, "training": suits | asked.training, "watch": watch | asked.watch}
        )
    except ValidationError as error:
        raise runs.refusal(error) from error


async def listed(studio: Studio, _request: Request, caller: Caller) -> Response:
    """Every training that this key sees: its own, what others share, and what is nobody's."""

    def found() -> Trainings:
        known: list[TrainingView] = []
        for run in studio.trainings.seen(caller.owner):
            with suppress(InputError):  # a folder that somebody damaged hides no other
                known.append(_view(run))
        return Trainings(trainings=known, sources=list(_sources(studio, caller.owner)))

    return given(await to_thread.run_sync(found))


async def one(studio: Studio, request: Request, caller: Caller) -> Response:
    """One with its curve and samples."""

    def found() -> TrainingAnswer:
        run = _run(studio, request, caller)
        points = [
            CurvePoint(step=one.step, loss=_number(one.loss), norm=_number(one.norm), rate=_number(one.rate))
            for one in Outline(run).update()
        ]
        at = f"{V1}/trainings/{run.name}/samples"
        samples = {str(look.step): [f"{at}/{file.name}" for file in look.files] for look in run.looks()}
        return TrainingAnswer(**_view(run).model_dump(), curve=points, samples=samples)

    return given(await to_thread.run_sync(found))


async def sample(studio: Studio, request: Request, caller: Caller) -> Response:
    """A sample as PNG."""

    def found() -> bytes:
        run, file = _run(studio, request, caller), request.path_params["file"]
        known = (path for look in run.looks() for path in look.files)
        path = next((path for path in known if path.name == file), None)
        if path is None:
            raise Unknown("There is no such picture.")
        return path.read_bytes()

    return Response(await to_thread.run_sync(found), media_type="image/png")


async def wish(studio: Studio, request: Request, caller: Caller) -> Response:
    """Make it wait, or go on."""
    asked = await read(request, WishRequest)

    def say() -> TrainingView:
        run = _run(studio, request, caller)
        if asked.wish == "run" and not run.alive():
            return _view(studio.trainings.start(run.config(), caller.owner))
        studio.trainings.want(run, asked.wish, caller.owner)
        return _view(run)

    return given(await to_thread.run_sync(say))


async def stop(studio: Studio, request: Request, caller: Caller) -> Response:
    """Stop it after the step that runs; its checkpoint stays."""

    def say() -> TrainingView:
        run = _run(studio, request, caller)
        studio.trainings.want(run, "stop", caller.owner)
        return _view(run)

    return given(await to_thread.run_sync(say))


async def events(studio: Studio, request: Request, caller: Caller) -> Response:
    """Server-sent events: where it stands, whenever that changes, until it is over."""
    run = await to_thread.run_sync(_run, studio, request, caller)
    return await stream(caller, _follow(studio, run))


async def _follow(studio: Studio, run: Run) -> AsyncGenerator[bytes]:
    told, silent = None, 0
    while not studio.events.closed:
        view = await to_thread.run_sync(_view, run)
        if view != told:
            told, silent = view, 0
            yield f"data: {view.model_dump_json()}\n\n".encode()
            if view.state in runs.OVER:
                return
        elif silent == BEATS:
            silent = 0
            yield b": still here\n\n"
        silent += 1
        await asyncio.sleep(LOOK_S)


def _run(studio: Studio, request: Request, caller: Caller) -> Run:
    try:
        return studio.trainings.run(request.path_params["name"], caller.owner)
    except InputError as error:
        raise Unknown(error.message, error.hint) from error


def _sources(studio: Studio, owner: str) -> Mapping[str, str]:
    """What can be learnt from: a folder by its name, never by a path."""
    return {key if key in BUILT_IN else title: key for key, title in studio.trainings.sources(owner).items()}


def _view(run: Run) -> TrainingView:
    config, status = run.config(), run.status()
    about = {key: getattr(config, key) for key in ("title", "base", "control")}
    fields = set(TrainingView.model_fields) - {"name", *about}
    return TrainingView(name=run.name, **about, **{key: getattr(status, key) for key in fields})


def _number(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


OPERATIONS: list[Operation] = [
    Operation("POST", f"{V1}/trainings", start, "Train a ControlNet, or go on with one", "train", takes=TrainingRequest,
              gives=TrainingView, group="Trainings"),
    Operation("GET", f"{V1}/trainings", listed, "Every training, and what can be learnt from", "train", gives=Trainings,
              group="Trainings"),
    Operation("GET", f"{V1}/trainings/{{name}}", one, "One with its curve and samples", "train", gives=TrainingAnswer,
              group="Trainings"),
    Operation("GET", f"{V1}/trainings/{{name}}/events", events, "Where it stands, as that changes, until it is over", "train",
              media="text/event-stream", group="Trainings"),
    Operation("GET", f"{V1}/trainings/{{name}}/samples/{{file}}", sample, "A sample", "train", media="image/png",
              group="Trainings"),
    Operation("POST", f"{V1}/trainings/{{name}}/wish", wish, "Make it wait, or go on", "train", takes=WishRequest,
              gives=TrainingView, group="Trainings"),
    Operation("DELETE", f"{V1}/trainings/{{name}}", stop, "Stop it; its checkpoint stays", "train", gives=TrainingView,
              group="Trainings"),
]  # fmt: skip
