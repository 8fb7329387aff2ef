"""Doing one job: from the job to its events, whoever carries them. Knows no process, no queue and no file.

for event in execute(job, engine, cancelled):
    send(event)
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from controlnet_core.domain import document, picture
from controlnet_core.domain.errors import Cancelled, StudioError
from controlnet_core.domain.job import Engine, Event, Job, Step
from controlnet_core.domain.recipe import Recipe
from controlnet_core.storage.metadata import alone, to_png

PREVIEW_GAP_S = 0.1
PREVIEW_SHARE = 0.2
"""Previews come at most ten times a second and take at most this share of the time."""
LIVE_QUALITY = 90
"""Of the JPEG of a live frame: at 256 px some 15 KB."""
_DOING = {"recipe": "making this picture", "detection": "looking at this photo"}
_log = logging.getLogger("studio.worker")

ENGINE_THREAD = ThreadPoolExecutor(1, thread_name_prefix="engine")
"""Where every engine of a process is built and works: libraries keep threads, caches and handles by the thread that asks."""


def execute(job: Job, engine: Engine, cancelled: Callable[[], bool]) -> Iterator[Event]:
    """The events of a job as it is done: what loads, the steps, and last what became of it (done, failed or cancelled).

    `cancelled()` is asked at every step, in the engine's thread. Who stops iterating stops the job at its next step. Raises
    nothing: what fails says so in its last event.
    """
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    left = threading.Event()
    work = _Execution(job, engine, lambda: left.is_set() or cancelled(), told.put)
    doing = ENGINE_THREAD.submit(work.do)
    try:
        while True:
            event = told.get()
            yield event
            if event.over:
                return
    finally:
        left.set()
        doing.result()


def is_working(engine: Engine) -> bool:
    """Whether the engine's device computes at all in this process; an engine that cannot tell (it has no `works`) does.

    After some errors of CUDA nothing does until the process is another one (torch.AcceleratorError): asked when a job failed.
    """
    return ENGINE_THREAD.submit(getattr(engine, "works", lambda: True)).result()


class _Execution:
    """One job on an engine; tells every event, and one last one whatever happens."""

    def __init__(self, job: Job, engine: Engine, cancelled: Callable[[], bool], tell: Callable[[Event], None]) -> None:
        self._job, self._engine, self._cancelled, self._tell = job, engine, cancelled, tell
        self._begun = time.monotonic()
        self._preview_at = 0.0

    def do(self) -> None:
        """Do it."""
        self._tell(self._last())

    def _last(self) -> Event:
        job = self._job
        try:
            self._check()
            made = self._made()
            self._check()
            return self._event("done", **made)
        except Cancelled:
            return self._event("cancelled")
        except StudioError as error:
            _log.warning("job %s: %s", job.id, error, exc_info=True)
            return self._event("failed", text=error.message, hint=error.hint)
        except Exception:
            _log.exception("job %s failed", job.id)
            return self._event(
                "failed",
                text=f"Something went wrong while {_DOING[job.kind]}.",
                hint=f"Try again. If it happens again, data/studio.log says why, under job {job.id}.",
            )

    def _made(self) -> dict[str, Any]:
        """Do the work; returns what the last event brings."""
        work, pictures = self._job.work, self._job.pictures
        if isinstance(work, Recipe):
            made = self._engine.run(work, pictures, self._on_step, self._on_load)
            if self._job.live:
                return {"pictures": tuple(picture.to_jpeg(rgb, LIVE_QUALITY) for rgb in made)}
            return {"pictures": tuple(to_png(rgb, alone(work, k)) for k, rgb in enumerate(made))}
        return {"found": document.encode(self._engine.detect(work, pictures[work.picture], self._on_load))}

    def _on_load(self, text: str, done: int = 0, total: int = 0) -> None:
        self._check()
        self._tell(self._event("loading", text=text, step=done, steps=total))

    def _on_step(self, step: Step) -> None:
        self._check()
        preview, now = None, time.monotonic()
        # After the last step comes the picture itself.
        if now >= self._preview_at and step.step < step.steps and not self._job.live:
            preview = picture.to_jpeg(step.preview(), 85)
            cost = time.monotonic() - now
            self._preview_at = now + max(PREVIEW_GAP_S, cost / PREVIEW_SHARE)
        self._tell(self._event("step", step=step.step, steps=step.steps, preview=preview))

    def _check(self) -> None:
        if self._cancelled():
            raise Cancelled()

    def _event(self, kind: Any, **more: Any) -> Event:
        return Event(self._job.id, kind, seconds=round(time.monotonic() - self._begun, 3), **more)
