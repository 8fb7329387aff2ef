"""What pages, routes, command line and API work with: one `Studio`, made by whoever starts the process and passed on.

    studio = Studio(Settings.from_environment())
    recipe = studio.builder.recipe([Draft("scribble", drawing)], model="paperworld", prompt="a house", width=256, height=256)
    job = studio.submit(session, recipe, owner=workspace)

Puts queue, worker, gallery, documents, events, catalog and conditions together. Draws no page, speaks no HTTP, imports no torch.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import IO, Any, Literal

import annotator
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import detection
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType, Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.job import Event, Job, Lifetime, State, Work
from controlnet_core.domain.lending import Lent
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.devices import Device, devices, is_borrowed
from controlnet_core.execution.dispatcher import Dispatcher
from controlnet_core.execution.local_process import LocalProcess
from controlnet_core.execution.queue import Queue, QueueEntry
from controlnet_core.execution.ray_cluster import RayCluster
from controlnet_core.models import fit, lends
from controlnet_core.storage import log_file, store
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from webapp.application import validation, views
from webapp.application.annotations import Annotations
from webapp.application.belongings import Belongings
from webapp.application.document_store import DocumentStore
from webapp.application.events import Events
from webapp.application.housekeeping import Housekeeping
from webapp.application.keys import Keys, keys_file
from webapp.application.library import Library
from webapp.application.live import LiveDrawings
from webapp.application.metrics import Metrics
from webapp.application.open_documents import OpenDocuments
from webapp.application.photo_detection import PhotoDetections
from webapp.application.photos import Photos
from webapp.application.recipe_builder import Draft, RecipeBuilder
from webapp.application.settings import Settings
from webapp.application.starter_sets import StarterSets
from webapp.application.tokens import Unknown
from webapp.application.trainings import Trainings

log = logging.getLogger("studio")


class Studio:
    """Everything behind the pages. Safe across threads.

    `connected(session)` says whether a tab is open although it listens to no events; without pages there is none.
    """

    def __init__(self, settings: Settings, connected: Callable[[str], bool] = lambda _session: False) -> None:
        self.settings = settings
        self.controls: Mapping[str, ControlType] = annotator.controls()
        self.catalog = settings.catalog()
        self.blobs = Blobs(settings.data / "blobs", free_min_bytes=settings.free_min_bytes)
        self.documents = OpenDocuments(
            DocumentStore(settings.data / "documents", free_min_bytes=settings.free_min_bytes)
        )
        self.events: Events[views.Event] = Events(on_gone=self._gone)
        self.pages = DocumentStore(settings.data / "pages", free_min_bytes=settings.free_min_bytes)
        """What pages remember over a restart; see `webapp.ui.page_state_store`."""
        self.belongings = Belongings(settings.data / "belongings")
        self.photos = Photos(self.blobs, self.belongings)
        self.photo_detections = PhotoDetections(self.documents, self.photos, self._detect)
        self._connected = connected
        self._claim: IO[str] | None = None

    @cached_property
    def gallery(self) -> Gallery:
        """The pictures that were made."""
        return Gallery(self.settings.data / "gallery", free_min_bytes=self.settings.free_min_bytes)

    @cached_property
    def library(self) -> Library:
        """The models of this machine, and what is being done with them."""
        return Library(self.catalog, self.settings.free_min_bytes, self.settings.data)

    @cached_property
    def sets(self) -> StarterSets:
        """Everything that one draws with, by family, to fetch in one go."""
        return StarterSets(self.library)

    @cached_property
    def keys(self) -> Keys:
        """The keys of the API."""
        return Keys(keys_file(self.settings.data))

    @cached_property
    def trainings(self) -> Trainings:
        """The trainings, running and over."""
        far = self.cluster
        return Trainings(
            self.settings,
            self.catalog,
            () if far else self.devices,
            self.dispatcher.wake,
            far.devices if far else lambda: (),
        )

    @cached_property
    def annotations(self) -> Annotations:
        """The data sets in the making."""
        return Annotations(self.settings)

    @cached_property
    def queue(self) -> Queue:
        """The jobs that wait, run and ran."""
        return Queue(self.settings.data / "jobs.sqlite", self.blobs, queued_max=self.settings.queued_max)

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """Where pictures are made. Raises StudioError when one that was named is not here."""
        return devices(self.settings.devices)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """The workers, one for each device: processes of this machine, or actors of a Ray cluster."""
        here = self.settings
        dispatcher = Dispatcher(
            self.queue,
            []
            if self.cluster
            else [LocalProcess(here.engine, one, log=here.log, env=self._where) for one in self.devices],
            keep=self.gallery.add,
            tell=self._tell,
            lent=lambda port: (bool(here.ray) or len(self.devices) > 1) and is_borrowed(port.device, here.data),
        )
        if self.cluster is not None:
            self.cluster.follow(dispatcher.add)
        return dispatcher

    @cached_property
    def cluster(self) -> RayCluster | None:
        """The Ray cluster whose devices are used, where one was named. Raises StudioError when it is not there."""
        here = self.settings
        if not here.ray:
            return None
        cluster = RayCluster(
            here.ray, here.engine, log=here.log, read=self.blobs.get, lends=self._lends, environment=self._where
        )
        cluster.connect()
        return cluster

    def _lends(self, work: Work) -> tuple[Work, Sequence[Lent]]:
        return lends.lent(work, self.catalog) if isinstance(work, Recipe) else (work, ())

    @property
    def _where(self) -> dict[str, str]:
        here = self.settings
        fetch = {"STUDIO_FETCH": "1"} if here.ray else {}
        return {"STUDIO_DATA": str(here.data), "STUDIO_MODELS": str(here.models)} | fetch

    @cached_property
    def metrics(self) -> Metrics:
        """How it does, in figures."""
        return Metrics(self.queue, self.settings.data, self.devices, self.dispatcher.statuses)

    @cached_property
    def live(self) -> LiveDrawings:
        """The drawings whose pictures follow the pen."""
        return LiveDrawings(self.controls, self.dispatcher.want, self.dispatcher.leave)

    @cached_property
    def housekeeping(self) -> Housekeeping:
        """What removes, once a day, what nobody needs."""
        return Housekeeping(self.gallery, self.queue, self.blobs, self.pages.folder, self.belongings)

    def start(self) -> None:
        """Take the data folder, clean up after a crash and start the workers in the background.

        Raises StudioError when another studio works on the same folder, or a device is not here.
        """
        self.claim()
        log_file.write_to(self.settings.log, ["studio"])
        store.sweep(self.settings.data)
        _before_exit(self.close)
        self.events.subscribe(self.metrics.hear)
        self.dispatcher.start()
        self.housekeeping.start()

    def claim(self, address: str = "") -> None:
        """Take data folder and devices for this process; studio.lock there holds the `address` at which it answers. Raises
        StudioError when another studio works on the folder, or a device is not here."""
        if self._claim is not None:
            return
        _ = self.devices
        try:
            store.make_private(self.settings.data)
            with suppress(
                OSError
            ):  # drawings and pictures are their owner's; a disk without such rights has none to give
                self.settings.data.chmod(0o700)
            claim = os.fdopen(
                store.open_private(self.settings.data / "studio.lock", os.O_RDWR | os.O_APPEND | os.O_CREAT),
                "a+",
                encoding="utf-8",
            )
        except OSError as error:
            raise store.unwritable(self.settings.data, error.strerror or str(error)) from error
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            claim.seek(0)
            where = claim.read()
            claim.close()
            raise StudioError(
                f"A studio is already running on {self.settings.data}{where and f', at {where}'}.",
                "Use that one, or set STUDIO_DATA to another folder.",
            ) from error
        claim.truncate(0)
        try:
            _ = self.cluster
        except StudioError:
            claim.close()
            raise
        with suppress(OSError):  # on a full disk it works all the same
            os.write(claim.fileno(), address.encode())
        self._claim = claim

    def close(self) -> None:
        """End the streams of events and write the drawings that wait."""
        self.events.close()
        self.documents.close()

    def stop(self) -> None:
        """End streams and workers, and write what waits; within ten seconds."""
        self.close()
        self.pages.close()
        self.housekeeping.stop()
        self.dispatcher.stop()
        if self.cluster is not None:
            self.cluster.close()
        self.queue.close()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def health(self) -> Literal["ok", "starting", "broken", "stopped"]:
        """Whether pictures can be made: ok, not yet, or by no worker; "stopped" where nobody hands out jobs. Raises StudioError
        where the queue cannot be read."""
        self.queue.open("")
        if not self.dispatcher.is_alive:
            return "stopped"
        states = {status.state for status in self.dispatcher.statuses()}
        if states & {"ready", "busy", "lent"}:
            return "ok"
        return "starting" if "starting" in states else "broken"

    def control(self, key: str) -> ControlType:
        """The condition called `key`. Raises InputError that lists the known ones."""
        return annotator.control(key)

    def render(self, control: str, document: Document, given: Mapping[str, object] | None = None) -> Rgb:
        """The control picture of a document: what the model sees. Raises InputError for unknown or wrong values."""
        kind = self.control(control)
        return kind.render(document, controls_of.values(kind.params, given or {}))

    @cached_property
    def builder(self) -> RecipeBuilder:
        """Builds recipes of what is here; whoever can wait for a network's map takes `builder_for`."""
        return RecipeBuilder(self.catalog, self.blobs, self.photos)

    def builder_for(self, session: str, owner: str = "") -> RecipeBuilder:
        """Builds recipes, and waits for the maps that a network has to find: they are jobs of `session`."""
        return RecipeBuilder(self.catalog, self.blobs, self.photos, lambda asked: self.find(session, asked, owner))

    def new_recipe(self, drafts: Sequence[Draft], *, seed: int = -1, **fields: Any) -> Recipe:
        """See `RecipeBuilder.recipe`."""
        return self.builder.recipe(drafts, seed=seed, **fields)

    def find(self, session: str, asked: Detection, owner: str = "") -> Document:
        """What a detection finds, at once or by a job that is waited for. Raises StudioError."""
        known = self.photos.find(asked)
        if known is not None:
            return known
        entry = self.wait(self.submit(session, asked, owner=owner, lifetime="detached"))
        if entry.state != "done":
            raise StudioError(entry.text or "The map was not found: its job was stopped.", entry.hint)
        return documents.decode(self.blobs.get(entry.kept[0]))

    def wait(self, job: str, timeout_s: float | None = None) -> QueueEntry:
        """The entry of a job as soon as it is over, or after `timeout_s`. Raises InputError for an unknown one."""
        over = threading.Event()

        def hear(_session: str, event: views.Event) -> None:
            if event.job == job and event.kind in ("done", "failed", "cancelled"):
                over.set()

        end = self.events.subscribe(hear)
        try:
            entry = self.queue.get(job)
            if not entry.over:
                over.wait(timeout_s)
                entry = self.queue.get(job)
            return entry
        finally:
            end()

    def submit(
        self,
        session: str,
        work: Work,
        pictures: Mapping[str, Rgb] | None = None,
        *,
        owner: str = "",
        id: str = "",
        slot: str = "",
        lifetime: Lifetime = "attached",
    ) -> str:
        """Queue a recipe or a detection; returns the job's id. The same `id` again is the same job.

        `pictures` are needed only for those that are not kept here yet. What a detection finds replaces the drawing of
        `owner` (a workspace) in `slot`. An attached job ends with the last tab of its browser, a detached one with itself.
        Raises QueueFull, RecipeError.
        """
        if isinstance(work, Recipe):
            fit.check(work, self.catalog)
        name = validation.job_id(id) if id else secrets.token_hex(16)
        job = Job(name, session, work, pictures or {}, owner, slot, lifetime)
        entry = self.queue.submit(job)
        if isinstance(work, Recipe):
            self.belongings.give(owner, *work.digests)
        if entry.state == "queued":
            self._tell(session, Event(job.id, "queued", ahead=entry.ahead))
            self.dispatcher.wake()
        return job.id

    def cancel(self, id: str, session: str | None = None) -> State:
        """Stop a job, of `session` when it is given; returns its state now."""
        return self.dispatcher.cancel(validation.job_id(id), session)

    def workspace_of(self, token: str) -> str:
        """The workspace that a drawing's token, or one of events, belongs to. Raises Unknown."""
        try:
            return self.documents.place_of(token)[0]
        except Unknown:
            return self.events.visitor(token)[1]

    def pictures(self, ids: Sequence[str]) -> list[views.Picture]:
        """Gallery pictures as views. Missing ones are left out."""
        found: list[views.Picture] = []
        for id in ids:
            with suppress(InputError):
                found.append(views.Picture.of(self.gallery.get(id)))
        return found

    def _tell(self, session: str, event: Event) -> None:
        if event.found:
            try:
                self._land(event)
            except StudioError as error:  # the document is kept, only not in the drawing
                event = Event(event.job, "failed", text=error.message, hint=error.hint, seconds=event.seconds)
        pictures = [] if event.found else self.pictures(event.kept)
        self.events.publish(session, event.job, views.Event.of(event, pictures))

    def _land(self, event: Event) -> None:
        """Put what a detection found into the drawing that it is for."""
        entry, document = self.queue.get(event.job), documents.decode(event.found)
        made = detection.parse(entry.work)
        self.photos.remember(made, document)
        if entry.slot:
            self.photo_detections.put(entry.owner, entry.slot, made, document)
        self.belongings.give(entry.owner, *event.kept)

    def _detect(self, session: str, work: Detection, workspace: str, slot: str) -> str:
        return self.submit(session, work, owner=workspace, slot=slot)

    def _gone(self, session: str) -> None:
        """Nobody listens to a session any more: a closed tab wants no pictures, a page without a result pane may."""
        waiting = [entry for entry in self.queue.open(session) if entry.lifetime == "attached"]
        if not waiting:
            return
        # After a reload, or with another tab open, somebody of the same browser still waits for them.
        tabs = {session, *(tab for entry in waiting for tab in self.events.sessions_of(entry.owner))}
        if any(self._connected(tab) or self.events.listens(tab) for tab in tabs):
            self.events.watch(session)
            return
        for entry in waiting:
            self.dispatcher.cancel(entry.id)


def _before_exit(action: Callable[[], None]) -> None:
    """Do `action` when the server is told to end: it waits for open streams, which would never end by themselves."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        server = signal.getsignal(number)
        if not callable(server):
            continue

        def handle(signum: int, frame: Any, server: Callable[[int, Any], Any] = server) -> None:
            # Not in the handler itself: it may have interrupted a thread that holds a lock.
            threading.Thread(target=action, name="farewell", daemon=True).start()
            server(signum, frame)

        signal.signal(number, handle)
