"""What every resource of /api/v1 shares: how fields are checked, and JSON that may come with pictures in a form."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from controlnet_core.domain.errors import InputError
from webapp.api.guard import Caller
from webapp.api.routing import BODY_MAX_BYTES, parsed, read
from webapp.routes.guard import TooFast
from webapp.routes.table import EventStream

V1 = "/api/v1"
LISTENERS_MAX = 64
"""Streams of events that a key may have open at once."""
_listening: Counter[str] = Counter()


Picture = Annotated[str, Field(description="base64, a data-URL, the digest of what was sent before, or file:NAME")]


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Asked(BaseModel):
    """The base of what is asked for: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


async def parts(request: Request) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """The fields of a multipart form, and its files by name. Raises InputError for a form that is too large or none."""
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal() or len(announced) > 12 or int(announced) > BODY_MAX_BYTES:
        raise InputError("The form is larger than 64 MB, or does not say how large it is.", "Send pictures one by one.")
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    try:
        async with request.form(max_files=16, max_fields=32, max_part_size=1 << 20) as form:
            for name, part in form.multi_items():
                if isinstance(part, UploadFile):
                    files.append((name, await part.read()))
                else:
                    fields[name] = part
    except (HTTPException, MultiPartException) as error:
        raise InputError("The form cannot be read: it is damaged, or has too many or too large parts.") from error
    return fields, files


async def form(request: Request, model: type[Any]) -> tuple[Any, dict[str, bytes]]:
    """JSON alone; or a multipart form with the JSON as `request`, and pictures that it names file:NAME."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await read(request, model), {}
    fields, files = await parts(request)
    for name in fields:
        if name != "request":
            raise InputError(f"The form has a field {name[:40]!r} that is not known.", "Name the JSON request.")
    return parsed(model, fields.get("request", "{}").encode()), dict(files)


async def stream(caller: Caller, events: AsyncGenerator[bytes]) -> EventStream:
    """Events as the answer. Raises TooFast where the key has too many streams open."""
    source = _counted(caller.owner, events)
    return EventStream(await anext(source), source)  # up to its first part: what is refused is refused before


async def _counted(owner: str, events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    if _listening[owner] >= LISTENERS_MAX:
        raise TooFast(f"This key has {LISTENERS_MAX} streams of events open already.", "Close some of them.")
    _listening[owner] += 1
    try:
        async with aclosing(events):
            async for part in events:
                yield part
    finally:
        _listening[owner] -= 1
