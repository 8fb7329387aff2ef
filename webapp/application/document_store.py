"""Drawings on disk, so that they survive a reload and a restart: one file for each workspace and slot.

Writing waits up to a second for the next stroke, happens in one background thread and is atomic. What cannot be written is
refused, so that nobody takes it for kept; what was accepted before the disk filled up is tried again until it is written. A
file is the revision (uint64, little-endian) and the document's container. Does not look into documents.
"""

from __future__ import annotations

import logging
import re
import struct
import threading
import time
from pathlib import Path

from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.storage import store

DELAY_S = 0.7
AGAIN_S = 2.0
"""When a drawing that was accepted could not be written after all, it is tried again after this time."""
_WORKSPACE = re.compile(r"[0-9a-f]{32}")
_SLOT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
log = logging.getLogger("studio.documents")


class DocumentStore:
    """The documents under `folder`. Safe across threads."""

    def __init__(self, folder: Path, *, delay_s: float = DELAY_S, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        self.folder = folder
        self.delay_s = delay_s
        self.free_min_bytes = free_min_bytes
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._dirty: dict[Path, bytes] = {}
        self._writing: dict[Path, bytes] = {}
        self._refused = False  # the last write failed: only what is written at once is accepted
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, workspace: str, slot: str, rev: int, data: bytes) -> None:
        """Keep a document within a second; returns at once. Raises NoSpace when it cannot be kept."""
        path, framed = self._path(workspace, slot), struct.pack("<Q", rev) + data
        try:
            store.make_private(path.parent)
            store.check_room(path.parent, self.free_min_bytes + len(framed), self.free_min_bytes)
        except OSError as error:
            raise store.unwritable(path.parent, error.strerror or str(error)) from error
        if self._refused:
            with self._turn:
                store.write(path, framed, free_min_bytes=self.free_min_bytes)
                with self._changed:
                    self._dirty.pop(path, None)
                return
        with self._changed:
            self._dirty[path] = framed
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_late, name="documents", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def get(self, workspace: str, slot: str) -> tuple[int, bytes] | None:
        """Revision and container of a document, whole or damaged; None when there is none."""
        path = self._path(workspace, slot)
        with self._changed:
            data = self._dirty.get(path) or self._writing.get(path)
        if data is None:
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                log.error("a drawing cannot be read: %s", error)
                data = b""
        return (struct.unpack_from("<Q", data)[0], data[8:]) if len(data) > 8 else (0, b"")

    def put_aside(self, workspace: str, slot: str) -> Path:
        """Rename a damaged file, so that a new one can begin; returns its new place. Raises InputError."""
        path = self._path(workspace, slot)
        try:
            return store.put_aside(path)
        except OSError as error:
            raise InputError(f"The drawing at {path} cannot be read: {error.strerror}.", "Look at the disk.") from error

    def flush(self) -> None:
        """Write what waits, now."""
        with self._turn:  # one writer at a time, or an older document could land on a newer one
            with self._changed:
                self._writing, self._dirty = self._dirty, {}
            left: dict[Path, bytes] = {}
            for path, data in self._writing.items():
                try:
                    store.write(path, data, free_min_bytes=self.free_min_bytes)
                except NoSpace as error:
                    left[path] = data
                    log.error("a drawing could not be kept yet: %s", error)
            with self._changed:
                self._writing, self._dirty = {}, left | self._dirty
                self._refused = bool(left)
                self._changed.notify_all()

    def close(self) -> None:
        """Write what waits and end."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _write_late(self) -> None:
        while True:
            with self._changed:
                while not self._dirty and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
            time.sleep(AGAIN_S if self._refused else self.delay_s)
            self.flush()

    def _path(self, workspace: str, slot: str) -> Path:
        if not _WORKSPACE.fullmatch(workspace) or not _SLOT.fullmatch(slot):
            raise InputError("This is not the name of a drawing.")
        return self.folder / workspace / f"{slot}.doc"
