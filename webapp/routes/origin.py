"""Which server a request says it is for, and which page it says it comes from: names, schemes and ports, and nothing else."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from controlnet_core.domain.errors import InputError

NAME_MAX_BYTES = 255
_HTTPS = (
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-scheme",
    "x-url-scheme",
    "cloudfront-forwarded-proto",
)
_ON = ("x-forwarded-ssl", "front-end-https")
_PROTO = re.compile(r'proto="?(https?)', re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def option(name: str) -> Any:
    """An option of Streamlit's configuration; "" when it is not set."""
    from streamlit import config

    return config.get_option(name) or ""


def is_known(host: str, scope: Scope) -> bool:
    """Whether `host`, as a request names it, is this server."""
    if _is_loopback(host):
        return True
    names: list[str] = [*(option("server.allowedHosts") or []), option("server.address")]
    for name in names:
        pattern = str(name).strip().lower().strip("[]").rstrip(".")
        if pattern == "*" or (pattern.startswith("*.") and host.endswith(pattern[1:])) or (pattern and host == pattern):
            return True
    server = scope.get("server") or ("", 0)
    if _is_loopback(str(server[0])) or not server[0]:
        return False
    return _is_figures(host) or host in _own_names()


def is_own(scope: Scope) -> bool:
    """Whether a request or handshake says that it comes from a page of this very server; where it says nothing, it does not."""
    headers = Headers(scope=scope)
    origins = headers.getlist("origin")
    if not origins:
        return headers.get("sec-fetch-site") == "same-origin"
    host, port = host_and_port(headers.get("host", ""))
    return len(origins) == 1 and _same(origins[0], host, port, schemes_of(scope, host))


def schemes_of(scope: Scope, host: str) -> Sequence[str]:
    """ "https" or "http" as far as it is known how the browser speaks to us; both behind a proxy that does not say."""
    if scope.get("scheme", "http") in ("https", "wss"):
        return ("https",)
    headers = Headers(scope=scope)
    told = [headers[name].split(",")[0].strip().lower() for name in _HTTPS if name in headers]
    told += ["https" if headers[name].lower() == "on" else "http" for name in _ON if name in headers]
    told += [found[1].lower() for found in _PROTO.finditer(headers.get("forwarded", "").split(",")[0])]
    if told:
        return ("https",) if "https" in told else ("http",)
    return ("http",) if _is_loopback(host) or _is_figures(host) else ("http", "https")


def is_secure(scope: Scope) -> bool:
    """Whether the browser speaks TLS, with us or with whatever stands before us."""
    headers = Headers(scope=scope)
    host, _ = host_and_port(headers.get("host", "localhost"))
    schemes = schemes_of(scope, host)
    # A proxy may say nothing. Browsers say where a request comes from over TLS alone, but for this machine itself.
    return schemes == ("https",) or ("https" in schemes and "sec-fetch-site" in headers)


def host_and_port(host: str) -> tuple[str, int | None]:
    """Name and port of a Host header. Raises InputError."""
    try:
        if not _HOST.fullmatch(host) or len(host) > NAME_MAX_BYTES:
            raise ValueError(host)
        found = urlsplit(f"//{host}")
        return (found.hostname or "").lower().rstrip("."), found.port
    except ValueError as error:
        raise InputError("This is not the name of a server.") from error


def _same(origin: str, host: str, port: int | None, schemes: Sequence[str]) -> bool:
    try:
        found = urlsplit(origin)
        name, number = (found.hostname or "").lower().rstrip("."), found.port
    except ValueError:
        return False
    if found.scheme not in schemes or found.path or found.query or found.fragment or "@" in found.netloc:
        return False
    default = _PORTS[found.scheme]
    return name == host and (number or default) == (port or default)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_figures(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@cache
def _own_names() -> frozenset[str]:
    name = socket.gethostname().lower().rstrip(".")
    return frozenset((name, name.split(".")[0], f"{name.split('.')[0]}.local"))
