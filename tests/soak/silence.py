"""Nothing goes out: a studio without a way out, beside a proxy that listens, is used in every way that asks for no download.

Every process of the studio (web, worker, what they start) carries an audit hook that writes down whom it wants to reach,
names to be looked up too, and refuses: so it also shows that all of it works without a network. All proxies that the
environment can name are one of ours, which counts who comes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.soak.row import Row
from tests.soak.server import running
from tests.soak.tab import open_tab

PAGES = ("", "pose", "seg", "canny", "compose", "gallery", "models", "datasets", "training")
HOOK = """
import os, sys
def _hook(event, given):
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        return
    where = given[1] if event in ("socket.connect", "socket.sendto") else given[0]
    name = where[0] if isinstance(where, tuple) else where
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if name in (None, "", "localhost", "::1", "0.0.0.0", "::") or str(name).startswith(("127.", "/", "\\0")):
        return
    if event == "socket.connect" and given[0].type & 0xF == 2:
        return  # a datagram socket that only learns its own address: nothing is sent
    with open(os.environ["SILENCE_LOG"], "a") as file:
        file.write(f"{event} {name} by {' '.join(sys.argv)[:200]}\\n")
    raise OSError(101, "Network is unreachable")
sys.addaudithook(_hook)
"""


@dataclass
class Heard:
    """What wanted to go out: a line for each try past the proxy, and the first bytes of each that came to it."""

    log: Path
    through_proxy: list[bytes] = field(default_factory=list)

    def lines(self) -> list[str]:
        """All of it."""
        direct = self.log.read_text().splitlines() if self.log.exists() else []
        return direct + [one.split(b"\r\n")[0].decode("utf-8", "replace") for one in self.through_proxy]


@contextmanager
def no_way_out(folder: Path) -> Iterator[Heard]:
    """The environment of a machine without a network for the children that are started meanwhile."""
    (folder / "hook").mkdir(parents=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    heard = Heard(folder / "out.txt")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        threading.Thread(target=_listen, args=(proxy, heard), daemon=True).start()
        kept = dict(os.environ)
        for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
            os.environ[name] = os.environ[name.upper()] = address
        for name in ("no_proxy", "NO_PROXY", "HF_HUB_OFFLINE"):
            os.environ.pop(name, None)
        os.environ["SILENCE_LOG"] = str(heard.log)
        os.environ["PYTHONPATH"] = str(folder / "hook")
        try:
            yield heard
        finally:
            os.environ.clear()
            os.environ.update(kept)


def listens(heard: Heard) -> bool:
    """Whether a child that does go out, both ways, is noticed: else silence would say nothing."""
    tries = (
        "import urllib.request as u; u.urlopen('http://example.org/', timeout=3)",
        "import socket; socket.create_connection(('example.org', 80), 3)",
    )
    for one in tries:
        subprocess.run([sys.executable, "-c", one], check=False, capture_output=True, timeout=60)
    return len(heard.lines()) == 2 and len(heard.through_proxy) == 1


def use(url: str) -> int:
    """Do what visitors and strangers do; returns how many pictures were made."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for path in ("/", "/pose", "/models", "/_stcore/health", "/_stcore/host-config"):
            client.get(path)
            client.get(path, headers={"Origin": "http://evil.example"})
            client.get(path, headers={"Host": "evil.example"})
    for origin in ("http://evil.example", "http://192.0.2.1", "https://localhost", "null"):
        with (
            suppress(InvalidStatus),
            connect(f"{url.replace('http', 'ws', 1)}/_stcore/stream", origin=origin, proxy=None),
        ):  # type: ignore[arg-type]
            pass
    with open_tab(url, "cd" * 16) as tab:
        for page in PAGES:
            tab.run(page)
        tab.run()
        tab.run(**{"scribble.prompt": ("string_value", "a house"), "scribble.generate": ("trigger_value", True)})
        with httpx.stream("GET", f"{url}/studio/events/{tab.stream}", timeout=60, trust_env=False) as events:
            for line in events.iter_lines():
                if '"done"' in line:
                    return 1
                if '"failed"' in line:
                    break
    return 0


def check(folder: Path) -> Row:
    """Start, use and end a studio; then see who wanted to go out."""
    with no_way_out(folder) as heard:
        with running(folder / "data") as studio, suppress_proxies():
            made = use(studio.url)
        lines = heard.lines()
        hears = True if lines else listens(heard)
    figure = f"{made} picture made, {len(lines)} tries to go out" + (f": {lines[0][:60]}" if lines else "")
    return Row("nothing goes out", f"{len(PAGES)} pages, 4 foreign origins", figure, made == 1 and not lines and hears)


@contextmanager
def suppress_proxies() -> Iterator[None]:
    """Let this process itself, which plays the visitor, reach the studio straight."""
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


def _listen(proxy: socket.socket, heard: Heard) -> None:
    while True:
        try:
            connection, _ = proxy.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(2)
            try:
                heard.through_proxy.append(connection.recv(4096))
            except OSError:
                heard.through_proxy.append(b"")
