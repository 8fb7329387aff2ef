"""Transfers of /api/v1: new ControlNets from those that are here, made by a process of its own, watched and stopped."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain.errors import InputError
from webapp.api.guard import Caller
from webapp.api.routing import Operation, given, read
from webapp.api.v1.common import V1, Asked
from webapp.application import making, views
from webapp.application.library import ModelTask, Phase
from webapp.application.making import Making, Tool
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown


class TransferRequest(Asked):
    """What is made, of models by their ids; `name` is that of the result, `half` keeps it in 16 bits.

    `transfer` carries the ControlNet `source` from its base model `origin` ("inside": the one in its own file) over to the
    base model `target`, `extract` takes it out of a full checkpoint, `add-control` begins a fresh one for the base model `source`.
    """

    tool: Tool = "transfer"
    source: str
    target: str = ""
    origin: str = ""
    name: str
    half: bool = False


class TransferView(views.View):
    """How far it is: `done` of `total` bytes. `result` is the id of the new ControlNet when it is done."""

    name: str
    phase: Phase
    done: int
    total: int
    text: str
    hint: str
    result: str


class Transfers(views.View):
    """What is made, and what was since the start of the studio."""

    transfers: list[TransferView]


async def begin(studio: Studio, request: Request, _caller: Caller) -> Response:
    """Make a ControlNet."""
    asked = await read(request, TransferRequest)
    if asked.tool == "transfer" and not (asked.target and asked.origin):
        raise InputError(
            "A transfer needs target and origin.",
            "target is the base model to carry it to; origin the one that it was trained for, or inside.",
        )
    wanted = Making(**asked.model_dump())
    return given(_view(await to_thread.run_sync(making.begin, studio.library, wanted)), 202)


async def listed(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """All of them."""
    found = [studio.library.work(told["id"]) for told in studio.library.works()]
    made = [work for work in found if work is not None and work.id.startswith(making.PREFIX)]
    return given(Transfers(transfers=[_view(work) for work in made]))


async def one(studio: Studio, request: Request, _caller: Caller) -> Response:
    """How far one is."""
    return given(_view(_work(studio, request)))


async def stop(studio: Studio, request: Request, _caller: Caller) -> Response:
    """Stop it; what was written is removed."""
    work = _work(studio, request)
    studio.library.stop(work.id)
    return given(_view(work))


def _work(studio: Studio, request: Request) -> ModelTask:
    work = studio.library.work(making.PREFIX + request.path_params["name"])
    if work is None:
        raise Unknown("There is no such transfer.", "It may have ended before the studio was started.")
    return work


def _view(work: ModelTask) -> TransferView:
    done = work.phase == "done"
    told = {"phase": work.phase, "done": work.done, "total": work.total, "hint": work.hint}
    text, result = ("", work.text) if done else (work.text, "")
    return TransferView(name=work.id.removeprefix(making.PREFIX), text=text, result=result, **told)


OPERATIONS: list[Operation] = [
    Operation("POST", f"{V1}/transfers", begin, "Make a ControlNet from those that are here", "train", takes=TransferRequest,
              gives=TransferView, group="Transfers"),
    Operation("GET", f"{V1}/transfers", listed, "What is made, and what was", "train", gives=Transfers, group="Transfers"),
    Operation("GET", f"{V1}/transfers/{{name}}", one, "How far one is", "train", gives=TransferView, group="Transfers"),
    Operation("DELETE", f"{V1}/transfers/{{name}}", stop, "Stop it", "train", gives=TransferView, group="Transfers"),
]  # fmt: skip
