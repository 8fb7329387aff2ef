"""Starter sets on this machine: everything that one draws with, fetched in one go, as one piece of work over `library`.

    sets.download("sd15-draw")      # its parts come as downloads of their own: stopped ones go on where they were

Knows no page and speaks no HTTP.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

from controlnet_core.domain import amounts
from controlnet_core.domain.errors import Cancelled, InputError, ModelError, NoSpace
from controlnet_core.families import family
from controlnet_core.models import download
from controlnet_core.models.catalog import Catalog, ModelCard
from controlnet_core.models.download import DownloadProgress
from controlnet_core.models.sets import StarterSet, starter_sets
from webapp.application.library import OVER, Library, ModelTask

LOOK_EVERY_S = 0.2


class StarterSets:
    """The sets of the program, on the models folder of a library. Safe across threads."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def rows(self) -> list[dict[str, Any]]:
        """Every set as a page shows it; sizes in bytes, `size` is what has yet to come."""
        return [self._row(one) for one in starter_sets().values()]

    def download(self, id: str) -> ModelTask:
        """Fetch what of a set is not here, or go on, as `Library.begin` does.

        Raises InputError for a set that is not known, NoSpace where it would not fit.
        """
        wanted = _set(id)
        check_room(self._library.catalog, wanted, self._library.free_min_bytes)
        return self._library.begin(task_id(id), lambda work: self._fetch(wanted, work))

    def stop(self, id: str) -> None:
        """Stop fetching a set; what has come is kept. Raises InputError for a set that is not known."""
        self._library.stop(task_id(_set(id).id))

    def _fetch(self, wanted: StarterSet, work: ModelTask) -> None:
        works: list[ModelTask] = []
        try:
            works += [self._library.download(card.id) for card in missing(self._library.catalog, wanted)]
            while any(one.phase not in OVER for one in works):
                if work.stop.is_set():
                    raise Cancelled("The downloads were stopped.", "What has come so far is kept.")
                work.hear(DownloadProgress(*self._progress(wanted)))
                time.sleep(LOOK_EVERY_S)
        finally:
            for one in works:
                if work.stop.is_set():
                    one.stop.set()
        work.hear(DownloadProgress(*self._progress(wanted)))
        if failed := next((one for one in works if one.phase == "failed"), None):
            raise ModelError(failed.text, failed.hint)
        if any(one.phase == "stopped" for one in works):
            raise Cancelled("The downloads were stopped.", "What has come so far is kept.")
        work.text = f"{wanted.title}: all of it is here."

    def _progress(self, wanted: StarterSet) -> tuple[int, int]:
        """Bytes of the set that are here or have come, and of all of it."""
        parts = [self._part(card) for card in wanted.parts]
        return sum(done for done, _ in parts), sum(total for _, total in parts)

    def _part(self, card: ModelCard) -> tuple[int, int]:
        if self._library.catalog.installed(card):
            return card.size_mib << 20, card.size_mib << 20
        work = self._library.work(card.id)
        if work is not None and work.total:
            return work.done, work.total
        begun = download.begun(card, self._library.catalog.models)
        return (begun.done, begun.total) if begun else (0, card.size_mib << 20)

    def _row(self, one: StarterSet) -> dict[str, Any]:
        catalog = self._library.catalog
        left = missing(catalog, one)
        done, total = self._progress(one)
        try:
            check_room(catalog, one, self._library.free_min_bytes)
            lack = ""
        except NoSpace as error:
            lack = f"{error.message} {error.hint}"
        return {
            "id": one.id,
            "title": one.title,
            "family": family(one.family).title,
            "note": one.note,
            "licences": list(dict.fromkeys(card.licence for card in one.parts)),
            "here": not left,
            "size": to_come(catalog, one),
            "begun": [done, total] if left and any(self._part(card)[0] for card in left) else None,
            "lack": lack,
            "parts": [
                {"id": card.id, "title": card.title, "size": card.size_mib << 20, "here": card not in left}
                for card in one.parts
            ],
        }


def task_id(id: str) -> str:
    """The id of the work on a set among those of a library; no card can be called so."""
    return f"set:{id}"


def missing(catalog: Catalog, wanted: StarterSet) -> list[ModelCard]:
    """What of a set is not on this machine."""
    return [card for card in wanted.parts if not catalog.installed(card)]


def to_come(catalog: Catalog, wanted: StarterSet) -> int:
    """Bytes of a set that have yet to come, as its cards say them."""
    size = 0
    for card in missing(catalog, wanted):
        begun = download.begun(card, catalog.models)
        size += begun.total - begun.done if begun else card.size_mib << 20
    return size


def check_room(catalog: Catalog, wanted: StarterSet, free_min_bytes: int) -> None:
    """Raise NoSpace where the rest of a set would not fit on the disk."""
    catalog.models.mkdir(parents=True, exist_ok=True)
    need, free = to_come(catalog, wanted), shutil.disk_usage(catalog.models).free
    if need and free - need < free_min_bytes:
        raise NoSpace(
            f"{wanted.title} needs {amounts.size(need)} more, and the disk of {catalog.models} has {amounts.size(free)} free.",
            f"Free some space: the studio leaves the last {amounts.size(free_min_bytes)} to others.",
        )


def _set(id: str) -> StarterSet:
    if id not in starter_sets():
        raise InputError(f"There is no starter set called {id[:64]!r}.", f"Known: {', '.join(starter_sets())}.")
    return starter_sets()[id]
