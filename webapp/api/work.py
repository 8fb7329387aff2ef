"""Waiting for jobs from the event loop: no thread is held, and who goes away takes the job along."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from anyio import to_thread
from starlette.requests import Request

from controlnet_core.domain.errors import StudioError
from controlnet_core.execution.queue import QueueEntry
from webapp.application import views
from webapp.application.studio import Studio

LOOK_S = 0.5
"""How often it is asked whether somebody still waits."""


class ClientGone(StudioError):
    """Nobody waits for the answer any more."""


async def finished(studio: Studio, job: str, request: Request | None = None) -> QueueEntry:
    """The entry of a job when it is over. A client that goes away meanwhile cancels it. Raises ClientGone."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def hear(_session: str, event: views.Event) -> None:
        if event.job == job and event.kind in ("done", "failed", "cancelled"):
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(over.set)

    end = studio.events.subscribe(hear)
    try:
        while True:
            entry = await to_thread.run_sync(studio.queue.get, job)
            if entry.over:
                return entry
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LOOK_S)
            if not over.is_set() and request is not None and await request.is_disconnected():
                await to_thread.run_sync(studio.cancel, job)
                raise ClientGone("The client went away.")
    finally:
        end()
