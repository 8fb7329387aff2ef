"""The device under test: a card, or on a machine without one a stand-in of the same interface for rehearsals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from tests.gpu import paper


class Card:
    """The GPU that CUDA shows first."""

    device = torch.device("cuda")
    real = True

    @property
    def name(self) -> str:
        """What its driver calls it, and by which torch it is used."""
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"

    def wait(self) -> None:
        """Come back when all that was asked for is done."""
        torch.cuda.synchronize()

    def begin_peak(self) -> None:
        """Count the peak of memory from here."""
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        """Bytes of tensors at the peak since `begin_peak`."""
        return torch.cuda.max_memory_allocated()

    def held(self) -> int:
        """Bytes of tensors now."""
        return torch.cuda.memory_allocated()

    def total(self) -> int:
        """Bytes that it has."""
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory

    @contextmanager
    def capped(self, bytes_max: int) -> Iterator[None]:
        """Have no more memory than this, for so long."""
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, bytes_max / self.total()))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """What has to hold while a row runs."""
        yield

    def refuses(self, row: str) -> str:
        """Why a row makes no sense on this card; "" where it does."""
        if "bfloat16" in row and not torch.cuda.is_bf16_supported(including_emulation=False):
            return "this GPU has no instructions for bfloat16"
        return ""


_ELSEWHERE = torch.device("cpu:0")
"""The same place by another name: whoever is parked there has moved."""


def _moved(to: Any) -> Any:
    """`Module.to` that gives weights other memory when they are parked, and leaves nothing in the old one."""

    def moved(module: torch.nn.Module, *given: Any, **more: Any) -> Any:
        if given[:1] == (_ELSEWHERE,):
            for value in module.parameters():
                old, value.data = value.data, value.data.clone()
                old.fill_(float("nan"))
        return to(module, *given, **more)

    return moved


class StandIn(Card):
    """A processor that plays recorded steps on paper, takes the plans of GPUs, and runs out of memory when told to."""

    device = torch.device("cpu")
    real = False

    @property
    def name(self) -> str:
        """See `Card.name`."""
        return "no GPU, a rehearsal on a processor"

    def refuses(self, row: str) -> str:
        """See `Card.refuses`."""
        return ""

    def wait(self) -> None:
        """See `Card.wait`."""

    def begin_peak(self) -> None:
        """See `Card.begin_peak`."""

    def peak(self) -> int:
        """See `Card.peak`."""
        return 1 << 20

    def held(self) -> int:
        """See `Card.held`."""
        return 1 << 20

    def total(self) -> int:
        """A gaming card's."""
        return 8 << 30

    @contextmanager
    def capped(self, bytes_max: int) -> Iterator[None]:
        """The first two tries of a ControlNet run out of memory."""
        from controlnet_core.diffusion import denoiser

        plain, failures = denoiser.residuals, [1, 2]

        def failing(*given: Any) -> Any:
            if failures:
                failures.pop()
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return plain(*given)

        with mock.patch.object(denoiser, "residuals", failing):
            yield

    @contextmanager
    def ready(self) -> Iterator[None]:
        """See `Card.ready`."""
        from controlnet_core.memory import cache, placement, plan

        def plans(_device: torch.device, first: str = "") -> list[Any]:
            return list(plan.ladder("cuda", os.environ.get("STUDIO_PLAN", "") or first))

        with ExitStack() as stack:
            stack.enter_context(paper.recording())
            stack.enter_context(mock.patch.object(cache, "plans", plans))
            stack.enter_context(mock.patch.object(placement, "_PARKED", _ELSEWHERE))
            stack.enter_context(mock.patch.object(torch.nn.Module, "to", _moved(torch.nn.Module.to)))
            yield


def card() -> Card:
    """The GPU, or its stand-in. Asks CUDA, so a process that will fork must not."""
    return Card() if torch.cuda.is_available() else StandIn()
