"""Fetches models from the Hugging Face hub into the models folder: whole and checked, or not at all.

    fetch(card, models, on_progress=print, cancelled=event.is_set)

What comes is collected in a hidden folder beside its place (`.NAME.download`) and moved there in one step when every file
has its size and checksum. A cut, a cancel or a crash leaves the hidden folder, and the next `fetch` goes on where it was,
at the same revision of the repository. Files that lie in the hub's own cache on this machine are taken from there.

The environment decides as everywhere: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME (the cache), HF_HUB_OFFLINE. Blocks, so it
belongs into a thread or a program of its own, never into a page's. Knows nothing of what the files mean; no torch.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from controlnet_core.domain import amounts
from controlnet_core.domain.errors import Cancelled, DownloadError, ModelError, NoSpace
from controlnet_core.models.catalog import SUFFIXES, ModelCard
from controlnet_core.models.hub import Cut, DownloadPlan, RemoteFile, Repository, cached, names_of
from controlnet_core.storage import store

TRIES = 5
"""Attempts in a row that bring nothing new before a download is given up."""
PAUSE_S = 1.0
"""Wait before the second attempt; doubles with each further one."""
_TELL_EVERY_S = 0.1
_PLAN = "plan.json"
_PART = ".part"
_GO_ON = "What has come so far is kept: download it again to go on."


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is: bytes of all its files, and the file that is coming. `total` 0: not known yet."""

    done: int
    total: int
    file: str = ""


OnProgress = Callable[[DownloadProgress], None]


def fetch(
    card: ModelCard,
    models: Path,
    on_progress: OnProgress = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    free_min_bytes: int = store.FREE_MIN_BYTES,
    pause_s: float = PAUSE_S,
) -> Path:
    """Put the model of `card` into the folder `models` and return where it lies; at once when it is there already.

    Two calls for one model, in this or another process, are one download: the second waits for the first.
    `on_progress` hears about it up to ten times a second, in this thread. Raises DownloadError (with what to do),
    ModelError (what came is not what was promised), NoSpace, and Cancelled soon after `cancelled()` turns true.
    """
    if not card.hub:
        raise DownloadError(f"{card.title} is nowhere to be downloaded from.", f"Put it into {models / card.path}.")
    place = destination(card, models)
    with _alone(place, on_progress, cancelled) as staging:
        if not place.exists():
            _Fetch(card, staging, on_progress, cancelled, free_min_bytes, pause_s).run()
            _promote(card, staging, place)
    return place


def destination(card: ModelCard, models: Path) -> Path:
    """Where the model of `card` will lie: a file when the card names one, else a folder."""
    place = models / card.path
    names = names_of(card)
    if len(names) == 1 and not names[0].endswith("/") and place.suffix not in SUFFIXES:
        # Not with_suffix: "control_v1.1" has none to replace.
        return place.with_name(place.name + PurePosixPath(names[0]).suffix)
    return place


def begun(card: ModelCard, models: Path) -> DownloadProgress | None:
    """How far an interrupted download is; None when none was begun."""
    return _begun(_staging(destination(card, models)))


def discard(card: ModelCard, models: Path) -> None:
    """Remove what an interrupted download left. Raises DownloadError while it is running."""
    staging = _staging(destination(card, models))
    if not staging.is_dir():
        return
    handle = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise DownloadError(f"{card.title} is being downloaded.", "Stop the download first.") from error
    finally:
        os.close(handle)


