"""A real Chromium and a real server for the components' tests."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """The test app in a process of its own; it can be stopped and started again on the same port, empty."""

    def __init__(self, script: str) -> None:
        self.script = Path(__file__).with_name(script)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--server.headless=true", "--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
        command = [sys.executable, "-m", "streamlit", "run", str(self.script), f"--server.port={self.port}", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).read()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the test app did not start")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    it = Server("app_scribble.py")
    it.start()
    yield it
    it.stop()


@pytest.fixture(scope="session")
def seg_server() -> Iterator[Server]:
    it = Server("app_seg.py")
    it.start()
    yield it
    it.stop()


@pytest.fixture(scope="session")
def results_server() -> Iterator[Server]:
    it = Server("app_results.py")
    it.start()
    yield it
    it.stop()
