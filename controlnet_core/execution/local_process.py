"""A worker as a child process of this one, over a socket pair; `worker` is the other end."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from controlnet_core.domain.job import Job
from controlnet_core.execution.devices import PATIENT, Device
from controlnet_core.execution.port import Hear, Lost, Ready
from controlnet_core.storage import store

GONE_S = 2.0
"""A child that has closed its end is gone within this time, or is killed."""
_ROOT = Path(__file__).resolve().parents[2]
_log = logging.getLogger("studio.workers")


class LocalProcess:
    """The `WorkerPort` of this machine.

    `engine` is the import path of what builds the engine in the child, `log` the file for its details; `env` adds to its
    environment.
    """

    def __init__(self, engine: str, device: Device, *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.engine = engine
        self.device = device
        self._log = log
        self._env = dict(env or {})
        self._connection: Connection | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._sending = threading.Lock()

    def start(self, hear: Hear) -> None:
        """Begin a life; see `WorkerPort`. Raises OSError when no process can be made."""
        connection, child = self._spawn()
        self._connection, self._child = connection, child
        threading.Thread(
            target=self._listen, args=(connection, child, hear), name=f"worker {child.pid}", daemon=True
        ).start()

    def run(self, job: Job) -> None:
        """Do a job."""
        self._send("run", job)

    def cancel(self, id: str) -> None:
        """Stop a job at its next step."""
        self._send("cancel", id)

    def stop(self) -> None:
        """End after the step that runs now."""
        self._send("stop", "")

    def kill(self) -> None:
        """End at once."""
        if self._child is not None:
            self._child.kill()

    def _send(self, word: str, value: object) -> None:
        with self._sending, suppress(OSError):  # it is gone: that is said already, or will be
            if self._connection is not None:
                self._connection.send((word, value))

    def _listen(self, connection: Connection, child: subprocess.Popen[bytes], hear: Hear) -> None:
        try:
            while True:
                said = connection.recv()
                if isinstance(said, Ready) and self.device.kind == "cuda":
                    said = replace(said, device=self.device.name)  # it sees one, and calls that the first
                hear(said)
        except (EOFError, OSError):
            pass  # the child is gone
        except Exception:
            _log.exception("what a worker said could not be understood")
            child.kill()
        try:
            child.wait(GONE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        with self._sending:
            connection.close()
        hear(Lost(f"exit status {child.returncode}"))

    def _spawn(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            paths = [str(_ROOT), *filter(None, [self._env.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])]
            env = PATIENT | os.environ | self._env | self.device.environment | {"PYTHONPATH": os.pathsep.join(paths)}
            store.make_private(self._log.parent)
            command = [
                sys.executable,
                "-m",
                "controlnet_core.execution.worker",
                str(theirs.fileno()),
                self.engine,
                self.device.kind,
                str(self._log),
            ]
            with open(self._log, "ab", opener=store.open_private) as log:
                child = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        return Connection(ours.detach()), child
