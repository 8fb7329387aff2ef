"""Jobs of /api/v1: a recipe is queued, watched, stopped. A job lives although nobody listens; a key sees its own alone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Literal, cast

from anyio import to_thread
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.queue import QueueEntry
from webapp.api.guard import Caller, check_limits
from webapp.api.routing import Operation, given
from webapp.api.v1.common import V1, form, stream
from webapp.api.v1.pictures import addressed
from webapp.api.v1.recipes import JobRequest, recipe_of
from webapp.application import jobs, validation, views
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown

BEAT_S = 15.0


class JobAnswer(views.Job):
    """A job; `seed` and `recipe` (as JSON) are those that it was queued with.

    `said` stands in the answer that queued it: what its finished maps were taken for, and what of a pose was left out.
    """

    seed: int | None
    recipe: str | None
    said: list[str] = Field([])


class JobsAnswer(views.View):
    """The jobs of a key: those that run or wait, then the last that ended."""

    open: list[JobAnswer]
    over: list[JobAnswer]


async def post_job(studio: Studio, request: Request, caller: Caller) -> Response:
    """Queue a recipe."""
    asked, files = await form(request, JobRequest)
    return given(await to_thread.run_sync(_submitted, studio, caller, asked, files), 202)


def _submitted(studio: Studio, caller: Caller, asked: JobRequest, files: Mapping[str, bytes]) -> JobAnswer:
    if asked.id is not None:
        with suppress(InputError):  # the same job again: nothing is drawn anew
            return _answer(studio, _own(studio, caller, validation.job_id(asked.id)))
    if caller.key is not None:
        check_limits(studio, caller.key, max(1, asked.images))
    said: list[str] = []
    recipe = recipe_of(studio, studio.builder_for(caller.session, caller.owner), asked, files, caller.owner, said)
    job = studio.submit(
        caller.session, recipe, owner=caller.owner, id=asked.id or secrets.token_hex(16), lifetime="detached"
    )
    return _answer(studio, studio.queue.get(job)).model_copy(update={"said": said})


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
    return await stream(caller, _follow(studio, entry))


async def _follow(studio: Studio, entry: QueueEntry) -> AsyncGenerator[bytes]:
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


def _ended(studio: Studio, entry: QueueEntry) -> views.Event:
    kind = cast("Literal['done', 'failed', 'cancelled']", entry.state)
    made = studio.pictures(entry.kept) if entry.kind == "recipe" else []
    return views.Event(job=entry.id, kind=kind, pictures=made, text=entry.text, hint=entry.hint)


def _event(event: views.Event) -> bytes:
    shown = event.model_copy(update={"pictures": [addressed(one) for one in event.pictures]})
    return f"data: {shown.model_dump_json()}\n\n".encode()


def _answer(studio: Studio, entry: QueueEntry) -> JobAnswer:
    recipe = Recipe.model_validate_json(entry.work) if entry.kind == "recipe" else None
    view = jobs.view(studio, entry)
    told: dict[str, Any] = view.model_dump() | {"pictures": [addressed(one) for one in view.pictures]}
    return JobAnswer(**told, seed=recipe.seed if recipe else None, recipe=recipe.to_json() if recipe else None)


def _own(studio: Studio, caller: Caller, id: str) -> QueueEntry:
    try:
        entry = studio.queue.get(validation.job_id(id))
    except InputError as error:
        raise Unknown(error.message, error.hint) from error
    if entry.owner != caller.owner:
        raise Unknown("There is no such job.", "It may have ended long ago.")
    return entry


OPERATIONS: list[Operation] = [
    Operation("POST", f"{V1}/jobs", post_job, "Queue a recipe", "make", takes=JobRequest, gives=JobAnswer, group="Jobs"),
    Operation("GET", f"{V1}/jobs", get_jobs, "The jobs of this key", "read", gives=JobsAnswer, group="Jobs"),
    Operation("GET", f"{V1}/jobs/{{id}}", get_job, "One job, with its pictures when it is done", "read", gives=JobAnswer,
              group="Jobs"),
    Operation("GET", f"{V1}/jobs/{{id}}/events", job_events, "Its events as they come, until it is over", "read",
              media="text/event-stream", group="Jobs"),
    Operation("DELETE", f"{V1}/jobs/{{id}}", delete_job, "Stop it", "make", gives=JobAnswer, group="Jobs"),
]  # fmt: skip
