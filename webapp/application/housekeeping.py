"""Removes, a minute after the start and once a day, what nobody needs any more: so that a studio can stand for years.

The bin's pictures after a week, jobs that ended a quarter of a year ago, and blobs (control pictures, drawings as they were
generated, photos) that no picture, job or page names and that nobody has put for a week.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from controlnet_core.execution.queue import Queue
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from webapp.application.belongings import Belongings

FIRST_S = 60.0
PERIOD_S = 24 * 3600.0
BIN_S = 7 * 24 * 3600.0
BLOB_S = 7 * 24 * 3600.0
JOB_S = 90 * 24 * 3600.0
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
log = logging.getLogger("studio.housekeeping")


@dataclass(frozen=True)
class Removed:
    """What one round removed."""

    pictures: int = 0
    jobs: int = 0
    blobs: int = 0
    blob_bytes: int = 0


class Housekeeping:
    """The rounds through one data folder; `pages` holds what pages remember, as JSON files."""

    def __init__(self, gallery: Gallery, queue: Queue, blobs: Blobs, pages: Path, belongings: Belongings) -> None:
        self._gallery = gallery
        self._queue = queue
        self._blobs = blobs
        self._pages = pages
        self._belongings = belongings
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._rounds, name="housekeeping", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a round that is on its way is finished first."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)

    def round(self, now: float | None = None) -> Removed:
        """Remove what is too old at the time `now` (seconds since 1970)."""
        now = time.time() if now is None else now
        pictures = self._gallery.empty_bin(now - BIN_S)
        self._gallery.sweep()
        jobs = self._queue.forget(now - JOB_S)
        blobs, size = self._blobs.collect(self.named(now), BLOB_S)
        self._belongings.forget(self._blobs)
        return Removed(pictures, jobs, blobs, size)

    def named(self, now: float) -> set[str]:
        """The digests that something names: pictures (those in the bin, too), jobs, pages. Any digest in a text counts."""
        texts = [*self._gallery.records(), *self._queue.works(now - BLOB_S)]
        for path in self._pages.rglob("*"):
            if path.is_file():
                texts.append(path.read_bytes().decode("latin-1"))
        return {digest for text in texts for digest in _DIGEST.findall(text)}

    def _rounds(self) -> None:
        wait = FIRST_S
        while not self._stopping.wait(wait):
            wait = PERIOD_S
            try:
                removed = self.round()
            except Exception:
                log.exception("housekeeping failed")
                continue
            if removed != Removed():
                log.warning("housekeeping removed %s", removed)
