"""Documents under tokens: what browser, pages and worker share of a drawing in one process.

A document belongs to a workspace (one browser, kept on disk) and a slot ("scribble"); a token, unguessable and made for
one session, opens it. Revisions only grow; whoever writes says which revision the new document builds upon. Knows no pages, no
HTTP and no events.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controlnet_core.domain.control import Value
from controlnet_core.domain.document import Document, decode
from controlnet_core.domain.errors import InputError
from webapp.application import tokens
from webapp.application.document_store import DocumentStore
from webapp.application.tokens import Unknown

TOKENS_MAX = 4096
log = logging.getLogger("studio.documents")


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


class OpenDocuments:
    """The documents that are open, over those that `store` keeps. Safe across threads."""

    def __init__(self, store: DocumentStore) -> None:
        self.store = store
        self._lock = threading.RLock()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._tokens: dict[_Place, str] = {}
        self._views: dict[str, View] = {}
        self._held: dict[tuple[str, str], _Held] = {}
        self._damaged: dict[tuple[str, str], Path] = {}

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
            token = tokens.fresh()
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

        Raises InputError for an unknown token or a damaged document, Stale when `rev` is not the present revision, and NoSpace
        when it cannot be kept: then nothing has changed.
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
                self.store.put(workspace, slot, rev, data)
                return rev
        return self.replace(token, data)

    def rev_of(self, workspace: str, slot: str) -> int:
        """The revision of what a workspace has in a slot, live or on disk; 0 when it has nothing there."""
        with self._lock:
            held = self._held.get((workspace, slot))
            if held is not None:
                return held.rev
            found = self._kept(workspace, slot)
            return found.rev if found else 0

    def stored(self, workspace: str, slot: str) -> bytes | None:
        """The container that a workspace has in a slot, live or on disk."""
        with self._lock:
            held = self._held.get((workspace, slot))
            if held is not None:
                return held.data
            found = self._kept(workspace, slot)
            return found.data if found else None

    def damage(self, token: str) -> Path | None:
        """Where the damaged file lies that was found in a token's slot; said once."""
        with self._lock:
            place = self._place(token)
            return self._damaged.pop((place.workspace, place.slot), None)

    def close(self) -> None:
        """Write what waits; for the end of the program."""
        self.store.close()

    def _first(self, workspace: str, slot: str, document: bytes) -> _Held:
        found = self._kept(workspace, slot)
        if found is None:
            decode(document)
        return found or _Held(1, document)

    def _kept(self, workspace: str, slot: str) -> _Held | None:
        """What the store has in a slot; a damaged document is put aside. Raises InputError when that cannot be done."""
        found = self.store.get(workspace, slot)
        if found is None:
            return None
        try:
            decode(found[1])
            return _Held(*found)
        except InputError as error:
            self._damaged[workspace, slot] = aside = self.store.put_aside(workspace, slot)
            log.error("a drawing was damaged (%s): it lies at %s, and a new one begins", error, aside)
            return None

    def _store(self, token: str, data: bytes, rev: int | None) -> int:
        with self._lock:
            place, held = self._place(token), self._document(token)
            if rev is not None and rev != held.rev:
                raise Stale(held.rev)
            self.store.put(place.workspace, place.slot, held.rev + 1, data)
            held.rev, held.data = held.rev + 1, data
            return held.rev

    def _document(self, token: str) -> _Held:
        place = self._place(token)
        return self._held[place.workspace, place.slot]

    def _place(self, token: str) -> _Place:
        if token not in self._places:
            raise Unknown("This drawing is no longer open here.", "Reload the page: it is kept.")
        self._places.move_to_end(token)
        return self._places[token]

    def _drop(self, token: str) -> None:
        place = self._places.pop(token)
        del self._tokens[place]
        self._views.pop(token, None)
        if not any((one.workspace, one.slot) == (place.workspace, place.slot) for one in self._tokens):
            self.store.flush()
            del self._held[place.workspace, place.slot]
