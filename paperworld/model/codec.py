"""The shipped autoencoder: a small convolutional network that is the fixed code of `latents`, in closed form both ways.

Nothing of it is trained: its decoder is the best linear inverse of a cell's own codes and those of its neighbours
(`decoder_inverse`), which is 36.8 dB, more than the networks that draw codes make use of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor

from controlnet_core.domain.control import Rgb
from paperworld.model.decoder_inverse import invert
from paperworld.model.latents import Basis
from paperworld.model.networks import Size

SCALE = 1.0
"""Codes have unit variance; the networks that learn them divide by this on the way into the autoencoder."""


def build(size: Size) -> AutoencoderDC:
    """An untrained autoencoder for codes of `size`: no layer at full resolution, so that decoding is fast."""
    start = 4 - (size.patch.bit_length() - 1)
    return AutoencoderDC(
        latent_channels=size.latents,
        encoder_block_out_channels=(16, 16, 64, 128, 128)[: 5 - start],
        decoder_block_out_channels=(16, 16, 64, 64, 64)[: 5 - start],
        encoder_layers_per_block=(0, 1, 1, 1, 1)[: 5 - start],
        # One block for each unfolding, which its class demands, and none deeper: they say nothing.
        decoder_layers_per_block=(0, *(1,) * (3 - start), 0),
        encoder_qkv_multiscales=((),) * (5 - start),
        decoder_qkv_multiscales=((),) * (5 - start),
        # RMS normalisation lifts whatever a residual block says to full loudness; batch normalisation leaves it silent.
        decoder_norm_types="batch_norm",
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=SCALE,
    )


def closed_form(size: Size, basis: Basis, pictures: Sequence[Rgb]) -> AutoencoderDC:
    """The autoencoder of `basis`, decoded in the best linear way that some `pictures` of one size teach."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = build(size)
    codes = torch.from_numpy(np.stack([basis.encode(picture) for picture in pictures]))
    invert(vae, basis, torch.cat([_tensor(picture) for picture in pictures]), codes)
    return vae.eval()


@torch.no_grad()
def psnr(vae: Any, pictures: Sequence[Rgb]) -> float:
    """Mean PSNR in dB of true pictures through encoder and decoder."""
    values = []
    for picture in pictures:
        decoded = vae.decode(vae.encode(_tensor(picture)).latent).sample
        found = (decoded[0].permute(1, 2, 0).clamp(-1, 1).numpy() + 1) * 127.5
        values.append(10 * np.log10(255**2 / np.mean((found - picture) ** 2)))
    return float(np.mean(values))


def _tensor(picture: Rgb) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
