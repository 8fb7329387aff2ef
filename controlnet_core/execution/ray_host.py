"""The far end of a worker in a Ray cluster: an actor's body, which owns one device of a node and does one job at a time there.

Imports no ray: `ray_bridge` makes an actor of it. Like `worker`, it queues nothing; what it logs travels with the events, since
the studio's log is on another machine. Models that a job needs and its node has not are asked for, and kept (`storage.shelf`).
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import Cancelled, ModelMissing, StudioError
from controlnet_core.domain.job import Engine, Event, Job, OnLoad, OnStep
from controlnet_core.domain.lending import Borrower, Lent, Parcel
from controlnet_core.domain.options import SentModels
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.devices import PATIENT
from controlnet_core.execution.edition import edition
from controlnet_core.execution.execute import ENGINE_THREAD, execute, is_working
from controlnet_core.execution.port import Broken, Ready
from controlnet_core.execution.worker import build
from controlnet_core.storage.shelf import Receipt, Shelf, parcel_of

LOOK_S = 0.1
STALLED_S = 60.0
"""How long nothing of a model comes before it is given up."""


@dataclass(frozen=True)
class Place:
    """One device of a node. `key` is its own in the cluster, `name` what people read ("cuda:1 on box2")."""

    key: str
    node: str
    name: str
    kind: str
    threads: int


@dataclass(frozen=True)
class Logged:
    """A line for the studio's log."""

    text: str


@dataclass(frozen=True)
class Wanted:
    """A model that the job needs: what it is made of (`Host.offer`), or, with that's `digest`, its bytes (`Host.add`)."""

    id: str
    digest: str = ""


Told = Event | Logged | Ready | Wanted


