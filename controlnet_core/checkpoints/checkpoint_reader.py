"""Reads model files from anywhere: a file goes in, tensors come out, and nothing else ever happens.

safetensors files are checked against their header before they are mapped. Of pickles (`.pth`, `.ckpt`, `.bin`) it is read first
what they name: the few things that weights are made of, and inert stand-ins for the foreign classes that harmless checkpoints
carry. Then they go through `torch.load(weights_only=True)` alone, which by itself would let a file of a kilobyte ask for
gigabytes; there is no second attempt with less care. Does not know what the tensors mean.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, NoReturn, cast

import torch
from torch import Tensor

from controlnet_core.checkpoints.safetensors_header import AGAIN, read_header, sniff
from controlnet_core.domain.errors import ModelError

PICKLE_MAX_BYTES = 64 << 20
ENTRIES_MAX = 100_000
OPCODES_MAX = 5_000_000
PICKLES_OF_OLD = 5
"""Pickles at the start of a file that is no archive: magic, version, machine, content, names of the storages."""
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

_NAMED = frozenset(
    {
        "collections OrderedDict",
        "collections Counter",
        "_codecs encode",
        "torch Size",
        "torch.nn.parameter Parameter",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        *(f"{module} set" for module in ("builtins", "__builtin__")),
        *(" ".join(name.rsplit(".", 1)) for _, name in _STAND_INS),
    }
)
"""What a pickle of weights may name, beside torch's dtypes and storages. Not bytearray, torch.Tensor and bare storages, which
make as much memory as they are asked for; not meta, sparse, nested, quantised and wrapped tensors, which are no plain weights."""
_STORAGES = frozenset({"Typed", "Untyped"})


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
    else:
        with path.open("rb") as file:
            for _ in range(PICKLES_OF_OLD):
                _check_names(path, file)
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
        raise _absurd(path)
    with zipfile.ZipFile(path) as archive:
        for entry in pickles:
            try:
                with archive.open(entry) as file:
                    _check_names(path, file)
            except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
                raise ModelError(f"{path.name} is cut off or damaged.", AGAIN) from error


def _check_names(path: Path, file: IO[bytes]) -> None:
    """Read what a pickle names, and run none of it. Where it is damaged, torch says so."""
    start = file.tell()
    try:
        for count, (opcode, given, place) in enumerate(pickletools.genops(file)):
            if count > OPCODES_MAX or (place or 0) - start > PICKLE_MAX_BYTES:
                raise _absurd(path)
            if "GLOBAL" in opcode.name or opcode.name in ("INST", "EXT1", "EXT2", "EXT4"):
                _check_name(path, str(given))
    except (ValueError, EOFError, UnicodeError, IndexError, struct.error, MemoryError, OverflowError):
        return


def _check_name(path: Path, name: str) -> None:
    module, _, thing = name.partition(" ")
    if module in ("torch", "torch.storage") and thing.endswith("Storage") and thing[: -len("Storage")] not in _STORAGES:
        return
    if module == "torch" and isinstance(getattr(torch, thing, None), torch.dtype):
        return
    if name not in _NAMED:
        what = f" ({module}.{thing})"[:80] if thing else ""
        raise ModelError(
            f"{path.name} carries more than weights{what}: program code is never run, it is refused.", SAFE_HINT
        )


def _absurd(path: Path) -> ModelError:
    return ModelError(f"{path.name} has an absurdly large table of contents: it is refused.", SAFE_HINT)


def _refuse(path: Path, error: Exception) -> NoReturn:
    words = str(error)
    if isinstance(error, UnpicklingError) and ("Unsupported" in words or "Trying to" in words or "GLOBAL" in words):
        raise ModelError(f"{path.name} carries program code, which is never run: it is refused.", SAFE_HINT) from error
    raise ModelError(f"{path.name} is cut off or damaged.", AGAIN) from error


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    mapping = _mapping(content)
    for within in ("state_dict", "string_to_param"):  # a checkpoint, a textual inversion
        if inner := _mapping(mapping.get(within)):
            mapping = inner
    found = {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}
    strange = [
        one for one in found.values() if one.layout != torch.strided or one.device.type != "cpu" or one.is_quantized
    ]
    if strange:
        raise ModelError(f"{path.name} holds tensors without plain values (meta, sparse, quantised).", SAFE_HINT)
    held = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    if held > 2 * path.stat().st_size + (1 << 20):
        # A tensor with strides of 0 costs nothing in the file and everything once it is copied.
        raise ModelError(f"{path.name} would unpack to far more than its size: it is refused.", SAFE_HINT)
    return {name: tensor.detach() for name, tensor in found.items()}


def _mapping(content: object) -> Mapping[object, object]:
    """A dict as a plain one: what a pickle writes over an OrderedDict's own methods is not asked."""
    return dict(dict.items(cast("dict[object, object]", content))) if isinstance(content, dict) else {}
