"""Whether this PyTorch can compute on a GPU at all, and in which precision; what cannot be is said in a sentence, at once.

A card may be here that nothing computes on: PyTorch was built for processors, or without kernels for a card so old or so new.
PyTorch itself says so in the middle of the first picture, in words of its own.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from controlnet_core.domain.errors import RecipeError, StudioError
from controlnet_core.memory.precision import Precision

_ELSE = "or draw on the processor: STUDIO_DEVICES=cpu."
_AMPERE = (8, 0)
_KERNELS = re.compile(r"(sm|compute)_(\d+)")


def check(device: torch.device) -> None:
    """Raise StudioError where this PyTorch cannot compute on `device`."""
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise StudioError(
            "PyTorch sees no GPU of Apple's here.", f"It takes macOS 14 and a PyTorch for Apple silicon; {_ELSE}"
        )
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise StudioError(
            "A GPU is here, but this PyTorch sees none: it was built for processors, or the driver is too old.",
            f"Install PyTorch for CUDA (https://pytorch.org) and a driver that fits it, {_ELSE}",
        )
    kernels = torch.cuda.get_arch_list()
    if torch.version.hip is None and not has_kernels(torch.cuda.get_device_capability(device), kernels):
        raise StudioError(
            f"This PyTorch has nothing that runs on {torch.cuda.get_device_name(device)}: it was built for {', '.join(kernels)}.",
            f"Install one that was built for this card (https://pytorch.org), {_ELSE}",
        )


def has_kernels(capability: tuple[int, int], kernels: Sequence[str]) -> bool:
    """Whether a card of a compute capability runs any of `kernels` ("sm_86", "compute_120").

    As NVIDIA says it: a binary runs on the same major version from its minor one on, code for a virtual architecture on all that
    came later.
    """
    major, minor = capability
    for kind, number in (found.groups() for one in kernels if (found := _KERNELS.match(one))):
        made_for = divmod(int(number), 10)
        if (made_for[0] == major and made_for[1] <= minor) or (kind == "compute" and made_for <= capability):
            return True
    return not kernels


def check_precision(device: torch.device, bits: Precision) -> None:
    """Raise RecipeError where a GPU does not compute in so few bits: those before NVIDIA's Ampere know no bfloat16."""
    if device.type != "cuda" or bits != "bfloat16" or torch.version.hip is not None:
        return
    # Not `is_bf16_supported`: that tells of the current device, which on a machine with several may be another card.
    if torch.cuda.get_device_capability(device) < _AMPERE:
        raise RecipeError(
            f"{torch.cuda.get_device_name(device)} does not compute in bfloat16.",
            "Take float16: STUDIO_PRECISION=float16 for pictures, fp16 for a training.",
        )
