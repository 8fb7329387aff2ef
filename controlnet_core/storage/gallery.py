"""The gallery: pictures that were made, as a folder of results; search, star, bin.

A result is <id>.png (recipe inside), <id>.webp (thumbnail) and <id>.json, its record; the record is written last and removed
first, so a result is there whole or not at all. Star and bin stand in the record, too: `index` only makes finding quick.
Does not run anything.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from controlnet_core.domain.errors import InputError, NoSpace, RecipeError
from controlnet_core.domain.job import Job
from controlnet_core.domain.recipe import Recipe, parse
from controlnet_core.storage import store
from controlnet_core.storage.gallery_index import Index, Query
from controlnet_core.storage.metadata import alone, recipe_of, to_png

__all__ = ["Gallery", "Query", "Result", "alone", "recipe_of", "to_png"]

THUMB_PX = 320
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Result:
    """One picture of the gallery: number `index` of a job, with the recipe that makes it alone.

    `owner` is the workspace or session it was made for, `created` and `deleted` (None: not in the bin) seconds since 1970.
    """

    id: str
    job: str
    owner: str
    index: int
    created: float
    recipe: Recipe
    folder: Path
    starred: bool = False
    deleted: float | None = None

    @property
    def png(self) -> Path:
        """The picture, recipe inside."""
        return self.folder / f"{self.id}.png"

    @property
    def thumb(self) -> Path:
        """A small WebP of it, at most 320 px a side."""
        return self.folder / f"{self.id}.webp"

    @property
    def name(self) -> str:
        """A file name for downloads: day, seed and the beginning of the id."""
        day = time.strftime("%Y-%m-%d", time.localtime(self.created))
        return f"studio-{day}-{self.recipe.seed}-{self.id[8:16]}.png"


class Gallery:
    """The results in `folder`. Ids are sorted by time and cannot be guessed. Safe across threads."""

    def __init__(self, folder: Path, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        self.folder = folder
        self.free_min_bytes = free_min_bytes
        self._lock = threading.Lock()
        try:
            store.make_private(folder)
        except OSError as error:
            raise store.unwritable(folder, error.strerror or str(error)) from error
        self._index = Index(folder.with_name(f"{folder.name}.sqlite"), folder)

    def add(self, job: Job, pictures: Sequence[bytes]) -> tuple[str, ...]:
        """Keep the PNGs of a finished job; returns their ids in order. Raises NoSpace and then keeps none of them.

        They take the place of whatever an interrupted earlier run of the same job left.
        """
        earlier = self._index.of_job(job.id)
        made: list[str] = []
        try:
            for index, png in enumerate(pictures):
                made.append(_new_id())
                self._keep(made[-1], job, index, png)
            self._index.put(made)
        except BaseException:
            for id in made:
                self._remove(id)
            raise
        for id in earlier:
            self._remove(id)
        self._index.drop(earlier)
        return tuple(made)

    def sweep(self, older_than_s: float = 3600.0) -> int:
        """Remove pictures without a record, which an interrupted `add` left long ago; returns how many files."""
        limit, count = time.time() - older_than_s, 0
        for path in [*self.folder.glob("*.png"), *self.folder.glob("*.webp")]:
            if path.with_suffix(".json").exists() or path.stat().st_mtime > limit:
                continue
            path.unlink(missing_ok=True)
            count += 1
        return count

    def find(self, query: Query, n: int, before: str = "") -> list[Result]:
        """The newest `n` results that fit, newest first; older than the result `before` when it is given."""
        found = (self._result(record) for record in self._index.find(query, n, before))
        return [result for result in found if result is not None]

    def count(self, query: Query) -> int:
        """How many results fit."""
        return self._index.count(query)

    def controls(self, owner: str | None = None) -> dict[str, int]:
        """How many results each condition has."""
        return self._index.controls(owner)

    def recent(self, n: int, owner: str | None = None) -> list[Result]:
        """The newest `n` results, newest first; of one owner when `owner` is given."""
        return self.find(Query(owner), n)

    def get(self, id: str) -> Result:
        """The result called `id`, from the bin too. Raises InputError when there is none."""
        record = self._index.get(id) if _ID.fullmatch(id) else None
        result = self._result(record) if record is not None else None
        if result is None:
            raise InputError("This picture is not in the gallery.", "It may have been deleted.")
        return result

    def star(self, ids: Iterable[str], owner: str, on: bool = True) -> list[str]:
        """Star results of `owner`, or take their stars away; returns the ids that it found."""
        return self._note(ids, owner, starred=on)

    def delete(self, ids: Iterable[str], owner: str) -> list[str]:
        """Put results of `owner` into the bin; returns the ids that it found.

        On a disk without a byte left not even that can be noted down: then they are removed for good.
        """
        ids = list(ids)
        try:
            return self._note(ids, owner, deleted=time.time())
        except NoSpace:
            own = [
                id
                for id in ids
                if _ID.fullmatch(id) and (one := self._index.get(id)) and json.loads(one)["owner"] == owner
            ]
            for id in own:
                self._remove(id)
            self._index.drop(own)
            return own

    def restore(self, ids: Iterable[str], owner: str) -> list[str]:
        """Take results of `owner` out of the bin; returns the ids that it found."""
        return self._note(ids, owner, deleted=None)

    def empty_bin(self, before: float, owner: str | None = None) -> int:
        """Remove for good what went into the bin before a time (seconds since 1970); returns how many results."""
        gone = [
            one.id
            for one in self.find(Query(owner, shelf="bin"), -1)
            if one.deleted is not None and one.deleted < before
        ]
        for id in gone:
            self._remove(id)
        self._index.drop(gone)
        return len(gone)

    def records(self) -> Iterable[str]:
        """The record of every result as JSON, those in the bin too."""
        return self._index.records()

    def _keep(self, id: str, job: Job, index: int, png: bytes) -> None:
        owner, recipe = job.owner or job.session, alone(job.recipe, index).to_json()
        record = {"job": job.id, "owner": owner, "index": index, "created": time.time(), "recipe": recipe}
        self._write(id, "png", png)
        self._write(id, "webp", _thumbnail(png))
        self._write(id, "json", json.dumps(record).encode())

    def _write(self, id: str, suffix: str, data: bytes) -> None:
        store.write(self.folder / f"{id}.{suffix}", data, free_min_bytes=self.free_min_bytes)

    def _note(self, ids: Iterable[str], owner: str, **facts: Any) -> list[str]:
        """Change the records of some results; others' results and unknown ids are passed over."""
        with self._lock:
            done: list[str] = []
            for id in ids:
                path = self.folder / f"{id}.json"
                try:
                    record: dict[str, Any] = json.loads(path.read_bytes()) if _ID.fullmatch(id) else {}
                except (OSError, ValueError):
                    continue
                if record.get("owner") == owner:
                    # However full the disk is: who empties it must be able to.
                    store.write(path, json.dumps(record | facts).encode(), free_min_bytes=0)
                    done.append(id)
            self._index.put(done)
            return done

    def _result(self, record: str) -> Result | None:
        try:
            about: dict[str, Any] = json.loads(record)
            recipe = parse(about.pop("recipe"))
            return Result(recipe=recipe, folder=self.folder, **about)
        except (ValueError, KeyError, TypeError, RecipeError):
            return None  # not written by this program

    def _remove(self, id: str) -> None:
        for suffix in ("json", "webp", "png"):
            (self.folder / f"{id}.{suffix}").unlink(missing_ok=True)


def _new_id() -> str:
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _thumbnail(png: bytes) -> bytes:
    image = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB")
    image.thumbnail((THUMB_PX, THUMB_PX))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80, method=2)
    return buffer.getvalue()
