"""Models that were sent to this machine, in folders named by their digest: whole or absent, and no more than there is room for.

    shelf = Shelf(folder, max_bytes=50 << 30)
    with ExitStack() as hold:
        place = shelf.find(parcel, hold)            None: it is not here, or somebody brings it just now
        if place is None and (receipt := shelf.receive(parcel)):
            with receipt:
                for path, data in chunks:
                    receipt.add(path, data)

Processes of one machine share a shelf: a lock on each model says who brings it and who uses it. What is brought grows in a hidden
folder that takes the model's place in one step, when every file has its size and checksum; what is left of one that was broken off
is removed by the next. The model that was used longest ago makes room.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any

from controlnet_core.domain import amounts
from controlnet_core.domain.errors import ModelError, ModelMissing, NoSpace
from controlnet_core.domain.lending import Parcel, PartOfModel
from controlnet_core.storage import store

PIECE_BYTES = 8 << 20


def parcel_of(place: Path) -> Parcel:
    """What the model at `place`, a file or a folder, is made of. Reads all of it once for each state of its files.

    Raises ModelMissing.
    """
    try:
        paths = [place] if place.is_file() else sorted(_files(place))
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise ModelMissing(f"{place.name} cannot be read: {error.strerror}.") from error
    if not paths:
        raise ModelMissing(f"There is no model at {place}.")
    return _parcel(place, tuple((path, one.st_size, one.st_mtime_ns) for path, one in zip(paths, stats, strict=True)))


@lru_cache(maxsize=512)
def _parcel(place: Path, files: tuple[tuple[Path, int, int], ...]) -> Parcel:
    found: list[PartOfModel] = []
    for path, size, _ in files:
        name = "" if path == place else path.relative_to(place).as_posix()
        try:
            with path.open("rb") as file:
                found.append(PartOfModel(name, size, hashlib.file_digest(file, "sha256").hexdigest()))
        except OSError as error:
            raise ModelMissing(f"{path.name} of {place.name} cannot be read: {error.strerror}.") from error
    return Parcel(place.name, tuple(found))


def pieces(place: Path, parcel: Parcel) -> Iterator[tuple[str, bytes]]:
    """The bytes of a model's files, in order, a few MB at a time. Raises OSError, ModelError for a file that has changed."""
    for part in parcel.files:
        left = part.size
        with (place / part.path if part.path else place).open("rb") as file:
            while left or not part.size:
                data = file.read(min(left, PIECE_BYTES))
                if not data and left:
                    raise ModelError(f"{parcel.name} was changed while it was sent.", "Try again.")
                yield part.path, data
                left -= len(data)
                if not left:
                    break


def _files(folder: Path) -> list[Path]:
    """What belongs to a model's folder; not what is hidden, such as a hub's own notes."""
    hidden = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in hidden if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


