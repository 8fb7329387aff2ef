"""What browser, pages and worker share in one process: documents under tokens, and events to open tabs.

A document belongs to a workspace (one browser, kept on disk) and a slot ("scribble"); a token, unguessable and made for
one session, opens it. Revisions only grow; whoever writes says which revision the new document builds upon. Events go
to the listeners of one session; of each subject (a job) only the newest matters, so nothing piles up for a slow one.
Knows no pages, no HTTP and no queue.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from controlnet_core.domain.control import Value
from controlnet_core.domain.document import Document, decode
from controlnet_core.domain.errors import InputError
from webapp.application.document_store import Shelf

TOKENS_MAX = 4096
STREAMS_MAX = 1024
LISTENERS_MAX = 8
SUBJECTS_MAX = 32
GONE_S = 30.0
"""Time enough for a reload, also on a slow machine."""
Message = dict[str, Any]
log = logging.getLogger("studio.hub")


class Unknown(InputError):
    """A token that opens nothing (any more)."""


class Stale(InputError):
    """A document that builds upon another revision than the present one, which is `rev`."""

    def __init__(self, rev: int) -> None:
        super().__init__("This drawing was changed somewhere else.", "Choose which of the two to keep.")
        self.rev = rev


@dataclass
class _Held:
    """A live document, shared by the tokens of its workspace and slot."""

    rev: int
    data: bytes


@dataclass(frozen=True)
class _Place:
    """What a token opens."""

    session: str
    workspace: str
    slot: str


@dataclass
class View:
    """How a document becomes what the model sees."""

    control: str
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    size: tuple[int, int] | None = None


class _Listener:
    """One open stream of events. Belongs to the event loop that made it; filled from any thread."""

    def __init__(self, backlog: Mapping[str, Message]) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._waiting: OrderedDict[str, Message] = OrderedDict(backlog)
        self._lock = threading.Lock()
        if backlog:
            self._arrived.set()

    def put(self, subject: str, message: Message) -> None:
        with self._lock:
            self._waiting[subject] = message
        self.wake()

    def wake(self) -> None:
        """End the present wait, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def get(self, timeout_s: float) -> list[Message]:
        """The newest message of each subject that changed; empty after `timeout_s` of silence."""
        try:
            await asyncio.wait_for(self._arrived.wait(), timeout_s)
        except TimeoutError:
            return []
        self._arrived.clear()
        with self._lock:
            found, self._waiting = list(self._waiting.values()), OrderedDict()
        return found


@dataclass
class _Stream:
    """The events of one session, and the workspace that it belongs to ("" before anybody has said)."""

    session: str
    workspace: str = ""
    last: OrderedDict[str, Message] = field(default_factory=OrderedDict[str, Message])
    listeners: list[_Listener] = field(default_factory=list[_Listener])

    def tell(self, subject: str, message: Message) -> None:
        self.last[subject] = message
        self.last.move_to_end(subject)
        while len(self.last) > SUBJECTS_MAX:
            self.last.popitem(last=False)
        for listener in self.listeners:
            listener.put(subject, message)


