"""Pictures: bytes from outside become uint8 RGB arrays, arrays become files, and the original's two size rules.

Importing this module takes from Pillow, for the whole process, every format but PNG, JPEG and WebP: other libraries open
pictures, too, and among Pillow's readers some start programs (Ghostscript for EPS).

This module does not annotate and does not know documents. Every array is uint8, H,W,3, RGB unless it says otherwise. What
comes from somebody else is decoded in a process of its own, which may be killed: `controlnet_core.execution.decoder`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP")
UPLOAD_MAX_BYTES = 25 * 1024 * 1024
PIXELS_MAX = 33_000_000
SCANS_MAX = 64
"""Of a JPEG. Progressive ones have about ten; each is a walk over the whole picture."""
SCANNED_PIXELS_MAX = 640_000_000
"""Of a JPEG, all its scans together: 19 of the largest picture."""
_PARTS_MAX = 20_000
"""Of a file: chunks of a PNG, marks of a JPEG before its pixels. The largest one of a usual writer has 6,400."""
ANIMATED_PIXELS_MAX = 12_000_000
"""Of a WebP with several pictures: its reader holds four of them."""
_STRIP_PX = 1 << 15
"""Pixels that are converted at a time: what is in memory besides the picture itself."""
_SEGMENTS_MAX = 64
"""Steps into a file until its size is known: a camera's has about ten."""
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: np.fliplr,
    3: lambda array: np.rot90(array, 2),
    4: np.flipud,
    5: lambda array: np.swapaxes(array, 0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(np.swapaxes(array, 0, 1), 2),
    8: np.rot90,
}
"""What makes a picture upright, by the number of its EXIF data."""

# Pillow only warns below twice its own limit; nothing that large is wanted anywhere in this program.
warnings.simplefilter("error", Image.DecompressionBombWarning)
_TOO_LARGE = (Image.DecompressionBombWarning, Image.DecompressionBombError)
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, OverflowError, IndexError, KeyError, struct.error, zlib.error)


def hwc3(picture: NDArray[np.uint8]) -> Rgb:
    """Any uint8 picture of 1, 3 or 4 channels (H,W or H,W,C) as RGB; alpha is laid over white.

    The rule and its truncation are the original ControlNet's `HWC3`.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise InputError("A picture needs 8 bits a channel and one, three or four channels.")
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    if channels == 3:
        return picture
    if channels == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    if channels != 4:
        raise InputError("A picture needs 8 bits a channel and one, three or four channels.")
    out = np.empty((*picture.shape[:2], 3), np.uint8)
    rows = max(1, _STRIP_PX // max(1, picture.shape[1]))
    for top in range(0, picture.shape[0], rows):
        strip = picture[top : top + rows]
        if (strip[:, :, 3] == 255).all():
            out[top : top + rows] = strip[:, :, :3]
        else:
            which = (strip[:, :, 3:].astype(np.intp) << 8) | strip[:, :, :3]
            np.take(_over_white(), which, out=out[top : top + rows], mode="clip")
    return out


@lru_cache(maxsize=1)
def _over_white() -> NDArray[np.uint8]:
    """The colour of `256 * alpha + colour` over white: the original's rule in float32, truncated, for all there are."""
    colour = np.arange(256, dtype=np.float32)[None, :]
    alpha = np.arange(256, dtype=np.float32)[:, None] / np.float32(255.0)
    return np.clip(colour * alpha + np.float32(255.0) * (np.float32(1.0) - alpha), 0, 255).astype(np.uint8).ravel()


def resized_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    """Height and width with the shorter side near `resolution`, both multiples of 64 (halves round to even)."""
    k = float(resolution) / min(height, width)
    return int(np.round(float(height) * k / 64.0)) * 64, int(np.round(float(width) * k / 64.0)) * 64


def resize_image(rgb: Rgb, resolution: int) -> Rgb:
    """The original's `resize_image`: shorter side near `resolution`, Lanczos when enlarging, area otherwise."""
    height, width = rgb.shape[:2]
    new_height, new_width = resized_size(height, width, resolution)
    enlarges = float(resolution) / min(height, width) > 1
    return resize_to(rgb, new_width, new_height, cv2.INTER_LANCZOS4 if enlarges else cv2.INTER_AREA)


def resize_to(
    picture: NDArray[np.uint8], width: int, height: int, interpolation: int | None = None
) -> NDArray[np.uint8]:
    """`picture` at exactly `width` x `height`; by default Lanczos when enlarging, area when shrinking."""
    if interpolation is None:
        enlarges = width * height > picture.shape[0] * picture.shape[1]
        interpolation = cv2.INTER_LANCZOS4 if enlarges else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8)


def file_too_large() -> InputError:
    """What is said of a file of more bytes than are taken."""
    return InputError(f"The file is larger than {UPLOAD_MAX_BYTES >> 20} MB.", "Save the picture smaller or as JPEG.")


