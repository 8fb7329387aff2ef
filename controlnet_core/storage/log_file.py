"""The log file: several processes append to one, its size is bounded, and nothing in it opens or floods anything.

Whoever finds it too large renames it and begins another; the others see that with their next record and follow, their standard
output and error as well, so that no process goes on writing where nobody looks any more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from controlnet_core.storage import store

MAX_BYTES = 10 << 20
LINE_MAX, RECORD_MAX = 600, 16_000
"""Characters of a line and of a record: what somebody sends may be much longer."""
SAME_MAX, SAME_S = 5, 60.0
"""So many records of one place are written in so many seconds, the others are counted."""
PLACES_MAX = 512
_SECRETS = re.compile(r"(?<=/)[A-Za-z0-9_-]{24,}(?=[/\s\"'?#.&)\]]|$)|studio_[A-Za-z0-9_-]{16,}")
"""Tokens in addresses, and keys: who reads the log is not who may use them."""


class LogFile(logging.FileHandler):
    """Appends to `path`, which its owner alone reads; `also` are descriptors that lead there too (1 and 2 in a worker)."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, also: Sequence[int] = ()) -> None:
        store.make_private(path.parent)
        super().__init__(path, encoding="utf-8", delay=True)
        self.max_bytes, self._also = max_bytes, also
        self.setFormatter(_Bounded("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self.addFilter(Seldom())
        self.setLevel(logging.WARNING)  # a line for each request would be a diary of visitors

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record where the log is now."""
        with suppress(OSError):
            self._follow()
        super().emit(record)

    def _open(self) -> TextIOWrapper:
        handle = store.open_private(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for other in self._also:
            os.dup2(handle, other)
        return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")

    def _follow(self) -> None:
        if self.stream is None:  # pyright: ignore[reportUnnecessaryComparison] - before the first record
            return
        if not self._is_ours():
            self._begin()
        elif os.fstat(self.stream.fileno()).st_size > self.max_bytes:
            fcntl.flock(self.stream, fcntl.LOCK_EX)  # until it is closed: two must not rename one after the other
            if self._is_ours():
                path = Path(self.baseFilename)
                path.replace(path.with_suffix(".log.1"))
            self._begin()

    def _is_ours(self) -> bool:
        assert self.stream is not None
        mine = os.fstat(self.stream.fileno())
        try:
            there = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def _begin(self) -> None:
        assert self.stream is not None
        self.stream.close()
        self.stream = self._open()


class Seldom(logging.Filter):
    """Lets a few records of each place through, and tells with the next how many were like them."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record."""
        kind = record.exc_info[0] if record.exc_info else None
        place, now = (record.name, record.pathname, record.lineno, kind), time.monotonic()
        with self._lock:
            begun, count = self._seen.pop(place, (now, 0))
            left_out = 0
            if now - begun > SAME_S:
                begun, count, left_out = now, 0, max(0, count - SAME_MAX)
            self._seen[place] = begun, count + 1
            while len(self._seen) > PLACES_MAX:
                self._seen.popitem(last=False)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it were left out)", ()
        return count < SAME_MAX


class _Bounded(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A record without secrets, bounded in every line and as a whole."""
        lines = _SECRETS.sub("...", super().format(record)).splitlines()
        short = [line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]}... ({len(line)} characters)" for line in lines]
        text = "\n".join(short)
        return text if len(text) <= RECORD_MAX else f"{text[: RECORD_MAX // 2]}\n...\n{text[-RECORD_MAX // 2 :]}"


def write_to(path: Path, names: Sequence[str], *, also: Sequence[int] = (), alone: Sequence[str] = ()) -> LogFile:
    """Have the loggers `names` write to the log file; those of `alone` write there and nowhere else. Again changes nothing."""
    known = [one for name in names for one in logging.getLogger(name).handlers if isinstance(one, LogFile)]
    there = [one for one in known if one.baseFilename == str(path.absolute())]
    handler = there[0] if there else LogFile(path, also=also)
    for name in (*names, *alone):
        logger = logging.getLogger(name)
        others = [] if name in alone else [one for one in logger.handlers if not isinstance(one, LogFile)]
        logger.handlers = [*others, handler]
        logger.propagate = logger.propagate and name not in alone
    return handler
