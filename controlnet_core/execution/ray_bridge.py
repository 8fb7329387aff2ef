"""Between the studio and a Ray cluster: a process of its own, the only place that imports ray. `ray_cluster` is its other end.

    python -c "from controlnet_core.execution.ray_bridge import main; main()" FD ADDRESS ENGINE LOG EDITION ENVIRONMENT

A process, because Ray ends the one that speaks to it when the machine's part of the cluster goes, and the studio must live on.
Over the socket come (word, key, value): "start", "run" (job, its models, pictures as PNG by digest), "cancel" (job id), "stop",
"kill" for the worker at the place `key`. Back goes ("places", "", places) whenever devices come or go, ("refused", "", StudioError)
where there is no cluster, and ("said", key, Said). One actor a device: Ray finds out that it died, and whoever is here starts
another.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from controlnet_core.domain.errors import ModelError, StudioError
from controlnet_core.domain.job import Event, Job
from controlnet_core.domain.lending import Lent
from controlnet_core.execution.port import Lost, Ready, Said, Waits
from controlnet_core.execution.ray_host import Host, Logged, Place, Wanted
from controlnet_core.storage.shelf import parcel_of, pieces

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Without a token whoever reaches Ray's ports runs what they like. To do without is to be asked for.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "4")  # seconds until a cluster that refuses us is taken at its word

# An optional library without types: by name, so that nobody has to have it who reads this.
ray: Any = import_module("ray")
errors: Any = import_module("ray.exceptions")
_affinity: Any = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy

LOOK_S = 1.0
"""How often it is looked whether nodes came or went."""
AGAIN_S = 5.0
"""How long a cluster that is not there is left alone."""
REACH_S = 3.0
PLACED_S = 10.0
"""How long an actor that has not begun is not spoken of."""
TOLD = "told to"
KEPT = 128
"""Pictures that stay in the object store, the newest: many jobs name the same ones."""
_log = logging.getLogger("studio.ray")


class Bridge:
    """Speaks for one studio to one cluster."""

    def __init__(
        self, connection: Connection, address: str, engine: str, edition: str, environment: Mapping[str, str]
    ) -> None:
        self.connection, self.address, self.engine = connection, address, engine
        self.edition, self.environment = edition, dict(environment)
        self._sending = threading.Lock()
        self._lives: dict[str, _Life] = {}
        self._places: dict[str, Place] = {}
        self._waiting: dict[str, list[tuple[str, Any]]] = {}  # what is asked of places before there is a cluster
        self._names: dict[str, str] = {}  # of nodes, as people read them
        self._blobs: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.RLock()
        self._connected = threading.Event()

    def serve(self) -> None:
        """Speak until the studio is gone."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        while not self._connect():
            time.sleep(AGAIN_S)
        while True:
            places = {place.key: place for place in self._found()}
            if places != self._places or not self._connected.is_set():
                self._places = places
                self.send("places", "", tuple(places.values()))
                self._connected.set()
                self._start_waiting()
            time.sleep(LOOK_S)

    def say(self, key: str, said: Said) -> None:
        """What a worker says."""
        self.send("said", key, said)

    def send(self, word: str, key: str, value: object) -> None:
        """Tell the studio; without it nothing is left to do."""
        try:
            with self._sending:
                self.connection.send((word, key, value))
        except OSError:
            os._exit(0)

    def ref(self, digest: str, png: bytes) -> Any:
        """A picture in the object store. Raises StudioError where it finds no room."""
        with self._lock:
            if digest not in self._blobs:
                try:
                    self._blobs[digest] = ray.put(png)
                except (errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
                    self._blobs.clear()
                    raise StudioError(
                        "The cluster's object store is full: this job's pictures find no room there.",
                        "Try again, or start the nodes with a larger one: ray start --object-store-memory BYTES.",
                    ) from error
            self._blobs.move_to_end(digest)
            while len(self._blobs) > KEPT:
                self._blobs.popitem(last=False)
            return self._blobs[digest]

    def _connect(self) -> bool:
        try:
            connect(self.address)
        except StudioError as error:
            self.send("refused", "", error)
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for key in waiting:
                self.say(key, Lost(error.message))
            return False
        return True

    def _listen(self) -> None:
        try:
            while True:
                word, key, value = self.connection.recv()
                with self._lock:
                    if word == "start":
                        self._start(key)
                    elif key in self._waiting:
                        self._waiting[key].append((word, value))
                    elif key in self._lives:
                        self._lives[key].tell(word, value)
        except (EOFError, OSError):
            os._exit(0)  # with it go the actors: they belong to this process

    def _start(self, key: str) -> None:
        if not self._connected.is_set():
            self._waiting[key] = []
            return
        place = self._places.get(key)
        if place is None:
            self.say(key, Lost("its node left the cluster", for_good=True))
            return
        self._lives[key] = _Life(self, place)

    def _start_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            for key, asked in waiting.items():
                self._start(key)
                for word, value in asked if key in self._lives else ():
                    self._lives[key].tell(word, value)

    def is_there(self, key: str) -> bool:
        """Whether a place is still part of the cluster."""
        return key in {place.key for place in self._found()}

    def _found(self) -> list[Place]:
        """The devices of the nodes that live: every GPU, of a node without one its processor, where it has any to give."""
        found: list[Place] = []
        for node in sorted(ray.nodes(), key=lambda node: node["NodeID"]):
            id, here = str(node["NodeID"]), node["Resources"]
            if not node["Alive"]:
                continue
            name = self._name(id, str(node["NodeManagerHostname"]).partition(".")[0])
            gpus, cores = int(here.get("GPU", 0)), int(here.get("CPU", 0))
            found += [Place(f"{id}:{k}", id, f"cuda:{k} on {name}", "cuda", 0) for k in range(gpus)]
            if not gpus and cores:
                found.append(Place(f"{id}:cpu", id, f"cpu on {name}", "cpu", cores))
        return found

    def _name(self, node: str, host: str) -> str:
        with self._lock:
            if node not in self._names:
                count = sum(name.partition(" #")[0] == host for name in self._names.values())
                self._names[node] = f"{host} #{count + 1}" if count else host
            return self._names[node]


class _Life:
    """One actor, from its start to its end. Only one thread says what it says, so that `Lost` comes last."""

    def __init__(self, bridge: Bridge, place: Place) -> None:
        self._bridge, self._place = bridge, place
        self._inbox: queue.SimpleQueue[tuple[Job, tuple[Lent, ...], Mapping[str, bytes]] | None] = queue.SimpleQueue()
        self._actor: Any = self._made()
        self._killed = False
        self._reason = TOLD
        self._ready: Ready | None = None
        threading.Thread(target=self._live, name=place.key, daemon=True).start()

    def tell(self, word: str, value: Any) -> None:
        """What the studio asks of it."""
        if word == "run":
            self._inbox.put(value)
        elif word == "kill":
            self._end()
        else:
            with suppress(errors.RayError):
                if word == "cancel":
                    self._actor.cancel.options(concurrency_group="control").remote(value)
                elif word == "stop":
                    self._actor.stop.options(concurrency_group="control").remote()
                    self._inbox.put(None)

    def _live(self) -> None:
        try:
            threading.Thread(target=self._watch, args=(self._actor,), name="watch", daemon=True).start()
            self._wait_for_place()
            for said in ray.get(self._actor.build.remote()):
                self._say(said)
            while not self._killed and (asked := self._inbox.get()) is not None:
                self._do(*asked)
        except (errors.RayError, ValueError) as error:
            self._reason = _reason(error)
        except Exception as error:
            _log.exception("%s: something unexpected", self._place.name)
            self._reason = str(error)
        self._end()
        if self._reason != TOLD:
            _log.warning("%s was lost: %s", self._place.name, self._reason)
        gone = not self._bridge.is_there(self._place.key)
        self._bridge.say(self._place.key, Lost(self._reason, for_good=gone))

    def _wait_for_place(self) -> None:
        """Until the actor is there, which takes its machine a moment, and for ever where others hold the place."""
        here = self._actor.here.options(concurrency_group="control").remote()
        try:
            ray.get(here, timeout=PLACED_S)
        except errors.GetTimeoutError:
            held = "another program of the cluster holds it, such as another studio, or it is very busy."
            self._bridge.say(self._place.key, Waits(f"{self._place.name} does not begin: {held}"))
            ray.get(here)

    def _made(self) -> Any:
        """The actor, on its node. What it needs there is Ray's to keep apart from other programs' work."""
        place = self._place
        needs: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if place.kind == "cuda" else {"num_cpus": 1}
        actor = ray.remote(
            **needs,
            scheduling_strategy=on_node(place.node),
            concurrency_groups={"control": 1, "watch": 1, "models": 1},
            max_restarts=0,
        )(Host)
        bridge = self._bridge
        return actor.remote(bridge.engine, place, bridge.environment, bridge.edition)

    def _watch(self, actor: Any) -> None:
        """Wake whoever waits for the next job when the actor is gone."""
        try:
            ray.get(actor.watch.options(concurrency_group="watch").remote())
        except (errors.RayError, ValueError) as error:
            if not self._killed:
                self._reason = _reason(error)
        self._killed = True
        self._inbox.put(None)

    def _do(self, job: Job, models: tuple[Lent, ...], pngs: Mapping[str, bytes]) -> None:
        """Do a job. What it fails of on the way is said here, and that the worker is free again."""
        try:
            refs = [self._bridge.ref(digest, png) for digest, png in pngs.items()]
            happening = self._actor.run.options(num_returns="streaming").remote(job, models, tuple(pngs), *refs)
            for ref in happening:
                said = ray.get(ref)
                if isinstance(said, Wanted):
                    lent = next(one for one in models if one.id == said.id)
                    threading.Thread(target=self._lend, args=(lent, said.digest), name="lend", daemon=True).start()
                else:
                    self._say(said)
        except StudioError as error:
            self._fail(job, error)
        except (errors.ObjectStoreFullError, errors.OutOfDiskError, errors.RayTaskError) as error:
            if isinstance(error, errors.RayActorError):
                raise
            _log.error("%s: job %s: %s", self._place.name, job.id, error)
            full = isinstance(error, (errors.ObjectStoreFullError, errors.OutOfDiskError)) or "ObjectStoreFull" in str(
                error
            )
            text = "The cluster's object store is full." if full else "Something went wrong on the way to the device."
            hint = f"Try again. If it happens again, data/studio.log says why, under job {job.id}."
            self._fail(job, StudioError(text, hint))

    def _lend(self, lent: Lent, digest: str) -> None:
        """Tell the actor what a model is made of, or, by its `digest`, send it, as fast as it is written."""

        def ask(method: str, *given: Any) -> Any:
            return ray.get(getattr(self._actor, method).options(concurrency_group="models").remote(*given))

        try:
            try:
                parcel = parcel_of(lent.place)
                if not digest:
                    ask("offer", lent.id, parcel)
                elif parcel.digest != digest:
                    raise ModelError(f"{lent.title} was changed while it was sent.", "Try again.")
                else:
                    # One piece after the other: two that travel together may arrive in another order.
                    for path, data in pieces(lent.place, parcel):
                        if not ask("add", digest, path, data):
                            return
            except Exception as error:
                if isinstance(error, errors.RayActorError):
                    raise
                _log.warning("%s: %s was not sent: %s", self._place.name, lent.title, _reason(error))
                unknown = StudioError(f"{lent.title} could not be sent.", "Try again; data/studio.log says why.")
                said = error if isinstance(error, StudioError) else unknown
                ask("refuse", digest, said) if digest else ask("offer", lent.id, said)
        except errors.RayError:
            pass  # it is gone, as whoever hears of its job will learn

    def _fail(self, job: Job, error: StudioError) -> None:
        self._say(Event(job.id, "failed", text=error.message, hint=error.hint))
        if self._ready is not None:
            self._say(self._ready)

    def _say(self, said: Said | Logged) -> None:
        if isinstance(said, Logged):
            _log.warning("%s: %s", self._place.name, said.text)
        else:
            self._ready = said if isinstance(said, Ready) else self._ready
            self._bridge.say(self._place.key, said)

    def _end(self) -> None:
        self._killed = True
        with suppress(errors.RayError, ValueError):
            ray.kill(self._actor)


def connect(address: str) -> None:
    """Become part of the cluster at `address` ("auto": the one that this machine is part of). Raises StudioError."""
    _check_token()
    named = address if address != "auto" else os.environ.get("RAY_ADDRESS") or "auto"
    host, _, port = named.rpartition(":")
    if named != "auto" and not _answers(host, port):
        raise StudioError(
            f"There is no Ray cluster at {named[:80]}.",
            "Start one with ray start --head, or name another: studio run --ray HOST:PORT.",
        )
    try:
        ray.init(named, namespace="studio", log_to_driver=False, configure_logging=False)
    except Exception as error:
        raise _no_cluster(named, error) from error


def on_node(id: str) -> Any:
    """The wish to run on one node and no other."""
    return _affinity(id, soft=False)


def ray_data() -> Any:
    """Ray's part for data, which takes seconds to import."""
    return import_module("ray.data")


def ray_train() -> tuple[Any, Any]:
    """Ray's part for training, and its torch side."""
    return import_module("ray.train"), import_module("ray.train.torch")


def _check_token() -> None:
    """The token opens the whole cluster: nobody else on this machine may read it."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if os.environ["RAY_AUTH_MODE"].lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(0o600)
            _log.warning("%s could be read by others; it cannot any more", path)
    except FileNotFoundError as error:
        raise StudioError(
            f"There is no token for the Ray cluster at {path}.",
            "Copy the file that the cluster was started with; ray get-auth-token --generate makes a new one.",
        ) from error
    except OSError as error:
        raise StudioError(
            f"The token of the Ray cluster can be read by others, and {path} cannot be changed.",
            f"Change it: chmod 600 {path}",
        ) from error


def _answers(host: str, port: str) -> bool:
    try:
        with socket.create_connection((host.strip("[]"), int(port)), REACH_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def _no_cluster(named: str, error: Exception) -> StudioError:
    """Why there is none, in a sentence."""
    _log.error("the cluster %s: %s", named, error)
    text, cause = "", error
    while cause is not None:
        text, cause = f"{text} {cause}", cause.__cause__ or cause.__context__
    here = "on this machine" if named == "auto" else f"at {named[:80]}"
    if "uthentic" in text or "AuthToken" in text or "auth token" in text:
        return StudioError(
            f"The Ray cluster {here} does not know our token.",
            "RAY_AUTH_TOKEN_PATH names the file of the cluster's own; it is the same on every node.",
        )
    if "ersion mismatch" in text:
        return StudioError(
            f"The Ray cluster {here} runs another Python or another Ray.",
            f"Install Ray {ray.__version__} and Python {sys.version.split()[0]} on every node.",
        )
    if named == "auto":
        return StudioError(
            "This machine is part of no Ray cluster.", "Start one: ray start --head, or join one: ray start --address."
        )
    return StudioError(
        f"The Ray cluster {here} cannot be used from here.",
        f"This machine has to be part of it: ray start --address {named} --num-cpus 0; studio.log says more.",
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def main() -> None:
    """The process's own end."""
    fd, address, engine, log, edition, environment = sys.argv[1:7]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the studio decides when this ends
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=log, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    Bridge(Connection(int(fd)), address, engine, edition, json.loads(environment)).serve()
