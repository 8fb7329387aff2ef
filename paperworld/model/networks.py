"""The embedded model: its sizes, its networks, how they learn, and how they are written to disk.

All networks are ordinary classes of diffusers and transformers. UNet, text encoder and ControlNet learn together from
nothing, which is far cheaper than one after the other. Does not know where examples come from (`examples`) nor how long
to train (`controlnet_core.training`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from controlnet_core.training import weight_init
from paperworld.model.tokens import LENGTH
from paperworld.world.examples import SLOTS

CHANNELS_LAST = torch.channels_last


@dataclass(frozen=True)
class Size:
    """How large the networks are.

    Pictures are cells of `patch` px with `latents` channels each; `blocks` are the widths of the UNet's levels, `cross` says
    at which of them pictures look at the prompt, `hint` the widths of the condition embedding.
    """

    patch: int = 8
    latents: int = 24
    blocks: tuple[int, ...] = (48, 64, 96, 128)
    cross: tuple[bool, ...] = (False, False, True, True)
    layers: int = 1
    text: int = 128
    text_layers: int = 2
    hint: tuple[int, ...] = (8, 16, 32, 64)


SIZES = {"cpu": Size(), "gpu": Size(blocks=(96, 128, 192, 256), hint=(8, 16, 48, 96))}

PIXELS = 8.0
"""Weight of the pixels' plain error beside the codes' squared one, which it outweighs."""
WORDS_FIRST = 1.0
"""Weight of the error of the colours that the pooled prompt means."""
WHISPER = 0.1
"""How loud the pooled prompt is to the layers at first."""
NOISE = 10.0
"""Multiplies the betas of Stable Diffusion. A network with few samples behind it does best when it predicts the picture itself
under much noise: it then is close to a regression from control and prompt, and its errors are blur, not mosaics."""


def schedule() -> DDIMScheduler:
    """The noise schedule: the last step is pure noise (zero terminal SNR, Lin et al. 2023), so that one step is a picture."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085 * NOISE,
        beta_end=0.012 * NOISE,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
    )


