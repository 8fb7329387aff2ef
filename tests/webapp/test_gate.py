"""The one gate: who asks by a foreign name or from a foreign page gets nowhere, at any address, in any mode, websocket too."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from controlnet_core.domain.errors import InputError
from tests.soak.server import running
from webapp.routes import gate, table

NAME = "studio.example"
MODES: dict[str, tuple[str, ...]] = {
    "alone": (),
    "to the network": ("--host", "0.0.0.0"),
    "behind a proxy": ("--name", NAME),
}
PATHS = (
    "/",
    "/gallery",
    "/_stcore/health",
    "/_stcore/host-config",
    "/media/x.png",
    "/static/js/x.js",
    "/studio/documents/x",
)
ODD_HOSTS = ("[", "[::1", "localhost:x", "localhost:99999", "a@localhost", "localhost/x", "localhost;x", "", "x" * 300)


@pytest.fixture(scope="module", params=MODES)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A whole studio in one mode, and its port."""
    with running(tmp_path_factory.mktemp("gate"), *MODES[request.param]) as studio:
        yield request.param, int(studio.url.rpartition(":")[2])


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request whose headers are exactly those, `Host` too."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def shakes(port: int, host: str, origin: str | None) -> bool:
    """Whether the websocket opens."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port)) as there,
            connect(
                f"ws://{host}/_stcore/stream",
                sock=there,
                subprotocols=[Subprotocol("streamlit")],
                origin=None if origin is None else Origin(origin),
                open_timeout=20,
            ),
        ):
            return True
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
        return False


def test_a_foreign_name_is_refused_at_every_address(real: tuple[str, int]) -> None:
    _, port = real
    for path in PATHS:
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "testserver",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ):
            status, headers, body = ask(port, path, Host=host)
            assert status == 403, (path, host)
            assert b"does not know the address" in body and headers["x-content-type-options"] == "nosniff"
    assert not shakes(port, f"evil.example:{port}", f"http://evil.example:{port}")


def test_it_listens_on_this_machine_unless_it_is_told_otherwise(real: tuple[str, int]) -> None:
    mode, port = real
    found = {one.laddr.ip for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port}
    assert found == ({"0.0.0.0"} if mode == "to the network" else {"127.0.0.1"})


def test_its_own_names_are_answered(real: tuple[str, int]) -> None:
    mode, port = real
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "LOCALHOST", "localhost."):
        assert ask(port, "/_stcore/health", Host=host)[0] == 200, host
    assert shakes(port, f"localhost:{port}", f"http://localhost:{port}")
    named = mode == "behind a proxy"
    assert (ask(port, "/", Host=NAME)[0] == 200) == named
    assert shakes(port, NAME, f"https://{NAME}") == named
    assert shakes(port, NAME, f"http://{NAME}") == named


def test_a_foreign_page_opens_no_websocket_and_nobody_waits(real: tuple[str, int]) -> None:
    _, port = real
    here = f"127.0.0.1:{port}"
    begun = time.monotonic()
    for origin in (
        "http://evil.example",
        f"http://127.0.0.1:{port + 1}",
        f"https://{here}",
        f"http://localhost:{port}",
        "null",
        None,
    ):
        assert not shakes(port, here, origin), origin
    assert time.monotonic() - begun < 2, "the event loop was held up"


def test_a_foreign_page_changes_and_fetches_nothing(real: tuple[str, int]) -> None:
    _, port = real
    here = f"127.0.0.1:{port}"
    foreign = ("http://evil.example", f"http://127.0.0.1:{port + 1}", f"https://{here}", "null", f"http://{here}/x")
    for method, path in (
        ("PUT", "/_stcore/upload_file/a/b"),
        ("DELETE", "/_stcore/upload_file/a/b"),
        ("POST", "/studio/photos/x"),
    ):
        for origin in foreign:
            assert ask(port, path, method, Host=here, Origin=origin, Content_Length="0")[0] == 403, (path, origin)
        for site in ({}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "none"}):
            assert ask(port, path, method, Host=here, Content_Length="0", **site)[0] == 403, (path, site)
        status, _, body = ask(port, path, method, Host=here, Origin=f"http://{here}", Content_Length="0")
        # Streamlit wants a token of its own besides.
        assert status in (403, 404) and (status == 404 or b"XSRF" in body), (path, body)
    for path in PATHS:
        assert ask(port, path, Host=here, Origin="http://evil.example")[0] == 403
        for site in ("cross-site", "same-site"):
            embeds = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
            frames = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
            assert ask(port, path, Host=here, **embeds)[0] == 403
            assert ask(port, path, Host=here, **frames)[0] == 403
    visits = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(port, "/", Host=here, **visits)[0] == 200, "a person may follow a link to here"


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_an_odd_host_is_a_refusal(real: tuple[str, int], host: str) -> None:
    assert ask(real[1], "/", Host=host)[0] == 400


def test_an_address_longer_than_any_is_refused(real: tuple[str, int]) -> None:
    _, port = real
    here = f"127.0.0.1:{port}"
    for path in (f"/studio/examples/{'9' * 5000}.jpg", "/studio/assets/x/" + "a" * 400, "/" + "a" * 400, "/static/" + "a" * 400,
                 f"/studio/pictures/{'9' * 5000}.png", "/%00", "/studio/assets/x/%00.js",
                 "/" + "%C3%A4" * 200, "/studio" + "/a" * 600):  # fmt: skip
        status, _, body = ask(port, path, Host=here)
        assert status == 400, path[:40]
        assert b"Traceback" not in body


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/%00", ["host"]),
        ("/a" * 600, ["host"]),
        ("/", ["host", "host"]),
        ("/", ["host", "origin", "origin"]),
        ("/", []),
    ],
)
def test_what_servers_differ_about_is_refused_by_the_gate_itself(path: str, headers: list[str]) -> None:
    own = {"host": b"localhost", "origin": b"http://localhost"}
    scope = {"type": "http", "method": "GET", "path": unquote(path), "headers": [(n.encode(), own[n]) for n in headers]}
    with pytest.raises(InputError):
        gate.check(scope | {"server": ("127.0.0.1", 80)})


def test_a_page_has_its_title_and_looks_before_anything_runs(real: tuple[str, int]) -> None:
    """Also one that is packed, and one that a browser has from before its looks changed."""
    _, port = real
    here = f"127.0.0.1:{port}"
    _, _, page = ask(port, "/seg", Host=here)
    assert b"<title>ControlNet Studio</title>" in page
    assert b"--editor-height" in page and b"prefers-color-scheme: dark" in page and b"#17181C" in page
    _, headers, packed = ask(port, "/seg", Host=here, Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip" and gzip.decompress(packed) == page
    known = {"Accept": "text/html", "If_Modified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    status, headers, again = ask(port, "/seg", Host=here, **known)
    assert (status, again) == (200, page) and "etag" not in headers


def test_what_a_page_brings(real: tuple[str, int]) -> None:
    mode, port = real
    here = f"127.0.0.1:{port}"
    _, headers, _ = ask(port, "/", Host=here)
    assert "SameSite=Strict" in headers["set-cookie"] and "HttpOnly" in headers["set-cookie"]
    assert "Secure" not in headers["set-cookie"]
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";")}
    assert policy["connect-src"] == ["'self'", f"ws://{here}", "data:", "blob:"]
    for name in ("default-src", "base-uri", "form-action", "frame-src", "frame-ancestors"):
        assert policy.pop(name) == ["'self'"], name
    assert policy.pop("object-src") == ["'none'"]
    own = {"'self'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:", f"ws://{here}"}
    assert all(set(sources) <= own for sources in policy.values()), policy
    assert set(policy["script-src"]) <= own - {"data:"}
    assert headers["x-frame-options"] == "SAMEORIGIN" and headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    # What our own routes answer is nothing that could run or be framed.
    _, headers, _ = ask(port, "/studio/pictures/none.png", Host=here)
    assert headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
    assert headers["cross-origin-resource-policy"] == "same-origin" and headers["referrer-policy"] == "no-referrer"
    if mode != "behind a proxy":
        return
    for told in (
        {"X_Forwarded_Proto": "https"},
        {"X_Forwarded_Proto": "https, http"},
        {"Forwarded": 'for=1.2.3.4;host=x;proto="https"'},
        {"X_Forwarded_Ssl": "on"},
        {"Front_End_Https": "on"},
        {"X_Forwarded_Scheme": "https"},
        {"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
    ):
        _, headers, _ = ask(port, "/", Host=NAME, **told)
        assert "Secure" in headers["set-cookie"], told
        assert f"wss://{NAME}" in headers["content-security-policy"]
        policy = headers["content-security-policy"]
        assert f" ws://{NAME}" not in policy
    # Behind TLS a page that came without it is another one.
    assert (
        ask(
            port,
            "/studio/photos/x",
            "POST",
            Host=NAME,
            X_Forwarded_Proto="https",
            Origin=f"http://{NAME}",
            Content_Length="0",
        )[0]
        == 403
    )
    assert (
        ask(
            port,
            "/studio/photos/x",
            "POST",
            Host=NAME,
            X_Forwarded_Proto="https",
            Origin=f"https://{NAME}",
            Content_Length="0",
        )[0]
        == 404
    )


def test_a_link_from_elsewhere_takes_nobodys_workspace(real: tuple[str, int]) -> None:
    """Browsers leave a strict cookie out when a link was followed: a new one would replace it, and all drawings with it."""
    _, port = real
    here = f"127.0.0.1:{port}"
    visits = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document", "Accept": "text/html"}
    assert "set-cookie" not in ask(port, "/", Host=here, Sec_Fetch_Site="cross-site", **visits)[1]
    assert "set-cookie" not in ask(port, "/", Host=here, Upgrade_Insecure_Requests="1", Accept="text/html")[1]
    assert "studio_workspace" in ask(port, "/", Host=here, Sec_Fetch_Site="none", **visits)[1]["set-cookie"]
    # What the page asks for before it opens its websocket comes with the cookie, if there is one.
    first = {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}
    assert "studio_workspace" in ask(port, "/_stcore/host-config", Host=here, **first)[1]["set-cookie"]
    known = f"studio_workspace={'ab' * 16}"
    assert "studio_workspace" not in ask(port, "/_stcore/host-config", Host=here, Cookie=known, **first)[1].get(
        "set-cookie", ""
    )


# The gate alone, before an app that says what reached it.


@contextlib.contextmanager
def before(*, host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a small server behind the gate."""

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async def shake(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    routes = [Route("/", page, methods=["GET", "POST"]), WebSocketRoute("/_stcore/stream", shake)]
    app = Starlette(routes=routes, middleware=table.middleware()[:1])
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def test_over_the_network_an_address_in_figures_is_answered_and_a_name_is_not() -> None:
    addresses = [one.address for all in psutil.net_if_addrs().values() for one in all if one.family == socket.AF_INET]
    outside = [one for one in addresses if not one.startswith("127.")]
    if not outside:
        pytest.skip("this machine has no address but its own")
    with before(host="0.0.0.0") as port:
        for host, status in ((f"{outside[0]}:{port}", 200), (socket.gethostname(), 200), ("evil.example", 403)):
            connection = HTTPConnection(outside[0], port, timeout=10)
            connection.request("GET", "/", headers={"Host": host})
            assert connection.getresponse().status == status, host
            connection.close()
        assert ask(port, "/", Host="203.0.113.9")[0] == 403, "not for who comes over the loopback"


def test_a_body_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PART_MAX_S", 0.5)
    monkeypatch.setattr(gate, "BODY_MAX_S", 2.0)
    with before() as port:
        head = f"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\nContent-Length: 1000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(head.encode())
            silent.settimeout(1.5)  # of the two seconds that a body may have
            assert b" 408 " in silent.recv(4096).splitlines()[0]
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(head.encode())
            slow.settimeout(0.1)
            begun, answer = time.monotonic(), b""
            while not answer and time.monotonic() - begun < 10:
                with contextlib.suppress(TimeoutError):
                    slow.sendall(b"x")
                    answer = slow.recv(4096)
            assert b" 408 " in answer.splitlines()[0]
            assert time.monotonic() - begun < 4


def test_a_body_that_is_announced_too_large_is_not_waited_for() -> None:
    with before() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as there:
        head = (
            f"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
            f"Content-Length: {gate.BODY_MAX_BYTES + 1}\r\n\r\n"
        )
        there.sendall(head.encode())
        assert b" 413 " in there.recv(4096).splitlines()[0]


def test_bodies_that_wait_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PART_MAX_S", 1.0)
    monkeypatch.setattr(gate, "BODIES_OF_ONE_MAX", 3)
    monkeypatch.setattr(gate, "BODIES_MAX", 5)
    with before() as port, contextlib.ExitStack() as held:
        own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Content_Length": "0"}

        def begin(who: str) -> None:
            one = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.sendall(
                f"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
                f"Cookie: studio_workspace={who * 32}\r\nContent-Length: 9\r\n\r\n".encode()
            )

        for _ in range(3):
            begin("a")
        time.sleep(0.2)
        assert ask(port, "/", "POST", **own, Cookie=f"studio_workspace={'a' * 32}")[0] == 429
        assert ask(port, "/", "POST", **own, Cookie=f"studio_workspace={'b' * 32}")[0] == 200
        for who in "cd":
            begin(who)
        time.sleep(0.2)
        assert ask(port, "/", "POST", **own, Cookie=f"studio_workspace={'e' * 32}")[0] == 429
        time.sleep(1.5)  # those that waited were ended, and count no longer
        for who in "abe":
            assert ask(port, "/", "POST", **own, Cookie=f"studio_workspace={who * 32}")[0] == 200


def test_bodies_that_take_long_make_room_those_of_the_greediest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODIES_MAX", 3)
    monkeypatch.setattr(gate, "PATIENCE_S", 0.2)
    with before() as port, contextlib.ExitStack() as held:
        own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Content_Length": "0"}

        def begin(who: str) -> socket.socket:
            one = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            one.sendall(
                f"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
                f"Cookie: studio_workspace={who * 32}\r\nContent-Length: 1\r\n\r\n".encode()
            )
            return one

        patient = begin("a")
        time.sleep(0.1)
        greedy = [begin("b") for _ in range(2)]
        time.sleep(0.3)
        assert ask(port, "/", "POST", **own, Cookie=f"studio_workspace={'c' * 32}")[0] == 200
        assert b" 408 " in greedy[0].recv(4096).splitlines()[0]
        for one in (patient, greedy[1]):
            one.sendall(b"x")
            assert b" 200 " in one.recv(4096).splitlines()[0]


def test_all_bodies_together_have_a_bound_until_they_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "HELD_MAX_BYTES", 1000)
    with before() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as held:
        head = f"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\nContent-Length: 600\r\n\r\n"
        held.sendall(head.encode() + b"x" * 599)
        time.sleep(0.2)

        def send() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as other:
                other.sendall(head.encode() + b"x" * 600)
                return other.recv(4096).splitlines()[0]

        assert b" 429 " in send()
        held.sendall(b"x")
        assert b" 200 " in held.recv(4096).splitlines()[0]
        assert b" 200 " in send()


def test_no_more_of_a_body_is_taken_than_anything_may_have() -> None:
    """Straight into the gate: a body without end, announced as none."""
    taken, answers = 0, []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1 << 16
        return {"type": "http.request", "body": b"x" * (1 << 16), "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    scope = {
        "type": "http",
        "scheme": "http",
        "method": "PUT",
        "path": "/",
        "headers": headers,
        "server": ("127.0.0.1", 1),
    }
    asyncio.run(gate.Gate(app)(scope, receive, send))
    assert answers[0]["status"] == 413
    assert b"larger than 25 MB" in answers[1]["body"]
    assert taken <= gate.BODY_MAX_BYTES + (1 << 16)


def test_every_door_of_the_program_leads_through_the_gate(tmp_path: Path) -> None:
    """However the app is served, the gate is the first that a request meets, but for the API's door, which has its own guard."""
    from webapp.api.door import Door
    from webapp.app import app

    assert [one.cls for one in app._user_middleware][:2] == [Door, gate.Gate]
