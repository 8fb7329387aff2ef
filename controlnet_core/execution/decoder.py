"""Pictures of other people's, decoded in a process that may be killed: two seconds and 400 MB each, or a sentence.

Small ones have a process of their own, so that nobody's large ones keep anybody else waiting; large ones have two, for the
same reason: whoever sends them is one at a time (`webapp.routes.guard.Turns`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError
from controlnet_core.execution.confined import Confined, Header, Limits, Parts

CPU_S = 2.0
MEMORY_BYTES = 310 << 20
SMALL_PX = 4_000_000
SMALL_BYTES = 2 << 20
_PATH = "controlnet_core.execution.decoder:decode_here"
_small = Confined(_PATH, Limits(CPU_S, MEMORY_BYTES, waiting=32), "picture")
_large = [Confined(_PATH, Limits(CPU_S, MEMORY_BYTES, waiting=8), "picture") for _ in range(2)]


def decode(data: bytes, *, pixels_max: int = picture.PIXELS_MAX, longest: int = 0, alpha: bool = False) -> Rgb:
    """`picture.open_picture` in a process of its own; raises its InputError, and one for what takes too long or too much.

    With `alpha`, a picture that is transparent anywhere comes as H,W,4.
    """
    if len(data) > picture.UPLOAD_MAX_BYTES or not data:
        return picture.open_picture(data)  # which refuses it
    told, parts = _for(data).call({"pixels_max": pixels_max, "longest": longest, "alpha": alpha}, [data])
    return _array(told, parts[0])


def decode_mask(data: bytes, *, longest: int = 0) -> Rgb:
    """`picture.open_mask` in a process of its own; raises as `decode` does."""
    if len(data) > picture.UPLOAD_MAX_BYTES or not data:
        return picture.open_mask(data)  # which refuses it
    told, parts = _for(data).call({"mask": True, "longest": longest}, [data])
    return _array(told, parts[0])


def _array(told: Header, raw: bytes) -> Rgb:
    shape: Any = told.get("shape")
    if not isinstance(shape, list) or len(raw) != int(np.prod(shape)):  # pyright: ignore[reportUnknownArgumentType]
        raise InputError("The picture is damaged: reading it failed.", "Save it again or choose another one.")
    height, width, channels = shape  # pyright: ignore[reportUnknownVariableType]
    return np.frombuffer(raw, np.uint8).reshape(int(height), int(width), int(channels))  # pyright: ignore[reportUnknownArgumentType]


def decode_here(header: Header, parts: list[bytes]) -> tuple[Header, Parts]:
    """The process's own end."""
    data = bytes(parts.pop())
    rgb = (
        picture.open_mask(data, longest=header["longest"])
        if header.get("mask")
        else picture.open_picture(
            data, pixels_max=header["pixels_max"], longest=header["longest"], alpha=header["alpha"]
        )
    )
    return {"shape": list(rgb.shape)}, [np.ascontiguousarray(rgb).reshape(-1).data]


def _for(data: bytes) -> Confined:
    size = picture.size_of(data)
    small = size is not None and size[0] * size[1] <= SMALL_PX and len(data) <= SMALL_BYTES
    return _small if small else min(_large, key=lambda one: one.waiting)
