"""The gallery's index: what the records of the results say, in SQLite, so that ten thousand are searched in milliseconds.

The records (one JSON file a result) are the truth. The index is compared with them when it is opened, by name and time
of each file, and made anew from them when it is missing or damaged; losing it costs seconds and nothing else. It reads
records and never writes one.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from controlnet_core.domain.errors import NoSpace
from controlnet_core.storage import store

Shelf = Literal["all", "starred", "bin"]
BUSY_S = 5.0
"""How long another program may hold the index before it is said."""
WORDS_MAX = 16
"""More words than this in a search narrow nothing down."""
_ID = re.compile(r"[0-9a-f]{32}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS result (
    id TEXT PRIMARY KEY,
    mtime INTEGER NOT NULL,
    owner TEXT NOT NULL,
    job TEXT NOT NULL,
    words TEXT NOT NULL,
    controls TEXT NOT NULL,
    starred INTEGER NOT NULL,
    deleted REAL,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS result_owner ON result (owner, id);
CREATE INDEX IF NOT EXISTS result_shelf ON result (owner, deleted, starred, controls);
CREATE INDEX IF NOT EXISTS result_job ON result (job);
"""
_VERSION = 2
"""Of the schema: an index of another one is made anew."""
log = logging.getLogger("studio.gallery")


@dataclass(frozen=True)
class Query:
    """Which results are wanted; what is empty does not narrow.

    `text`: words that all stand in prompt, model or seed, in any case. `control`: the key of a condition. `shelf` "all" and
    "starred" leave out what was deleted, "bin" holds just that.
    """

    owner: str | None = None
    text: str = ""
    control: str = ""
    shelf: Shelf = "all"