class Host:
    """Does jobs on the device of `place`, with the engine that the import path `engine` builds.

    `environment` is what the studio would tell a worker on its own machine; a node's own wins. `wanted` is the studio's edition.
    """

    def __init__(self, engine: str, place: Place, environment: Mapping[str, str], wanted: str) -> None:
        self._path, self._place, self._wanted = engine, place, wanted
        self._engine: Engine | None = None
        self._stopped: set[str] = set()
        self._stopping = False
        self._ended = threading.Event()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._offers: queue.SimpleQueue[tuple[str, Parcel | StudioError]] = queue.SimpleQueue()
        self._receipt: Receipt | None = None
        self._refused: StudioError | None = None  # why it does not come
        _settle(place, environment)
        sent = SentModels.from_environment()
        self._shelf = Shelf(sent.folder, sent.max_bytes, sent.free_min_bytes)
        logging.getLogger("studio").addHandler(_Lines(self._lines))

    def here(self) -> None:
        """Answers as soon as this process is there."""

    def build(self) -> list[Logged | Ready | Broken]:
        """Build the engine; returns what there is to say about it."""
        try:
            said: Ready | Broken = self._ready(self._built())
        except StudioError as error:
            said = Broken(error)
        return [*self._logged(), said]

    def run(self, job: Job, models: Sequence[Lent], digests: Sequence[str], *pngs: bytes) -> Iterator[Told]:
        """What happens to a job, which needs `models` and whose pictures are `pngs`; `Ready` at last."""
        try:
            engine = self._built()
        except StudioError as error:
            yield from self._logged()
            yield Event(job.id, "failed", text=error.message, hint=error.hint)
            return
        try:
            given = dict(zip(digests, pngs, strict=True))
            pictures = {
                digest: picture.open_picture(png, alpha=job.work.keeps_alpha(digest)) for digest, png in given.items()
            }
        except StudioError as error:
            yield Event(job.id, "failed", text=error.message, hint=error.hint)
            yield self._ready(engine)
            return
        with ExitStack() as hold:
            try:
                if isinstance(engine, Borrower):
                    yield from self._borrow(job, engine, models, hold)
                on_node = _OnNode(engine, self._place)
                for event in execute(replace(job, pictures=pictures), on_node, lambda: self._is_cancelled(job)):
                    yield from self._logged()
                    if event.kind == "failed" and not is_working(engine):
                        os._exit(1)  # the bridge hears of it as of any death, and the job begins again
                    yield event
            except Cancelled:
                yield Event(job.id, "cancelled")
            except StudioError as error:
                yield Event(job.id, "failed", text=f"{self._place.name}: {error.message}", hint=error.hint)
        self._stopped.discard(job.id)
        yield self._ready(engine)

    def offer(self, id: str, parcel: Parcel | StudioError) -> None:
        """What the model `id` is made of, or why it cannot be told. Called beside `run`."""
        self._offers.put((id, parcel))

    def add(self, digest: str, path: str, data: bytes) -> bool:
        """The next bytes of a file of the model that is waited for; whether there are to be more. Called beside `run`."""
        receipt = self._receipt
        if receipt is None or receipt.parcel.digest != digest or self._refused is not None:
            return False
        try:
            receipt.add(path, data)
        except StudioError as error:
            self._refused = error
            return False
        return True

    def refuse(self, digest: str, error: StudioError) -> None:
        """The model that is waited for does not come. Called beside `run`."""
        receipt = self._receipt
        if receipt is not None and receipt.parcel.digest == digest:
            self._refused = error

    def cancel(self, id: str) -> None:
        """Stop a job at its next step. Called beside `run`."""
        self._stopped.add(id)

    def stop(self) -> None:
        """Stop whatever runs at its next step. Called beside `run`."""
        self._stopping = True

    def watch(self) -> None:
        """Returns never: whoever waits for it hears at once when this process is gone."""
        self._ended.wait()

    def _borrow(self, job: Job, engine: Borrower, models: Sequence[Lent], hold: ExitStack) -> Iterator[Told]:
        """See to it that the node has the models of a job, until `hold` is closed. Raises StudioError, Cancelled."""
        engine.lend({})
        places: dict[str, tuple[Lent, Path]] = {}
        for lent in models:
            own = engine.has(lent)
            if own is not None and not lent.own:
                continue
            parcel = yield from self._offered(job, lent)
            if own is not None and parcel_of(own).digest == parcel.digest:
                places[lent.id] = (lent, own)
                continue
            while (place := self._shelf.find(parcel, hold)) is None:
                yield from self._fetch(job, lent, parcel)
            places[lent.id] = (lent, place)
        engine.lend(places)

    def _offered(self, job: Job, lent: Lent) -> Generator[Told, None, Parcel]:
        """What a model is made of: the studio has to read it, the first time."""
        while not self._offers.empty():  # what a job asked for that was stopped
            self._offers.get()
        yield Wanted(lent.id)
        while True:
            self._check(job)
            try:
                id, parcel = self._offers.get(timeout=LOOK_S)
            except queue.Empty:
                yield Event(job.id, "loading", text=f"Looking at {lent.title}")
                continue
            if isinstance(parcel, StudioError):
                raise parcel
            if id == lent.id:
                return parcel

    def _fetch(self, job: Job, lent: Lent, parcel: Parcel) -> Iterator[Told]:
        """Have a model sent, or wait a while for whom it is sent to already."""
        receipt = self._shelf.receive(parcel)
        if receipt is None:
            yield Event(job.id, "loading", text=f"Waiting for {lent.title}: it is being sent to this machine")
            self._check(job)
            time.sleep(LOOK_S)
            return
        self._receipt, self._refused = receipt, None
        try:
            with receipt:
                yield Wanted(lent.id, parcel.digest)
                came, since = -1, 0.0
                while not receipt.whole:
                    self._check(job)
                    if receipt.done != came:
                        came, since = receipt.done, time.monotonic()
                    if self._refused is not None or time.monotonic() - since > STALLED_S:
                        raise self._refused or StudioError(f"{lent.title} does not come any more.", "Try again.")
                    yield Event(job.id, "loading", text=f"Fetching {lent.title}", step=receipt.done, steps=parcel.size)
                    time.sleep(LOOK_S)
        finally:
            self._receipt = None

    def _check(self, job: Job) -> None:
        if self._is_cancelled(job):
            raise Cancelled

    def _is_cancelled(self, job: Job) -> bool:
        return self._stopping or job.id in self._stopped

    def _logged(self) -> Iterator[Logged]:
        while not self._lines.empty():
            yield Logged(self._lines.get())

    def _ready(self, engine: Engine) -> Ready:
        return Ready(self._place.name, tuple(engine.loaded()))

    def _built(self) -> Engine:
        if edition() != self._wanted:
            raise StudioError(
                f"{self._place.name} has another version of the studio ({edition()}, here {self._wanted}).",
                "Install the same version on every node, and start the node again.",
            )
        if self._engine is None:
            self._engine = ENGINE_THREAD.submit(build, self._path, self._place.kind).result()
        return self._engine


class _OnNode:
    """An engine that says on which node a model is missing: the studio's own pages may well show it."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine, self._place = engine, place

    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], on_step: OnStep, on_load: OnLoad) -> list[Rgb]:
        """See `Engine`."""
        with self._named():
            return self._engine.run(recipe, pictures, on_step, on_load)

    def detect(self, detection: Detection, picture: Rgb, on_load: OnLoad) -> Document:
        """See `Engine`."""
        with self._named():
            return self._engine.detect(detection, picture, on_load)

    def loaded(self) -> Collection[str]:
        """See `Engine`."""
        return self._engine.loaded()

    @contextmanager
    def _named(self) -> Generator[None]:
        try:
            yield
        except ModelMissing as error:
            folder = os.environ.get("STUDIO_MODELS", "its models folder")
            raise ModelMissing(f"{self._place.name}: {error.message}", f"Put it into {folder} on that node.") from error


class _Lines(logging.Handler):
    """Keeps what is logged, as text."""

    def __init__(self, lines: queue.SimpleQueue[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._lines.put(self.format(record))


def _settle(place: Place, environment: Mapping[str, str]) -> None:
    """The process's environment, before anybody imports torch."""
    for name, value in (PATIENT | dict(environment)).items():
        if name == "STUDIO_MODELS" and not Path(value).is_dir():
            continue  # the studio's folder is not on this node: its own usual one is
        os.environ.setdefault(name, value)
    if place.kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["OMP_NUM_THREADS"] = str(place.threads)  # Ray allows one, for one that takes one of its places
