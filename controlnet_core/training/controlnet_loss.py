"""A ControlNet at its base model: made from it, and taught by it.

`fresh` copies the base's encoder and puts zero convolutions behind it, so that the first picture is the base's own.
`ControlNetLoss` is both networks as one module whose forward pass is the training loss. Follows Zhang et al., "Adding
Conditional Control to Text-to-Image Diffusion Models" (2023), and the original's training script. Does not know where
examples come from.
"""

# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from controlnet_core.checkpoints.transfer import hint_widths
from controlnet_core.families import Added
from controlnet_core.models.diffusers_setup import ControlNetModel, UNet2DConditionModel, scheduler
from controlnet_core.models.loading import Base
from controlnet_core.training.loop import Group
from controlnet_core.training.run import Training

_TEXT = ("attn2.to_k.weight", "attn2.to_v.weight")
"""Weights whose input is the text."""


def fresh(base: Base) -> ControlNetModel:
    """A ControlNet for `base` that changes nothing yet: its encoder, copied, and zero convolutions; in float32.

    The condition embedding halves as often as a latent's cell needs, and is as wide as the original's, in proportion.
    """
    halvings = round(math.log2(base.vae_scale_factor))
    widths = hint_widths(halvings, base.unet.config["block_out_channels"][0])
    control = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=tuple(widths))
    return control.train()


class ControlNetLoss(nn.Module):
    """Base U-Net and ControlNet as one module: `forward(batch)` is the loss of a batch.

    A batch holds latents, noise (B,C,h,w), times, signal, spread, weight (B), context (B,tokens,width) and hint
    (B,3,H,W) in [0, 1]; of families that take it, what
    is added to the text (`families.Added`), (B,n). What `settings` locks takes no gradient.
    """

    def __init__(
        self, unet: UNet2DConditionModel, control: ControlNetModel, prediction: str, settings: Training
    ) -> None:
        super().__init__()
        # diffusers' modules; their types say less than their configurations.
        self.unet: Any = unet.requires_grad_(False)
        self.control: Any = control.requires_grad_(True)
        self.prediction, self.settings = prediction, settings
        if settings.middle_only:
            # Never heard, so never moved; several processes need to know it in advance.
            control.controlnet_down_blocks.requires_grad_(False)
        for part in self._decoder():
            part.requires_grad_(not settings.locked)
        if settings.checkpointing:
            control.enable_gradient_checkpointing()
            if not settings.locked:
                unet.enable_gradient_checkpointing()
                # diffusers checkpoints only what is in training; nothing else here knows that mode.
                unet.train()
        control.train()

    def groups(self, text_basis: Tensor | None = None) -> list[Group]:
        """The ControlNet at the plan's rate and the decoder, if it is not locked, at its own.

        With a `text_basis` (`weight_init.text_basis`), the keys and values of texts learn in it.
        """
        slower = self.settings.decoder_rate / max(self.settings.rate, 1e-12)
        found: list[Group] = []
        for parts, scale in (([self.control], 1.0), (self._decoder(), slower)):
            named = [item for part in parts for item in part.named_parameters() if item[1].requires_grad]
            texts = [value for name, value in named if text_basis is not None and name.endswith(_TEXT)]
            heard = {id(value) for value in texts}
            found.append(Group([value for _, value in named if id(value) not in heard], scale))
            found.append(Group(texts, scale, text_basis))
        return [group for group in found if group.parameters]

    def _decoder(self) -> list[nn.Module]:
        """What the original's sd_locked = False sets free."""
        return [part for part in (self.unet.up_blocks, self.unet.conv_norm_out, self.unet.conv_out) if part is not None]

    def predict(
        self, noisy: Tensor, times: Tensor, context: Tensor, hint: Tensor, added: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The network's output (B,C,h,w), whatever it predicts; `added` is as in `Conditioning`."""
        more = dict(added or {}) or None
        downs, middle = self.control(
            noisy, times, context, controlnet_cond=hint, added_cond_kwargs=more, return_dict=False
        )
        if self.settings.middle_only:
            # diffusers ignores the middle unless it gets the others too.
            downs = [middle.new_zeros(1) for _ in downs]
        return self.unet(
            noisy,
            times,
            context,
            added_cond_kwargs=more,
            down_block_additional_residuals=downs,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error of what the base predicts, each example at its weight."""
        latents, noise = batch["latents"], batch["noise"]
        signal, spread = batch["signal"].view(-1, 1, 1, 1), batch["spread"].view(-1, 1, 1, 1)
        noisy = signal * latents + spread * noise
        target = wanted(self.prediction, latents, noise, signal, spread)
        added = {name: batch[name] for name in get_args(Added) if name in batch}
        output = self.predict(noisy, batch["times"], batch["context"], batch["hint"], added)
        error = (output.float() - target).square().mean((1, 2, 3))
        return (error * batch["weight"]).mean()


def wanted(prediction: str, latents: Tensor, noise: Tensor, signal: Tensor, spread: Tensor) -> Tensor:
    """What a network that predicts "epsilon", "v_prediction" or "sample" should say."""
    if prediction == "epsilon":
        return noise
    return latents if prediction == "sample" else signal * noise - spread * latents


class Levels:
    """The noise levels of a base model: signal and spread of every time step, and what it weighs in the loss."""

    def __init__(self, schedule: Mapping[str, Any], min_snr: float = 0.0) -> None:
        ddim: Any = scheduler("DDIMScheduler").from_config(dict(schedule))
        alphas = ddim.alphas_cumprod.double()
        self.prediction = str(ddim.config["prediction_type"])
        self.signal, self.spread = alphas.sqrt().float(), (1 - alphas).sqrt().float()
        snr = (alphas / (1 - alphas)).clamp(min=1e-8)
        self.weight = (_min_snr(self.prediction, snr, min_snr) if min_snr else torch.ones_like(snr)).float()

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random time steps for `count` examples, with what belongs to them."""
        times = torch.randint(0, len(self.signal), (count,), generator=generator)
        return {
            "times": times,
            "signal": self.signal[times],
            "spread": self.spread[times],
            "weight": self.weight[times],
        }


def _min_snr(prediction: str, snr: Tensor, gamma: float) -> Tensor:
    """Weights of Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy" (2023)."""
    capped = snr.clamp(max=gamma)
    return {"epsilon": capped / snr, "v_prediction": capped / (snr + 1), "sample": capped}[prediction]
