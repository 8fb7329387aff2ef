"""The worker: a child process that owns one device, builds the engine and does one job at a time.

    python -m controlnet_core.execution.worker FD ENGINE DEVICE LOG

FD is one end of a socket pair, ENGINE an import path such as "webapp.application.engine:build", which is called with DEVICE
("cpu", "cuda", or "" for whatever it finds) and returns an `Engine`; LOG is the file for details. Over the socket come
(word, value): ("run", Job), ("cancel", job id), ("stop", ""); back goes what `port` knows as said: Ready, Broken, Event. The
process ends when the socket closes, so it never outlives its parent. It queues nothing and knows no files but the log;
`local_process` is the other end.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Engine, Event, Job
from controlnet_core.execution.execute import ENGINE_THREAD, execute, is_working
from controlnet_core.execution.port import Broken, Ready, Said
from controlnet_core.storage.log_file import LogFile

_log = logging.getLogger("studio.worker")


class Worker:
    """Does what comes over `connection` on an engine that is built for `device`."""

    def __init__(self, connection: Connection, engine: str, device: str) -> None:
        self._connection = connection
        self._path, self._device = engine, device
        self._engine: Engine | None = None
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopped: set[str] = set()
        self._stopping = False

    def serve(self) -> None:
        """Build the engine, then do jobs until told to stop."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        # A failure is told already. The next job tries again, when the user may have put the model in its place.
        with suppress(StudioError):
            self._built()
        while (job := self._inbox.get()) is not None:
            self._do(job)
            self._stopped.discard(job.id)
            if self._engine is not None:
                self._say_ready(self._engine)

    def _do(self, job: Job) -> None:
        if self._engine is None and not self._is_cancelled(job):
            self._say(Event(job.id, "loading", text="Starting the engine"))
            try:
                self._built()
            except StudioError as error:
                self._say(Event(job.id, "failed", text=error.message, hint=error.hint))
                return
        if self._engine is None:
            self._say(Event(job.id, "cancelled"))
            return
        for event in execute(job, self._engine, lambda: self._is_cancelled(job)):
            if event.kind == "failed" and not is_working(self._engine):
                _log.error("the device computes nothing more in this process, so it ends; job %s begins again", job.id)
                logging.shutdown()
                os._exit(1)
            self._say(event)

    def _is_cancelled(self, job: Job) -> bool:
        return self._stopping or job.id in self._stopped

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

    def _say(self, said: Said) -> None:
        try:
            self._connection.send(said)
        except OSError:
            os._exit(0)

    def _say_ready(self, engine: Engine) -> None:
        self._say(Ready(str(getattr(engine, "device", "")), tuple(engine.loaded()), os.getpid()))

    def _built(self) -> Engine:
        """The engine, built at the first call that succeeds."""
        if self._engine is None:
            try:
                self._engine = ENGINE_THREAD.submit(build, self._path, self._device).result()
            except StudioError as error:
                self._say(Broken(error))
                raise
            self._say_ready(self._engine)
        return self._engine


def build(path: str, device: str) -> Engine:
    """The engine of an import path on a device. Raises StudioError, whose details are logged."""
    try:
        module, _, name = path.partition(":")
        return getattr(_imported(module), name)(device)
    except StudioError:
        raise
    except Exception as error:
        _log.exception("the engine %s could not be built", path)
        raise StudioError("The engine could not start.", "The file studio.log in the data folder says why.") from error


def _imported(module: str) -> ModuleType:
    """A module with all that it imports, which stays: so the collector neither counts it meanwhile nor looks at it again. Looking
    through what torch and its libraries make takes 0.2 s, and the engine collects whenever it makes room."""
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def main(fd: int, engine: str, device: str, log: str) -> None:
    """The child process."""
    # Ctrl-C in a terminal reaches the whole group: the parent decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print goes where the log is, too, also when another process has begun a new one.
    logging.basicConfig(level=logging.WARNING, handlers=[LogFile(Path(log), also=(1, 2))])
    Worker(Connection(fd), engine, device).serve()
    logging.shutdown()
    # Device libraries may hang in their own clean-up; everything of ours is on the disk or sent.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
