"""Pictures that somebody made to hurt: small files that claim, unpack to or take very much."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from PIL import Image

SIDE = 5740  # 32.9 megapixels, just under what is taken


def _saved(image: Image.Image, format: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **how)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(wide: int, tall: int, bits: int, colour: int, rows: bytes, more: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", wide, tall, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = _saved(Image.new("L", (SIDE, SIDE), 90), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + b"\xff\xd9"


def _clear() -> Image.Image:
    return Image.new("RGBA", (SIDE, SIDE), (10, 20, 30, 128))


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 4), np.uint8)).resize((3000, 3000))


def _clear_png() -> bytes:
    packer = zlib.compressobj(1)
    line = b"\0" + bytes(4 * SIDE)
    return _png(SIDE, SIDE, 8, 6, b"".join(packer.compress(line) for _ in range(SIDE)) + packer.flush())


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(_clear().convert("RGB"), "JPEG", exif=exif)


KINDS: Mapping[str, Callable[[], bytes]] = {
    "a clear WebP": lambda: _saved(_clear(), "WEBP", lossless=True, quality=0, method=0),
    "a clear PNG": _clear_png,
    "a turned JPEG": _turned,
    "a JPEG of four inks": lambda: _saved(_clear().convert("CMYK"), "JPEG"),
    "a JPEG of 2,000 scans": lambda: _scans(2000),
    "a JPEG of 60 scans": lambda: _scans(50),
    "a noisy WebP": lambda: _saved(_noise(), "WEBP", quality=60, method=0),
    "a WebP that moves": lambda: _saved(
        _clear(),
        "WEBP",
        save_all=True,
        append_images=[Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 9))],
        method=0,
        quality=0,
        lossless=True,
    ),
    "a PNG of 1,600,000 chunks": lambda: _png(
        64, 64, 8, 0, zlib.compress(bytes(65 * 64)), chunk(b"tEXt", b"a\0b") * 1_600_000
    ),
    "a PNG of 16 bits": lambda: _saved(Image.new("I;16", (SIDE, SIDE), 9999), "PNG", compress_level=1),
    "a PNG that claims more": lambda: _png(60_000, 60_000, 8, 2, zlib.compress(b"")),
    "a JPEG of a million marks": lambda: (
        b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000 + _saved(_noise().convert("RGB"), "JPEG")[2:]
    ),
    "half a PNG": lambda: _clear_png()[:50_000],
}
"""How each is made."""


@cache
def hostile(kind: str) -> bytes:
    """The file of a kind, at most 25 MB."""
    return KINDS[kind]()
