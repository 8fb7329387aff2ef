"""The routes of the Models page, under /studio/:

    GET  models/{token}                 {"rows", "sets", "works", "room"}: every model, the starter sets, what is being done, the
                                        folder and the bin
    GET  models/{token}/works           {"works"}: what is being done alone
    POST models/{token}/add             {"text", "kind"}: take up a model of the hub or of the folder; {"id", "text"}
    POST models/{token}/undo            bring back what was deleted last; {"text"}
    POST models/{token}/empty           remove what is in the bin for good
    POST models/{token}/{id}/predicts   {"prediction"}: "epsilon", "v_prediction", "sample", "" for what its file tells; {"text"}
    POST models/{token}/{id}/{deed}     download, stop, discard, delete, check; {"text"}
    POST models/{token}/sets/{id}/{deed}    download, stop: a whole starter set; {"text"}

`token` is that of a session's events. The checks before each route stand in `guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controlnet_core.domain.errors import InputError
from controlnet_core.models.catalog import Kind, Prediction
from webapp.application import validation
from webapp.application.library import ADDABLE, Library
from webapp.application.studio import Studio
from webapp.routes.guard import PRIVATE, Endpoint, RateLimit, json_body

DEEDS_PER_S = 5.0
DEEDS_BURST = 40.0


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route. `studio()` is asked with the first request, not before."""
    answers = _Answers(studio)
    return [
        ("GET", "/models/{token}", answers.models),
        ("GET", "/models/{token}/works", answers.works),
        ("POST", "/models/{token}/add", answers.add),
        ("POST", "/models/{token}/undo", answers.undo),
        ("POST", "/models/{token}/empty", answers.empty),
        ("POST", "/models/{token}/{id}/predicts", answers.predicts),
        ("POST", "/models/{token}/{id}/{deed}", answers.deed),
        ("POST", "/models/{token}/sets/{id}/{deed}", answers.set_deed),
    ]


class _Answers:
    """The answers; what may take long runs in threads of its own."""

    def __init__(self, studio: Callable[[], Studio]) -> None:
        self._studio = studio
        self._pace = RateLimit(DEEDS_PER_S, DEEDS_BURST)

    async def models(self, request: Request) -> Response:
        """Everything."""
        library = self._library(request)
        rows, room = await to_thread.run_sync(library.rows), await to_thread.run_sync(library.room)
        sets = await to_thread.run_sync(self._studio().sets.rows)
        return _json({"rows": rows, "sets": sets, "room": room, "works": library.works()})

    async def works(self, request: Request) -> Response:
        """What is being done."""
        return _json({"works": self._library(request).works()})

    async def add(self, request: Request) -> Response:
        """Take up a model."""
        library = self._library(request, changes=True)
        told = await json_body(request)
        text = validation.text(told.get("text"), 500, "The name")
        kind = validation.choice(told.get("kind") or "", ("", *ADDABLE), "The kind")
        card, sentence = await to_thread.run_sync(library.add, text, cast(Kind, kind) if kind else None)
        return _json({"id": card.id, "text": sentence, "here": library.catalog.installed(card)})

    async def undo(self, request: Request) -> Response:
        """Bring back what was deleted last."""
        place = await to_thread.run_sync(self._library(request, changes=True).undo)
        return _json({"text": f"{place} is back."})

    async def empty(self, request: Request) -> Response:
        """Empty the bin."""
        await to_thread.run_sync(self._library(request, changes=True).empty)
        return _json({"text": "The bin is empty."})

    async def predicts(self, request: Request) -> Response:
        """Say what a base model in a single file predicts."""
        library = self._library(request, changes=True)
        told = await json_body(request)
        what = validation.choice(told.get("prediction"), ("", *get_args(Prediction)), "What it predicts")
        prediction = cast(Prediction, what) if what else None
        return _json({"text": await to_thread.run_sync(library.set_prediction, request.path_params["id"], prediction)})

    async def deed(self, request: Request) -> Response:
        """Do something with a model."""
        library = self._library(request, changes=True)
        deed, id = request.path_params["deed"], request.path_params["id"]
        known: dict[str, Callable[[str], Any]] = {
            "download": library.download,
            "stop": library.stop,
            "discard": library.discard,
            "delete": library.delete,
            "check": lambda id: _sentence(library, id),
        }
        if deed not in known:
            raise InputError("There is no such thing to do with a model.")
        done = await to_thread.run_sync(known[deed], id)
        return _json({"text": done if isinstance(done, str) else ""})

    async def set_deed(self, request: Request) -> Response:
        """Fetch a starter set, or stop that."""
        self._library(request, changes=True)
        sets, deed = self._studio().sets, request.path_params["deed"]
        known: dict[str, Callable[[str], Any]] = {"download": sets.download, "stop": sets.stop}
        if deed not in known:
            raise InputError("There is no such thing to do with a starter set.")
        await to_thread.run_sync(known[deed], request.path_params["id"])
        return _json({"text": ""})

    def _library(self, request: Request, *, changes: bool = False) -> Library:
        studio, token = self._studio(), request.path_params["token"]
        studio.events.session_of_stream(token)
        if changes:
            self._pace.check(token)
        return studio.library


def _sentence(library: Library, id: str) -> str:
    verdict = library.check(library.catalog.card(id))
    return f"{verdict.sentence} {verdict.hint}".strip()


def _json(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers=PRIVATE)
