"""Samples the embedded model for sheets and figures, with diffusers' networks and scheduler alone.

The studio's own engine is for users; this one takes many pictures at once and exists so that measuring training does
not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError
from paperworld.model.networks import tokens_of

SHIPPED = Path(__file__).parents[2] / "models" / "paperworld"


@dataclass(frozen=True)
class Hint:
    """One control of every picture of a batch, how loud it is, and in which part (0..1) of the steps it acts."""

    pictures: Sequence[Rgb]
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0

    @classmethod
    def stack(cls, hints: Sequence[Hint]) -> Hint:
        """One hint of several that differ in their pictures alone."""
        return replace(hints[0], pictures=[picture for hint in hints for picture in hint.pictures])


@dataclass
class Painter:
    """The networks of an embedded model, ready to sample."""

    # diffusers' and transformers' modules; their types say less than their configurations.
    text: Any
    unet: Any
    control: Any
    vae: Any
    tokenizer: CLIPTokenizer
    scheduler: Any

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> Painter:
        """The shipped model in float32; raises ModelError when it is not there or damaged."""
        try:
            return cls(
                CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval(),
                UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval(),
                ControlNetModel.from_pretrained(folder / "controlnet", torch_dtype=torch.float32).eval(),
                AutoencoderDC.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval(),
                CLIPTokenizer.from_pretrained(folder / "tokenizer"),
                DDIMScheduler.from_pretrained(folder / "scheduler"),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder.name} holds no embedded model, or a damaged one.") from error

    @torch.no_grad()
    def paint(
        self,
        prompts: Sequence[str],
        hints: Sequence[Hint] = (),
        steps: int = 1,
        guidance: float = 1.0,
        seed: int = 0,
        side_px: int = 256,
    ) -> list[Rgb]:
        """One picture per prompt, as large as its controls; without any, from the prompt alone, `side_px` a side."""
        codes = self.sample(prompts, hints, steps, guidance, seed, side_px)
        decoded = self.vae.decode(codes / self.vae.config["scaling_factor"]).sample
        return list(((decoded.permute(0, 2, 3, 1).clamp(-1, 1) + 1) * 127.5).round().numpy().astype(np.uint8))

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        hints: Sequence[Hint] = (),
        steps: int = 1,
        guidance: float = 1.0,
        seed: int = 0,
        side_px: int = 256,
    ) -> Tensor:
        """The codes N,C,h,w of what `paint` paints (DDIM)."""
        height, width = hints[0].pictures[0].shape[:2] if hints else (side_px, side_px)
        cell = 2 ** (len(self.vae.config["decoder_block_out_channels"]) - 1)
        shape = (self.unet.config["in_channels"], height // cell, width // cell)
        # One generator a picture: a picture does not depend on its neighbours in the batch.
        x = torch.stack(
            [torch.randn(shape, generator=torch.Generator().manual_seed(seed + n)) for n in range(len(prompts))]
        )
        halves = 1 if guidance == 1 else 2
        prompts = [*prompts, *([""] * len(prompts) * (halves - 1))]
        text = self.text(tokens_of(self.tokenizer, prompts)).last_hidden_state
        embedded = [self._embedded(hint, halves) for hint in hints]
        self.scheduler.set_timesteps(steps)
        for number, time in enumerate(self.scheduler.timesteps):
            every = torch.cat([x] * halves)
            downs, middle = self._residuals(every, time, text, hints, embedded, number / steps)
            said = self.unet(
                every, time, text, down_block_additional_residuals=downs, mid_block_additional_residual=middle
            ).sample
            if halves == 2:
                wanted, empty = said.chunk(2)
                said = empty + guidance * (wanted - empty)
            x = self.scheduler.step(said, time, x).prev_sample
        return x

    def _embedded(self, hint: Hint, halves: int) -> Tensor:
        pictures = torch.from_numpy(np.stack(hint.pictures).astype(np.float32) / 255).permute(0, 3, 1, 2)
        # Read once, not at every step.
        return self.control.controlnet_cond_embedding(pictures).repeat(halves, 1, 1, 1)

    def _residuals(
        self, both: Tensor, time: Tensor, text: Tensor, hints: Sequence[Hint], embedded: list[Tensor], part: float
    ) -> tuple[list[Tensor] | None, Tensor | None]:
        """The sum of what the controls add at this step: residuals of the levels and of the middle, or nothing."""
        downs: list[Tensor] | None = None
        middle: Tensor | None = None
        embedding, self.control.controlnet_cond_embedding = self.control.controlnet_cond_embedding, nn.Identity()
        try:
            for hint, picture in zip(hints, embedded, strict=True):
                if hint.strength == 0 or not hint.start <= part < hint.end:
                    continue
                more, last = self.control(
                    both, time, text, controlnet_cond=picture, conditioning_scale=hint.strength, return_dict=False
                )
                downs = more if downs is None else [a + b for a, b in zip(downs, more, strict=True)]
                middle = last if middle is None else middle + last
        finally:
            self.control.controlnet_cond_embedding = embedding
        return downs, middle
