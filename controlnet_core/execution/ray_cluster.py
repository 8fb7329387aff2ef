"""Workers in a Ray cluster, as the dispatcher sees them: one `RayWorker` for each device of each node.

    cluster = RayCluster("auto", "webapp.application.engine:build", log=..., read=blobs.get)
    cluster.connect()                       raises StudioError where there is none
    cluster.follow(dispatcher.add)          for each device that is there, and for those of nodes that join later

Imports no ray: a child process, `ray_bridge`, speaks to the cluster, and may die without the studio.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from controlnet_core.domain import picture
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event, Job, Work
from controlnet_core.domain.lending import Lent
from controlnet_core.execution.devices import Device
from controlnet_core.execution.edition import edition
from controlnet_core.execution.port import Broken, Hear, Lost, Ready, Said
from controlnet_core.execution.ray_host import Place

CONNECT_S = 60.0
AGAIN_S = 5.0
"""How long after its end there is a new bridge, where no worker asks for one before."""
_ROOT = Path(__file__).resolve().parents[2]
_log = logging.getLogger("studio.workers")


class RayCluster:
    """One cluster, and the bridge to it. Safe across threads.

    `read(digest)` gives the PNG of a picture that a job names; `lends(work)` the work as another machine understands it, and the
    models that it needs and this one has.
    """

    def __init__(
        self,
        address: str,
        engine: str,
        *,
        log: Path,
        read: Callable[[str], bytes],
        lends: Callable[[Work], tuple[Work, Sequence[Lent]]] = lambda work: (work, ()),
        environment: Mapping[str, str] | None = None,
        edition_of_studio: str = "",
    ) -> None:
        self.address, self.engine, self.read, self.lends = address, engine, read, lends
        self._on_join: Callable[[RayWorker], None] | None = None
        self._log, self._environment = log, dict(environment or {})
        self._edition = edition_of_studio or edition()
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._connection: Connection | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._workers: dict[str, RayWorker] = {}
        self._first: queue.SimpleQueue[StudioError | None] = queue.SimpleQueue()
        self._closed = False

    def connect(self) -> None:
        """Reach the cluster. Raises StudioError where there is none that can be used."""
        if find_spec("ray") is None:
            raise StudioError(
                "Ray is not installed here.",
                "Install it: pip install 'controlnet-studio[ray]', in a clone ray==2.60.*.",
            )
        self._bridge()
        try:
            refused = self._first.get(timeout=CONNECT_S)
        except queue.Empty:
            refused = StudioError(f"The Ray cluster {self.address} does not answer.", "studio.log says more.")
        if refused is not None:
            self.close()
            raise refused

    def follow(self, on_join: Callable[[RayWorker], None]) -> None:
        """Tell of each worker that there is, now and whenever one joins."""
        with self._lock:
            self._on_join = on_join
            for worker in self._workers.values():
                on_join(worker)

    def devices(self) -> tuple[Device, ...]:
        """Those that are part of the cluster now."""
        with self._lock:
            return tuple(worker.device for worker in self._workers.values())

    @property
    def pid(self) -> int:
        """The process that speaks to the cluster; 0 when there is none."""
        return self._child.pid if self._child is not None else 0

    def close(self) -> None:
        """End the bridge, and with it the actors."""
        self._closed = True
        with self._lock:
            if self._child is not None:
                with suppress(OSError):
                    self._child.kill()
                self._child.wait()

    def send(self, word: str, key: str, value: object) -> bool:
        """Tell the bridge; whether there is one."""
        with self._sending, suppress(OSError):
            if self._connection is not None:
                self._connection.send((word, key, value))
                return True
        return False

    def start(self, worker: RayWorker, hear: Hear) -> None:
        """Begin a life of a worker; raises OSError when no process can be made."""
        with self._lock:
            self._bridge()
            worker.begin(hear, self._connection)
        self.send("start", worker.place.key, None)

    def _bridge(self) -> None:
        """See to it that there is one."""
        with self._lock:
            if self._connection is not None or self._closed:
                return
            ours, theirs = socket.socketpair()
            with theirs:
                paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
                code = "from controlnet_core.execution.ray_bridge import main; main()"
                told = [str(theirs.fileno()), self.address, self.engine, str(self._log), self._edition]
                self._log.parent.mkdir(parents=True, exist_ok=True)
                with self._log.open("ab") as log:
                    self._child = subprocess.Popen(
                        [sys.executable, "-c", code, *told, json.dumps(self._environment)],
                        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                        pass_fds=[theirs.fileno()],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
            self._connection = Connection(ours.detach())
            threading.Thread(
                target=self._listen, args=(self._connection, self._child), name="ray bridge", daemon=True
            ).start()

    def _listen(self, connection: Connection, child: subprocess.Popen[bytes]) -> None:
        try:
            while True:
                self._hear(*connection.recv())
        except (EOFError, OSError):
            pass  # it is gone
        except Exception:
            _log.exception("what the cluster said could not be understood")
            child.kill()
        child.wait()
        with self._lock:
            self._connection = None
            with self._sending:
                connection.close()
            workers = list(self._workers.values())
        self._first.put(StudioError("The way to the Ray cluster was lost.", "studio.log says more."))
        for worker in workers:
            worker.lose(connection, f"the bridge ended with status {child.returncode}")
        self._bridge_again()

    def _bridge_again(self) -> None:
        """Have one even where no worker is left that would ask for it: nodes may join."""
        while not self._closed:
            time.sleep(AGAIN_S)
            try:
                self._bridge()
                return
            except OSError as error:
                _log.error("the way to the Ray cluster cannot be made: %s", error)

    def _hear(self, word: str, key: str, value: Any) -> None:
        if word == "said" and key in self._workers:
            self._workers[key].hear(value)
            if isinstance(value, Lost) and value.for_good:
                del self._workers[key]
        elif word == "refused":
            self._first.put(value)
            for worker in list(self._workers.values()):
                worker.hear(Broken(value))
        elif word == "places":
            self._take(value)

    def _take(self, places: tuple[Place, ...]) -> None:
        """Workers for the devices that are new, and none for those that are gone."""
        here = {place.key: place for place in places}
        with self._lock:
            new = [RayWorker(self, place) for key, place in here.items() if key not in self._workers]
            gone = [worker for key, worker in self._workers.items() if key not in here]
            self._workers |= {worker.place.key: worker for worker in new}
            if self._on_join is not None:
                for worker in new:
                    self._on_join(worker)
        self._first.put(None)
        for worker in gone:
            worker.hear(Lost("its node left the cluster", for_good=True))


class RayWorker:
    """The `WorkerPort` of one device of a node."""

    def __init__(self, cluster: RayCluster, place: Place) -> None:
        self.place = place
        self.device = Device(place.name)
        self._cluster = cluster
        self._hear: Hear | None = None
        self._bridge: Connection | None = None  # over which this life began
        self._ready: Ready | None = None
        self._lock = threading.Lock()

    def start(self, hear: Hear) -> None:
        """Begin a life; see `WorkerPort`."""
        self._cluster.start(self, hear)

    def begin(self, hear: Hear, bridge: Connection | None) -> None:
        """A life begins, over `bridge`."""
        with self._lock:
            self._hear, self._bridge = hear, bridge

    def lose(self, bridge: Connection, reason: str) -> None:
        """`bridge` ended. A life that has begun over the next one meanwhile goes on: lost here, it would begin twice."""
        with self._lock:
            mine = self._bridge is bridge
        if mine:
            self.hear(Lost(reason))

    def run(self, job: Job) -> None:
        """Do a job: it travels with its pictures as they are kept, not as they are in memory; those of live frames are not kept."""
        try:
            if job.live:
                pngs = {digest: picture.to_png(rgb) for digest, rgb in job.pictures.items()}
            else:
                pngs = {digest: self._cluster.read(digest) for digest in job.work.pictures}
            work, models = self._cluster.lends(job.work)
        except StudioError as error:
            self.hear(Event(job.id, "failed", text=error.message, hint=error.hint))
            if self._ready is not None:
                self.hear(self._ready)
            return
        bare = replace(job, work=work, pictures={})
        self._cluster.send("run", self.place.key, (bare, tuple(models), pngs))

    def cancel(self, id: str) -> None:
        """Stop a job at its next step."""
        self._cluster.send("cancel", self.place.key, id)

    def stop(self) -> None:
        """End after the step that runs now."""
        self._cluster.send("stop", self.place.key, None)

    def kill(self) -> None:
        """End at once."""
        self._cluster.send("kill", self.place.key, None)

    def hear(self, said: Said) -> None:
        """What it says, as the bridge passes it on. After `Lost` nothing comes until it is started again."""
        with self._lock:
            hear = self._hear
            if isinstance(said, Ready):
                self._ready = said
            if isinstance(said, Lost):
                self._hear = self._ready = None
        if hear is not None:
            hear(said)
