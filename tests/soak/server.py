"""The studio as `make run` starts it, on the tests' engine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "tests.soak.engine:build"
START_S = 120.0


@dataclass
class Running:
    """A running studio; `said` is the file of its output."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]
    said: Path

    @property
    def log(self) -> Path:
        """The studio's log."""
        return self.data / "studio.log"

    def workers(self) -> list[psutil.Process]:
        """Its child processes that run jobs."""
        found: list[psutil.Process] = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it ended meanwhile: a program that was asked something
                if "controlnet_core.execution.worker" in " ".join(child.cmdline()):
                    found.append(child)
        return found


@contextmanager
def running(data: Path, *arguments: str, base: str = "", engine: str = ENGINE) -> Iterator[Running]:
    """A studio on a free port, in a process group of its own, gone at the end. `base` is the path that `arguments` give it."""
    data.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = data / "said.txt"
    settings = {
        "STUDIO_DATA": str(data),
        "STUDIO_ENGINE": engine,
        "STUDIO_FREE_MB": "50",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "webapp", "run", "--no-browser", "--port", str(port), *arguments]
    with said.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | settings,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    here = Running(f"http://127.0.0.1:{port}{base}", data, process, said)
    try:
        end = time.monotonic() + START_S
        while not _answers(here):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.2)
        yield here
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _answers(here: Running) -> bool:
    try:
        return httpx.get(f"{here.url}/_stcore/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
