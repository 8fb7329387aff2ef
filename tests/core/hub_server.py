"""A small Hugging Face hub on a real socket, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has and how it behaves.

    `files` by repository and name; `cut_after` bytes of each answer are sent before the connection dies, `cuts` times;
    `promise` says other sizes than the truth, `digests` other checksums; `answer` maps a path's end to (status, headers, body).
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cut_after: int | None = None
    cuts: int = 1_000_000
    ranges: bool = True
    pause_s: float = 0.0
    promise: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    answer: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    token: str = ""
    requests: Counter = field(default_factory=Counter)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: Counter = field(default_factory=Counter)
    url: str = ""

    def listing(self, repository: str) -> dict:
        siblings = []
        for name, data in self.files[repository].items():
            size = self.promise.get(name, len(data))
            one = {"rfilename": name, "size": size, "blobId": git_digest(data)}
            if name.endswith((".bin", ".safetensors", ".pth", ".ckpt")):
                sha256 = self.digests.get(name, hashlib.sha256(data).hexdigest())
                one["lfs"] = {"size": size, "sha256": sha256, "pointerSize": 134}
            siblings.append(one)
        return {"_id": "1", "id": repository, "modelId": repository, "sha": REVISION, "siblings": siblings}


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start the server in a thread; `hub.url` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests[path] += 1
            hub.asked.append((path, self.headers.get("Range", "")))
            for end, (status, headers, body) in hub.answer.items():
                if path.endswith(end):
                    return self.reply(status, body, headers)
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.reply(401, b"", {"X-Error-Code": "GatedRepo"})
            if api := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
                if api[1] not in hub.files:
                    return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return self.reply(200, json.dumps(hub.listing(api[1])).encode(), {"Content-Type": "application/json"})
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if not found or found[3] not in hub.files.get(found[1], {}):
                return self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            return self.send_file(found[3], hub.files[found[1]][found[3]])

        def send_file(self, name: str, data: bytes) -> None:
            begin = 0
            if hub.ranges and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
                begin = int(asked[1])
            if begin and begin >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data) - begin))
            self.send_header("Content-Type", "application/octet-stream")
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            end = len(data)
            if hub.cut_after is not None and hub.cuts > 0:
                end = min(end, begin + hub.cut_after)
                hub.cuts -= end < len(data)
            for at in range(begin, end, 1 << 15):
                chunk = data[at : min(end, at + (1 << 15))]
                try:
                    self.wfile.write(chunk)
                except OSError:
                    return None
                hub.sent[name] += len(chunk)
                time.sleep(hub.pause_s)
            if end < len(data):
                self.close_connection = True
                self.connection.close()
            return None

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...  # cut connections are what it is for

    server = Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
