"""The queue: jobs in SQLite, so that what waits is still waiting after a crash. It runs nothing and tells nobody.

    queued -> running -> done | failed | cancelled
    running -> queued     once, when the worker died under it; the second time it fails

Fair by tags, a round-robin that needs no ring (after start-time fair queueing, Goyal et al. 1996): a job's tag is one
more than the last tag of its session or than the highest tag that ever ran, whichever is more. The smallest tag runs
first, the older job of two. So sessions take turns, jobs of one session keep their order, and newcomers never pass
who has waited for longer than a round, but for those whose model a free worker has in memory, a few times (`claim`).
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import Busy, InputError, NoSpace, QueueFull, RecipeError, StudioError, WorkerLost
from controlnet_core.domain.job import Job, Kind, Lifetime, State, Work, needs_of, read_work
from controlnet_core.storage import store
from controlnet_core.storage.store import Blobs

QUEUED_MAX = 64
SESSION_MAX = 4
OWNER_MAX = 8
"""Jobs of one workspace that may wait or run, whatever number of tabs it has open."""
RUNS_MAX = 2
REACH = 8
"""So many jobs are looked at for one whose model a free worker has, and so often the first is passed over. See docs/scaling.md."""
BUSY_S = 5.0
"""How long another program may hold the file before it is said."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    work TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'recipe',
    slot TEXT NOT NULL DEFAULT '',
    lifetime TEXT NOT NULL DEFAULT 'attached',
    state TEXT NOT NULL DEFAULT 'queued',
    tag INTEGER NOT NULL,
    runs INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    text TEXT NOT NULL DEFAULT '',
    hint TEXT NOT NULL DEFAULT '',
    kept TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS job_waiting ON job (state, tag, number);
