"""A real server and a real Chromium for the browser tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.ports import free_port
from tests.profiles import Profiles

# Bounds, not measures: a machine that trains beside the tests is slow.
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)
ROOT = Path(__file__).resolve().parent.parent.parent


class Server:
    """The studio as `make run` starts it, on its own data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "webapp", "run", "--no-browser", "--port", str(self.port)],
            cwd=ROOT,
            env={**os.environ, "STUDIO_DATA": str(self.data), "OMP_NUM_THREADS": "2"},
            stdout=(self.data / "server.txt").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.data / "server.txt").read_text()
            try:
                if httpx.get(f"{self.url}/_stcore/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise TimeoutError((self.data / "server.txt").read_text())

    def kill(self) -> None:
        """Kill -9 the server and everything that it started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not kill it."""
    running = Server(tmp_path_factory.mktemp("studio"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the module's own, which its tests may kill and leave started again."""
    running = Server(tmp_path_factory.mktemp("own"))
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


@pytest.fixture
def page(profiles: Profiles) -> Iterator[Page]:
    """An empty browser profile, so that no test finds another's drawing."""
    with profiles.page(viewport={"width": 1440, "height": 900}) as page:
        page.context.set_default_timeout(WAIT_MS)
        yield page
