"""What an operation of the API is: an address, what it takes and gives, what a key needs for it, and its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError
from webapp.api.guard import Caller
from webapp.application.keys import Scope
from webapp.application.studio import Studio
from webapp.routes.guard import body

BODY_MAX_BYTES = 64 << 20
"""Of a request: two photos of the largest size in base64."""
SMALL_BYTES = 1 << 20
VALUES_MAX = 20_000
"""In the JSON of a request: while many more are read, everybody else waits. A picture is one."""
M = TypeVar("M", bound=BaseModel)
Answer = Callable[[Studio, Request, Caller], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One operation. `takes` is the model of its JSON body, `gives` that of its answer, or `media` its type where it is no JSON.

    `query` describes what stands after the question mark. `scope` None lets everybody in: the address itself is the key. A
    `standing` one answers where the rest of the API is closed, and this machine's own programs need no key for it.
    """

    method: str
    path: str
    answer: Answer
    summary: str
    scope: Scope | None
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    media: str = "application/json"
    query: tuple[tuple[str, str], ...] = ()
    group: str = ""
    standing: bool = False


async def read(request: Request, model: type[M]) -> M:
    """The JSON body of a request. Raises InputError naming the first wrong field, TooLarge."""
    data = await body(request, BODY_MAX_BYTES, "request", "Send pictures once and name them by digest.")
    if len(data) <= SMALL_BYTES:
        return parsed(model, data)
    # One after another, and between two of them everybody else has a turn.
    return await to_thread.run_sync(parsed, model, data, limiter=_one_at_a_time())


@cache
def _one_at_a_time() -> CapacityLimiter:
    return CapacityLimiter(1)


def parsed(model: type[M], data: bytes) -> M:
    """JSON as `model`. Raises InputError naming the first wrong field, and for more than `VALUES_MAX` values."""
    json_input.check_value_count(data, VALUES_MAX, "The request")
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise InputError(json_input.first_fault(error, "request")) from error
    except RecursionError as error:
        raise InputError("The request is nested too deeply.") from error


def given(model: BaseModel, status: int = 200) -> Response:
    """A model as the answer."""
    headers = {"Cache-Control": "no-store"}
    return Response(model.model_dump_json(), status, media_type="application/json", headers=headers)
