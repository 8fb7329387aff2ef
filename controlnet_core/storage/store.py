"""Files that are whole or absent: atomic writes, blobs named by their content, and SQLite files with room of their own.

A file is written beside its place, flushed to the disk and renamed, so that a crash, a kill or a full disk leaves the
old file or the new one and never half of one. Says nothing about what the files mean.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from controlnet_core.domain import amounts
from controlnet_core.domain.errors import Busy, InputError, NoSpace, StudioError

FREE_MIN_BYTES = 2 * 1024**3
"""Below this much free space nothing more is written: other programs need a disk too."""
ROOM_PAGES = 96
"""Pages (4 KiB each) that `keep_room` holds for a SQLite file, and as many in its log."""
_TEMP = ".part-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def write(path: Path, data: bytes, *, free_min_bytes: int = FREE_MIN_BYTES, private: bool = True) -> None:
    """Put `data` at `path`, all or nothing; the folder is made. Raises NoSpace when the disk is (nearly) full.

    What is not `private`, a person's own output, has the permissions that the umask leaves to all their files.
    """
    try:
        if private:
            make_private(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        check_room(path.parent, free_min_bytes + len(data), free_min_bytes)
        with replacing(path, private=private) as file:
            file.write(data)
    except OSError as error:
        raise _unwritten(path.parent, free_min_bytes, error) from error


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = True) -> Generator[BinaryIO]:
    """A file that takes the place of `path` when the block ends, and is nowhere when something is raised in it.

    By then it is on the disk; what is written again every second (not `durable`) need only be whole for whoever reads it.
    What is `private` its owner alone reads, the rest whom the umask lets. Raises OSError.
    """
    handle, temp = open_temp(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if not private:
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    if durable:
        flush_folder(path.parent)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone. Raises OSError."""
    for one in reversed([folder, *folder.parents]):
        if not one.is_dir():
            one.mkdir(mode=0o700, exist_ok=True)


def open_private(path: str | Path, flags: int) -> int:
    """`os.open` of a file that its owner alone reads, should it be made now; the `opener` of `open`."""
    return os.open(path, flags, 0o600)


def touch_private(path: Path) -> None:
    """See to it that a file is there, and is its owner's alone when it was not: SQLite's other files take that over."""
    make_private(path.parent)
    os.close(open_private(path, os.O_WRONLY | os.O_CREAT))


def _umask() -> int:
    """The process's umask; the only way to ask is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def open_temp(folder: Path) -> tuple[int, Path]:
    """A new file for half of something, to be renamed once it is whole; `sweep` leaves it alone while it is open."""
    while True:
        handle, name = tempfile.mkstemp(prefix=_TEMP, dir=folder)
        with suppress(OSError):  # a file system without locks: then it is only young
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if Path(name).exists():  # else it was swept away before it was held
            return handle, Path(name)
        os.close(handle)


def check_room(folder: Path, wanted_bytes: int, free_min_bytes: int = 0) -> None:
    """Raise NoSpace when the disk of `folder` has less than `wanted_bytes` free, `free_min_bytes` of them for others."""
    if shutil.disk_usage(folder).free < wanted_bytes:
        raise _no_space(folder, free_min_bytes)


def keep_room(db: sqlite3.Connection) -> None:
    """See to it that a SQLite file in WAL mode can still be changed when its disk is full.

    Pages that were written and freed are kept in the file and used first; so is the log, which starts from its beginning
    after every checkpoint. For a connection outside of a transaction. Costs a question while there is room enough.
    Raises sqlite3.OperationalError when the disk is full already.
    """
    db.execute(f"PRAGMA wal_autocheckpoint = {ROOM_PAGES // 2}")
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    if free >= ROOM_PAGES // 2:
        return
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    db.execute("CREATE TABLE IF NOT EXISTS room (bytes BLOB)")
    try:
        # Filled, not only made longer: a hole in a file takes its place on the disk when it is written to.
        db.execute("INSERT INTO room VALUES (zeroblob(?))", (ROOM_PAGES * page_bytes,))
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        db.execute("DELETE FROM room")


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite failed for want of space: it has no room for the file, or none for the memory its log shares."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_WRITE)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether SQLite failed because another program holds the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_shut(error: sqlite3.Error) -> bool:
    """Whether SQLite failed because a file or its folder may not be written, or not even opened."""
    codes = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether SQLite says that a file is no database, or not a whole one."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def check_whole(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError, as `is_damaged` knows it, when a file is not whole."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def refusal(path: Path, error: sqlite3.Error) -> StudioError:
    """What SQLite's failure at the file `path` means for a user."""
    if is_full(error):
        return NoSpace("The disk has too little space left to note this down.", "Free some space and try again.")
    if is_busy(error):
        return Busy(f"Another program holds {path.name}.", "Close it (a backup, a database browser), then try again.")
    if is_damaged(error):
        return StudioError(f"{path} is damaged.", "Start the studio again: it is put aside then, and a new one begins.")
    return unwritable(path.parent, str(error))