class Index:
    """The index at `path` of the records in `folder`. Safe across threads; one process owns it.

    Everything here raises Busy for as long as another program holds the file.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        with self._lock:
            try:
                self._open()
                self._compare()
            except sqlite3.DatabaseError as error:
                if store.is_busy(error):  # nothing depends on it yet, and a new one costs seconds
                    self._renew()
                else:
                    self._heal(error)

    def find(self, query: Query, n: int, before: str = "") -> list[str]:
        """The newest `n` records that fit, newest first, as JSON; older than the result `before` when it is given."""
        where, values = _where(query)
        if before:
            where, values = f"{where} AND id < ?", [*values, before]
        rows = self._ask(f"SELECT record FROM result WHERE {where} ORDER BY id DESC LIMIT ?", *values, n)
        return [row[0] for row in rows]

    def get(self, id: str) -> str | None:
        """One record as JSON; None when there is none."""
        rows = self._ask("SELECT record FROM result WHERE id = ?", id)
        return rows[0][0] if rows else None

    def count(self, query: Query) -> int:
        """How many results fit."""
        where, values = _where(query)
        return int(self._ask(f"SELECT COUNT(*) FROM result WHERE {where}", *values)[0][0])

    def controls(self, owner: str | None = None) -> dict[str, int]:
        """How many results each condition has, deleted ones left out."""
        where, values = _where(Query(owner))
        counts: dict[str, int] = {}
        for keys, count in self._ask(f"SELECT controls, COUNT(*) FROM result WHERE {where} GROUP BY controls", *values):
            for key in set(str(keys).split()):
                counts[key] = counts.get(key, 0) + int(count)
        return counts

    def put(self, ids: Iterable[str]) -> None:
        """Read the records of `ids` again; those whose file is gone go. Raises NoSpace and then changes nothing."""
        with self._lock:
            self._ask("SELECT 1")  # heal first: what follows is one transaction
            with suppress(sqlite3.OperationalError):  # full: what is left of the room may do
                store.keep_room(self._open())
            try:
                self._read(ids)
            except sqlite3.OperationalError as error:
                if store.is_full(error):
                    raise NoSpace(
                        f"The disk of {self.folder} has too little space left to keep this.", "Free some space."
                    ) from error
                raise store.refusal(self.path, error) from error

    def drop(self, ids: Iterable[str]) -> None:
        """Forget results whose files were removed. That takes no space that is not there."""
        with self._lock:
            self._ask("SELECT 1")
            try:
                self._read(ids)
            except sqlite3.OperationalError as error:
                raise store.refusal(self.path, error) from error

    def of_job(self, job: str) -> list[str]:
        """The ids of a job's results, oldest first."""
        return [row[0] for row in self._ask("SELECT id FROM result WHERE job = ? ORDER BY id", job)]

    def records(self) -> Iterable[str]:
        """Every record as JSON."""
        return (row[0] for row in self._ask("SELECT record FROM result"))

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _ask(self, statement: str, *values: object) -> list[Any]:
        """Rows of a statement; a damaged index is made anew and asked again."""
        with self._lock:
            try:
                return self._open().execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._heal(error)
                return self._open().execute(statement, values).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            store.touch_private(self.path)
            self._db = sqlite3.connect(self.path, BUSY_S, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            # Nothing here that the files do not know: no flush is worth waiting for.
            self._db.execute("PRAGMA synchronous = OFF")
            store.check_whole(self._db)
            if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                self._db.execute("DROP TABLE IF EXISTS result")
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.executescript(_SCHEMA)
        return self._db

    def _heal(self, error: sqlite3.DatabaseError) -> None:
        """Make a damaged index anew. One that another program holds, or that may not be written, is not damaged."""
        if store.is_busy(error) or store.is_full(error) or store.is_shut(error):
            self.close()  # it may be half open
            raise store.refusal(self.path, error) from error
        self._renew()

    def _renew(self) -> None:
        log.warning("the index of the gallery is damaged and is made anew from the files")
        if self._db is not None:
            self._db.close()
            self._db = None
        for name in (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm", "-journal"))):
            name.unlink(missing_ok=True)
        self._open()
        self._compare()

    def _compare(self) -> None:
        """Bring the index to what the files are now."""
        found: dict[str, int] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.partition(".")
                if dot and suffix == "json" and _ID.fullmatch(stem):
                    found[stem] = entry.stat().st_mtime_ns
        known = dict(self._open().execute("SELECT id, mtime FROM result").fetchall())
        changed = [id for id in known.keys() | found.keys() if known.get(id) != found.get(id)]
        if changed:
            self._read(changed)

    def _read(self, ids: Iterable[str]) -> None:
        db = self._open()
        db.execute("BEGIN IMMEDIATE")
        try:
            for id in ids:
                row = _row(self.folder / f"{id}.json", id)
                if row is None:
                    db.execute("DELETE FROM result WHERE id = ?", (id,))
                else:
                    db.execute(f"REPLACE INTO result VALUES ({', '.join('?' * len(row))})", row)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk rolls back by itself
                db.execute("ROLLBACK")
            raise


def _where(query: Query) -> tuple[str, list[object]]:
    parts = ["deleted IS NOT NULL" if query.shelf == "bin" else "deleted IS NULL"]
    values: list[object] = []
    if query.owner is not None:
        parts.append("owner = ?")
        values.append(query.owner)
    if query.shelf == "starred":
        parts.append("starred = 1")
    for word in query.text.casefold().split()[:WORDS_MAX]:
        parts.append("instr(words, ?) > 0")
        values.append(word)
    if query.control:
        parts.append("instr(controls, ?) > 0")
        values.append(f" {query.control} ")
    return " AND ".join(parts), values


def _row(path: Path, id: str) -> Sequence[object] | None:
    """A record as a row; None for a file that is gone or was not written by this program."""
    try:
        mtime = path.stat().st_mtime_ns
        record: dict[str, Any] = json.loads(path.read_bytes())
        recipe: dict[str, Any] = json.loads(record["recipe"])
        words = " ".join(str(recipe.get(key, "")) for key in ("prompt", "added_prompt", "model", "seed")).casefold()
        controls = "".join(f" {unit['control']}" for unit in recipe.get("controls", ())) + " "
        text = json.dumps(record | {"id": id})
        return (
            id,
            mtime,
            str(record["owner"]),
            str(record["job"]),
            words,
            controls,
            int(bool(record.get("starred"))),
            record.get("deleted"),
            text,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
