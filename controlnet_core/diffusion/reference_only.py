"""Reference-only: a picture that the U-Net's self attention reads beside the one that is made; no weights are needed.

Before each step the U-Net runs over the picture, as noisy as the latents are at that step. The keys and values of its self
attentions are kept, and the step's own self attentions read them beside theirs:

    reference, noised -> U-Net --keys, values--> Bank
                                                   |
    latent -------------> U-Net: self attention over both -> output

The method is that of sd-webui-controlnet (github.com/Mikubill/sd-webui-controlnet, discussion 1236). Differences: the noise on
the picture is one for all steps and all pictures, so that a picture depends on its own seed alone, and a batch is served by one
pass. Knows no recipes; `Denoiser` decides when.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from controlnet_core.diffusion.window import in_window
from controlnet_core.models.diffusers_setup import BasicTransformerBlock, UNet2DConditionModel


@dataclass(frozen=True)
class AttendedReference:
    """A picture for self attention to read.

    `clean` (1, C, h, w) is its latent at unit scale, `noise` as much standard normal noise, `alphas` the signal's share of the
    variance at each time of the training (T,). `share` of the self attentions read it, the widest first: 1 and more is all of
    them. `style_fidelity` in [0, 1] is how far the unconditional half is kept from it. It acts on the steps that a control
    with this window acts on.
    """

    clean: Tensor
    noise: Tensor
    alphas: Tensor
    share: float = 1.0
    style_fidelity: float = 0.5
    start: float = 0.0
    end: float = 1.0

    def acts(self, index: int, steps: int) -> bool:
        """Whether it is read at step `index` of `steps`."""
        return self.share > 0 and in_window(self.start, self.end, index, steps)

    def seen(self, time: Tensor, *, inpaints: bool = False) -> Tensor:
        """The picture as noisy as what a network is shown at `time` (0-d); for an inpainting U-Net, with nothing to paint in it."""
        # Looked up on the device, for a recorded step has no number to wait for.
        nearest = time.round().long().clamp(0, len(self.alphas) - 1).reshape(1)
        alpha = self.alphas.index_select(0, nearest).reshape(1, 1, 1, 1)
        noisy = alpha.sqrt() * self.clean + (1 - alpha).sqrt() * self.noise
        return torch.cat([noisy, torch.zeros_like(noisy[:, :1]), self.clean], dim=1) if inpaints else noisy

    def tensors(self) -> list[Tensor]:
        """What a step reads of it."""
        return [self.clean, self.noise, self.alphas]


@dataclass(frozen=True)
class _Kept:
    """What one self attention kept of a reference: (halves, heads, tokens, width) each."""

    key: Tensor
    value: Tensor
    style_fidelity: float


class Bank:
    """The self attentions of a U-Net while it reads references, and what they keep of them for one step."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        blocks = [
            one for one in unet.modules() if isinstance(one, BasicTransformerBlock) and not one.only_cross_attention
        ]
        self._attentions: list[Any] = [one.attn1 for one in blocks]
        widest = sorted(range(len(blocks)), key=lambda at: -self._attentions[at].query_dim)
        self._readers = [ReferenceAttention(self, widest.index(at) / len(blocks)) for at in range(len(blocks))]
        self.writing: AttendedReference | None = None
        self.guided = False

    @property
    def layers(self) -> int:
        """How many self attentions there are."""
        return len(self._attentions)

    @contextmanager
    def present(self, guided: bool) -> Generator[None]:
        """Have the self attentions write and read; nothing is kept afterwards."""
        before = [one.processor for one in self._attentions]
        self.guided = guided
        try:
            for attention, reader in zip(self._attentions, self._readers, strict=True):
                attention.processor = reader
            yield
        finally:
            for attention, reader, processor in zip(self._attentions, self._readers, before, strict=True):
                attention.processor = processor
                reader.kept = []

    @contextmanager
    def written(self, reference: AttendedReference) -> Generator[None]:
        """Have the self attentions keep what they see, which is `reference`."""
        self.writing = reference
        try:
            yield
        finally:
            self.writing = None


class ReferenceAttention:
    """The processor of a self attention; `rank` is the share of the others that are wider."""

    def __init__(self, bank: Bank, rank: float) -> None:
        self._bank = bank
        self._rank = rank
        self.kept: list[_Kept] = []

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_rest: object,
    ) -> Tensor:
        """AttnProcessor2_0 for (B, tokens, width) without a mask, over the kept keys and values too."""
        assert encoder_hidden_states is None
        assert attention_mask is None
        query, key, value = (headed(attn, made(hidden_states)) for made in (attn.to_q, attn.to_k, attn.to_v))
        if (reference := self._bank.writing) is not None:
            mixed = F.scaled_dot_product_attention(query, key, value)
            if reference.share > self._rank:
                self.kept.append(_Kept(key, value, reference.style_fidelity))
        elif self.kept:
            mixed = self._over_both(query, key, value)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        flat = mixed.transpose(1, 2).reshape(len(hidden_states), -1, attn.heads * mixed.shape[-1]).to(key.dtype)
        return attn.to_out[1](attn.to_out[0](flat)) / attn.rescale_output_factor

    def _over_both(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        each = len(query) // (2 if self._bank.guided else 1)
        keys = _beside(key, [one.key for one in self.kept], each)
        values = _beside(value, [one.value for one in self.kept], each)
        mixed = F.scaled_dot_product_attention(query, keys, values)
        fidelity = sum(one.style_fidelity for one in self.kept) / len(self.kept)
        if not self._bank.guided or fidelity == 0:
            return mixed
        alone = F.scaled_dot_product_attention(query[:each], key[:each], value[:each])
        return torch.cat([fidelity * alone + (1 - fidelity) * mixed[:each], mixed[each:]])


def _beside(own: Tensor, more: Sequence[Tensor], each: int) -> Tensor:
    """Keys or values of a batch with those of references after them, `each` rows a half."""
    return torch.cat([own, *(one.repeat_interleave(each, dim=0) for one in more)], dim=2)


def headed(attn: Any, flat: Tensor) -> Tensor:
    """Queries, keys or values (B, tokens, heads x width) as (B, heads, tokens, width)."""
    return flat.view(len(flat), -1, attn.heads, flat.shape[-1] // attn.heads).transpose(1, 2)
