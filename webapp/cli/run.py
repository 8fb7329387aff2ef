"""`studio run`: start the server, say where it is and open the page."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.request
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from webapp.cli.words import told

if TYPE_CHECKING:
    from controlnet_core.execution.dispatcher import Status
    from webapp.application import views
    from webapp.application.studio import Studio

_BEGUN = time.perf_counter()
PORTS_TRIED = 50
_QUIET = {"logger.hideWelcomeMessage": True}


def run(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port; the next free one when it is taken.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens the studio to your network.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the page when it is ready.")] = True,
    base: Annotated[
        str, typer.Option(metavar="PATH", help="Path below which a proxy shows the studio, e.g. draw.")
    ] = "",
    api: Annotated[bool, typer.Option("--api", help="Let this machine's programs use the API without a key.")] = False,
    api_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A page of another site that may use the API; may be repeated."),
    ] = None,
    ray: Annotated[
        str, typer.Option(metavar="auto|HOST:PORT", help="Draw on the devices of a Ray cluster; auto: this machine's.")
    ] = "",
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Name under which a proxy shows it; may be repeated.")
    ] = None,
) -> None:
    """Start the studio and open its page."""
    with told():
        _use_absolute_folders()
        if api:
            os.environ["STUDIO_API"] = "1"
        if ray:
            os.environ["STUDIO_RAY"] = ray
        if api_origin:
            os.environ["STUDIO_API_ORIGINS"] = " ".join(api_origin)
        # Streamlit looks for the server's configuration here.
        os.chdir(Path(__file__).resolve().parent.parent.parent)
        free = _free_port(host, port)
        if free != port:
            print(f"Port {port} is taken, using {free}.")
        from webapp.root import studio

        here, base = studio(), base.strip("/")
        address = _address(host, free, base)
        here.claim(address)
        _tell_first_picture(here)
        print(f"Starting ControlNet Studio. Drawings and pictures: {here.settings.data}", flush=True)
        from webapp.app import app as server
        from webapp.routes.guard import LOOPBACK

        threading.Thread(target=_announce, args=(address, browser, here), daemon=True).start()
        options = {"server.port": free, "server.address": host, "server.headless": True, "server.baseUrlPath": base}
        if name:
            options |= {"server.allowedHosts": [*name, *LOOPBACK], "browser.serverAddress": name[0]}
        with suppress(KeyboardInterrupt):  # the server has ended by then; Ctrl-C is the ordinary way to stop it
            server.run(config=options | _QUIET)
        print("The studio has stopped.")


def _tell_first_picture(here: Studio) -> None:
    def hear(_session: str, event: views.Event) -> None:
        if event.pictures:
            end()
            after_s = time.perf_counter() - _BEGUN
            print(f"first picture: {event.seconds:.1f} s of work, {after_s:.0f} s after the start", flush=True)

    end = here.events.subscribe(hear)


def _use_absolute_folders() -> None:
    for name in ("STUDIO_DATA", "STUDIO_MODELS"):
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).resolve())


def _free_port(host: str, first: int) -> int:
    from controlnet_core.domain.errors import StudioError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return port
            except OSError:
                continue
    raise StudioError(f"No port from {first} on is free on {host}.", "Choose another one: studio run --port N.")


def _address(host: str, port: int, base: str) -> str:
    """Where this machine reaches the studio."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{base + '/' if base else ''}"


def _announce(url: str, browser: bool, here: Studio) -> None:
    from controlnet_core.execution.dispatcher import NOBODY_DRAWS, nobody_draws

    while not _answers(f"{url}_stcore/health"):
        time.sleep(0.05)
    print(f"ready at {url} in {time.perf_counter() - _BEGUN:.1f} s", flush=True)
    if browser:
        webbrowser.open(url)
    if here.queue.put_aside is not None:
        print(f"The list of jobs was damaged: it lies at {here.queue.put_aside}, and a new one begins.", flush=True)
    told: dict[int, str] = {}
    empty = False
    while here.dispatcher.is_alive:
        statuses = here.dispatcher.statuses()
        for status in statuses:
            many = len(statuses) > 1 or here.cluster is not None
            words = _words(status, f"worker {status.number + 1}" if many else "worker")
            if words and words != told.get(status.number):
                told[status.number] = words
                after = f" after {time.perf_counter() - _BEGUN:.1f} s" if status.state in ("ready", "busy") else ""
                print(f"{words}{after}", flush=True)
        none = nobody_draws(statuses)
        if none and not empty:
            print(NOBODY_DRAWS, flush=True)
        empty = none
        if len(told) == len(statuses) and here.cluster is None:
            return
        time.sleep(0.25)


def _words(status: Status, name: str) -> str:
    """What there is to say of a worker; nothing where it just starts."""
    if status.state == "gone":
        return status.text
    if status.state == "lent":
        return f"The {name} waits: a training has {status.device}."
    if status.state in ("ready", "busy"):
        return f"The {name} is ready on {status.device}"
    return f"The {name} cannot draw yet: {status.text}" if status.text else ""


def _answers(url: str) -> bool:
    # Straight, whatever the environment says of proxies: this is the machine itself.
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with straight.open(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
