"""The worker: a child process that owns the device, builds the engine and runs one job at a time.

    python -m controlnet_core.execution.worker FD ENGINE LOG

FD is one end of a socket pair, ENGINE an import path such as "webapp.application.engine:build" whose call returns an `Engine`, LOG
the file for details. Over the socket come (word, value): ("run", Job), ("cancel", job id), ("stop", ""); back go
("ready", device), ("broken", StudioError) and ("event", Event). The process ends when the socket closes, so it never
outlives its parent. It queues nothing and knows no files but the log; `supervisor` is the other end.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from inspect import signature
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from controlnet_core.domain import document, picture
from controlnet_core.domain.errors import Cancelled, StudioError
from controlnet_core.domain.job import Engine, Event, Job, OnLoad, OnStep, Step
from controlnet_core.domain.recipe import Recipe
from controlnet_core.storage.gallery import alone, to_png

PREVIEW_GAP_S = 0.1
PREVIEW_SHARE = 0.2
"""Previews come at most ten times a second and take at most this share of the time."""
LOG_MAX_BYTES = 10 * 1024**2
_DOING = {"recipe": "making this picture", "detection": "looking at this photo"}
_log = logging.getLogger("studio.worker")


class Worker:
    """Runs what comes over `connection` on an engine that `build` makes."""

    def __init__(self, connection: Connection, engine: str) -> None:
        self._connection = connection
        self._path = engine
        self._engine: Engine | None = None
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopped: set[str] = set()
        self._stopping = False

    def serve(self) -> None:
        """Build the engine, then run jobs until told to stop."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        # A failure is told already. The next job tries again, when the user may have put the model in its place.
        with suppress(StudioError):
            self._built()
        while (job := self._inbox.get()) is not None:
            self._send("event", self._run(job))
            self._stopped.discard(job.id)

    def _listen(self) -> None:
        try:
            while True:
                word, value = self._connection.recv()
                if word == "run":
                    self._inbox.put(value)
                elif word == "cancel":
                    self._stopped.add(value)
                elif word == "stop":
                    self._stopping = True
                    self._inbox.put(None)
        except (EOFError, OSError):
            # The parent is gone. The sampling loop may be deep in native code: leave at once.
            os._exit(0)

    def _send(self, word: str, value: Any) -> None:
        try:
            self._connection.send((word, value))
        except OSError:
            os._exit(0)

    def _built(self) -> Engine:
        """The engine, built at the first call that succeeds."""
        if self._engine is None:
            try:
                self._engine = self._build()
            except StudioError as error:
                self._send("broken", error)
                raise
            self._send("ready", str(getattr(self._engine, "device", "")))
        return self._engine

    def _build(self) -> Engine:
        try:
            module, _, name = self._path.partition(":")
            return getattr(import_module(module), name)()
        except StudioError:
            raise
        except Exception as error:
            _log.exception("the engine %s could not be built", self._path)
            raise StudioError(
                "The engine could not start.", "The file studio.log in the data folder says why."
            ) from error

    def _run(self, job: Job) -> Event:
        """Run one job to its last event."""
        begun = time.monotonic()

        def event(kind: Any, **more: Any) -> Event:
            return Event(job.id, kind, seconds=round(time.monotonic() - begun, 3), **more)

        def loads(text: str, done: int = 0, total: int = 0) -> None:
            self._check(job)
            self._send("event", event("loading", text=text, step=done, steps=total))

        try:
            self._check(job)
            if self._engine is None:
                loads("Starting the engine")
            made = self._done(job, self._built(), self._on_step(job, event), loads)
            self._check(job)
            return event("done", **made)
        except Cancelled:
            return event("cancelled")
        except StudioError as error:
            _log.warning("job %s: %s", job.id, error, exc_info=True)
            return event("failed", text=error.message, hint=error.hint)
        except Exception:
            _log.exception("job %s failed", job.id)
            return event(
                "failed",
                text=f"Something went wrong while {_DOING[job.kind]}.",
                hint=f"Try again. If it happens again, data/studio.log says why, under job {job.id}.",
            )

    def _done(self, job: Job, engine: Engine, on_step: OnStep, on_load: OnLoad) -> dict[str, Any]:
        """Do a job's work; returns what its last event brings."""
        work = job.work
        if isinstance(work, Recipe):
            extra: dict[str, Any] = {"on_load": on_load} if "on_load" in signature(engine.run).parameters else {}
            pictures = engine.run(work, job.pictures, on_step, **extra)
            return {"pictures": tuple(to_png(rgb, alone(work, k)) for k, rgb in enumerate(pictures))}
        return {"found": document.encode(engine.detect(work, job.pictures[work.picture], on_load))}

    def _on_step(self, job: Job, event: Any) -> Any:
        free_at = 0.0

        def on_step(step: Step) -> None:
            nonlocal free_at
            self._check(job)
            preview, now = None, time.monotonic()
            if now >= free_at and step.step < step.steps:  # after the last step comes the picture itself
                preview = picture.to_jpeg(step.preview(), 85)
                cost = time.monotonic() - now
                free_at = now + max(PREVIEW_GAP_S, cost / PREVIEW_SHARE)
            self._send("event", event("step", step=step.step, steps=step.steps, preview=preview))

        return on_step

    def _check(self, job: Job) -> None:
        if self._stopping or job.id in self._stopped:
            raise Cancelled()


def main(fd: int, engine: str, log: str) -> None:
    """The child process."""
    # Ctrl-C in a terminal reaches the whole group: the parent decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size > LOG_MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    logging.basicConfig(filename=log, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    Worker(Connection(fd), engine).serve()
    logging.shutdown()
    # Device libraries may hang in their own clean-up; everything of ours is on the disk or sent.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