def unwritable(folder: Path, reason: str) -> NoSpace:
    """The sentence about a folder in which nothing can be written."""
    return NoSpace(f"Nothing can be written to {folder}: {reason}.", "Look at the disk, and at who may write to it.")


def put_aside(path: Path) -> Path:
    """Rename a damaged file, with what SQLite keeps beside it, so that a new one can begin; returns its new place."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}")
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).replace(aside.with_name(aside.name + end))
    return aside


def sweep(folder: Path) -> int:
    """Remove what interrupted writes left under `folder`; returns how many files. For the start of a program.

    What another process writes now (a training, an annotation of photos) stays.
    """
    found = [path for path in folder.rglob(f"{_TEMP}*") if path.is_file()] if folder.is_dir() else []
    left = [path for path in found if not is_locked(path)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


class Blobs:
    """Bytes by the SHA-256 of themselves, in a folder: the same bytes are kept once."""

    def __init__(self, folder: Path, *, free_min_bytes: int = FREE_MIN_BYTES) -> None:
        self.folder = folder
        self.free_min_bytes = free_min_bytes
        self._lock = threading.Lock()

    def put(self, data: bytes) -> str:
        """Keep `data`; returns its digest, 64 hexadecimal digits. Raises NoSpace."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.touch(digest):
            write(self._path(digest), data, free_min_bytes=self.free_min_bytes)
        return digest

    def touch(self, digest: str) -> bool:
        """Whether the bytes called `digest` are here; if so, they count as just put, and `collect` leaves them alone."""
        with self._lock:
            try:
                os.utime(self._path(digest))
            except OSError:
                return False
            return True

    def get(self, digest: str) -> bytes:
        """The bytes called `digest`. Raises InputError when they are not here or no longer what they were."""
        try:
            data = self._path(digest).read_bytes()
        except OSError as error:
            raise InputError("A picture of this job is not here any more.", "Draw it again.") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError("A picture of this job is damaged on the disk.", "Draw it again.")
        return data

    def collect(self, named: Collection[str], older_than_s: float) -> tuple[int, int]:
        """Remove what is not `named` and was last put longer ago than `older_than_s`; returns how many files and bytes."""
        count = size = 0
        limit = time.time() - older_than_s
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if path.name in named or not _DIGEST.fullmatch(path.name):
                continue
            with self._lock, suppress(FileNotFoundError):
                about = path.stat()
                if about.st_mtime < limit:
                    path.unlink()
                    count, size = count + 1, size + about.st_size
        return count, size

    def __contains__(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InputError("This is not the digest of a picture.")
        return self.folder / digest[:2] / digest


def lock(path: Path) -> IO[str] | None:
    """Hold the file at `path` until what is returned is closed, here and in children that inherit it; None: it is held."""
    make_private(path.parent)
    file = os.fdopen(open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds the file at `path`."""
    try:
        with path.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def flush_folder(folder: Path) -> None:
    """Write to the disk which files a folder has: what was renamed in it stays renamed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritten(folder: Path, free_min_bytes: int, error: OSError) -> NoSpace:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _no_space(folder, free_min_bytes)
    return unwritable(folder, error.strerror or str(error))


def _no_space(folder: Path, free_min_bytes: int) -> NoSpace:
    return NoSpace(f"The disk of {folder} has too little space left to keep this.", leaves(free_min_bytes))


def leaves(free_min_bytes: int) -> str:
    """What to do when the disk is full, and why something of it may still be free."""
    return f"Free some space: the studio leaves the last {amounts.size(free_min_bytes)} to others."