class Studio(nn.Module):
    """Text encoder, UNet and ControlNet as one module whose forward pass is the training loss."""

    def __init__(self, size: Size, vocabulary: int, side_px: int = 256) -> None:
        super().__init__()
        self.size = size
        shape: dict[str, Any] = {
            "in_channels": size.latents,
            "block_out_channels": size.blocks,
            "layers_per_block": size.layers,
            "norm_num_groups": 8,
            "cross_attention_dim": size.text,
            # diffusers reads this as the number of heads.
            "attention_head_dim": 4,
            # The whole prompt also speaks to every layer, through the time embedding (as DeepFloyd IF's does): colours of all
            # flat paper at once, which attention at the lowest levels alone learns late.
            "addition_embed_type": "text",
            "addition_embed_type_num_heads": 8,
        }
        down = tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in size.cross)
        up = tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(size.cross))
        self.text: Any = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=size.text,
                intermediate_size=3 * size.text,
                num_hidden_layers=size.text_layers,
                num_attention_heads=4,
                max_position_embeddings=LENGTH,
                projection_dim=size.text,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )
        self.unet: Any = UNet2DConditionModel(
            sample_size=side_px // size.patch,
            out_channels=size.latents,
            down_block_types=down,
            up_block_types=up,
            **shape,
        )
        # Without attention: a control needs the prompt as a whole, to know whose hair a line of its skeleton wears.
        self.control: Any = ControlNetModel(
            down_block_types=("DownBlock2D",) * len(size.blocks),
            conditioning_embedding_out_channels=size.hint,
            **shape,
        )
        # Not shipped: a prompt learns to mean colours by saying them, long before pictures need them.
        self.colours = nn.Linear(4 * size.blocks[0], 3 * len(SLOTS))
        nn.init.zeros_(self.colours.weight)
        nn.init.zeros_(self.colours.bias)
        self.unet.to(memory_format=CHANNELS_LAST)
        self.control.to(memory_format=CHANNELS_LAST)

    def attend_plainly(self) -> None:
        """Attention in plain products: on CPUs in bf16 the fused one is six times slower for so few tokens."""
        self.text.set_attn_implementation("eager")
        for network in (self.unet, self.control):
            network.set_attn_processor(AttnProcessor())

    def predict(self, noisy: Tensor, times: Tensor, prompt: Tensor, hint: Tensor, keep: Tensor) -> Tensor:
        """What the UNet predicts for noisy codes B,C,h,w; `hint` is the embedded control, `keep` B is 0 where it is left out."""
        embedding, self.control.controlnet_cond_embedding = self.control.controlnet_cond_embedding, nn.Identity()
        try:
            downs, middle = self.control(noisy, times, prompt, controlnet_cond=hint, return_dict=False)
        finally:
            self.control.controlnet_cond_embedding = embedding
        gate = keep.view(-1, 1, 1, 1)
        return self.unet(
            noisy,
            times,
            prompt,
            down_block_additional_residuals=[down * gate for down in downs],
            mid_block_additional_residual=middle * gate,
        ).sample

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean weighted squared error of the codes, and mean weighted error of the pixels that they mean.

        The square asks for the mean of all pictures that could be meant: soft edges, and a whisper of every pattern on flat
        paper. The plain error asks for the median, which is sharp and flat where the world is. `loud` B,h,w,P says how much
        each pixel of a cell is worth.
        """
        codes = batch["codes"]
        prompt = self.text(batch["tokens"]).last_hidden_state
        hint = self.control.controlnet_cond_embedding(batch["hint"])
        signal, sigma = batch["signal"].view(-1, 1, 1, 1), batch["sigma"].view(-1, 1, 1, 1)
        noisy = signal * codes + sigma * batch["noise"]
        error = self.predict(noisy, batch["times"], prompt, hint, batch["keep"]) - codes
        squared = (error.square().mean((2, 3)) * batch["weight"]).mean()
        drawn = torch.einsum("bchw,cp->bhwp", error, batch["patterns"]).abs()
        return (
            squared
            + PIXELS * (drawn * batch["loud"]).mean()
            + WORDS_FIRST * self.meant(prompt, batch["colours"], batch["shown"])
        )

    def meant(self, prompt: Tensor, colours: Tensor, shown: Tensor) -> Tensor:
        """Mean error of the colours B,S,3 that the pooled prompt means, where they are `shown`; 0 where none is."""
        said = self.colours(self.unet.add_embedding(prompt)).view_as(colours)
        return ((said - colours).abs() * shown).sum() / shown.sum().clamp(min=1)


@torch.no_grad()
def wake(studio: Studio, hints: Tensor) -> None:
    """Make the control audible from the first step, for training from nothing: its condition embedding (`awaken`), and its
    zero convolutions. Those protect a trained base; here there is none, and they only delay."""
    weight_init.embedding(studio.control, hints.contiguous(memory_format=CHANNELS_LAST))
    for zero in [*studio.control.controlnet_down_blocks, studio.control.controlnet_mid_block]:
        nn.init.normal_(zero.weight, std=0.5 * zero.weight.shape[1] ** -0.5)
    for network in (studio.unet, studio.control):
        nn.init.constant_(network.add_embedding.norm2.weight, WHISPER)


@torch.no_grad()
def inherit(studio: Studio, painter: Any, vocabulary: dict[str, int]) -> None:
    """Go on from the networks of `painter` (text, unet, control), which may be narrower: what is wider here says nothing yet.

    New inputs of a layer start at zero and new outputs as they are in `studio`, so that the networks do at first exactly
    what they did (Chen et al. 2016, Net2Net). Words keep their meaning where `vocabulary` numbers them otherwise.
    """
    for own, old in ((studio.text, painter.text), (studio.unet, painter.unet), (studio.control, painter.control)):
        values = old.state_dict()
        for name, value in own.state_dict().items():
            told = values[name]
            if name.endswith("token_embedding.weight"):
                told = by_token(told, painter.tokenizer.get_vocab(), vocabulary, value[:, : told.shape[1]])
            if told.ndim > 1:
                value[: told.shape[0], told.shape[1] :] = 0
            value[tuple(slice(length) for length in told.shape)] = told


def by_token(rows: Tensor, old: Mapping[str, int], new: Mapping[str, int], fresh: Tensor) -> Tensor:
    """Rows of a table of tokens in the order of a `new` vocabulary; tokens that the `old` one lacks have those of `fresh`."""
    found = fresh.clone()
    for token, index in new.items():
        if token in old:
            found[index] = rows[old[token]]
    return found


class Noise:
    """Draws times and noise for a training step.

    `ends` is the share of draws at pure noise, where the task is plain regression from control and prompt, and which one step
    of sampling needs alone; the rest prefers early times: under much noise, late ones are hardly different from the end.
    """

    def __init__(self, ends: float) -> None:
        self.signals = schedule().alphas_cumprod.sqrt()
        self.ends = ends

    def draw(self, codes: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The random part of a batch for `codes` B,C,h,w."""
        count = codes.shape[0]
        times = (torch.rand(count, generator=generator) ** 2 * 1000).long()
        times[torch.rand(count, generator=generator) < self.ends] = 999
        signal = self.signals[times]
        return {
            "times": times,
            "signal": signal,
            "sigma": (1 - signal**2).sqrt(),
            "noise": torch.randn(codes.shape, generator=generator).contiguous(memory_format=CHANNELS_LAST),
        }


def tokens_of(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token indices N,LENGTH of captions."""
    return tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
