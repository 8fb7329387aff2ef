"""Reads model files from anywhere: a file goes in, tensors come out, and nothing else ever happens.

safetensors files are checked against their header before they are mapped. Pickles (`.pth`, `.ckpt`, `.bin`) go through
`torch.load(weights_only=True)` alone, with inert stand-ins for the few foreign classes that harmless checkpoints carry;
there is no second attempt with less care. Does not know what the tensors mean.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from controlnet_core.checkpoints.safetensors_header import AGAIN, read_header, sniff
from controlnet_core.domain.errors import ModelError

PICKLE_MAX_BYTES = 64 << 20
ENTRIES_MAX = 100_000
SAFE_HINT = "Use the .safetensors version of the model, from a place you trust."


class _StandIn:
    """Takes the place of a foreign class in a pickle: keeps nothing, does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


_STAND_INS: list[Any] = [
    (_StandIn, name)
    for name in (
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
        "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
    )
]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a model file, on the CPU, in the dtype of the file; a "state_dict" inside is opened.

    The tensors may be views of the mapped file: copy what is to be kept. Raises ModelMissing when there is no file and
    ModelError, with the true reason, when it is empty, cut off, a web page, a git-LFS pointer, hostile or no model.
    """
    kind = sniff(path)
    tensors = _read_safetensors(path) if kind == "safetensors" else _read_pickle(path, zipped=kind == "zip")
    if not tensors:
        raise ModelError(f"{path.name} holds no weights.", "Choose the file of a model.")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path.name} is damaged: its table of contents contradicts itself.", AGAIN) from error


def _read_pickle(path: Path, zipped: bool) -> dict[str, Tensor]:
    if zipped:
        _check_archive(path)
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # damaged bytes raise anything
        _refuse(path, error)
    return _tensors(path, content)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, struct.error) as error:
        raise ModelError(f"{path.name} is cut off or damaged.", AGAIN) from error
    # Torch stores its records uncompressed; whatever unpacks to more than the file is a bomb.
    if len(entries) > ENTRIES_MAX or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelError(f"{path.name} would unpack to far more than its size: it is refused.", SAFE_HINT)
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if not pickles:
        raise ModelError(f"{path.name} is an archive, but not of a model.", "Unpack it and choose the model inside.")
    if any(entry.file_size > PICKLE_MAX_BYTES for entry in pickles):
        raise ModelError(f"{path.name} has an absurdly large table of contents: it is refused.", SAFE_HINT)


def _refuse(path: Path, error: Exception) -> NoReturn:
    words = str(error)
    if isinstance(error, UnpicklingError) and ("Unsupported" in words or "Trying to" in words or "GLOBAL" in words):
        raise ModelError(f"{path.name} carries program code, which is never run: it is refused.", SAFE_HINT) from error
    raise ModelError(f"{path.name} is cut off or damaged.", AGAIN) from error


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    mapping = cast("Mapping[object, object]", content) if isinstance(content, Mapping) else {}
    for within in ("state_dict", "string_to_param"):  # a checkpoint, a textual inversion
        if isinstance(inner := mapping.get(within), Mapping):
            mapping = cast("Mapping[object, object]", inner)
    found = {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}
    held = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    if held > 2 * path.stat().st_size + (1 << 20):
        # A tensor with strides of 0 costs nothing in the file and everything once it is copied.
        raise ModelError(f"{path.name} would unpack to far more than its size: it is refused.", SAFE_HINT)
    return {name: tensor.detach() for name, tensor in found.items()}