CREATE INDEX IF NOT EXISTS job_session ON job (session, tag);
CREATE INDEX IF NOT EXISTS job_owner_tag ON job (owner, tag);
DROP INDEX IF EXISTS job_owner;
CREATE INDEX IF NOT EXISTS job_tag ON job (tag) WHERE runs > 0;
"""


def pictures_of(work: Work, blobs: Blobs) -> dict[str, Rgb]:
    """The pictures that a work names, decoded, by their digests. Raises InputError where one is gone."""
    return {digest: picture.open_picture(blobs.get(digest), alpha=work.keeps_alpha(digest)) for digest in work.pictures}


_EARLIER = {
    "work": """
        ALTER TABLE job RENAME COLUMN recipe TO work;
        ALTER TABLE job ADD COLUMN kind TEXT NOT NULL DEFAULT 'recipe';
        ALTER TABLE job ADD COLUMN slot TEXT NOT NULL DEFAULT '';
    """,
    "lifetime": "ALTER TABLE job ADD COLUMN lifetime TEXT NOT NULL DEFAULT 'attached';",
}
"""What brings an older file up to date, by the column that it lacks, in the order in which they came."""
_log = logging.getLogger("studio.queue")


@dataclass(frozen=True)
class QueueEntry:
    """What the queue knows about a job. `work` is its JSON, `ahead` counts the jobs before it, times are seconds since 1970.

    `kept` are ids in the gallery, of a detection the digest of the document.
    """

    id: str
    session: str
    owner: str
    slot: str
    lifetime: Lifetime
    kind: Kind
    work: str
    state: State
    ahead: int
    created: float
    started: float | None
    ended: float | None
    text: str
    hint: str
    kept: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """The recipe as JSON; "" for a detection."""
        return self.work if self.kind == "recipe" else ""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


class Queue:
    """The jobs of one data folder. Safe across threads; one process owns it.

    A damaged file is put aside at the start, and a new one begins. Everything here raises Busy for as long as another
    program holds the file, and NoSpace when nothing can be written.
    """

    def __init__(
        self,
        path: Path,
        blobs: Blobs,
        *,
        queued_max: int = QUEUED_MAX,
        session_max: int = SESSION_MAX,
        owner_max: int = OWNER_MAX,
    ) -> None:
        self.blobs = blobs
        self.queued_max = queued_max
        self.session_max = session_max
        self.owner_max = owner_max
        self._lock = threading.RLock()
        self._passed = ("", 0)  # the first job, and how often others went before it
        self.path = path
        self._folder = path.parent
        self.put_aside: Path | None = None
        """Where a damaged file was put at the start: its jobs are lost, their pictures are not."""
        try:
            store.make_private(path.parent)
            self._db = self._connect()
        except OSError as error:
            raise store.unwritable(path.parent, error.strerror or str(error)) from error
        except sqlite3.Error as error:
            if not store.is_damaged(error):
                raise store.refusal(path, error) from error
            self.put_aside = store.put_aside(path)
            _log.error("the list of jobs was damaged (%s): it lies at %s, and a new one begins", error, self.put_aside)
            self._db = self._connect()
        with suppress(NoSpace, Busy):  # what is here can be read all the same
            self._keep_room()

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):  # a folder in which nothing can be written: SQLite says so
            store.touch_private(self.path)
        db = sqlite3.connect(self.path, BUSY_S, check_same_thread=False, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            # FULL: an accepted job survives a power cut too; a job takes seconds, the flush milliseconds.
            db.execute("PRAGMA synchronous = FULL")
            store.check_whole(db)
            columns = {row["name"] for row in db.execute("PRAGMA table_info(job)")}
            for column, script in _EARLIER.items():
                if columns and column not in columns:
                    db.executescript(script)
            db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def submit(self, job: Job) -> QueueEntry:
        """Queue a job; its pictures become blobs. The same id again changes nothing.

        Raises QueueFull when too much waits, InputError when the id is somebody else's, RecipeError when a picture is
        missing or is not the one that the work names, NoSpace when its result could not be kept.
        """
        self._keep_room()
        with self._transaction():
            known = self._row(job.id)
            if known is not None:
                if known["session"] != job.session:
                    raise InputError("This job's number is taken.", "Submit it again under a new one.")
                return self._entry(known)
            self._check_room(job)
            store.check_room(self._folder, self.blobs.free_min_bytes, self.blobs.free_min_bytes)
            self._keep_pictures(job)
            self._db.execute(
                "INSERT INTO job (id, session, owner, slot, lifetime, kind, work, tag, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    job.session,
                    job.owner,
                    job.slot,
                    job.lifetime,
                    job.kind,
                    job.work.to_json(),
                    self._next_tag(job),
                    time.time(),
                ),
            )
            return self._entry(self._row(job.id))

    def claim(self, prefers: Collection[str] = ()) -> Job | None:
        """Take the next job for running; None when nothing waits. A job whose pictures are gone fails on the way.

        Of the first `REACH` jobs the first that needs one of `prefers` (what free workers have in memory, see `Job.needs`) may
        go before the first of all, at most `REACH` times before the same one: loading a model takes as long as pictures do.
        """
        while True:
            with self._transaction():
                row = self._next(prefers)
                if row is None:
                    return None
                self._db.execute(
                    "UPDATE job SET state = 'running', runs = runs + 1, started = ? WHERE id = ?",
                    (time.time(), row["id"]),
                )
            try:
                work = read_work(row["kind"], row["work"])
                pictures = pictures_of(work, self.blobs)
                return Job(row["id"], row["session"], work, pictures, row["owner"], row["slot"], row["lifetime"])
            except StudioError as error:
                self.fail(row["id"], error)
            except Exception:  # whatever it is: it is running now, and nobody else would ever end it
                _log.exception("job %s could not be begun", row["id"])
                self.fail(row["id"], StudioError("Something went wrong on the way to the device.", "Try it again."))

    def _next(self, prefers: Collection[str]) -> Any:
        query = "SELECT * FROM job WHERE state = 'queued' ORDER BY tag, number LIMIT ?"
        rows = self._db.execute(query, (REACH if prefers else 1,)).fetchall()
        if not rows:
            return None
        first = rows[0]
        chosen = next((row for row in rows if _needs(row) in prefers), first) if prefers else first
        if chosen is not first:
            id, times = self._passed
            times = times + 1 if id == first["id"] else 1
            if times > REACH:
                return first
            self._passed = (first["id"], times)
        return chosen

    def done(self, id: str, kept: tuple[str, ...]) -> None:
        """A running job ended well; what it made or found is kept under the names `kept`."""
        self._end(id, "done", kept=kept)

    def fail(self, id: str, error: StudioError) -> None:
        """A running job failed for the reason in `error`."""
        self._end(id, "failed", error.message, error.hint)

    def cancelled(self, id: str) -> None:
        """A running job was stopped."""
        self._end(id, "cancelled")

    def lost(self, id: str) -> QueueEntry:
        """The worker died under a running job: queue it again where it was, or fail it when that happened before."""
        with self._transaction():
            row = self._row(id)
            if row is not None and row["state"] == "running" and row["runs"] < RUNS_MAX:
                self._db.execute("UPDATE job SET state = 'queued' WHERE id = ?", (id,))
            elif row is not None and row["state"] == "running":
                error = worker_lost()
                self._end(id, "failed", error.message, error.hint)
            return self.get(id)

    def put_back(self, id: str) -> None:
        """The program stops before a running job ended: queue it again, as if it had not begun."""
        with self._transaction():
            self._db.execute(
                "UPDATE job SET state = 'queued', runs = runs - 1, started = NULL WHERE id = ? AND state = 'running'",
                (id,),
            )

    def recover(self) -> list[QueueEntry]:
        """At the start of the program: whatever was running lost its worker. Returns the jobs as they are now."""
        with self._transaction():
            rows = self._db.execute("SELECT id FROM job WHERE state = 'running' ORDER BY tag, number").fetchall()
            return [self.lost(row["id"]) for row in rows]

    def cancel(self, id: str, session: str | None = None) -> State:
        """Cancel a job if it waits; returns its state, "running" when its worker has to be asked.

        With `session`, only a job of that session. Raises InputError when there is no such job.
        """
        with self._transaction():
            entry = self.get(id)
            if session is not None and entry.session != session:
                raise _unknown()
            if entry.state == "queued":
                self._end(id, "cancelled")
                return "cancelled"
            return entry.state

    def get(self, id: str) -> QueueEntry:
        """What is known about a job. Raises InputError when there is none of that id."""
        with self._asking():
            row = self._row(id)
            if row is None:
                raise _unknown()
            return self._entry(row)

    def of(self, who: str, n: int = 20) -> list[QueueEntry]:
        """The newest `n` jobs of a session or an owner, newest first."""
        with self._asking():
            query = "SELECT * FROM job WHERE session = ? OR owner = ? ORDER BY number DESC LIMIT ?"
            return [self._entry(row) for row in self._db.execute(query, (who, who, n)).fetchall()]

    def open(self, session: str | None = None) -> list[QueueEntry]:
        """The jobs that run or wait, in the order in which they will run; of one session when it is given."""
        with self._asking():
            query = "SELECT * FROM job WHERE state IN ('running', 'queued') ORDER BY state = 'queued', tag, number"
            rows = self._db.execute(query).fetchall()
            return [self._entry(row) for row in rows if session is None or row["session"] == session]

    def waits(self) -> bool:
        """Whether a job waits for a worker."""
        with self._asking():
            return self._one("SELECT 1 FROM job WHERE state = 'queued' LIMIT 1") is not None

    def ended(self, n: int = 40) -> list[QueueEntry]:
        """The last `n` jobs that ended well, of everybody, newest first: how long work takes here."""
        with self._asking():
            query = "SELECT * FROM job WHERE state = 'done' AND started IS NOT NULL ORDER BY number DESC LIMIT ?"
            return [self._entry(row) for row in self._db.execute(query, (n,)).fetchall()]

    def works(self, since: float) -> list[str]:
        """Work and outcome, as JSON, of every job that is open or was submitted after `since` (seconds since 1970)."""
        with self._asking():
            query = "SELECT work, kept FROM job WHERE state IN ('queued', 'running') OR created > ?"
            return [f"{row[0]} {row[1]}" for row in self._db.execute(query, (since,)).fetchall()]

    def forget(self, before: float) -> int:
        """Remove jobs that ended before a time (seconds since 1970); returns how many. Their pictures stay."""
        with self._transaction():
            query = "DELETE FROM job WHERE state IN ('done', 'failed', 'cancelled') AND ended < ?"
            return self._db.execute(query, (before,)).rowcount

    def close(self) -> None:
        """Close the file; the queue cannot be used afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _asking(self) -> Generator[None]:
        """One at a time; what SQLite refuses becomes a sentence."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise (_full() if store.is_full(error) else store.refusal(self.path, error)) from error

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._asking():
            if self._db.in_transaction:  # part of a larger one
                yield
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _keep_room(self) -> None:
        """Room for what becomes of the jobs that are here, however full the disk gets."""
        with self._asking():
            if not self._db.in_transaction:
                store.keep_room(self._db)

    def _check_room(self, job: Job) -> None:
        waiting = self._count("state = 'queued'")
        if waiting >= self.queued_max:
            raise QueueFull(f"The queue is full: {waiting} jobs are ahead.", "Try again in a minute.")
        bounds = [("session", job.session, self.session_max)]
        bounds += [("owner", job.owner, self.owner_max)] if job.owner else []
        for column, who, most in bounds:
            mine = self._count(f"{column} = ? AND state IN ('queued', 'running')", who)
            if mine >= most:
                raise QueueFull(
                    f"You have {mine} jobs in the queue already, {waiting} ahead in all.",
                    "Wait for one of them, or stop one.",
                )

    def _keep_pictures(self, job: Job) -> None:
        for digest in job.work.pictures:
            if self.blobs.touch(digest):
                continue
            given = job.pictures.get(digest)
            if given is None or self.blobs.put(picture.to_png(given)) != digest:
                raise RecipeError(f"The {job.work.role(digest)} is missing.", "Draw or upload it again.")

    def _next_tag(self, job: Job) -> int:
        """The round in which a job's turn comes: a workspace has one in each, whatever number of tabs it has open."""
        ran = self._number("SELECT MAX(tag) FROM job WHERE runs > 0")
        column, who = ("owner", job.owner) if job.owner else ("session", job.session)
        return 1 + max(ran, self._number(f"SELECT MAX(tag) FROM job WHERE {column} = ?", who))

    def _end(self, id: str, state: State, text: str = "", hint: str = "", kept: tuple[str, ...] = ()) -> None:
        with self._transaction():
            self._db.execute(
                "UPDATE job SET state = ?, text = ?, hint = ?, kept = ?, ended = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                (state, text, hint, json.dumps(kept), time.time(), id),
            )

    def _entry(self, row: Any) -> QueueEntry:
        ahead = 0
        if row["state"] == "queued":
            ahead = self._count("state = 'running'") + self._count(
                "state = 'queued' AND (tag, number) < (?, ?)", row["tag"], row["number"]
            )
        return QueueEntry(
            id=row["id"],
            session=row["session"],
            owner=row["owner"],
            slot=row["slot"],
            lifetime=cast(Lifetime, row["lifetime"]),
            kind=cast(Kind, row["kind"]),
            work=row["work"],
            state=cast(State, row["state"]),
            ahead=ahead,
            created=row["created"],
            started=row["started"],
            ended=row["ended"],
            text=row["text"],
            hint=row["hint"],
            kept=tuple(json.loads(row["kept"])),
        )

    def _row(self, id: str) -> Any:
        return self._one("SELECT * FROM job WHERE id = ?", id)

    def _one(self, query: str, *values: object) -> Any:
        return self._db.execute(query, values).fetchone()

    def _number(self, query: str, *values: object) -> int:
        return int(self._one(query, *values)[0] or 0)

    def _count(self, where: str, *values: object) -> int:
        return self._number(f"SELECT COUNT(*) FROM job WHERE {where}", *values)


def _needs(row: Any) -> str:
    """What `Job.needs` says, without reading all of the work; "" where it cannot be read."""
    try:
        return needs_of(row["kind"], json.loads(row["work"]))
    except (ValueError, TypeError, KeyError):
        return ""


def worker_lost() -> WorkerLost:
    """What a user reads about a job that took its worker down twice."""
    return WorkerLost(
        "The engine died twice during this job.",
        "Try a smaller size or fewer images; data/studio.log says more.",
    )


def _full() -> NoSpace:
    return NoSpace("The disk has too little space left to queue a job.", "Free some space and try again.")


def _unknown() -> InputError:
    return InputError("There is no such job.", "It may have ended long ago.")
