"""The shipped autoencoder: a small convolutional network taught the fixed codes of `latents`.

Its decoder learns codes -> picture (sharper than the linear inverse, without block borders), its encoder picture ->
codes. Codes are slightly disturbed in training, because a denoiser's codes are never exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderDC
from torch import Tensor, nn
from torch.nn import functional as F

from controlnet_core.control import Rgb
from controlnet_core.training import Group, Plan, read, train
from paperworld.examples import basis_at, scene_of
from paperworld.latents import Basis
from paperworld.model import Size
from paperworld.unfold import unfold

SCALE = 1.0
"""Codes have unit variance; the networks that learn them divide by this on the way into the autoencoder."""
CROP_PX = 128
STEPS, RATE = 3000, 6e-4
CODE_LIMIT = 8.0


def build(size: Size) -> AutoencoderDC:
    """An untrained autoencoder for codes of `size`: no layer at full resolution, so that decoding is fast."""
    start = 4 - (size.patch.bit_length() - 1)
    return AutoencoderDC(
        latent_channels=size.latents,
        encoder_block_out_channels=(16, 16, 64, 128, 128)[: 5 - start],
        decoder_block_out_channels=(16, 16, 64, 64, 64)[: 5 - start],
        encoder_layers_per_block=(0, 1, 1, 1, 1)[: 5 - start],
        decoder_layers_per_block=(0, 1, 1, 1, 1)[: 5 - start],
        encoder_qkv_multiscales=((),) * (5 - start),
        decoder_qkv_multiscales=((),) * (5 - start),
        # RMS normalisation lifts whatever a residual block says to full loudness, in flat areas too: noise that training
        # has to fight. Batch normalisation leaves it as quiet as it is.
        decoder_norm_types="batch_norm",
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=SCALE,
    )


def begin(vae: Any, basis: Basis, scenes: int = 96) -> None:
    """First weights: the linear code itself, decoded in its best linear way, which `scenes` pictures teach."""
    pictures = [scene_of(seed)[1].picture for seed in range(scenes)]
    codes = torch.from_numpy(np.stack([basis.encode(picture) for picture in pictures]))
    unfold(vae, basis, torch.cat([_tensor(picture) for picture in pictures]), codes)


def trained(folder: Path, size: Size) -> AutoencoderDC:
    """The averaged autoencoder of a training folder; the linear code itself where none was trained yet."""
    vae = build(size)
    checkpoint = folder / "codec.pt"
    if checkpoint.exists():
        Pupil(vae).load_state_dict(read(checkpoint)["average"])
    else:
        begin(vae, basis_at(folder, size.patch, size.latents))
    return vae.eval()


def _tensor(picture: Rgb) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


class Pupil(nn.Module):
    """The autoencoder as a module whose forward pass is the training loss."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """L1 of pixels and of their differences (sharp edges), plus a Huber loss of the encoder's codes."""
        picture, codes = batch["picture"], batch["codes"]
        decoded = self.vae.decode(batch["disturbed"] / SCALE).sample
        # The encoder has a far easier task; a quarter of the batch is enough for it.
        few = max(1, len(picture) // 4)
        encoded = self.vae.encode(picture[:few]).latent * SCALE
        return (
            F.l1_loss(decoded, picture)
            + F.l1_loss(decoded.diff(dim=2), picture.diff(dim=2))
            + F.l1_loss(decoded.diff(dim=3), picture.diff(dim=3))
            + 0.05 * F.smooth_l1_loss(encoded, codes[:few])
        )


class Crops:
    """Batch n of picture crops, their codes and disturbed codes, as a function of n.

    Disturbed as a half-trained denoiser disturbs them: fine channels, which it cannot foresee, come out too small, and
    all are a little wrong.
    """

    def __init__(self, basis: Basis, pictures: int = 3, crops: int = 2, noise: float = 0.2, fade: float = 0.8) -> None:
        self.basis, self.pictures, self.crops, self.noise = basis, pictures, crops, noise
        self.fade = fade * np.linspace(0, 1, basis.channels).reshape(1, -1, 1, 1)

    def __call__(self, number: int) -> dict[str, Tensor]:
        """One batch on the CPU."""
        rng = np.random.default_rng((2, number))
        parts: list[Rgb] = []
        for seed in rng.integers(0, 1_000_000, self.pictures):
            picture = scene_of(int(seed))[1].picture
            for _ in range(self.crops):
                # Any offset: the codes of a crop are those of its own patches.
                top, left = rng.integers(0, picture.shape[0] - CROP_PX + 1, 2)
                parts.append(picture[top : top + CROP_PX, left : left + CROP_PX])
        codes = np.clip(np.stack([self.basis.encode(part) for part in parts]), -CODE_LIMIT, CODE_LIMIT)
        amount = np.maximum(0, rng.uniform(-0.4, 1, (len(codes), 1, 1, 1)))
        disturbed = codes * (1 - self.fade * amount) + rng.normal(size=codes.shape) * self.noise * amount
        return {
            "picture": torch.cat([_tensor(part) for part in parts]).contiguous(memory_format=torch.channels_last),
            "codes": torch.from_numpy(codes),
            "disturbed": torch.from_numpy(disturbed.astype(np.float32)),
        }


def psnr(vae: Any, seeds: range, basis: Basis | None = None) -> float:
    """Mean PSNR in dB of true pictures through encoder and decoder; with a basis, decoded from their exact codes."""
    values = []
    with torch.no_grad():
        for seed in seeds:
            picture = scene_of(seed)[1].picture
            codes = (
                vae.encode(_tensor(picture)).latent
                if basis is None
                else torch.from_numpy(basis.encode(picture))[None] / SCALE
            )
            decoded = (vae.decode(codes).sample[0].permute(1, 2, 0).clamp(-1, 1).numpy() + 1) * 127.5
            values.append(10 * np.log10(255**2 / np.mean((decoded - picture) ** 2)))
    return float(np.mean(values))


def teach(folder: Path, size: Size, minutes: float, accelerator: Accelerator) -> None:
    """Train the autoencoder of a training folder further; resumes."""
    basis = basis_at(folder, size.patch, size.latents)
    torch.manual_seed(0)
    vae = build(size)
    begin(vae, basis)
    pupil = Pupil(vae).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    # What was set to the linear code reacts to every step with all of its inputs; residual blocks start silent.
    blocks = {
        id(value) for block in vae.modules() if type(block).__name__ == "ResBlock" for value in block.parameters()
    }
    learners = [value for value in pupil.parameters() if id(value) in blocks]
    anchors = [value for value in pupil.parameters() if id(value) not in blocks]
    plan = Plan(steps=STEPS, minutes=minutes, rate=RATE, average=0.99, decay=0.5, save_minutes=1.5)
    crops = Crops(basis)
    train(
        pupil,
        lambda number: {key: value.to(accelerator.device) for key, value in crops(number).items()},
        plan,
        folder / "codec.pt",
        accelerator,
        groups=[Group(learners), Group(anchors, 0.04)],
    )