class Shelf:
    """The models below `folder`, `max_bytes` of them at most, while the disk keeps `free_min_bytes`."""

    def __init__(self, folder: Path, max_bytes: int, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        self.folder, self.max_bytes, self.free_min_bytes = folder, max_bytes, free_min_bytes

    def find(self, parcel: Parcel, hold: ExitStack) -> Path | None:
        """Where a model lies; it stays there until `hold` is closed. None while it does not."""
        if not self._place(parcel).exists():
            return None
        lock = self._lock(parcel.digest, fcntl.LOCK_SH)
        if lock is None:
            return None
        if not self._place(parcel).exists():
            lock.close()
            return None
        os.utime(lock.name)
        hold.enter_context(lock)
        return self._place(parcel)

    def receive(self, parcel: Parcel) -> Receipt | None:
        """Begin to bring a model; None when somebody else does, or did. Raises NoSpace."""
        if not all(_is_inside(file.path) for file in parcel.files) or not _is_inside(parcel.name):
            raise ModelError(f"{parcel.name} has files outside of its folder.")
        store.make_private(self.folder)
        lock = self._lock(parcel.digest, fcntl.LOCK_EX)
        if lock is None:
            return None
        try:
            if self._place(parcel).exists():
                lock.close()
                return None
            staging = self._make_room(parcel)
        except BaseException:
            lock.close()
            raise
        return Receipt(parcel, staging, self.folder / parcel.digest, lock)

    def _place(self, parcel: Parcel) -> Path:
        return self.folder / parcel.digest / parcel.name

    def _lock(self, digest: str, kind: int) -> IO[Any] | None:
        path = self.folder / f"{digest}.lock"
        lock = os.fdopen(store.open_private(path, os.O_RDWR | os.O_CREAT), "r+b")
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        return lock

    def _make_room(self, parcel: Parcel) -> Path:
        """The empty folder in which a model grows, for which there is room. It tells its size to those that make room beside."""
        if parcel.size > self.max_bytes:
            raise NoSpace(
                f"{parcel.name} has {amounts.size(parcel.size)}, and models that are sent may take "
                f"{amounts.size(self.max_bytes)} on this machine.",
                "Put it into that machine's models folder, or set STUDIO_MODEL_CACHE_GB there.",
            )
        with (self.folder / "room.lock").open("ab") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            for left in self.folder.glob(f".{parcel.digest}.*"):
                shutil.rmtree(left, ignore_errors=True)
            while not self._has_room(parcel.size):
                if not self._evict():
                    raise NoSpace(
                        f"There is no room for {parcel.name} ({amounts.size(parcel.size)}) among the models that are sent.",
                        f"Free some space on the disk of {self.folder}: jobs that run need what is there.",
                    )
            staging = self.folder / f".{parcel.digest}.{parcel.size}"
            staging.mkdir(mode=0o700)
        return staging

    def _has_room(self, size: int) -> bool:
        promised = {path: int(path.suffix[1:]) for path in self.folder.glob(".*.*") if path.suffix[1:].isdecimal()}
        kept = sum(_size(path) for path in self.folder.iterdir() if path.is_dir() and path not in promised)
        coming = sum(max(0, wanted - _size(path)) for path, wanted in promised.items())
        free = shutil.disk_usage(self.folder).free - coming
        return kept + sum(promised.values()) + size <= self.max_bytes and free - size >= self.free_min_bytes

    def _evict(self) -> bool:
        """Remove the model that was used longest ago, or what is left of one that nobody brings any more; whether there was one."""
        found = [path for path in self.folder.iterdir() if path.is_dir()]
        used = {path: (self.folder / f"{path.name.lstrip('.')[:64]}.lock") for path in found}
        for path in sorted(found, key=lambda path: used[path].stat().st_mtime_ns if used[path].exists() else 0):
            lock = self._lock(path.name.lstrip(".")[:64], fcntl.LOCK_EX)
            if lock is not None:
                with lock:
                    shutil.rmtree(path, ignore_errors=True)
                return True
        return False


class Receipt:
    """A model that is being brought. Left with anything missing, nothing of it stays. `add` may be called by another thread."""

    def __init__(self, parcel: Parcel, staging: Path, place: Path, lock: IO[Any]) -> None:
        self.parcel, self.done = parcel, 0
        self._staging, self._place, self._lock = staging, place, lock
        self._missing = {file.path: file for file in parcel.files}
        self._open: tuple[str, IO[bytes], Any] | None = None
        self._working = threading.Lock()
        self._left = False

    @property
    def whole(self) -> bool:
        """Whether all of it is there."""
        return not self._missing

    def add(self, path: str, data: bytes) -> None:
        """The next bytes of the file at `path`; files come one after the other. Raises ModelError, NoSpace."""
        with self._working:
            if self._left or path not in self._missing:
                raise ModelError(f"{self.parcel.name} is not waited for any more.")
            wanted = self._missing[path]
            try:
                self._write(path, data)
            except OSError as error:
                raise NoSpace(
                    f"{self.parcel.name} could not be written to {self._staging.parent}: {error.strerror}.",
                    "Free some space there.",
                ) from error
            assert self._open is not None
            _, file, digest = self._open
            self.done += len(data)
            if file.tell() < wanted.size:
                return
            file.flush()
            os.fsync(file.fileno())
            file.close()
            self._open = None
            if digest.hexdigest() != wanted.sha256:
                raise ModelError(f"{self.parcel.name} did not arrive as it was sent.", "Try again.")
            del self._missing[path]

    def _write(self, path: str, data: bytes) -> None:
        if self._open is None or self._open[0] != path:
            target = self._staging / self.parcel.name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._open = (path, target.open("wb"), hashlib.sha256())
        self._open[1].write(data)
        self._open[2].update(data)

    def __enter__(self) -> Receipt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._working:
            self._left = True
            if self._open is not None:
                with suppress(OSError):
                    self._open[1].close()
            try:
                if not self._missing and kind is None:
                    self._staging.replace(self._place)
                    store.flush_folder(self._place.parent)
            finally:
                shutil.rmtree(self._staging, ignore_errors=True)
                self._lock.close()


def _is_inside(path: str) -> bool:
    """Whether a name stays below its folder."""
    parts = PurePosixPath(path).parts
    return not path.startswith("/") and ".." not in parts and "\0" not in path


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size
    return size
