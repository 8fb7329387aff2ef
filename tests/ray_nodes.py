"""A Ray cluster on this machine for tests: nodes as processes of their own, on free ports of the loopback interface."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.ports import free_port

STORE_BYTES = 80_000_000
TRIES = 2
ROOT = Path(__file__).resolve().parents[1]


class NotStarted(RuntimeError):
    """Ray's own processes did not come up in Ray's own time."""


def ray_program() -> str:
    """Ray's command; skips the test where there is none."""
    program = Path(sys.executable).parent / "ray"
    if not program.is_file():
        pytest.skip("ray is not installed: pip install ray==2.60.*")
    return str(program)


class Cluster:
    """Nodes that are started and killed one by one; the first is the head."""

    def __init__(self, **system: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # paths of sockets are short
        token = self.folder / "token"
        token.write_text("f" * 64)
        self.environment = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            **{f"RAY_{name}": str(value) for name, value in system.items()},
        }
        self.port = free_port()
        self.nodes: list[set[int]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, cpus: int = 1) -> None:
        """One more node."""
        for left in reversed(range(TRIES)):
            before = self.processes()
            done = subprocess.run(
                self._command(cpus), cwd=ROOT, env=os.environ | self.environment, capture_output=True, check=False
            )
            mine = self.processes() - before
            if done.returncode == 0:
                self.nodes.append(mine)
                return
            _kill(mine)
            if not left:
                raise NotStarted(done.stderr.decode()[-2000:])

    def kill(self, number: int) -> None:
        """Kill every process of a node at once, as a machine that loses its power would."""
        _kill(self.nodes[number] | self._of(self.nodes[number]))
        self.nodes[number] = set()

    def living(self) -> int:
        """How many nodes there are: on a machine that is far too busy Ray ends one by itself."""
        return sum(any(_title(pid).split(" ")[0].endswith("raylet") for pid in node) for node in self.nodes)

    def actors(self) -> list[int]:
        """The processes that own a device."""
        return [pid for pid in self.processes() if _title(pid).startswith("ray::Host")]

    def close(self) -> None:
        _kill(self.processes() | self._of(self.processes()))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, cpus: int) -> list[str]:
        here = ["--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}"]
        where = (
            ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"]
            if not self.nodes
            else [f"--address={self.address}"]
        )
        ray_program()
        command = [sys.executable, "-m", "tests.ray_start", "start"]
        return [*command, *where, *here, "--disable-usage-stats", "--num-gpus=0"]

    def processes(self) -> set[int]:
        """Everything that was started for this cluster: its folder or its port stand in its environment or command."""
        found: set[int] = set()
        for process in psutil.process_iter():
            try:
                if process.environ().get("RAY_AUTH_TOKEN_PATH") == self.environment["RAY_AUTH_TOKEN_PATH"]:
                    found.add(process.pid)
            except psutil.Error:
                continue
        return found - {os.getpid()}

    def _of(self, pids: set[int]) -> set[int]:
        found: set[int] = set()
        for pid in pids:
            try:
                found |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
            except psutil.Error:
                continue
        return found


def _title(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def _kill(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    end = time.monotonic() + 5
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
