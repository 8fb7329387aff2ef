"""The parent's end of the worker: starts it, feeds it from the queue, passes on its events, brings it back when it dies.

One thread does everything and sleeps in a blocking wait, so an idle studio costs nothing. A job that loses its worker
is queued once more, then fails. A job that does not stop within 15 s of being cancelled takes its worker with it.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from controlnet_core.domain.errors import NoSpace, StudioError
from controlnet_core.domain.job import Event, Job, State
from controlnet_core.execution.queue import Queue

CANCEL_MAX_S = 15.0
STOP_MAX_S = 8.0
FULL_S = 5.0
"""When the queue cannot note down that a job begins, it is asked again after this time."""
PAUSES_S = (0.0, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Waiting times before the worker is started again, by how often in a row it died before it was ready."""
_ROOT = Path(__file__).resolve().parents[2]
_log = logging.getLogger("studio.supervisor")

Tell = Callable[[str, Event], None]
Keep = Callable[[Job, tuple[bytes, ...]], tuple[str, ...]]


@dataclass(frozen=True)
class Status:
    """The worker as pages show it. `text` says what is wrong when it is broken."""

    state: Literal["stopped", "starting", "ready", "busy", "broken"]
    device: str = ""
    text: str = ""
    pid: int = 0


class Supervisor:
    """Keeps one worker alive on `queue`.

    `engine` is the import path of what builds the engine in the child. `tell(session, event)` hears every event and
    `keep(job, pngs)` keeps the pictures of a finished job and returns their ids; both are called in the supervisor's
    thread. A document that was found becomes a blob of the queue. `env` adds to the child's environment.
    """

    def __init__(
        self, queue: Queue, engine: str, *, keep: Keep, tell: Tell, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.queue = queue
        self.engine = engine
        self.status = Status("stopped")
        self._keep = keep
        self._tell = tell
        self._log = log
        self._env = dict(env or {})
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._lock = threading.Lock()
        self._telling = threading.RLock()  # one at a time reads the queue and tells what it read
        self._cancels: dict[str, float | None] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._job: Job | None = None
        self._ready = False
        self._full_until = 0.0

    def start(self) -> None:
        """Start the worker in the background and return at once. Jobs of an earlier life are queued again."""
        if self._thread is None:
            self.queue.recover()
            self.status = Status("starting")
            self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Something was submitted: look at the queue."""
        with suppress(OSError):  # full: it is going to wake up anyway; closed: it is over
            self._bell.send(b"!")

    def cancel(self, id: str, session: str | None = None) -> State:
        """Stop a job, waiting or running; returns its state now. Raises InputError when there is no such job."""
        with self._telling:
            state = self.queue.cancel(id, session)
            if state == "cancelled":
                self._say(self.queue.get(id).session, Event(id, "cancelled"))
                self._say_places()
        if state == "running":
            with self._lock:
                self._cancels.setdefault(id, None)
            self.wake()
        return state

    def stop(self) -> None:
        """End the worker within ten seconds; a job that runs is queued again for the next start."""
        self._stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join(STOP_MAX_S + 2)
        self.status = Status("stopped")

    def _supervise(self) -> None:
        early = 0
        while not self._stopping:
            try:
                self._serve_one_life()
            except Exception:
                _log.exception("the supervisor met something unexpected")
            early = 0 if self._ready else early + 1
            if not self._stopping:
                self.status = Status("starting")
                self._sleep(PAUSES_S[min(early, len(PAUSES_S) - 1)])

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            wait([self._ear], left)
            self._hush()

    def _serve_one_life(self) -> None:
        """Start a child and serve it until it ends."""
        connection, child = self._spawn()
        self._child = child
        self.status = Status("starting", pid=child.pid)
        self._ready = False
        try:
            while not self._stopping:
                self._feed(connection)
                for source in wait([connection, self._ear], self._patience()):
                    if source is self._ear:
                        self._hush()
                    else:
                        self._receive(connection)
                self._enforce(connection)
        except (EOFError, OSError):
            pass  # the child is gone
        finally:
            self._bury(connection, child)

    def _spawn(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            paths = [str(_ROOT), *filter(None, [self._env.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])]
            env = os.environ | self._env | {"PYTHONPATH": os.pathsep.join(paths)}
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                child = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "controlnet_core.execution.worker",
                        str(theirs.fileno()),
                        self.engine,
                        str(self._log),
                    ],
                    pass_fds=[theirs.fileno()],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        return Connection(ours.detach()), child

    def _feed(self, connection: Connection) -> None:
        if self._job is None and (job := self._claim()) is not None:
            self._job = job
            if not self._ready:
                self._say(job.session, Event(job.id, "loading", text="The worker is starting"))
            elif self.status.state == "ready":
                self.status = replace(self.status, state="busy")
            connection.send(("run", job))
            self._say_places()

    def _claim(self) -> Job | None:
        """The next job; none for a while on a disk so full that its beginning cannot be noted down: it waits on."""
        if time.monotonic() < self._full_until:
            return None
        try:
            return self.queue.claim()
        except NoSpace as error:
            self._full_until = time.monotonic() + FULL_S
            _log.error("the next job has to wait: %s", error)
            return None

    def _receive(self, connection: Connection) -> None:
        word, value = connection.recv()
        if word == "event":
            self._hear(value)
            return
        self._ready = True
        if word == "ready":
            state = "ready" if self._job is None else "busy"
            self.status = replace(self.status, state=state, device=value, text="")
        elif word == "broken":
            self.status = replace(self.status, state="broken", text=str(value))

    def _hear(self, event: Event) -> None:
        job = self._job
        if job is None or event.job != job.id:
            return
        if event.kind == "done":
            event = self._kept(job, event)
        if event.kind == "failed":
            self.queue.fail(job.id, StudioError(event.text, event.hint))
        elif event.kind == "cancelled":
            self.queue.cancelled(job.id)
        if event.kind in ("done", "failed", "cancelled"):
            self._job = None
            with self._lock:
                self._cancels.pop(job.id, None)
            if self.status.state == "busy":
                self.status = replace(self.status, state="ready")
        self._say(job.session, event)

    def _kept(self, job: Job, event: Event) -> Event:
        try:
            kept = (self.queue.blobs.put(event.found),) if event.found else self._keep(job, event.pictures)
        except StudioError as error:
            return Event(job.id, "failed", text=error.message, hint=error.hint, seconds=event.seconds)
        except Exception:
            _log.exception("the result of job %s could not be kept", job.id)
            return Event(
                job.id,
                "failed",
                text="The result could not be saved.",
                hint=f"Try again. If it happens again, data/studio.log says why, under job {job.id}.",
                seconds=event.seconds,
            )
        self.queue.done(job.id, kept)
        return replace(event, kept=kept)

    def _enforce(self, connection: Connection) -> None:
        """Pass on new cancels; kill the worker when the running job has not answered one for too long."""
        job = self._job
        with self._lock:
            for id in [id for id in self._cancels if job is None or id != job.id]:
                del self._cancels[id]
            if job is None or job.id not in self._cancels:
                return
            asked = self._cancels[job.id]
            if asked is None:
                self._cancels[job.id] = time.monotonic()
        if asked is None:
            connection.send(("cancel", job.id))
            if not self._ready:  # it has not begun: nobody has to wait for the engine to hear about it
                self._hear(Event(job.id, "cancelled"))
        elif time.monotonic() - asked > CANCEL_MAX_S:
            _log.warning("job %s did not stop within %.0f s: its worker is killed", job.id, CANCEL_MAX_S)
            if self._child is not None:
                self._child.kill()

    def _patience(self) -> float | None:
        with self._lock:
            asked = [at for at in self._cancels.values() if at is not None]
        until = [at + CANCEL_MAX_S for at in asked]
        if self._full_until > time.monotonic():
            until.append(self._full_until)
        return max(0.1, min(until) - time.monotonic() + 0.05) if until else None

    def _bury(self, connection: Connection, child: subprocess.Popen[bytes]) -> None:
        job, self._job = self._job, None
        if self._stopping:
            if job is not None:
                self.queue.put_back(job.id)
            self._ask_to_stop(connection)
        connection.close()
        try:
            child.wait(STOP_MAX_S if self._stopping else 2.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if job is not None and not self._stopping:
            self._bereave(job, child.returncode)

    def _ask_to_stop(self, connection: Connection) -> None:
        with suppress(OSError):  # it may be gone already
            connection.send(("stop", ""))

    def _bereave(self, job: Job, code: int) -> None:
        """Decide what becomes of a job whose worker died."""
        with self._lock:
            wanted = self._cancels.pop(job.id, False) is False
        if not wanted:
            self.queue.cancelled(job.id)
            self._say(job.session, Event(job.id, "cancelled"))
            return
        _log.warning("the worker died (exit status %s) during job %s", code, job.id)
        entry = self.queue.lost(job.id)
        if entry.state == "failed":
            self._say(job.session, Event(job.id, "failed", text=entry.text, hint=entry.hint))
        else:
            self._say(
                job.session, Event(job.id, "queued", ahead=entry.ahead, text="The worker died and is coming back")
            )

    def _say_places(self) -> None:
        """Tell everybody who waits how many are ahead now."""
        with self._telling:  # else a job cancelled meanwhile would hear of its place after its end
            for entry in self.queue.open():
                if entry.state == "queued":
                    self._say(entry.session, Event(entry.id, "queued", ahead=entry.ahead))

    def _say(self, session: str, event: Event) -> None:
        try:
            self._tell(session, event)
        except Exception:
            _log.exception("an event of job %s could not be passed on", event.job)

    def _hush(self) -> None:
        try:
            while self._ear.recv(4096):
                pass
        except BlockingIOError:
            pass
