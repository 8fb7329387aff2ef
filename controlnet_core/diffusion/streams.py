"""ControlNets beside the U-Net's encoder, on streams of their own: they meet where the residuals are added.

    main     --+-- U-Net, encoder ----------------+-- + residuals -- middle, decoder -->
               |                                  |
    stream 0   +-- ControlNet 0 --+-- their sum --+
    stream 1   +-- ControlNet 1 --+

On CUDA, where STUDIO_STREAMS=1 asks for it; else everything stays in one line. In a recorded step the streams become branches
of its graph. What a branch has allocated is held until the step is over, so no stream is given memory that another still reads
(PyTorch's notes on CUDA, "CUDA streams"). Nothing else knows of it.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch

from controlnet_core.memory import plan


class Fork:
    """The streams of one step: `branches` of them, all behind what its device has been asked for until now."""

    def __init__(self, device: torch.device, branches: int) -> None:
        self._branches: tuple[torch.cuda.Stream, ...] = ()
        if branches and plan.forks(device.type):
            self._main = torch.cuda.current_stream(device)
            self._branches = tuple(_stream(device, number) for number in range(branches))
            for branch in self._branches:
                branch.wait_stream(self._main)

    def branch(self, number: int) -> AbstractContextManager[object]:
        """Run what is inside on a stream of its own."""
        return torch.cuda.stream(self._branches[number]) if self._branches else nullcontext()

    @contextmanager
    def gathered(self) -> Generator[None]:
        """Run what is inside behind all branches, on the first of them."""
        for other in self._branches[1:]:
            self._branches[0].wait_stream(other)
        with self.branch(0):
            yield

    @contextmanager
    def joined_in(self, unet: Any) -> Generator[None]:
        """Have the U-Net's forward pass wait for the branches behind its encoder; right after that it adds residuals."""
        if not self._branches:
            yield
            return

        def wait(*_given: object) -> None:
            self._main.wait_stream(self._branches[0])

        handle = unet.down_blocks[-1].register_forward_hook(wait)
        try:
            yield
        finally:
            handle.remove()


@lru_cache(maxsize=16)
def _stream(device: torch.device, _number: int) -> torch.cuda.Stream:
    # Kept, and the same for steps of few branches and of many: libraries hold memory for every stream that they have worked on.
    return torch.cuda.Stream(device)
