"""What a page remembers over a reload and a restart: small JSON, one file for each workspace and page.

Knows no page: whoever keeps something says how to read it back. What cannot be read any more counts as never kept.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from controlnet_core.domain.errors import NoSpace
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.session import remembered

T = TypeVar("T")
log = logging.getLogger("studio")


def recall(studio: Studio, name: str, kind: type[T]) -> T | None:
    """What this workspace kept under `name`, as `kind` (a dataclass); None when there is nothing that can be used."""
    found = studio.pages.get(visitor.workspace(), name)
    if found is None:
        return None
    try:
        return _adapter(kind).validate_json(found[1])
    except ValidationError as error:
        log.warning("what page %s kept cannot be read: %s", name, error)
        return None


def keep(studio: Studio, name: str, value: object) -> None:
    """Keep a dataclass under `name`, within a second; what is unchanged costs no write."""
    data = _adapter(type(value)).dump_json(value)
    last: dict[str, bytes] = remembered("kept", {})
    if last.get(name) != data:
        with suppress(NoSpace):  # said where something is drawn or made; it is tried again with the next run
            studio.pages.put(visitor.workspace(), name, 1, data)
            last[name] = data


@lru_cache(maxsize=16)
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
