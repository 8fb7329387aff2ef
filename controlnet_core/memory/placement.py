"""Where the networks of a run are while they are needed and while they are not, as a plan says.

Moves modules; decides nothing. The plans themselves are in `memory.plan`.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from controlnet_core.memory import cache
from controlnet_core.memory.plan import MemoryPlan
from controlnet_core.models.diffusers_setup import ControlNetModel, ControlNetUnionModel

_PARKED = torch.device("cpu")


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; from the processor to CUDA by way of pinned memory, so that nobody waits for the device.

    Without that a copy waits until everything asked for before it is done (PyTorch's notes on CUDA, "Use pinned memory buffers").
    """
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Placement:
    """The places of one run on `device`. `changed` says whether weights were stored in fewer bits on the way."""

    def __init__(self, device: torch.device, plan: MemoryPlan) -> None:
        self.device = device
        self.plan = plan
        self.changed = False

    @contextmanager
    def present(self, *modules: nn.Module, when: bool = True) -> Generator[None]:
        """Have modules ready to run on the device; with a plan that offloads, only for so long."""
        used = tuple(dict.fromkeys(modules)) if when else ()
        if self.plan.fp8:
            for module in used:
                self._store_in_fp8(module)
        for module in used:
            if self._comes_in_layers(module):
                _stream(module, self.device)
            else:
                _move(module, self.device)
        try:
            yield
        finally:
            if self.plan.offload:
                for module in used:
                    _unstream(module)
                    _move(module, _PARKED)
                cache.release(self.device)

    def _comes_in_layers(self, module: nn.Module) -> bool:
        if self.plan.offload == "control":
            return isinstance(module, (ControlNetModel, ControlNetUnionModel))
        # The text encoder is small, and its words may be added to while it is here: it comes as a whole.
        return self.plan.offload == "layer" and hasattr(module, "enable_group_offload")

    def _store_in_fp8(self, module: Any) -> None:
        from diffusers.hooks import apply_layerwise_casting

        kind = type(module).__name__
        if kind not in ("UNet2DConditionModel", "ControlNetModel", "ControlNetUnionModel") or getattr(
            module, "studio_fp8", False
        ):
            return
        apply_layerwise_casting(module, torch.float8_e4m3fn, next(module.parameters()).dtype)
        module.studio_fp8 = True
        self.changed = True


def computes_in(module: Any) -> torch.dtype:
    """The dtype of what a network takes and gives: that of its weights, unless they are stored in fewer bits.

    Asked several times a step; diffusers' own answer walks through all of its layers.
    """
    return module.dtype if getattr(module, "studio_fp8", False) else next(module.parameters()).dtype


def _move(module: Any, device: torch.device) -> None:
    """Bring a module to a device as a whole. Where it was brought last is written on it: looking at all its layers takes long."""
    if getattr(module, "studio_place", None) != device:
        module.studio_place = None
        module.to(device)
        module.studio_place = device


def _stream(module: Any, device: torch.device) -> None:
    """Bring each layer to the device when it runs and take it away again."""
    from diffusers.hooks import apply_group_offloading

    module.studio_place = None
    apply_group_offloading(module, onload_device=device, offload_device=_PARKED, offload_type="leaf_level")


def _unstream(module: nn.Module) -> None:
    from diffusers.hooks.hooks import HookRegistry

    for part in module.modules():
        registry: Any = getattr(part, "_diffusers_hook", None)
        if isinstance(registry, HookRegistry):
            for name in ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading"):
                if name in registry.hooks:
                    registry.remove_hook(name, recurse=False)
