"""Hands the queue's jobs to the workers, passes on their events, and brings workers back when they die.

A job goes to a free worker that has its model in memory, else to the one that has been free longest. One thread decides
everything and sleeps in a blocking wait, so an idle studio costs nothing; results are kept in the thread of the worker
that made them. A job that loses its worker is queued once more, then fails; it does not count, up to a bound, where the worker
was gone before it said anything of the job: a whole machine goes, and with it the worker that was to take over. A job that does
not stop within 15 s of being cancelled takes its worker with it. How a worker is reached is its `WorkerPort`'s business.

A worker that no job needs makes live frames, one worker at a time (see `live`): as soon as a job waits and no other worker is
free, the frame is dropped at its next step border, and the job goes first.
"""

from __future__ import annotations

import logging
import queue as queues
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from controlnet_core.domain.errors import Busy, InputError, NoSpace, StudioError
from controlnet_core.domain.job import Event, Job, State
from controlnet_core.execution.live import LiveLine, LiveSource
from controlnet_core.execution.port import Broken, Lost, Said, Waits, WorkerPort
from controlnet_core.execution.queue import Queue, worker_lost

CANCEL_MAX_S = 15.0
STOP_MAX_S = 8.0
FULL_S = 5.0
"""When the queue cannot note down that a job begins, it is asked again after this time."""
BUSY_S = 1.0
"""So does what became of a job, and a finished picture, while another program holds the queue's or the gallery's file."""
LENT_S = 2.0
"""How often it is looked whether a device that somebody borrowed is given back."""
UNHEARD_MAX = 4
"""So often a job may be handed to a worker that is gone before it says anything about it: no fault of the job's."""
EARLY_MAX = 2
"""A worker that died so often before it was ready promises nothing."""
GONE_S = 600.0
"""How long a worker whose machine is gone is still spoken of."""
PAUSES_S = (0.0, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Waiting times before a worker is started again, by how often in a row it died before it was ready."""
_COMING_BACK = "The worker died and is coming back"
_log = logging.getLogger("studio.workers")

Tell = Callable[[str, Event], None]
Keep = Callable[[Job, tuple[bytes, ...]], tuple[str, ...]]


@dataclass(frozen=True)
class Status:
    """A worker as pages show it: `job` is the id of what it does, `text` says what is wrong when it is broken, or what a
    worker that starts waits for.

    A worker that is "lent" has ended for as long as somebody else (a training) has its device, one that is "gone" for good,
    with its machine. `deaths` counts how often it was lost; `number` is its own among all that there ever were.
    """

    state: Literal["stopped", "starting", "ready", "busy", "broken", "lent", "gone"]
    device: str = ""
    text: str = ""
    pid: int = 0
    job: str = ""
    deaths: int = 0
    number: int = 0


NOBODY_DRAWS = "No device of the Ray cluster draws: pictures wait until a node with one joins."


def nobody_draws(statuses: Sequence[Status]) -> bool:
    """Whether there is no worker that could draw, now or later: of a cluster, all have gone with their machines, or none came."""
    return all(status.state == "gone" for status in statuses)


class _Worker:
    """What the dispatcher knows about one worker."""

    def __init__(self, port: WorkerPort, number: int) -> None:
        self.port = port
        self.status = Status("stopped", port.device.name, number=number)
        self.job: Job | None = None
        self.frame = ""  # the id of the live frame that it makes
        self.heard = False  # whether it said anything about its job
        self.asked: float | None = None  # when its job or frame was told to stop
        self.loaded: tuple[str, ...] = ()
        self.free_since = 0.0
        self.alive = False
        self.early = 0  # how often in a row it died before it was ready
        self.start_at = 0.0

    def now(self, **changes: object) -> None:
        """Change what pages see."""
        self.status = replace(self.status, job=self.job.id if self.job else "", **changes)  # pyright: ignore[reportArgumentType]

    @property
    def up(self) -> bool:
        """Whether it has said that it can take jobs, in this life."""
        return self.status.state in ("ready", "busy", "broken")

    @property
    def promises(self) -> bool:
        """Whether it can draw, or is going to, as far as anybody knows."""
        return self.status.state in ("ready", "busy") or (self.status.state == "starting" and self.early < EARLY_MAX)

    @property
    def free(self) -> bool:
        """Whether it waits for a job."""
        return self.job is None and not self.frame and self.status.state in ("ready", "broken")


class Dispatcher:
    """Keeps `workers` alive and at work on `queue`.

    `tell(session, event)` hears every event and `keep(job, pngs)` keeps the pictures of a finished job and returns their
    ids; both are called in several threads. A document that was found becomes a blob of the queue. `lent` says whether
    somebody else uses a worker's device now.
    """

    def __init__(
        self,
        queue: Queue,
        workers: Sequence[WorkerPort],
        *,
        keep: Keep,
        tell: Tell,
        lent: Callable[[WorkerPort], bool] = lambda _port: False,
    ) -> None:
        self.queue = queue
        self._workers = [_Worker(port, number) for number, port in enumerate(workers)]
        self._number = len(workers)
        self._adding = threading.Lock()
        self._keep = keep
        self._tell = tell
        self._lent = lent
        self._inbox: queues.SimpleQueue[tuple[_Worker, Said] | Callable[[], None] | str | None] = queues.SimpleQueue()
        self._live = LiveLine()
        self._overtaken = False  # the live frame was stopped for a newer one of its source
        self._telling = threading.RLock()  # one at a time reads the queue and tells what it read
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._full_until = 0.0
        self._unheard = Counter[str]()
        self._notes: deque[Callable[[], object]] = deque()  # what could not be noted down yet, in its order

    def start(self) -> None:
        """Start the workers in the background and return at once. Jobs of an earlier life are queued again."""
        if self._thread is None:
            self._note(self.queue.recover)
            for worker in self._workers:
                worker.now(state="starting")
            self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
            self._thread.start()

    def add(self, port: WorkerPort) -> None:
        """One more worker, from now on: a machine joined."""
        with self._adding:
            worker = _Worker(port, self._number)
            self._number += 1
            if self._thread is not None:
                worker.now(state="starting")
            self._workers = [*self._workers, worker]
        self.wake()

    def statuses(self) -> tuple[Status, ...]:
        """How each worker is, in the order of the devices."""
        return tuple(worker.status for worker in self._workers)

    @property
    def is_alive(self) -> bool:
        """Whether somebody hands out jobs."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Something was submitted, or a device given back: look at the queue."""
        self._inbox.put(None)

    def cancel(self, id: str, session: str | None = None) -> State:
        """Stop a job, waiting or running; returns its state now. Raises InputError when there is no such job."""
        with self._telling:
            state = self.queue.cancel(id, session)
            if state == "cancelled":
                self._say(self.queue.get(id).session, Event(id, "cancelled"))
                self._say_places()
        if state == "running":
            self._inbox.put(id)
        return state

    def want(self, source: LiveSource) -> None:
        """A live source has something new: ask it for a frame as soon as a device is free. From any thread."""
        self._inbox.put(lambda: self._live.want(source))

    def leave(self, source: LiveSource) -> None:
        """A live source wants nothing any more; its frame is dropped. From any thread."""
        self._inbox.put(lambda: self._drop(source))

    def stop(self) -> None:
        """End the workers within ten seconds; jobs that run are queued again for the next start."""
        self._stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join(STOP_MAX_S + 2)
        for worker in self._workers:
            worker.now(state="stopped")

    # ---- the dispatcher's thread

    def _dispatch(self) -> None:
        while not self._stopping:
            try:
                self._look_after_workers()
                self._note_all()
                self._hand_out()
                self._hand_out_frame()
                self._hear_all(self._patience_s())
                self._lose_patience()
            except Exception:
                _log.exception("the dispatcher met something unexpected")
                time.sleep(1.0)
        self._end()

    def _look_after_workers(self) -> None:
        """Start what is to be started, and let go of devices that somebody borrowed."""
        now = time.monotonic()
        self._forget_the_gone(now)
        for worker in self._workers:
            if worker.status.state == "gone":
                continue
            lent = self._lent(worker.port)
            if worker.alive:
                if lent and worker.job is None and worker.status.state != "lent":
                    worker.now(state="lent")
                    worker.port.stop()
            elif lent:
                worker.now(state="lent", pid=0)
            elif worker.start_at <= now:
                self._start(worker)

    def _forget_the_gone(self, now: float) -> None:
        with self._adding:
            self._workers = [
                one for one in self._workers if one.status.state != "gone" or now - one.free_since < GONE_S
            ]

    def _start(self, worker: _Worker) -> None:
        worker.loaded, worker.alive = (), True
        worker.now(state="starting", pid=0, text="")
        try:
            worker.port.start(lambda said: self._listen(worker, said))
        except OSError as error:
            self._inbox.put((worker, Lost(str(error))))

    def _hand_out(self) -> None:
        """Give jobs to workers for as long as there are both."""
        while (takers := self._takers()) and (job := self._claim(takers)) is not None:
            # The longest free of those that have its model, else of all.
            loaded = [one for one in takers if job.needs in one.loaded]
            worker = min(loaded or takers, key=lambda one: one.free_since)
            worker.job, worker.asked, worker.heard = job, None, False
            if worker.up:
                worker.now(state="busy" if worker.status.state == "ready" else worker.status.state)
            else:
                worker.now()
                self._say(job.session, Event(job.id, "loading", text="The worker is starting"))
            worker.port.run(job)
            self._say_places()

    def _hand_out_frame(self) -> None:
        """Give a live frame to a worker that no job needs; stop the one that is made where a job or a newer one waits for it."""
        at_work = next((worker for worker in self._workers if worker.frame), None)
        if at_work is not None:
            needed = self._is_needed()
            if at_work.asked is None and (needed or self._live.is_overtaken()):
                self._overtaken = not needed
                self._stop_frame(at_work)
            return
        free = [worker for worker in self._workers if worker.free]
        if not free:
            up = any(worker.up for worker in self._workers)
            self._live.wait("A picture of the queue is made first" if up else "The worker is starting")
            return
        job = self._live.next()
        if job is None:
            return
        # The one that made the last one has everything at hand.
        worker = next((one for one in free if job.needs in one.loaded), free[0])
        worker.frame, worker.asked, self._overtaken = job.id, None, False
        worker.port.run(job)

    def _is_needed(self) -> bool:
        """Whether a job waits that could begin if the live frame were not there."""
        if any(worker.free for worker in self._workers) or time.monotonic() < self._full_until or self._notes:
            return False
        with suppress(Busy):
            return self.queue.waits()
        return False

    def _stop_frame(self, worker: _Worker) -> None:
        worker.asked = time.monotonic()
        worker.port.cancel(worker.frame)

    def _drop(self, source: LiveSource) -> None:
        self._live.leave(source)
        made = self._live.made
        if made is not None and made.source is source:
            self._live.made = None
            for worker in self._workers:
                if worker.frame == made.job.id and worker.asked is None:
                    self._stop_frame(worker)

    def _takers(self) -> list[_Worker]:
        """The workers that can take a job now. Before the first is up, those that start take one each."""
        up = [worker for worker in self._workers if worker.up]
        # Where others can draw, nobody's job is for a worker that has just said that it cannot.
        sound = [worker for worker in self._workers if worker.promises]
        if any(worker.up for worker in sound):
            return [worker for worker in sound if worker.free]
        if up and not sound:
            return [worker for worker in up if worker.free]
        return [
            worker
            for worker in self._workers
            if worker.alive and worker.job is None and worker.status.state == "starting"
        ]

    def _claim(self, takers: Sequence[_Worker]) -> Job | None:
        """The next job; none for a while on a disk so full that its beginning cannot be noted down: it waits on."""
        if time.monotonic() < self._full_until or self._notes:
            return None
        try:
            return self.queue.claim({name for worker in takers for name in worker.loaded})
        except (NoSpace, Busy) as error:
            self._full_until = time.monotonic() + FULL_S
            _log.error("the next job has to wait: %s", error)
            return None

    def _hear_all(self, patience_s: float | None) -> None:
        """Wait for something to hear, then hear everything that is there."""
        try:
            heard = self._inbox.get(timeout=patience_s)
            while True:
                if isinstance(heard, str):
                    self._stop_job(heard)
                elif callable(heard):
                    heard()
                elif heard is not None:
                    self._hear(*heard)
                heard = self._inbox.get_nowait()
        except queues.Empty:
            pass

    def _hear(self, worker: _Worker, said: Said) -> None:
        if isinstance(said, Event):
            self._hear_event(worker, said)
        elif isinstance(said, Lost):
            self._worker_died(worker, said)
        elif isinstance(said, Waits):
            worker.now(text=said.reason)
        else:
            worker.early = 0
            worker.free_since = time.monotonic()
            if worker.status.state == "lent":
                return
            if isinstance(said, Broken):
                worker.now(state="broken", text=str(said.error))
            else:
                worker.loaded = said.loaded
                state = "ready" if worker.job is None else "busy"
                worker.now(state=state, device=said.device, pid=said.pid, text="")

    def _hear_event(self, worker: _Worker, event: Event) -> None:
        job = worker.job
        if worker.frame and event.job == worker.frame:
            if event.over:
                worker.frame, worker.asked = "", None
            self._live.hear(event, self._overtaken)
            return
        if job is None or event.job != job.id:
            return
        worker.heard = True
        if event.over:
            worker.job, worker.asked = None, None
            worker.now()
            self._note(lambda: self._end_job(job.session, event))
        else:
            self._say(job.session, event)

    def _end_job(self, session: str, event: Event) -> None:
        """Note down what became of a job, then tell it."""
        self._unheard.pop(event.job, None)
        if event.kind == "done":
            self.queue.done(event.job, event.kept)
        elif event.kind == "failed":
            self.queue.fail(event.job, StudioError(event.text, event.hint))
        else:
            self.queue.cancelled(event.job)
        self._say(session, event)

    def _note(self, write: Callable[[], object]) -> None:
        """Do what changes the queue; for as long as its file can be written by others only, it waits, in its order."""
        self._notes.append(write)
        self._note_all()

    def _note_all(self) -> None:
        while self._notes:
            try:
                self._notes[0]()
            except (Busy, NoSpace) as error:
                _log.error("what became of a job has to wait: %s", error)
                return
            except Exception:
                _log.exception("what became of a job could not be noted down")
            self._notes.popleft()

    def _stop_job(self, id: str) -> None:
        """Tell the worker of a job that runs to stop it."""
        worker = next((one for one in self._workers if one.job is not None and one.job.id == id), None)
        if worker is None:
            self._note(lambda: self._stop_stray(id))
        elif worker.asked is None:
            worker.asked = time.monotonic()
            worker.port.cancel(id)
            if not worker.up:  # it has not begun: nobody has to wait for the engine to hear about it
                self._hear_event(worker, Event(id, "cancelled"))

    def _stop_stray(self, id: str) -> None:
        """Stop a job that no worker has: it waits again since its worker died, or nobody knows of it."""
        with suppress(InputError):
            entry = self.queue.get(id)
            if entry.state == "queued":
                self.cancel(id)
            elif entry.state == "running":
                self.queue.cancelled(id)
                self._say(entry.session, Event(id, "cancelled"))

    def _lose_patience(self) -> None:
        """Kill workers whose job has not answered a cancel for too long."""
        for worker in self._workers:
            if worker.asked is not None and time.monotonic() - worker.asked > CANCEL_MAX_S:
                name = worker.job.id if worker.job is not None else worker.frame
                _log.warning("job %s did not stop within %.0f s: its worker is killed", name, CANCEL_MAX_S)
                worker.port.kill()

    def _patience_s(self) -> float | None:
        """How long nothing has to be done unless something is heard."""
        now = time.monotonic()
        until: list[float] = []
        for worker in self._workers:
            if worker.asked is not None:
                until.append(worker.asked + CANCEL_MAX_S)
            if worker.status.state == "lent":
                until.append(now + LENT_S)
            elif not worker.alive and worker.status.state != "gone":
                until.append(worker.start_at)
        if self._full_until > now:
            until.append(self._full_until)
        if self._notes:
            until.append(now + BUSY_S)
        return max(0.0, min(until) - now + 0.05) if until else None

    def _worker_died(self, worker: _Worker, lost: Lost) -> None:
        job, worker.job, worker.alive = worker.job, None, False
        frame, worker.frame = worker.frame, ""
        was_lent = worker.status.state == "lent"
        if not worker.up and not was_lent:
            worker.early += 1
        asked, worker.asked = worker.asked, None
        worker.start_at = time.monotonic() + PAUSES_S[min(worker.early, len(PAUSES_S) - 1)]
        deaths = worker.status.deaths + (not was_lent)
        worker.now(state="lent" if was_lent else "starting", pid=0, deaths=deaths)
        if lost.for_good:
            worker.free_since = time.monotonic()
            worker.now(state="gone", text=f"{worker.status.device} was lost: its machine left.")
        if frame:
            self._live.lost(worker_lost(), _COMING_BACK)
        if job is None:
            return
        if asked is not None:
            self._note(lambda: self._end_job(job.session, Event(job.id, "cancelled")))
            return
        _log.warning("the worker died (%s) during job %s", lost.reason, job.id)
        text = f"{worker.status.device} was lost, it begins again elsewhere" if lost.for_good else _COMING_BACK
        heard = worker.heard or self._unheard[job.id] >= UNHEARD_MAX
        self._unheard[job.id] += not heard
        self._note(lambda: self._lose_job(job, text, heard))

    def _lose_job(self, job: Job, text: str, heard: bool) -> None:
        if heard:
            entry = self.queue.lost(job.id)
        else:
            self.queue.put_back(job.id)
            entry = self.queue.get(job.id)
        if entry.state == "failed":
            self._say(job.session, Event(job.id, "failed", text=entry.text, hint=entry.hint))
        else:
            self._say(job.session, Event(job.id, "queued", ahead=entry.ahead, text=text))

    def _end(self) -> None:
        """Put jobs that run back, and end every worker."""
        for worker in self._workers:
            if worker.job is not None:
                with suppress(Busy, NoSpace):  # then the next start finds it
                    self.queue.put_back(worker.job.id)
                worker.job = None
            worker.port.stop()
        end = time.monotonic() + STOP_MAX_S
        self._wait_for_ends(end)
        for worker in self._workers:
            if worker.alive:
                worker.port.kill()
        self._wait_for_ends(end + 1.0)

    def _wait_for_ends(self, end: float) -> None:
        while any(worker.alive for worker in self._workers):
            try:
                heard = self._inbox.get(timeout=max(0.0, end - time.monotonic()))
            except queues.Empty:
                return
            if isinstance(heard, tuple) and isinstance(heard[1], Lost):
                heard[0].alive = False

    # ---- a worker's thread

    def _listen(self, worker: _Worker, said: Said) -> None:
        """What a worker says. A result is kept here: the other workers' jobs need not wait for the disk."""
        job = worker.job
        if isinstance(said, Event) and said.kind == "done" and job is not None and said.job == job.id:
            kept = self._kept(worker, job, said)
            if kept is None:
                return
            said = kept
        self._inbox.put((worker, said))

    def _kept(self, worker: _Worker, job: Job, event: Event) -> Event | None:
        """The last event of a job, whose result is kept as soon as the gallery can be written; none when the program ends
        before that: then the job is done again."""
        while not self._stopping:
            try:
                return self._kept_now(job, event)
            except Busy as error:
                _log.error("the result of job %s has to wait: %s", job.id, error)
                if worker.asked is not None:
                    return Event(job.id, "cancelled", seconds=event.seconds)
                time.sleep(BUSY_S)
        return None

    def _kept_now(self, job: Job, event: Event) -> Event:
        try:
            kept = (self.queue.blobs.put(event.found),) if event.found else self._keep(job, event.pictures)
        except Busy:
            raise
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
        return replace(event, kept=kept)

    # ---- telling, from any thread

    def _say_places(self) -> None:
        """Tell everybody who waits how many are ahead now."""
        with self._telling, suppress(Busy):  # else a job cancelled meanwhile would hear of its place after its end
            for entry in self.queue.open():
                if entry.state == "queued":
                    self._say(entry.session, Event(entry.id, "queued", ahead=entry.ahead))

    def _say(self, session: str, event: Event) -> None:
        try:
            self._tell(session, event)
        except Exception:
            _log.exception("an event of job %s could not be passed on", event.job)
