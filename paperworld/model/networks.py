"""The embedded model: its sizes, its networks, how they learn, and how they are written to disk.

All networks are ordinary classes of diffusers and transformers. UNet, text encoder and ControlNet learn together from
nothing, which is far cheaper than one after the other. Does not know where examples come from (`examples`) nor how long
to train (`controlnet_core.training`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from controlnet_core.training import weight_init
from paperworld.model.tokens import LENGTH

CHANNELS_LAST = torch.channels_last


@dataclass(frozen=True)
class Size:
    """How large the networks are, and what they predict.

    `cross` says at which levels pictures look at the prompt. `noise` multiplies the betas of Stable Diffusion. A network
    with few samples behind it does best when it predicts the picture itself under much noise: it then is close to a
    regression from control and prompt, and its errors are blur. Predicting v, it has to hand every cell's noise through,
    and its errors are mosaics.

    `gain` makes the control louder than it was trained: a regression hedges between what the control says and what it
    might have meant, and a person who draws a line wants it there.
    """

    patch: int = 16
    latents: int = 24
    blocks: tuple[int, ...] = (64, 96, 128)
    cross: tuple[bool, ...] = (False, True, False)
    layers: int = 1
    text: int = 128
    text_layers: int = 2
    hint: tuple[int, ...] = (4, 8, 16, 64, 256)
    decoder: int = 32
    prediction: Literal["sample", "v_prediction"] = "sample"
    noise: float = 10.0
    gain: float = 1.4


SIZES = {
    "cpu": Size(),
    "gpu": Size(
        patch=8,
        latents=12,
        blocks=(64, 128, 192),
        cross=(False, True, True),
        text=192,
        text_layers=3,
        hint=(8, 16, 48, 96),
        decoder=48,
        prediction="v_prediction",
        noise=1.0,
        gain=1.0,
    ),
}


PIXELS = 8.0
"""Weight of the pixels' plain error beside the codes' squared one, which it outweighs about two to one."""


def schedule(size: Size) -> DDIMScheduler:
    """The noise schedule: the last step is pure noise (zero terminal SNR, Lin et al. 2023)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085 * size.noise,
        beta_end=0.012 * size.noise,
        beta_schedule="scaled_linear",
        prediction_type=size.prediction,
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
        # The control reads no prompt: what is where is its matter, what it looks like is the UNet's.
        self.control: Any = ControlNetModel(
            down_block_types=("DownBlock2D",) * len(size.blocks),
            conditioning_embedding_out_channels=size.hint,
            **shape,
        )
        self.unet.to(memory_format=CHANNELS_LAST)
        self.control.to(memory_format=CHANNELS_LAST)

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
        """Mean weighted squared error of the codes, and mean error of the pixels that they mean.

        The square asks for the mean of all pictures that could be meant: soft edges, and a whisper of every pattern on flat
        paper. The plain error asks for the median, which is sharp and flat where the world is. Every example is noised
        several times; its control and prompt are read once.
        """
        repeat = batch["times"].shape[0] // batch["codes"].shape[0]
        codes = batch["codes"].repeat(repeat, 1, 1, 1)
        prompt = self.text(batch["tokens"]).last_hidden_state.repeat(repeat, 1, 1)
        empty = self.text(batch["empty"]).last_hidden_state
        prompt = torch.where(batch["mute"].view(-1, 1, 1), empty, prompt)
        hint = self.control.controlnet_cond_embedding(batch["hint"]).repeat(repeat, 1, 1, 1)
        signal, sigma = batch["signal"].view(-1, 1, 1, 1), batch["sigma"].view(-1, 1, 1, 1)
        noisy = signal * codes + sigma * batch["noise"]
        target = codes if self.size.prediction == "sample" else signal * batch["noise"] - sigma * codes
        error = self.predict(noisy, batch["times"], prompt, hint, batch["keep"]) - target
        squared = (error.square().mean((2, 3)) * batch["weight"]).mean()
        drawn = error if self.size.prediction == "sample" else -sigma * error  # the error of the codes themselves
        return squared + PIXELS * torch.einsum("bchw,cp->bhwp", drawn, batch["patterns"]).abs().mean()


@torch.no_grad()
def wake(studio: Studio, hints: Tensor) -> None:
    """Make the control audible from the first step, for training from nothing: its condition embedding (`awaken`), and its
    zero convolutions. Those protect a trained base; here there is none, and they only delay."""
    weight_init.embedding(studio.control, hints.contiguous(memory_format=CHANNELS_LAST))
    for zero in [*studio.control.controlnet_down_blocks, studio.control.controlnet_mid_block]:
        nn.init.normal_(zero.weight, std=0.5 * zero.weight.shape[1] ** -0.5)


@torch.no_grad()
def inherit(studio: Studio, painter: Any) -> None:
    """Go on from the networks of `painter` (text, unet, control), which may be narrower: what is wider here says nothing yet.

    New inputs of a layer start at zero and new outputs as they are in `studio`, so that the networks do at first exactly
    what they did (Chen et al. 2016, Net2Net).
    """
    for own, old in ((studio.text, painter.text), (studio.unet, painter.unet), (studio.control, painter.control)):
        values = old.state_dict()
        for name, value in own.state_dict().items():
            told = values[name]
            if told.ndim > 1:
                value[: told.shape[0], told.shape[1] :] = 0
            value[tuple(slice(length) for length in told.shape)] = told
    amplify(studio.control, 1 / studio.size.gain)


@torch.no_grad()
def amplify(control: Any, gain: float) -> None:
    """Make a trained ControlNet `gain` times as loud: what strength `gain` would do, kept in its weights."""
    for last in [*control.controlnet_down_blocks, control.controlnet_mid_block]:
        last.weight.mul_(gain)
        last.bias.mul_(gain)


class Noise:
    """Draws what a training step needs beside examples: times, noise, and what is left out.

    `ends` is the share of draws at pure noise, where the task is plain regression from control and prompt; the rest
    prefers early times: under much noise, late ones are hardly different from the end.
    """

    def __init__(self, size: Size, repeat: int, ends: float, mute: float = 0.1, drop: float = 0.1) -> None:
        self.signals = schedule(size).alphas_cumprod.sqrt()
        self.repeat, self.ends, self.mute, self.drop = repeat, ends, mute, drop

    def draw(self, codes: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The random part of a batch for `codes` B,C,h,w."""
        count = codes.shape[0] * self.repeat
        times = (torch.rand(count, generator=generator) ** 2 * 1000).long()
        times[torch.rand(count, generator=generator) < self.ends] = 999
        signal = self.signals[times]
        return {
            "times": times,
            "signal": signal,
            "sigma": (1 - signal**2).sqrt(),
            "noise": torch.randn((count, *codes.shape[1:]), generator=generator).contiguous(
                memory_format=CHANNELS_LAST
            ),
            "keep": (torch.rand(count, generator=generator) >= self.drop).float(),
            "mute": torch.rand(count, generator=generator) < self.mute,
        }


def tokens_of(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token indices N,LENGTH of captions."""
    return tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