class Hub:
    """Documents and events: documents from any thread, `listen` from the event loop.

    `on_gone(session)` is called, in a thread of its own, when the last listener of a session has been away for `gone_s`.
    """

    def __init__(
        self, shelf: Shelf, on_gone: Callable[[str], None] = lambda _session: None, gone_s: float = GONE_S
    ) -> None:
        self.shelf = shelf
        self.on_gone = on_gone
        self.gone_s = gone_s
        self._lock = threading.RLock()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._tokens: dict[_Place, str] = {}
        self._views: dict[str, View] = {}
        self._held: dict[tuple[str, str], _Held] = {}
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._stream_of: dict[str, str] = {}
        self.closed = False

    def open(self, workspace: str, session: str, slot: str, document: bytes) -> str:
        """The token of a slot for one session; asking again gives the same one.

        The document that the workspace has kept wins; else `document` (a container) is its first, at revision 1.
        """
        place = _Place(session, workspace, slot)
        with self._lock:
            if place in self._tokens:
                self._places.move_to_end(self._tokens[place])
                return self._tokens[place]
            if (workspace, slot) not in self._held:
                self._held[workspace, slot] = self._first(workspace, slot, document)
            token = secrets.token_urlsafe(24)
            self._places[token], self._tokens[place] = place, token
            while len(self._places) > TOKENS_MAX:
                self._drop(next(iter(self._places)))
            return token

    def view(self, token: str, control: str, values: Mapping[str, Value], size: tuple[int, int] | None = None) -> None:
        """Say how the document under `token` is shown as a control picture (at `size`, width and height in pixels)."""
        with self._lock:
            self._place(token)
            self._views[token] = View(control, dict(values), size)

    def view_of(self, token: str) -> View:
        """How the document under `token` is shown. Raises InputError when nobody has said."""
        with self._lock:
            self._place(token)
            if token not in self._views:
                raise InputError("Nothing is rendered from this drawing yet.")
            return self._views[token]

    def session_of(self, token: str) -> str:
        """The session that a document's token was made for."""
        with self._lock:
            return self._place(token).session

    def read(self, token: str) -> tuple[int, bytes]:
        """Revision and container of the document under `token`. Raises InputError for an unknown token."""
        with self._lock:
            held = self._document(token)
            return held.rev, held.data

    def latest(self, token: str) -> tuple[int, Document]:
        """Revision and document under `token`. Raises InputError for an unknown token."""
        rev, data = self.read(token)
        return rev, decode(data)

    def write(self, token: str, data: bytes, rev: int) -> int:
        """Replace the document, which builds upon revision `rev`; returns the new revision.

        Raises InputError for an unknown token or a damaged document, and Stale when `rev` is not the present revision.
        """
        decode(data)
        return self._store(token, data, rev)

    def replace(self, token: str, data: bytes) -> int:
        """Put a document of Python's own (detected, opened, an example) in place of whatever is there."""
        return self._store(token, data, None)

    def place_of(self, token: str) -> tuple[str, str]:
        """The workspace and the slot that a token opens."""
        with self._lock:
            place = self._place(token)
            return place.workspace, place.slot

    def land(self, workspace: str, slot: str, data: bytes) -> int:
        """Put a document of Python's own into a slot, whether or not a page has it open; returns its revision."""
        decode(data)
        with self._lock:
            token = next(
                (token for at, token in self._tokens.items() if (at.workspace, at.slot) == (workspace, slot)), None
            )
            if token is None:
                rev = self.rev_of(workspace, slot) + 1
                self.shelf.put(workspace, slot, rev, data)
                return rev
        return self.replace(token, data)

    def rev_of(self, workspace: str, slot: str) -> int:
        """The revision of what a workspace has in a slot, live or on disk; 0 when it has nothing there."""
        with self._lock:
            held = self._held.get((workspace, slot))
            if held is not None:
                return held.rev
        found = self.shelf.get(workspace, slot)
        return found[0] if found else 0

    def stored(self, workspace: str, slot: str) -> bytes | None:
        """The container that a workspace has in a slot, live or on disk."""
        with self._lock:
            held = self._held.get((workspace, slot))
            if held is not None:
                return held.data
        found = self.shelf.get(workspace, slot)
        return found[1] if found else None

    def stream(self, session: str, workspace: str = "") -> str:
        """The token of a session's events. The sessions of one workspace hear each other's."""
        with self._lock:
            if session not in self._stream_of:
                token = secrets.token_urlsafe(24)
                self._stream_of[session], self._streams[token] = token, _Stream(session)
                self._shed_streams()
            token = self._stream_of[session]
            if workspace:
                self._streams[token].workspace = workspace
            return token

    def visitor(self, token: str) -> tuple[str, str]:
        """Session and workspace of an events' token. Raises InputError for one that opens no workspace's things."""
        with self._lock:
            stream = self._stream(token)
            if not stream.workspace:
                raise Unknown("This session has ended.", "Reload the page.")
            return stream.session, stream.workspace

    def sessions_of(self, workspace: str) -> list[str]:
        """The sessions of a workspace that are known here."""
        with self._lock:
            return [stream.session for stream in self._streams.values() if workspace and stream.workspace == workspace]

    def session_of_stream(self, token: str) -> str:
        """The session whose events a token opens. Raises InputError for an unknown one."""
        with self._lock:
            return self._stream(token).session

    def publish(self, session: str, subject: str, message: Message) -> None:
        """Tell the listeners of a session and its workspace, present and future, the newest about a subject. From any thread."""
        with self._lock:
            own = self._streams[self.stream(session)]
            for stream in self._streams.values():
                if stream is own or (own.workspace and stream.workspace == own.workspace):
                    stream.tell(subject, message)

    @asynccontextmanager
    async def listen(self, token: str) -> AsyncIterator[_Listener]:
        """A listener that starts with the newest message of every subject. Raises InputError when there are too many."""
        with self._lock:
            stream = self._stream(token)
            self._streams.move_to_end(token)
            if len(stream.listeners) >= LISTENERS_MAX:
                raise InputError("This session has too many tabs open.", "Close one of them.")
            listener = _Listener(stream.last)
            stream.listeners.append(listener)
        try:
            yield listener
        finally:
            with self._lock:
                stream.listeners.remove(listener)
            if not stream.listeners:
                self.watch(stream.session)

    def watch(self, session: str) -> None:
        """Look again in `gone_s` whether anybody listens to a session, and call `on_gone` when nobody does."""
        timer = threading.Timer(self.gone_s, self._look, [session])
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """End every stream of events and write what waits; for the end of the program."""
        self.closed = True
        with self._lock:
            listeners = [listener for stream in self._streams.values() for listener in stream.listeners]
        for listener in listeners:
            listener.wake()
        self.shelf.close()

    def _look(self, session: str) -> None:
        if not self.closed and not self.listens(session):
            try:
                self.on_gone(session)
            except Exception:
                log.exception("the end of a session could not be handled")

    def listens(self, session: str) -> bool:
        """Whether anybody listens to a session's events now."""
        with self._lock:
            token = self._stream_of.get(session)
            return token is not None and bool(self._streams[token].listeners)

    def _first(self, workspace: str, slot: str, document: bytes) -> _Held:
        found = self.shelf.get(workspace, slot)
        if found is not None:
            try:
                decode(found[1])
                return _Held(*found)
            except InputError:
                log.warning("the kept document %s of a workspace is damaged and was replaced", slot)
        decode(document)
        return _Held(1, document)

    def _store(self, token: str, data: bytes, rev: int | None) -> int:
        with self._lock:
            place, held = self._place(token), self._document(token)
            if rev is not None and rev != held.rev:
                raise Stale(held.rev)
            held.rev, held.data = held.rev + 1, data
            self.shelf.put(place.workspace, place.slot, held.rev, data)
            return held.rev

    def _document(self, token: str) -> _Held:
        place = self._place(token)
        return self._held[place.workspace, place.slot]

    def _place(self, token: str) -> _Place:
        if token not in self._places:
            raise Unknown("This drawing is no longer open here.", "Reload the page: it is kept.")
        self._places.move_to_end(token)
        return self._places[token]

    def _stream(self, token: str) -> _Stream:
        if token not in self._streams:
            raise Unknown("This session has ended.", "Reload the page.")
        return self._streams[token]

    def _drop(self, token: str) -> None:
        place = self._places.pop(token)
        del self._tokens[place]
        self._views.pop(token, None)
        if not any((one.workspace, one.slot) == (place.workspace, place.slot) for one in self._tokens):
            self.shelf.flush()
            del self._held[place.workspace, place.slot]

    def _shed_streams(self) -> None:
        for token in list(self._streams):
            if len(self._streams) <= STREAMS_MAX:
                return
            if not self._streams[token].listeners:
                del self._stream_of[self._streams.pop(token).session]
