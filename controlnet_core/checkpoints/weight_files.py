"""Model files tensor by tensor: read lazily from any container, written one after another as safetensors.

    weights = Weights.open(path)            # a file, or a folder of diffusers
    write(output, [TensorEntry("name", (3, 4), "F32", pieces), ...], {"made by": "..."})

A file of several GB costs a few megabytes of memory: inputs stay mapped, and of the output a piece exists while it is written.
Does not know what tensors mean (`transfer`) and builds no networks (`loading`).
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.checkpoints.safetensors_header import AGAIN, read_header, shapes_of
from controlnet_core.domain import amounts
from controlnet_core.domain.errors import ModelError, ModelMissing, NoSpace
from controlnet_core.storage import store

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in DTYPES.items()}
_BYTES = {name: torch.empty(0, dtype=dtype).element_size() for dtype, name in DTYPES.items()}
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")


class Weights:
    """The tensors of a model by name, each read when it is asked for."""

    def __init__(self, name: str, shapes: Mapping[str, tuple[int, ...]], get: Callable[[str], Tensor]) -> None:
        self.name = name
        self.shapes = shapes
        self._get = get

    @classmethod
    def open(cls, path: Path) -> Weights:
        """The weights in a file, or in the folder of one network as diffusers saves it.

        Raises ModelMissing and ModelError as `loading.read_tensors` does.
        """
        if path.is_dir():
            return cls._of(path.name, _files(path))
        return cls._of(path.name, [path])

    @classmethod
    def _of(cls, name: str, files: Sequence[Path]) -> Weights:
        parts = [_open(file) for file in files]
        owner = {tensor: part for part in parts for tensor in part.shapes}
        shapes = {tensor: part.shapes[tensor] for tensor, part in owner.items()}
        return cls(name, shapes, lambda tensor: owner[tensor].get(tensor))

    def get(self, name: str) -> Tensor:
        """One tensor, on the CPU; it may be a view of the mapped file."""
        return self._get(name)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor."""
        return self.get(name).dtype

    def renamed(self, names: Mapping[str, str]) -> Weights:
        """The tensors that `names` (new name -> name here) mentions, under their new names."""
        shapes = {new: self.shapes[old] for new, old in names.items()}
        return Weights(self.name, shapes, lambda new: self.get(names[new]))

    def __contains__(self, name: str) -> bool:
        return name in self.shapes


@dataclass(frozen=True)
class TensorEntry:
    """A tensor to be written: name, shape, dtype as safetensors calls it, and what makes it when its turn comes.

    It may come in pieces of any shape: their numbers in order, one piece after another, are those of the tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    pieces: Callable[[], Iterable[Tensor]]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * _BYTES[self.dtype]


def write(
    path: Path,
    entries: Iterable[TensorEntry],
    about: Mapping[str, str],
    on_bytes: Callable[[int], None] = lambda _count: None,
    *,
    free_min_bytes: int = store.FREE_MIN_BYTES,
) -> int:
    """Write a safetensors file, all or nothing, and return its size in bytes; `about` is its metadata.

    `on_bytes` hears how many bytes of tensors were written; what it raises ends the work without a file. Raises NoSpace.
    """
    ordered = sorted(entries, key=lambda entry: (-_BYTES[entry.dtype], entry.name))  # keeps every tensor aligned
    head = _head(ordered, about)
    size = len(head) + sum(entry.size for entry in ordered)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < free_min_bytes + size:
        raise NoSpace(
            f"{path.name} needs {amounts.size(size)}, and its disk has {amounts.size(free)} free.", "Free some space."
        )
    with store.replacing(path) as file:
        file.write(head)
        count = 0
        for entry in ordered:
            for piece in _bytes_of(entry):
                file.write(piece)
                count += len(piece)
                on_bytes(count)
    return size


def _head(entries: Sequence[TensorEntry], about: Mapping[str, str]) -> bytes:
    table: dict[str, Any] = {"__metadata__": dict(about)}
    offset = 0
    for entry in entries:
        end = offset + entry.size
        table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bytes_of(entry: TensorEntry) -> Iterator[memoryview]:
    """The bytes of a tensor, piece by piece; exactly as many as the table of contents promises."""
    changed = ModelError(f"{entry.name} changed while it was read.", "Do not change model files while they are in use.")
    count = 0
    for piece in entry.pieces():
        count += piece.nbytes
        if count > entry.size or DTYPES[piece.dtype] != entry.dtype:
            raise changed
        if piece.numel():
            # Bytes through NumPy: it has no bfloat16, but everything has bytes.
            yield piece.contiguous().reshape(-1).view(torch.uint8).numpy().data
    if count < entry.size:
        raise changed


def _open(path: Path) -> Weights:
    if path.suffix.lower() == ".safetensors":
        header = read_header(path)
        return Weights(path.name, shapes_of(header), _reader(path, header))
    tensors = read_tensors(path)
    return Weights(path.name, {name: tuple(one.shape) for name, one in tensors.items()}, tensors.__getitem__)


def _reader(path: Path, header: Mapping[str, Any]) -> Callable[[str], Tensor]:
    with path.open("rb") as file:
        begin = 8 + struct.unpack("<Q", file.read(8))[0]

    def get(name: str) -> Tensor:
        entry = header[name]
        start, end = entry["data_offsets"]
        dtype, shape = _DTYPES.get(entry["dtype"]), entry["shape"]
        if dtype is None or end - start != math.prod(shape) * _BYTES[entry["dtype"]]:
            raise ModelError(f"{path.name} is damaged: {name} is not what its table of contents says.", AGAIN)
        if start == end:
            return torch.empty(shape, dtype=dtype)
        try:
            # A mapping of its own, so that the pages go when the tensor goes; "c": a change would not reach the file.
            held = np.memmap(path, np.uint8, "c", begin + start, (end - start,))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path.name} cannot be read any more.", "See that it is still there, then try again."
            ) from error
        return torch.from_numpy(held).view(dtype).reshape(shape)

    return get


def _files(folder: Path) -> list[Path]:
    for suffix in _SUFFIXES:
        for stem in _STEMS:
            if (folder / f"{stem}{suffix}").is_file():
                return [folder / f"{stem}{suffix}"]
    shards = sorted(path for stem in _STEMS for path in folder.glob(f"{stem}-*-of-*.safetensors"))
    if not shards:
        raise ModelMissing(f"There are no weights in {folder.name}.", f"Download it again: {folder} is incomplete.")
    return shards
