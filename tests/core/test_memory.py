"""Memory that has run out is known as such, whoever says it."""

import cv2
import pytest
import torch

from controlnet_core.domain.errors import InputError
from controlnet_core.memory import cache


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("HIP error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        cv2.error("OpenCV(4.10) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9000000000 bytes"),
    ],
)
def test_whoever_says_it(error: Exception) -> None:
    assert cache.is_exhausted(error)


def test_the_allocator_of_this_machine() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert cache.is_exhausted(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("memory"), InputError("out of memory")])
def test_nothing_else(error: Exception) -> None:
    assert not cache.is_exhausted(error)