def open_picture(data: bytes, *, pixels_max: int = PIXELS_MAX, longest: int = 0, alpha: bool = False) -> Rgb:
    """Decode an uploaded PNG, JPEG or WebP, upright as its EXIF data says, transparency over white.

    With `alpha`, a picture that is transparent anywhere comes as H,W,4 instead. Grey, palette, 16-bit and CMYK pictures
    come out as 8-bit RGB. With `longest`, a picture whose longer side has more pixels comes out with that many. Takes 11
    bytes a pixel at most. Raises InputError, in one sentence, for everything else: over UPLOAD_MAX_BYTES, over `pixels_max` pixels,
    truncated, empty, damaged, a JPEG of very many scans, no picture at all.
    """
    if not data:
        raise InputError("The file is empty.", "Choose a PNG, JPEG or WebP picture.")
    if len(data) > UPLOAD_MAX_BYTES:
        raise file_too_large()
    size = size_of(data)
    if size is not None and size[0] * size[1] > pixels_max:
        raise _too_large(pixels_max)
    try:
        rgb, turned = (
            _webp(data, size, alpha=alpha)
            if size is not None and data[:4] == b"RIFF"
            else _by_pillow(data, longest, pixels_max, alpha=alpha)
        )
    except _TOO_LARGE as error:
        raise _too_large(pixels_max) from error
    except _DAMAGED as error:
        raise InputError("The picture is cut off or damaged.", "Save it again or choose another one.") from error
    if rgb.shape[2] == 4 and rgb[..., 3].min() == 255:
        rgb = np.ascontiguousarray(rgb[..., :3])
    side = max(rgb.shape[:2])
    if longest and side > longest:
        height, width = (max(1, round(one * longest / side)) for one in rgb.shape[:2])
        rgb = resize_to(rgb, width, height)
    return np.ascontiguousarray(_UPRIGHT[turned](rgb)) if turned in _UPRIGHT else rgb


@dataclass(frozen=True)
class Layers:
    """A picture with what `open_picture` leaves out: `alpha` (uint8 H,W; None where all is opaque), `colour` (what stands under
    the transparency, as `rgb` where there is none), and of a palette picture `indices` (uint8 H,W) and `palette` (n,3).
    """

    rgb: Rgb
    colour: Rgb
    alpha: NDArray[np.uint8] | None = None
    indices: NDArray[np.uint8] | None = None
    palette: NDArray[np.uint8] | None = None


