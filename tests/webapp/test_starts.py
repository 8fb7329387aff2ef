"""However the server is started, gate, bounds and settings are those of `studio run`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.soak.server import ENGINE, ROOT
from webapp.routes.connections import WAITING_MAX


@pytest.mark.parametrize("command", ["uvicorn webapp.app:app --port", "streamlit run {}/webapp/app.py --server.port"])
def test_whoever_starts_it_elsewhere_and_by_other_commands_gets_the_same_server(command: str, tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-m", *command.format(ROOT).split(), str(port)]
    settings = {"STUDIO_DATA": str(tmp_path / "data"), "STUDIO_ENGINE": ENGINE, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "said.txt").open("w") as said:
        child = subprocess.Popen(words, cwd=tmp_path, env=os.environ | settings, stdout=said, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 60
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while True:
                assert child.poll() is None and time.monotonic() < end, (tmp_path / "said.txt").read_text()
                with suppress(httpx.TransportError):
                    client.get("/healthz").raise_for_status()
                    break
                time.sleep(0.2)
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
            assert client.get("/_stcore/host-config").json()["allowedOrigins"] == []
            with ExitStack() as held:
                waiting = [
                    held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(WAITING_MAX + 1)
                ]
                waiting[0].settimeout(10)
                assert waiting[0].recv(4096).startswith(b"HTTP/1.1 503"), "an address may hold so many and no more"
    finally:
        child.terminate()
        child.wait(30)
