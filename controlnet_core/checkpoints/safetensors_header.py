"""Reads the beginnings of model files without torch: what container it is, what tensors a safetensors file holds."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Literal

from controlnet_core.domain.errors import ModelError, ModelMissing

HEADER_MAX_BYTES = 10 << 20
AGAIN = "Download it again."
ORDINARY = "Choose a model for SD 1.5, SD 2.1 or SDXL."


def read_header(path: Path) -> dict[str, Any]:
    """Name -> {dtype, shape, data_offsets}, and "__metadata__"; checked against the size of the file.

    Of a tensor, dtype is a string, shape and data_offsets are lists of numbers from 0 on; what they say of each other is not
    checked. Raises ModelError when the header is larger than 10 MB, is not well-formed or promises other bytes than there are.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise ModelError(f"{path.name} is cut off.", AGAIN)
        (length,) = struct.unpack("<Q", prefix)
        if length > HEADER_MAX_BYTES:
            raise ModelError(f"{path.name} is damaged: its table of contents would be {length} bytes long.", AGAIN)
        if 8 + length > size:
            raise ModelError(f"{path.name} is cut off inside its table of contents.", AGAIN)
        raw = file.read(length)
    try:
        header = dict(json.loads(raw))
        ends = [_end(entry) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise ModelError(f"{path.name} is damaged: its table of contents cannot be read.", AGAIN) from error
    announced = 8 + length + max(ends, default=0)
    if announced > size:
        raise ModelError(f"{path.name} is cut off: {size} of {announced} bytes are here.", AGAIN)
    if announced < size:
        raise ModelError(f"{path.name} is damaged: {size - announced} bytes belong to nothing.", AGAIN)
    return header


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a file. Raises as `read_header` does."""
    return shapes_of(read_header(path))


def shapes_of(header: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape, from what `read_header` gave."""
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def _end(entry: Any) -> int:
    begin, end = entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or any(
        type(one) is not int or one < 0 for one in (begin, end, *entry["shape"])
    ):
        raise ValueError("no description of a tensor")
    return end


def sniff(path: Path) -> Literal["safetensors", "zip", "pickle"]:
    """What container a model file is by its first bytes. Raises ModelMissing and, with the true reason, ModelError."""
    if not path.is_file():
        raise ModelMissing(f"{path.name} is not there.", f"Put it into {path.parent}.")
    size = path.stat().st_size
    if size == 0:
        raise ModelError(f"{path.name} is empty.", AGAIN)
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path.name} is a git-LFS pointer, not the model itself.", "Fetch it with `git lfs pull`.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ModelError(f"{path.name} is a web page, not a model.", "Log in where it lies and download it again.")
    if start.startswith(b"GGUF"):
        raise ModelError(
            f"{path.name} is a GGUF file, whose weights are packed for other programs; none runs here.",
            "Choose the same model as .safetensors, if it is one for SD 1.5, SD 2.1 or SDXL.",
        )
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(b"\x80"):
        return "pickle"
    if path.suffix.lower() == ".safetensors" and size <= 8:
        raise ModelError(f"{path.name} is cut off.", AGAIN)
    raise ModelError(f"{path.name} is not a model file.", "Models end in .safetensors, .pth, .ckpt or .bin.")
