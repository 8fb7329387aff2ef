"""Strangers at a running studio: foreign names and pages, streams that come and go, requests that never end. Nobody else waits."""

from __future__ import annotations

import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.soak.row import Row
from tests.soak.server import Running, running
from tests.soak.tab import open_tab

ADDRESSES = (
    "/",
    "/pose",
    "/_stcore/health",
    "/_stcore/host-config",
    "/studio/documents/x",
    "/media/x.png",
    "/static/x",
)
WAIT_MAX_S = 1.0
"""What another visitor may wait meanwhile."""


def check(folder: Path, times: int) -> list[Row]:
    """All of them against one studio, `times` of each."""
    with running(folder) as studio:
        return [foreign(studio, times), streams(studio, times), _unfinished(studio, min(times, 200)), _flood(studio)]


def _asked(studio: Running, head: str, *, close: bool = True) -> bytes:
    """The first line of the answer to a request of these lines."""
    where = urlsplit(studio.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as there:
        there.sendall(head.encode() + (b"Connection: close\r\n\r\n" if close else b"\r\n"))
        return there.recv(4096).split(b"\r\n", 1)[0]


def foreign(studio: Running, times: int) -> Row:
    """Names that point here by a trick, and other sites' pages: every address of the studio, and its websocket."""
    own, let_in, asked = studio.url.removeprefix("http://"), 0, 0
    heads = [
        "GET {} HTTP/1.1\r\nHost: evil.example\r\n",
        f"GET {{}} HTTP/1.1\r\nHost: {own}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
        f"POST {{}} HTTP/1.1\r\nHost: {own}\r\nOrigin: http://127.0.0.1:1\r\nContent-Length: 0\r\n",
        f"DELETE {{}} HTTP/1.1\r\nHost: {own}\r\nOrigin: null\r\n",
    ]
    while asked < times:
        for head in heads:
            for address in ADDRESSES:
                let_in += not _asked(studio, head.format(address)).split(b" ", 2)[1].startswith(b"4")
                asked += 1
    address = studio.url.replace("http", "ws", 1) + "/_stcore/stream"
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        with suppress(InvalidStatus), connect(address, origin=origin, subprotocols=["streamlit"]):  # type: ignore[arg-type]
            let_in += 1
        asked += 1
    return Row("foreign names and pages", f"{asked} requests", f"{let_in} let in", not let_in)


def streams(studio: Running, times: int) -> Row:
    """Listeners that come and go: what they leave in threads, and whether one too many is told so."""
    process = psutil.Process(studio.process.pid)
    with open_tab(studio.url) as tab:
        tab.run()
        head = f"GET /studio/events/{tab.stream} HTTP/1.1\r\nHost: {urlsplit(studio.url).netloc}\r\n"
        before = process.num_threads()
        for _ in range(times):
            _asked(studio, head, close=False)
        left = process.num_threads() - before
    return Row("event streams that come and go", f"{times} connects", f"{left} threads more", left <= 4)


def _unfinished(studio: Running, times: int) -> Row:
    """Heads and bodies that never end, held open all at once, while another visitor asks for a page."""
    where = urlsplit(studio.url)
    begun = [b"GET / HT", b"POST /_stcore/health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab", b""]
    held: list[socket.socket] = []
    for number in range(times):
        there = socket.create_connection((where.hostname, where.port), timeout=60)
        with suppress(OSError):
            there.sendall(begun[number % len(begun)])
        held.append(there)
    waits = _waits(studio)
    ended = _all_end(held)
    figure = f"{ended} ended by the studio; another waits {max(waits):.2f} s at most"
    return Row("requests that never end", f"{times} at once", figure, ended == times and max(waits) < WAIT_MAX_S)


def _waits(studio: Running) -> list[float]:
    """How long another visitor waits for an answer, ten times; endless where it is a refusal."""
    waits: list[float] = []
    for _ in range(10):
        started = time.monotonic()
        told = _asked(studio, f"GET /_stcore/health HTTP/1.1\r\nHost: {urlsplit(studio.url).netloc}\r\n")
        waits.append(time.monotonic() - started if b" 200" in told else math.inf)
        time.sleep(0.2)
    return waits


def _flood(studio: Running) -> Row:
    """A page that says ten thousand things at once, and 40 messages of which half comes, while another visitor asks for one."""
    process = psutil.Process(studio.process.pid)
    address = studio.url.replace("http", "ws", 1) + "/_stcore/stream"
    again = BackMsg()
    again.rerun_script.page_name = ""
    # As frames on the wire, which a client's library would wait with: final, binary, behind a mask that changes nothing.
    words = again.SerializeToString()
    small, half = struct.pack("!BBI", 0x82, 0x80 | len(words), 0) + words, struct.pack("!BBQI", 0x82, 0xFF, 15 << 20, 0)
    with ExitStack() as stack:
        lines = [
            stack.enter_context(connect(address, subprotocols=["streamlit"], origin=studio.url))  # type: ignore[arg-type]
            for _ in range(41)
        ]
        before = process.memory_info().rss
        _send(lines[0].socket, small * 10_000)
        for line in lines[1:]:
            _send(line.socket, half + bytes(8 << 20))
        waits = _waits(studio)
        grown = (process.memory_info().rss - before) >> 20
    figure = f"another waits {max(waits):.2f} s at most, {grown} MB more"
    return Row(
        "messages by the thousand, and half ones", "10,000 and 40", figure, max(waits) < WAIT_MAX_S and grown < 400
    )


def _send(there: socket.socket, data: bytes) -> None:
    """As much of it as the other side takes in a second."""
    there.settimeout(1.0)
    with suppress(OSError):
        there.sendall(data)


def _all_end(held: list[socket.socket], limit_s: float = 60.0) -> int:
    """How many connections the other end closes within a minute."""
    ended: list[int] = []

    def follow(there: socket.socket) -> Callable[[], None]:
        def wait() -> None:
            try:
                there.settimeout(limit_s)
                while there.recv(4096):
                    pass
            except TimeoutError:
                return
            except OSError:  # ended with something of ours still under way
                pass
            ended.append(1)

        return wait

    threads = [threading.Thread(target=follow(there)) for there in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit_s + 5)
    for there in held:
        there.close()
    return len(ended)
