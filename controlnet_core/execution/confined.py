"""A function in a process that may be killed: for reading what comes from outside, where a file can take any time and memory,
or bring a library down.

    reader = Confined("controlnet_core.execution.decoder:decode_here", Limits(cpu_s=1.8, memory_bytes=330 << 20))
    header, parts = reader.call({"longest": 512}, [data])

The process is started with the first call, does one after another and is started anew after it died. What travels is JSON
and bytes, never a pickle: a process that was taken over can answer nonsense and nothing else.

    python -m controlnet_core.execution.confined FD MODULE:FUNCTION CPU_S MEMORY_BYTES

is its other end. `prepare()` of the function's module is called first, where there is one. The function gets (header, parts)
and returns the same; an InputError that it raises comes out of `call`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from controlnet_core.domain.errors import InputError

ANSWER_MAX_BYTES = 256 << 20
PARTS_MAX = 64
_ROOT = Path(__file__).resolve().parents[2]
Header = dict[str, Any]
Parts = Sequence[bytes | memoryview]
Function = Callable[[Header, list[bytes]], tuple[Header, Parts]]


@dataclass(frozen=True)
class Limits:
    """What one call may take: processor seconds, bytes beside the program itself, and seconds on the clock, which a crowded
    machine makes many more. `waiting` calls may stand in line."""

    cpu_s: float
    memory_bytes: int
    wall_s: float = 10.0
    waiting: int = 16


class Died(InputError):
    """The process died of what it read."""


class Busy(InputError):
    """Too many calls wait already."""


class Confined:
    """One process for one function. Safe across threads."""

    def __init__(self, function: str, limits: Limits, what: str = "file") -> None:
        self.function, self.limits, self.what = function, limits, what
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def call(self, header: Header, parts: Parts = ()) -> tuple[Header, list[bytes]]:
        """What the function makes of it. Raises its InputError; Died when it took too much or fell over; Busy."""
        with self._count:
            if self._waiting > self.limits.waiting:
                raise Busy("Too many files are being read at once.", "Wait a moment and try again.")
            self._waiting += 1
        try:
            with self._turn:
                return self._ask(header, parts)
        finally:
            with self._count:
                self._waiting -= 1

    @property
    def waiting(self) -> int:
        """How many calls are under way or wait."""
        return self._waiting

    def close(self) -> None:
        """End the process; the next call starts another."""
        with self._turn:
            self._end()

    def _ask(self, header: Header, parts: Parts) -> tuple[Header, list[bytes]]:
        for fresh in (False, True):
            there = self._there()
            there.settimeout(self.limits.wall_s)
            try:
                try:
                    _send(there, header, parts)
                except OSError:
                    if fresh:
                        raise
                    self._end()  # it died while nobody asked
                    continue
                told, back = _receive(there, ANSWER_MAX_BYTES, time.monotonic() + self.limits.wall_s)
            except (OSError, EOFError, ValueError) as error:
                raise self._dead(error) from error
            if "error" in told:
                message, hint = told["error"]
                raise InputError(str(message), str(hint))
            return told, back
        raise AssertionError

    def _dead(self, error: Exception) -> Died:
        code = 0
        child = self._child
        if child is not None and not isinstance(error, TimeoutError):
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(2)
        self._end()
        if isinstance(error, TimeoutError) or code in (-signal.SIGPROF, -signal.SIGXCPU):
            return Died(f"The {self.what} takes too long to read.", "Save it smaller, or in an ordinary way.")
        return Died(f"The {self.what} is damaged: reading it failed.", "Save it again or choose another one.")

    def _there(self) -> socket.socket:
        if self._socket is not None and self._child is not None and self._child.poll() is None:
            return self._socket
        self._end()
        own, other = socket.socketpair()
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
        limits = [str(self.limits.cpu_s), str(self.limits.memory_bytes)]
        with other:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "controlnet_core.execution.confined",
                    str(other.fileno()),
                    self.function,
                    *limits,
                ],
                env=os.environ | one | {"PYTHONPATH": os.pathsep.join(paths)},
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        own.settimeout(60.0)  # a crowded machine starts programs slowly
        self._socket = own
        try:
            _receive(own, 1 << 16, time.monotonic() + 60.0)
        except (OSError, EOFError, ValueError) as error:
            self._end()
            raise InputError(f"The {self.what} could not be looked into.", "Try again.") from error
        return own

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._child is not None:
            with suppress(OSError):
                self._child.kill()
            self._child.wait()
        self._socket = self._child = None


def _send(there: socket.socket, header: Header, parts: Parts) -> None:
    head = json.dumps(header | {"parts": [len(part) for part in parts]}).encode()
    there.sendall(struct.pack("<I", len(head)) + head)
    for part in parts:
        there.sendall(part)


def _receive(there: socket.socket, max_bytes: int, until: float) -> tuple[Header, list[bytes]]:
    def take(count: int) -> bytearray:
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            if until != float("inf"):
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                there.settimeout(left)
            more = there.recv_into(view[got:])
            if not more:
                raise EOFError
            got += more
        return data

    (size,) = struct.unpack("<I", take(4))
    if size > 1 << 20:
        raise ValueError("too long")
    header: Any = json.loads(bytes(take(size)))
    if not isinstance(header, dict):
        raise ValueError("not an object")
    told = cast(Header, header)
    sizes: Any = told.pop("parts", None)
    if not isinstance(sizes, list) or len(cast("list[Any]", sizes)) > PARTS_MAX:
        raise ValueError("no parts")
    counts = [int(one) for one in cast("list[Any]", sizes)]
    if any(one < 0 for one in counts) or sum(counts) > max_bytes:
        raise ValueError("too large")
    return told, [cast(bytes, take(one)) for one in counts]


# ---- the other end


def confine(memory_bytes: int) -> None:
    """At most so much more memory than there is now."""
    with suppress(OSError, ValueError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        now = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (now + memory_bytes, now + memory_bytes))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(there: socket.socket, function: Function, cpu_s: float) -> None:
    while True:
        try:
            header, parts = _receive(there, ANSWER_MAX_BYTES, float("inf"))
        except (OSError, EOFError, ValueError):
            return
        # Its default action ends the process, whatever a library is doing.
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            told, back = function(header, parts)
        except InputError as error:
            told, back = {"error": [error.message, error.hint]}, ()
        except MemoryError:
            told, back = {"error": ["This takes too much memory to read.", "Save it smaller."]}, ()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        _send(there, told, back)
        del header, parts, told, back  # or the next call would have that much less


def main() -> None:
    """The process's own end."""
    fd, path, cpu_s, memory_bytes = sys.argv[1:5]
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; this end follows its parent's
    os.nice(5)  # pictures that somebody waits for come first
    module, _, name = path.partition(":")
    home = import_module(module)
    function = cast(Function, getattr(home, name))
    getattr(home, "prepare", lambda: None)()
    with socket.socket(fileno=int(fd)) as there:
        confine(int(memory_bytes))
        _send(there, {"ready": True}, ())
        _serve(there, function, float(cpu_s))


if __name__ == "__main__":
    main()
