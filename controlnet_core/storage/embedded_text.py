"""The texts inside a picture file: PNG (tEXt, zTXt, iTXt, eXIf), JPEG and WebP (EXIF), before and after the pixels.

    texts(data)["parameters"]

Reads files that may come from anywhere: pixels are never decoded, no length is trusted, what inflates is bounded.
"""

# Pillow publishes partial types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError

TEXT_MAX_BYTES = 1 << 20
"""Bytes of one text that are read; ComfyUI's graphs are the longest."""
TEXTS_MAX = 64
VALUES_MAX = 200_000
EXIF = "exif"
"""The name of a text that stands in EXIF data under no name of its own."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PARTS_MAX = 10_000
_USER_COMMENT, _EXIF_IFD = 0x9286, 0x8769
_DESCRIBING = (0x010E, 0x010F, 0x0110)
"""Image description, make and model: ComfyUI's WebP files say "workflow:{...}" and "prompt:{...}" there."""


def texts(data: bytes) -> dict[str, str]:
    """The texts of a PNG, JPEG or WebP by their names, the first of each name; {} for anything else."""
    found: dict[str, str] = {}
    for name, text in _texts(data):
        found.setdefault(name, text)
        if len(found) >= TEXTS_MAX:
            break
    return found


def png_text(data: bytes, name: str) -> bytes | None:
    """The bytes of the first text chunk called `name` of a PNG; None when it has none that can be read."""
    for kind, content in _png_chunks(data):
        if kind != b"eXIf" and (read := _chunk_text(kind, content)) and read[0] == name.encode():
            return read[1]
    return None


def _texts(data: bytes) -> Iterator[tuple[str, str]]:
    if data.startswith(_PNG):
        for kind, content in _png_chunks(data):
            if kind == b"eXIf":
                yield from _exif_texts(bytes(content[:TEXT_MAX_BYTES]))
            elif read := _chunk_text(kind, content):
                yield read[0].decode("latin-1"), decoded(read[1])
    elif data.startswith(b"\xff\xd8"):
        for kind, content in _jpeg_segments(data):
            if kind == 0xE1 and content[:6] == b"Exif\0\0":
                yield from _exif_texts(content[6:])
            elif kind == 0xFE:
                yield EXIF, decoded(content)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        for kind, content in _riff_chunks(data):
            if kind == b"EXIF":
                yield from _exif_texts(content.removeprefix(b"Exif\0\0"))


def decoded(text: bytes) -> str:
    """A text as it was meant: PNG's tEXt is Latin-1 by its standard, and UTF-8 in the files of most programs."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _png_chunks(png: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks that hold text or EXIF, with a correct checksum, up to the first damage."""
    if not png.startswith(_PNG):
        return
    view, at = memoryview(png), len(_PNG)
    for _ in range(_PARTS_MAX):
        if at + 12 > len(png):
            return
        length, kind = struct.unpack_from(">I4s", png, at)
        if at + 12 + length > len(png):
            return
        content = view[at + 8 : at + 8 + length]
        # Long chunks hold pixels: what is no text is not ours to check.
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            (crc,) = struct.unpack_from(">I", png, at + 8 + length)
            if crc == zlib.crc32(content, zlib.crc32(kind)):
                yield kind, content
        at += 12 + length


def _chunk_text(kind: bytes, content: memoryview) -> tuple[bytes, bytes] | None:
    """Name and text of a PNG's text chunk; None for what is damaged, or inflates beyond the bound."""
    name, nul, rest = bytes(content[: TEXT_MAX_BYTES + 256]).partition(b"\0")
    if not nul or not 1 <= len(name) <= 79:
        return None
    if kind == b"tEXt":
        return name, rest
    if kind == b"zTXt":
        return _named(name, _inflated(rest[1:]) if rest[:1] == b"\0" else None)
    parts = rest[2:].split(b"\0", 2)  # after compression flag and method: language, translated name, text
    if len(parts) < 3 or rest[:1] not in (b"\0", b"\1"):
        return None
    return _named(name, _inflated(parts[2]) if rest[:1] == b"\1" else parts[2])


def _named(name: bytes, text: bytes | None) -> tuple[bytes, bytes] | None:
    return None if text is None else (name, text)


def _inflated(packed: bytes) -> bytes | None:
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(packed, TEXT_MAX_BYTES + 1)
    except zlib.error:
        return None
    return text if len(text) <= TEXT_MAX_BYTES and inflate.eof else None


def _jpeg_segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments before the pixels."""
    at = 2
    for _ in range(_PARTS_MAX):
        if at + 4 > len(jpeg) or jpeg[at] != 0xFF:
            return
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        if marker == 0xDA or length < 2:
            return
        yield marker, jpeg[at + 4 : at + 2 + length]
        at += 2 + length


def _riff_chunks(webp: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    for _ in range(_PARTS_MAX):
        if at + 8 > len(webp):
            return
        kind, length = struct.unpack_from("<4sI", webp, at)
        if at + 8 + length > len(webp):
            return
        if kind == b"EXIF" and length <= TEXT_MAX_BYTES:
            yield kind, webp[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _exif_texts(data: bytes) -> Iterator[tuple[str, str]]:
    exif = Image.Exif()
    try:
        exif.load(data)
        comment: Any = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT)
        described: list[Any] = [exif.get(tag) for tag in _DESCRIBING]
    except Exception:  # whatever damage leads Pillow's reader to: it is a text less
        return
    for text in [_comment(comment) if isinstance(comment, bytes) else comment, *described]:
        if not isinstance(text, str) or not text.strip("\0 "):
            continue
        plain = text.strip("\0")
        name, colon, rest = plain.partition(":")
        named = colon and name.lower() in ("prompt", "workflow") and rest.lstrip().startswith("{")
        yield (name.lower(), rest) if named else (EXIF, plain)


def _comment(data: bytes) -> str:
    """An EXIF user comment: eight bytes say in which writing the rest is."""
    code, text = data[:8], data[8:]
    if code.startswith(b"UNICODE"):
        # The standard says the file's byte order, and programs write either: the letters of settings have a zero byte.
        big = text[0::2].count(0) >= text[1::2].count(0)
        return text.decode("utf-16-be" if big else "utf-16-le", "replace").removeprefix("\ufeff")
    return decoded(text if code.rstrip(b"\0 ") in (b"ASCII", b"JIS", b"") else data)


def as_json(text: str) -> Any:
    """What a text says as JSON, None when it is none or has more values than a graph. NaN, which some programs write, is read."""
    try:
        json_input.check_value_count(text, VALUES_MAX, "The text")
        return json.loads(text)
    except (InputError, ValueError, RecursionError):
        return None
