"""Pictures as clients send them: base64, a data-URL, or the digest of what was sent before. Never a path, never an address."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from webapp.application.studio import Studio

TEXT_MAX = picture.UPLOAD_MAX_BYTES * 4 // 3 + 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


def data_of(text: object, name: str = "The picture") -> bytes:
    """The bytes of a picture in base64, with or without the head of a data-URL. Raises InputError for anything else."""
    if not isinstance(text, str) or not text:
        raise InputError(f"{name} is missing.", "Send it as base64 or as a data-URL.")
    if len(text) > TEXT_MAX:
        raise InputError(f"{name} is larger than {picture.UPLOAD_MAX_BYTES >> 20} MB.", "Send it smaller or as JPEG.")
    head = _DATA_URL.match(text)
    body = text[head.end() :] if head else text
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        # Also for paths and addresses: nothing here opens either.
        raise InputError(f"{name} is no base64.", "Send its bytes as base64 or as a data-URL, not a path.") from error


def kept(studio: Studio, owner: str, given: str, files: Mapping[str, bytes], name: str = "The picture") -> str:
    """The blob of a picture: the digest of what the workspace `owner` sent or made, `file:NAME` of the same request, base64,
    or a data-URL.

    Raises InputError for what is no picture, NoSpace.
    """
    if _DIGEST.fullmatch(given):
        if given not in studio.blobs or not studio.belongings.has(owner, given):
            raise InputError(f"{name} is not here any more.", "Send it again.")
        return given
    return studio.photos.keep(sent(given, files, name), owner)


def kept_mask(studio: Studio, owner: str, given: str, files: Mapping[str, bytes]) -> str:
    """The blob of a mask, given as the pictures of `kept`: what was painted on a transparent layer is white, with any ink."""
    data = bytes_of(studio, owner, given, files, "The mask")
    return studio.photos.keep_mask(data, owner)


def bytes_of(studio: Studio, owner: str, given: str, files: Mapping[str, bytes], name: str = "The picture") -> bytes:
    """The file of a picture, given as the pictures of `kept`. Raises InputError."""
    if _DIGEST.fullmatch(given):
        return studio.blobs.get(kept(studio, owner, given, files, name))
    return sent(given, files, name)


def sent(given: str, files: Mapping[str, bytes], name: str = "The picture") -> bytes:
    """The bytes that came with the request: `file:NAME`, base64, or a data-URL; none for a digest. Raises InputError."""
    if _DIGEST.fullmatch(given):
        return b""
    if given.startswith("file:"):
        if given[5:] not in files:
            raise InputError(f"There is no file called {given[5:80]!r} in this request.")
        return files[given[5:]]
    return data_of(given, name)


def encoded(png: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(png).decode()
