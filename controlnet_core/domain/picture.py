"""Pictures: bytes from outside become uint8 RGB arrays, arrays become files, and the original's two size rules.

This module does not annotate and does not know documents. Every array is uint8, H,W,3, RGB unless it says otherwise.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP")
UPLOAD_MAX_BYTES = 25 * 1024 * 1024
PIXELS_MAX = 33_000_000

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
    colour = picture[:, :, :3].astype(np.float32)
    alpha = picture[:, :, 3:].astype(np.float32) / 255.0
    return np.clip(colour * alpha + 255.0 * (1.0 - alpha), 0, 255).astype(np.uint8)


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


def open_picture(data: bytes) -> Rgb:
    """Decode an uploaded PNG, JPEG or WebP, upright as its EXIF data says, transparency over white.

    Grey, palette, 16-bit and CMYK pictures come out as 8-bit RGB. Raises InputError, in one sentence, for everything
    else: over 25 MB, over 33 megapixels, truncated, empty, damaged, no picture at all.
    """
    if not data:
        raise InputError("The file is empty.", "Choose a PNG, JPEG or WebP picture.")
    if len(data) > UPLOAD_MAX_BYTES:
        raise InputError("The file is larger than 25 MB.", "Save the picture smaller or as JPEG.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _TOO_LARGE as error:
        raise _too_large() from error
    except _DAMAGED as error:
        raise InputError("This is not a picture that can be read.", "Choose a PNG, JPEG or WebP picture.") from error
    if image.width * image.height > PIXELS_MAX:
        raise _too_large()
    try:
        image.load()
        return _rgb(_upright(image))
    except _TOO_LARGE as error:
        raise _too_large() from error
    except _DAMAGED as error:
        raise InputError("The picture is cut off or damaged.", "Save it again or choose another one.") from error


def to_png(rgb: Rgb, text: Mapping[str, str] | None = None) -> bytes:
    """PNG bytes of `rgb`, with `text` as its text chunks."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def to_jpeg(rgb: Rgb, quality: int = 85) -> bytes:
    """JPEG bytes of `rgb` (for previews; pictures that are kept are PNG)."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _too_large() -> InputError:
    return InputError("The picture has more than 33 megapixels.", "Save it smaller.")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:
        return image  # damaged EXIF data says nothing about the picture itself


def _rgb(image: Image.Image) -> Rgb:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip instead of scale
        wide: NDArray[Any] = np.asarray(image).astype(np.int64)
        return hwc3(np.clip((wide + 128) // 257, 0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        return hwc3(np.array(image.convert("RGBA"), np.uint8))
    return np.array(image.convert("RGB"), np.uint8)
