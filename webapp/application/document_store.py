"""Drawings on disk, so that they survive a reload and a restart: one file for each workspace and slot.

Writing waits up to a second for the next stroke, happens in one background thread and is atomic. A file is the revision
(uint64, little-endian) and the document's container. Does not look into documents.
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
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, workspace: str, slot: str, rev: int, data: bytes) -> None:
        """Keep a document within a second; returns at once."""
        path = self._path(workspace, slot)
        with self._changed:
            self._dirty[path] = struct.pack("<Q", rev) + data
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_late, name="documents", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def get(self, workspace: str, slot: str) -> tuple[int, bytes] | None:
        """Revision and container of a document; None when there is none."""
        path = self._path(workspace, slot)
        with self._changed:
            data = self._dirty.get(path) or self._writing.get(path)
        if data is None:
            try:
                data = path.read_bytes()
            except OSError:
                return None
        return (struct.unpack_from("<Q", data)[0], data[8:]) if len(data) > 8 else None

    def flush(self) -> None:
        """Write what waits, now."""
        with self._turn:  # one writer at a time, or an older document could land on a newer one
            with self._changed:
                self._writing, self._dirty = self._dirty, {}
            for path, data in self._writing.items():
                try:
                    store.write(path, data, free_min_bytes=self.free_min_bytes)
                except NoSpace as error:
                    # It stays in memory and in the browser; the next stroke tries again.
                    log.error("a drawing could not be kept: %s", error)
            with self._changed:
                self._writing = {}

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
            time.sleep(self.delay_s)
            self.flush()

    def _path(self, workspace: str, slot: str) -> Path:
        if not _WORKSPACE.fullmatch(workspace) or not _SLOT.fullmatch(slot):
            raise InputError("This is not the name of a drawing.")
        return self.folder / workspace / f"{slot}.doc"