class _Fetch:
    """One download, from the plan to checked files in `staging`."""

    def __init__(
        self,
        card: ModelCard,
        staging: Path,
        on_progress: OnProgress,
        cancelled: Callable[[], bool],
        free_min_bytes: int,
        pause_s: float,
    ) -> None:
        self.card, self.staging = card, staging
        self.on_progress, self.cancelled = on_progress, cancelled
        self.free_min_bytes, self.pause_s = free_min_bytes, pause_s
        self.told_at = 0.0
        self.done = self.total = 0

    def run(self) -> None:
        plan = _read_plan(self.staging) or self._new_plan()
        self.total = plan.size
        self._check_space(plan)
        for file in plan.files:
            target = self.staging / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file():
                self._bring(plan, file, target)
            self.done += file.size
            self._tell(file.name, always=True)

    def _new_plan(self) -> DownloadPlan:
        self._stop_if_cancelled()
        found = Repository(self.card).plan(names_of(self.card))
        given = self.card.sha256
        if given and len(found.files) == 1 and found.files[0].sha256 not in ("", given):
            raise ModelError(
                f"{self.card.title} is no longer the file that this program knows.",
                "Look at what changed on the hub; the old file can be put into the models folder by hand.",
            )
        if given and len(found.files) == 1:
            known = found.files[0]
            found = DownloadPlan(found.hub, found.revision, (RemoteFile(known.name, known.size, given),))
        # Not `store.write`: a plan is 2 kB, and the space that it leaves is checked right after.
        store.write(self.staging / _PLAN, json.dumps(asdict(found)).encode(), free_min_bytes=0)
        return found

    def _check_space(self, plan: DownloadPlan) -> None:
        here = _size_below(self.staging)
        free = shutil.disk_usage(self.staging).free
        if free - max(0, plan.size - here) < self.free_min_bytes:
            need = max(0, plan.size - here)
            raise NoSpace(
                f"{self.card.title} needs {amounts.size(need)} more, and the disk of {self.staging.parent} has "
                f"{amounts.size(free)} free.",
                store.leaves(self.free_min_bytes),
            )

    def _bring(self, plan: DownloadPlan, file: RemoteFile, target: Path) -> None:
        """Bring one file to `target`, checked; its `.part` is what has come so far."""
        part = target.with_name(target.name + _PART)
        near = None if part.is_file() else cached(plan, file.name)
        if near is not None and near.stat().st_size == file.size:
            _link(near, part)
            if _problem(part, file) is not None:  # a damaged cache is no reason to fail
                part.unlink()
        failures = most = 0
        while (size := part.stat().st_size if part.is_file() else 0) < file.size or not part.is_file():
            try:
                self._stream(plan, file, part, size)
            except Cut as cut:
                if cut.start_again:
                    part.unlink(missing_ok=True)
                came = part.stat().st_size if part.is_file() else 0
                failures, most = (0, came) if came > max(size, most) else (failures + 1, most)
                if failures >= TRIES:
                    raise DownloadError(f"{self.card.title} could not be downloaded: {cut}.", _GO_ON) from cut
                self._pause(self.pause_s * 2 ** min(failures, 5))
        problem = _problem(part, file)
        if problem is not None:
            part.unlink()
            raise ModelError(f"{file.name} of {self.card.title} {problem}.", "It was removed; download it again.")
        part.replace(target)
        store.flush_folder(target.parent)

    def _stream(self, plan: DownloadPlan, file: RemoteFile, part: Path, offset: int) -> None:
        """Add to `part` what comes from byte `offset` on. Raises Cut when it ends early."""
        self._stop_if_cancelled()
        with Repository(self.card).open(plan, file, offset) as answer, part.open("r+b" if offset else "wb") as sink:
            if answer.offset != offset:  # the server does not know how to go on: from the beginning
                sink.truncate(answer.offset)
            sink.seek(answer.offset)
            came = answer.offset
            try:
                for chunk in answer.chunks:
                    came += len(chunk)
                    if came > file.size:
                        sink.truncate(0)
                        raise ModelError(
                            f"The server sent more for {file.name} than it had promised.", "Download it again."
                        )
                    sink.write(chunk)
                    self._tell(file.name, came)
                    self._stop_if_cancelled()
            except OSError as error:
                _no_space_or_raise(error, self.staging)
            finally:
                _flush(sink, self.staging)
        if came < file.size:
            raise Cut("the connection was cut")

    def _tell(self, name: str, came: int = 0, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self.told_at >= _TELL_EVERY_S:
            self.told_at = now
            self.on_progress(DownloadProgress(self.done + came, self.total, name))

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._stop_if_cancelled()
            time.sleep(min(0.1, seconds))

    def _stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled("The download was stopped.", _GO_ON)


def _link(source: Path, target: Path) -> None:
    # A second name costs no space; on another disk it has to be a copy.
    try:
        os.link(source, target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            _no_space_or_raise(error, target.parent)


def _problem(path: Path, file: RemoteFile) -> str | None:
    """What is wrong with a file that has come; None when it is the one that was promised."""
    if path.stat().st_size != file.size:
        return f"is {path.stat().st_size} bytes long instead of {file.size}"
    digest = hashlib.sha256() if file.sha256 or not file.git else hashlib.sha1(f"blob {file.size}\0".encode())
    with path.open("rb") as stream:
        start = stream.read(256)
        digest.update(start)
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    expected = file.sha256 or file.git
    if not expected or digest.hexdigest() == expected:
        return None
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "came as a web page"
    return "is not what the hub promised: its checksum differs"


def _promote(card: ModelCard, staging: Path, place: Path) -> None:
    names = names_of(card)
    if len(names) == 1 and not names[0].endswith("/"):
        (staging / names[0]).replace(place)
        store.flush_folder(place.parent)
        shutil.rmtree(staging, ignore_errors=True)
        return
    inner = staging / names[0].rstrip("/") if names and names[0].endswith("/") else staging
    (staging / _PLAN).unlink()
    inner.replace(place)
    store.flush_folder(place.parent)
    if inner != staging:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _alone(place: Path, on_progress: OnProgress, cancelled: Callable[[], bool]) -> Generator[Path]:
    """The hidden folder of a download, while no other thread or process works in it."""
    staging = _staging(place)
    handle: int | None = None
    while handle is None:
        if place.exists():
            break
        staging.mkdir(parents=True, exist_ok=True)
        handle = _try_lock(staging)
        if handle is None:
            if cancelled():
                raise Cancelled("The download was stopped.", _GO_ON)
            on_progress(_begun(staging) or DownloadProgress(0, 0))
            time.sleep(_TELL_EVERY_S)
    try:
        yield staging
    finally:
        if handle is not None:
            os.close(handle)


def _try_lock(staging: Path) -> int | None:
    """A locked handle of the folder, or None when another has it or it was moved away."""
    try:
        handle = os.open(staging, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == staging.stat().st_ino:
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _staging(place: Path) -> Path:
    return place.with_name(f".{place.name}.download")


def _begun(staging: Path) -> DownloadProgress | None:
    plan = _read_plan(staging)
    return plan and DownloadProgress(min(_size_below(staging), plan.size), plan.size)


def _read_plan(staging: Path) -> DownloadPlan | None:
    try:
        found: Any = json.loads((staging / _PLAN).read_text(encoding="utf-8"))
        return DownloadPlan(found["hub"], found["revision"], tuple(RemoteFile(**file) for file in found["files"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _size_below(staging: Path) -> int:
    size = 0
    for path in staging.rglob("*"):
        with suppress(OSError):  # moved away by the one that downloads
            size += path.stat().st_size if path.is_file() and path.name != _PLAN else 0
    return size


def _flush(sink: IO[bytes], folder: Path) -> None:
    try:
        sink.flush()
        os.fsync(sink.fileno())
    except OSError as error:
        _no_space_or_raise(error, folder)


def _no_space_or_raise(error: OSError, folder: Path) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise NoSpace(f"The disk of {folder.parent} is full.", f"Free some space. {_GO_ON}") from error
    raise error
