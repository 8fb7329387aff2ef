"""How much memory models take, which of them stay, and what to do when it runs out.

Counts bytes and keeps the order of use; moves nothing by itself.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import cv2
import psutil
import torch
from torch import nn

from controlnet_core.memory.plan import MemoryPlan, ladder

__all__ = ["Cache", "MemoryPlan", "budget", "is_exhausted", "plans", "release", "room", "size_of"]

V = TypeVar("V")
_SHARE_CUDA, _SHARE_CPU = 0.7, 0.4
_EXHAUSTED = (
    "can't allocate memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "Invalid buffer size",
    "Insufficient memory",
)
"""PyTorch's allocator on the CPU; CUDA, its driver, Triton, AMD's GPUs and Apple's; cuBLAS, cuDNN; Apple's for a tensor; OpenCV."""


def plans(device: torch.device, first: str = "") -> list[MemoryPlan]:
    """The ladder of plans for a device, quickest first, from the one called `first` on."""
    return list(ladder(device.type, first))


def room(device: torch.device) -> int:
    """Bytes that models and work may take on a device: what is free and what this process holds of it already."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    return psutil.virtual_memory().available + psutil.Process().memory_info().rss


def size_of(modules: Iterable[nn.Module]) -> int:
    """Bytes of all parameters and buffers."""
    return sum(
        tensor.numel() * tensor.element_size()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    )


def budget(device: torch.device) -> int:
    """Bytes that loaded models may take on a device."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * _SHARE_CUDA)
    return int(psutil.virtual_memory().total * _SHARE_CPU)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out; not every library has a class of its own for that."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, (RuntimeError, cv2.error)) and any(words in str(error) for words in _EXHAUSTED)


def release(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


class Cache(Generic[V]):
    """Loaded things by name, the least recently used ones leaving first when they take more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._asked: set[str] = set()

    def get(self, name: str, load: Callable[[], V], size: Callable[[V], int]) -> V:
        """The thing called `name`, loaded if it is not here. The newest one stays even if it alone is too large."""
        self._asked.add(name)
        if name not in self._held:
            value = load()
            self._held[name] = (value, size(value))
        self._held.move_to_end(name)
        while len(self._held) > 1 and sum(size for _, size in self._held.values()) > self._limit:
            self._held.popitem(last=False)
        return self._held[name][0]

    def begin(self) -> None:
        """Something new begins: what is asked for from now on is in use."""
        self._asked.clear()

    def spare(self) -> bool:
        """Forget what nobody asked for since `begin`; returns whether there was anything."""
        idle = [name for name in self._held if name not in self._asked]
        for name in idle:
            del self._held[name]
        return bool(idle)

    def names(self) -> list[str]:
        """What is here, the least recently used first."""
        return list(self._held)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def drop(self, name: str) -> None:
        """Forget one thing, if it is here."""
        self._held.pop(name, None)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
