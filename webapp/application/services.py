"""What pages, routes and command line work with: one `Studio` for the process, made when it is first asked for.

    studio = services.studio()
    recipe = studio.new_recipe([Draft("scribble", drawing)], model="paperworld", prompt="a house", width=256, height=256)
    job = studio.submit(services.session(), recipe, owner=services.workspace())

Puts queue, worker, gallery, hub, catalog and conditions together. Draws no page, speaks no HTTP and imports no torch.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from logging.handlers import RotatingFileHandler
from typing import IO, Any

from pydantic import ValidationError

import annotator
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import detection, picture
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType, Rgb, Value
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.job import Event, Job, State, Work
from controlnet_core.domain.recipe import SEED_MAX, ControlUnit, Found, Mode, Recipe, Resize, refusal
from controlnet_core.execution.queue import Queue
from controlnet_core.execution.supervisor import Supervisor
from controlnet_core.storage import store
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from webapp.application import validation
from webapp.application.detections import Photos
from webapp.application.document_store import Shelf
from webapp.application.housekeeping import Housekeeping
from webapp.application.hub import Hub, Message
from webapp.application.library import Library
from webapp.application.photo_detection import Looks
from webapp.application.settings import Settings

COOKIE = "studio_workspace"
log = logging.getLogger("studio")


@dataclass(frozen=True)
class Draft:
    """One control of a recipe to be: the document, and how it is rendered and used."""

    control: str
    document: Document
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    network: str | None = None
    resize: Resize = "stretch"
    mask: str | None = None
    """The blob of the mask that says where it acts."""
    found: Found | None = None


class Studio:
    """Everything behind the pages. Safe across threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.controls: Mapping[str, ControlType] = annotator.controls()
        self.catalog = settings.catalog()
        self.blobs = Blobs(settings.data / "blobs", free_min_bytes=settings.free_min_bytes)
        shelf = Shelf(settings.data / "documents", free_min_bytes=settings.free_min_bytes)
        self.hub = Hub(shelf, on_gone=self._gone)
        self.pages = Shelf(settings.data / "pages", free_min_bytes=settings.free_min_bytes)
        """What pages remember over a restart; see `webapp.ui.page_state_store`."""
        self.photos = Photos(self.blobs)
        self.looks = Looks(self.hub, self.photos, self._look)
        self._claim: IO[str] | None = None
        self.on_first_picture: Callable[[Event], None] | None = None
        self.heard: list[Callable[[str, Event], None]] = []
        """Called with session and event after every event of a job, in the supervisor's thread."""

    @cached_property
    def gallery(self) -> Gallery:
        """The pictures that were made."""
        return Gallery(self.settings.data / "gallery", free_min_bytes=self.settings.free_min_bytes)

    @cached_property
    def library(self) -> Library:
        """The models of this machine, and what is being done with them."""
        return Library(self.catalog, self.settings.free_min_bytes)

    @cached_property
    def queue(self) -> Queue:
        """The jobs that wait, run and ran."""
        return Queue(self.settings.data / "jobs.sqlite", self.blobs)

    @cached_property
    def supervisor(self) -> Supervisor:
        """The worker process."""
        where = {"STUDIO_DATA": str(self.settings.data), "STUDIO_MODELS": str(self.settings.models)}
        return Supervisor(
            self.queue, self.settings.engine, keep=self.gallery.add, tell=self._tell, log=self.settings.log, env=where
        )

    @cached_property
    def housekeeping(self) -> Housekeeping:
        """What removes, once a day, what nobody needs."""
        return Housekeeping(self.gallery, self.queue, self.blobs, self.pages.folder)

    def start(self) -> None:
        """Take the data folder, clean up after a crash and start the worker in the background.

        Raises StudioError when another studio works on the same folder.
        """
        self.claim()
        _log_to(self.settings)
        store.sweep(self.settings.data)
        _before_exit(self.hub.close)
        self.supervisor.start()
        self.housekeeping.start()

    def claim(self) -> None:
        """Take the data folder for this process. Raises StudioError when another studio works on it."""
        if self._claim is not None:
            return
        self.settings.data.mkdir(parents=True, exist_ok=True)
        claim = (self.settings.data / "studio.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            claim.close()
            raise StudioError(
                f"A studio is already running on {self.settings.data}.",
                "Use that one, or set STUDIO_DATA to another folder.",
            ) from error
        self._claim = claim

    def stop(self) -> None:
        """End streams and worker, and write what waits; within ten seconds."""
        self.hub.close()
        self.pages.close()
        self.housekeeping.stop()
        self.supervisor.stop()
        self.queue.close()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def control(self, key: str) -> ControlType:
        """The condition called `key`. Raises InputError that lists the known ones."""
        return annotator.control(key)

    def render(self, control: str, document: Document, given: Mapping[str, object] | None = None) -> Rgb:
        """The control picture of a document: what the model sees. Raises InputError for unknown or wrong values."""
        kind = self.control(control)
        return kind.render(document, controls_of.values(kind.params, given or {}))

    def new_recipe(self, drafts: Sequence[Draft], *, seed: int = -1, **fields: Any) -> Recipe:
        """Render the controls, keep their pictures and documents as blobs, and build the recipe.

        `fields` are those of `Recipe`; seed -1 draws one. Raises RecipeError naming the first wrong field, InputError,
        NoSpace.
        """
        units = [self._unit(draft) for draft in drafts]
        try:
            return Recipe(controls=tuple(units), seed=secrets.randbelow(SEED_MAX + 1) if seed == -1 else seed, **fields)
        except ValidationError as error:
            raise refusal(error) from error

    def submit(
        self,
        session: str,
        work: Work,
        pictures: Mapping[str, Rgb] | None = None,
        *,
        owner: str = "",
        id: str = "",
        slot: str = "",
    ) -> str:
        """Queue a recipe or a detection; returns the job's id. The same `id` again is the same job.

        `pictures` are needed only for those that are not kept here yet. What a detection finds replaces the drawing of
        `owner` (a workspace) in `slot`. Raises QueueFull, RecipeError.
        """
        job = Job(validation.job_id(id) if id else secrets.token_hex(16), session, work, pictures or {}, owner, slot)
        entry = self.queue.submit(job)
        if entry.state == "queued":
            self._tell(session, Event(job.id, "queued", ahead=entry.ahead))
            self.supervisor.wake()
        return job.id

    def cancel(self, id: str, session: str | None = None) -> State:
        """Stop a job, of `session` when it is given; returns its state now."""
        return self.supervisor.cancel(validation.job_id(id), session)

    def pictures(self, ids: Sequence[str]) -> list[Message]:
        """Gallery pictures as the result pane wants them: url, name, seed. Missing ones are left out."""
        found: list[Message] = []
        for id in ids:
            try:
                seed = self.gallery.get(id).recipe.seed
            except InputError:
                continue
            found.append({"id": id, "url": picture_url(id), "name": f"studio-{id[:12]}-{seed}.png", "seed": seed})
        return found

    def _unit(self, draft: Draft) -> ControlUnit:
        values = controls_of.values(self.control(draft.control).params, draft.values)
        rendered = picture.to_png(self.render(draft.control, draft.document, values))
        try:
            return ControlUnit(
                control=draft.control,
                picture=self.blobs.put(rendered),
                document=self.blobs.put(documents.encode(draft.document)),
                values=values,
                found=draft.found,
                network=draft.network,
                weight=draft.weight,
                start=draft.start,
                end=draft.end,
                mode=draft.mode,
                resize=draft.resize,
                mask=draft.mask,
            )
        except ValidationError as error:
            raise refusal(error) from error

    def _tell(self, session: str, event: Event) -> None:
        if event.pictures and self.on_first_picture is not None:
            told, self.on_first_picture = self.on_first_picture, None
            told(event)
        if event.found:
            self._land(event)
        self.hub.publish(session, event.job, self.message(event))
        for heard in list(self.heard):
            heard(session, event)

    def _land(self, event: Event) -> None:
        """Put what a detection found into the drawing that it is for."""
        entry, document = self.queue.get(event.job), documents.decode(event.found)
        made = detection.parse(entry.work)
        self.photos.remember(made, document)
        if entry.slot:
            self.looks.put(entry.owner, entry.slot, made, document)

    def _look(self, session: str, work: Detection, workspace: str, slot: str) -> str:
        return self.submit(session, work, owner=workspace, slot=slot)

    def message(self, event: Event) -> Message:
        """An event as JSON for the browser: `preview` base64 JPEG, `pictures` with URLs, `document` a digest."""
        preview = base64.b64encode(event.preview).decode() if event.preview else None
        return {
            "job": event.job,
            "kind": event.kind,
            "ahead": event.ahead,
            "step": event.step,
            "steps": event.steps,
            "preview": preview,
            "pictures": [] if event.found else self.pictures(event.kept),
            "document": event.kept[0] if event.found and event.kept else None,
            "text": event.text,
            "hint": event.hint,
            "seconds": event.seconds,
        }

    def _gone(self, session: str) -> None:
        """Nobody listens to a session any more: a closed tab wants no pictures, a page without a result pane may."""
        waiting = self.queue.open(session)
        if not waiting:
            return
        # After a reload, or with another tab open, somebody of the same browser still waits for them.
        tabs = {session, *(tab for entry in waiting for tab in self.hub.sessions_of(entry.owner))}
        if any(_connected(tab) or self.hub.listens(tab) for tab in tabs):
            self.hub.watch(session)
            return
        for entry in waiting:
            self.supervisor.cancel(entry.id)


@cache
def studio() -> Studio:
    """The studio of this process."""
    return Studio(Settings.from_environment())


def session() -> str:
    """The id of the browser tab that the running page belongs to. Raises StudioError outside of a page."""
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    if context is None:
        raise StudioError("This can only be asked while a page runs.")
    return context.session_id


def workspace() -> str:
    """The id of the browser that the running page belongs to: what is drawn there is kept under it.

    A browser that keeps no cookies gets a workspace that lasts as long as its session.
    """
    import streamlit as st

    found = validation.workspace(st.context.cookies.get(COOKIE))
    return found or hashlib.sha256(session().encode()).hexdigest()[:32]


def picture_url(id: str) -> str:
    """Where a browser gets a gallery picture, relative to a page."""
    return f"./studio/pictures/{id}.png"


def _connected(session: str) -> bool:
    """Whether Streamlit holds a live connection to a session's tab."""
    runtime = sys.modules.get("streamlit.runtime")
    return bool(runtime and runtime.exists() and runtime.get_instance().is_active_session(session))


def _log_to(settings: Settings) -> None:
    root = logging.getLogger("studio")
    if not any(isinstance(handler, RotatingFileHandler) for handler in root.handlers):
        handler = RotatingFileHandler(settings.log, maxBytes=10 << 20, backupCount=1, encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        root.addHandler(handler)


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