def open_layers(data: bytes) -> Layers:
    """As `open_picture`, with its transparency and its palette."""
    rgb = open_picture(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.mode == "P" and "transparency" not in image.info:
            colours: list[int] = image.getpalette("RGB") or []
            palette = np.array(colours, np.uint8).reshape(-1, 3)
            return Layers(rgb, rgb, indices=np.array(image, np.uint8), palette=palette)
        if "A" not in image.getbands() and "transparency" not in image.info:
            return Layers(rgb, rgb)
        turned = _orientation(image)
        whole = np.array(image.convert("RGBA"), np.uint8)
    whole = _UPRIGHT[turned](whole) if turned in _UPRIGHT else whole
    alpha = np.ascontiguousarray(whole[:, :, 3])
    return Layers(rgb, rgb) if (alpha == 255).all() else Layers(rgb, np.ascontiguousarray(whole[:, :, :3]), alpha)


def open_mask(data: bytes, *, longest: int = 0) -> Rgb:
    """A mask picture, white where something is to happen: what was painted on a transparent layer counts, with any ink.

    `longest` and the errors are those of `open_picture`.
    """
    found = open_picture(data, longest=longest, alpha=True)
    return hwc3(at_full_strength(found[..., 3])) if found.shape[2] == 4 else found


def at_full_strength(coverage: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Coverage (uint8 H,W) whose strongest is 255: what was painted half transparent, with a layer's opacity, is meant whole."""
    strongest = int(coverage.max(initial=0))
    return coverage if strongest in (0, 255) else (coverage.astype(np.uint16) * 255 // strongest).astype(np.uint8)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG or WebP as its first bytes say, before anything is decoded; None where they do not."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            wide, tall = struct.unpack_from(">II", data, 16)
            return wide, tall
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        return _jpeg_size(data) if data[:2] == b"\xff\xd8" else None
    except (struct.error, IndexError):
        return None


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    wide, tall = struct.unpack_from("<HH", data, 26)
    return wide & 0x3FFF, tall & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_SEGMENTS_MAX):
        mark, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] != 0xFF or length < 2:
            return None
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            tall, wide = struct.unpack_from(">HH", data, at + 5)
            return wide, tall
        at += 2 + length
    return None


def _is_crumbled(data: bytes) -> bool:
    """Whether a PNG or JPEG has very many parts: Pillow takes them up one by one, in Python."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        at = 8
        for _ in range(_PARTS_MAX):
            at += 12 + int.from_bytes(data[at : at + 4], "big")
            if at >= len(data):
                return False
        return True
    if data[:2] == b"\xff\xd8":
        at = 2
        for _ in range(_PARTS_MAX):
            if data[at : at + 1] != b"\xff" or data[at + 1 : at + 2] == b"\xda":
                return False
            at += 2 + max(0, int.from_bytes(data[at + 2 : at + 4], "big"))
        return True
    return False


def _by_pillow(data: bytes, longest: int, pixels_max: int, *, alpha: bool = False) -> tuple[Rgb, int]:
    """The pixels as they lie in the file, and the number that says how they are turned."""
    if _is_crumbled(data):
        raise InputError("The picture is a file of far too many parts.", "Save it again.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _TOO_LARGE:
        raise
    except _DAMAGED as error:
        raise InputError("This is not a picture that can be read.", "Choose a PNG, JPEG or WebP picture.") from error
    if image.width * image.height > pixels_max:
        raise _too_large(pixels_max)
    if image.format in ("JPEG", "MPO"):
        scans = data.count(b"\xff\xda")
        if scans > SCANS_MAX or scans * image.width * image.height > SCANNED_PIXELS_MAX:
            raise InputError("The picture is a JPEG of far too many scans.", "Save it again.")
        if longest:  # decode an eighth, a quarter or half of it, where that is enough
            scale = max(1.0, max(image.size) / longest)
            image.draft("RGB", (int(image.width / scale), int(image.height / scale)))
    elif image.format == "WEBP" and image.width * image.height > ANIMATED_PIXELS_MAX:
        raise InputError("The picture is a large animation.", "Save one picture of it.")
    image.load()
    alpha = alpha and _is_transparent(image)
    out = np.empty((image.height, image.width, 4 if alpha else 3), np.uint8)
    rows = max(1, _STRIP_PX // image.width)
    narrow = image.mode.startswith("I") and int(np.max(image.getextrema())) < 256
    for top in range(0, image.height, rows):
        end = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, end))
        strip.info = image.info
        out[top:end] = np.asarray(strip.convert("RGBA"), np.uint8) if alpha else _rgb(strip, narrow)
    return out, _orientation(image)


def _webp(data: bytes, size: tuple[int, int], *, alpha: bool = False) -> tuple[Rgb, int]:
    """OpenCV's reader holds a WebP once; Pillow's holds it four times, as it does for animations."""
    flags = data[20] if data[12:16] == b"VP8X" else 0
    if flags & 0x02:
        return _by_pillow(data, 0, ANIMATED_PIXELS_MAX, alpha=alpha)
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise ValueError("damaged") from error
    if found is None or found.dtype != np.uint8 or found.ndim != 3 or found.shape[1::-1] != size:
        raise ValueError("damaged")
    turned = _webp_orientation(data) if flags & 0x08 else 1
    if found.shape[2] == 4:
        cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA, dst=found)  # in place
        whole = np.asarray(found, np.uint8)
        return whole if alpha else hwc3(whole), turned
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found), np.uint8), turned


def _webp_orientation(data: bytes) -> int:
    at = 12
    for _ in range(_SEGMENTS_MAX):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"EXIF":
            exif = Image.Exif()
            with suppress(*_DAMAGED, TypeError):
                exif.load(data[at + 8 : at + 8 + length])
                return int(exif.get(_ORIENTATION, 1))
        at += 8 + length + length % 2
    return 1


def to_png(rgb: Rgb, text: Mapping[str, str] | None = None) -> bytes:
    """PNG bytes of `rgb`, with `text` as its text chunks."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def to_jpeg(rgb: Rgb, quality: int = 85) -> bytes:
    """JPEG bytes of `rgb`: for previews, and for photos that came as JPEG; pictures that are made are PNG."""
    buffer = io.BytesIO()
    # What is kept at high quality keeps its colours at full size, too.
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 95 else "4:2:0")
    return buffer.getvalue()


def _too_large(pixels_max: int) -> InputError:
    return InputError(f"The picture has more than {pixels_max / 1e6:.3g} megapixels.", "Save it smaller.")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (*_DAMAGED, TypeError):
        return 1  # damaged EXIF data says nothing about the picture itself


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _rgb(image: Image.Image, narrow: bool = False) -> Rgb:
    """`narrow`: 16 bits that hold no more than 8 do, such as class numbers."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip instead of scale
        wide: NDArray[Any] = np.asarray(image).astype(np.int64)
        if narrow:
            return hwc3(np.clip(wide, 0, 255).astype(np.uint8))
        return hwc3(np.clip((wide + 128) // 257, 0, 255).astype(np.uint8))
    if _is_transparent(image):
        return hwc3(np.array(image.convert("RGBA"), np.uint8))
    return np.array(image.convert("RGB"), np.uint8)


def _only_known_formats() -> None:
    """Take every other format from Pillow, those that are imported later, too."""
    kept = (
        PngImagePlugin.PngImageFile.format,
        JpegImagePlugin.JpegImageFile.format,
        WebPImagePlugin.WebPImageFile.format,
    )
    register = Image.register_open

    def registered(id: str, *given: Any) -> None:
        if id.upper() in kept:
            register(id, *given)

    Image.register_open = registered
    for id in [one for one in Image.ID if one not in kept]:
        Image.ID.remove(id)
        Image.OPEN.pop(id, None)


_only_known_formats()
