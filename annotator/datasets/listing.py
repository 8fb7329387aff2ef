"""What every source of photos is listed as, and the bounds that hold for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controlnet_core.domain.picture import UPLOAD_MAX_BYTES, file_too_large

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
CAPTION_KEYS = ("text", "prompt", "caption")
CAPTION_MAX_BYTES = 16 * 1024


class Found(NamedTuple):
    """A photo of a source: `where` people look for it, its caption, and the `place` by which the source's reader finds it."""

    where: str
    caption: str
    place: str


def first(fields: Mapping[str, object], keys: tuple[str, ...] = CAPTION_KEYS) -> str:
    """The text of the first of `keys` that has one."""
    return next((one.strip() for key in keys if isinstance(one := fields.get(key), str)), "")


def line(data: bytes) -> str:
    """The text of a caption's file, in one line."""
    return " ".join(data.decode("utf-8", "replace").split())


def bounded(data: bytes) -> bytes:
    """The data of a photo. Raises InputError for more than is allowed."""
    if len(data) > UPLOAD_MAX_BYTES:
        raise file_too_large()
    return data
