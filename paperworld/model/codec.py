"""The shipped autoencoder: a small convolutional network for the fixed codes of `latents`.

Its encoder is the code, in closed form; its decoder begins as the best linear inverse and learns what is not linear: true
codes sharp, and a denoiser's drafts (`drafts`) without their mottle.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderDC
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from controlnet_core.domain.control import Rgb
from controlnet_core.training.loop import Group, Plan, read, train
from paperworld.model.decoder_inverse import invert
from paperworld.model.latents import Basis, Codes
from paperworld.model.networks import Size
from paperworld.training.drafts import Drafts, sketch_ahead
from paperworld.training.examples import basis_at, scene_of

SCALE = 1.0
"""Codes have unit variance; the networks that learn them divide by this on the way into the autoencoder."""
STEPS, RATE = 4000, 8e-4
SHARDS = 24
"""How many shards of drafts are made."""
CONDITIONS = ("scribble", "scribble", "canny", "seg", "softedge", "lines", "pose")
"""What drafts are made from, as often as listed."""
CODE_LIMIT = 8.0


def build(size: Size) -> AutoencoderDC:
    """An untrained autoencoder for codes of `size`: no layer at full resolution, so that decoding is fast."""
    start = 4 - (size.patch.bit_length() - 1)
    return AutoencoderDC(
        latent_channels=size.latents,
        encoder_block_out_channels=(16, 16, 64, 128, 128)[: 5 - start],
        decoder_block_out_channels=(16, 16, 64, 64, 64)[: 5 - start],
        encoder_layers_per_block=(0, 1, 1, 1, 1)[: 5 - start],
        decoder_layers_per_block=(0, 1, 1, 2, 4)[: 5 - start],
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
    invert(vae, basis, torch.cat([_tensor(picture) for picture in pictures]), codes)


def first(folder: Path, size: Size, weights: Path) -> AutoencoderDC:
    """The autoencoder as its training begins: in closed form, with what fits of the one in `weights`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = build(size)
    begin(vae, basis_at(folder, size.patch, size.latents))
    adopt(vae, weights)
    return vae.eval()


def trained(folder: Path, size: Size, weights: Path) -> AutoencoderDC:
    """The averaged autoencoder of a training folder; as training begins where it has not begun yet."""
    vae = first(folder, size, weights)
    checkpoint = folder / "codec.pt"
    if checkpoint.exists():
        Pupil(vae).load_state_dict(read(checkpoint)["average"], strict=False)
    return vae


def _tensor(picture: Rgb) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


class Pupil(nn.Module):
    """The decoder as a module whose forward pass is the training loss."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        # In closed form it is as good as it gets, and denoisers that exist rely on it.
        vae.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> Pupil:
        """Always as in use: a night and a noon in one batch have no common statistics that would serve later."""
        return super().train(False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """L1 of pixels and of their differences (sharp edges)."""
        picture, decoded = batch["picture"], self.vae.decode(batch["codes"] / SCALE).sample
        return (
            F.l1_loss(decoded, picture)
            + F.l1_loss(decoded.diff(dim=2), picture.diff(dim=2))
            + F.l1_loss(decoded.diff(dim=3), picture.diff(dim=3))
        )


class Lessons:
    """Batch n of crops of pictures and codes for them, as a function of n (and of the drafts that exist): first true codes,
    then as many drafts."""

    def __init__(self, basis: Basis, drafts: Drafts, count: int = 2, crop: int = 12) -> None:
        self.basis, self.drafts, self.count, self.crop = basis, drafts, count, crop

    def __call__(self, number: int) -> dict[str, Tensor]:
        """One batch on the CPU."""
        if number % 50 == 0:
            self.drafts.refresh()
        rng = np.random.default_rng((2, number))
        pictures: list[Rgb] = []
        codes: list[Codes] = []
        side = self.crop * self.basis.side
        for seed in rng.integers(0, 1_000_000, self.count):
            picture = scene_of(int(seed))[1].picture
            # Any offset: the codes of a crop are those of its own patches.
            top, left = rng.integers(0, picture.shape[0] - side + 1, 2)
            pictures.append(picture[top : top + side, left : left + side])
            codes.append(np.clip(self.basis.encode(pictures[-1]), -CODE_LIMIT, CODE_LIMIT))
        for row in rng.integers(0, len(self.drafts.seeds), self.count):
            picture, made = scene_of(self.drafts.seeds[row])[1].picture, self.drafts.codes[row]
            top, left = rng.integers(0, made.shape[1] - self.crop + 1, 2)
            codes.append(made[:, top : top + self.crop, left : left + self.crop].astype(np.float32))
            top, left = top * self.basis.side, left * self.basis.side
            pictures.append(picture[top : top + side, left : left + side])
        return {
            "picture": torch.cat([_tensor(one) for one in pictures]).contiguous(memory_format=torch.channels_last),
            "codes": torch.from_numpy(np.stack(codes)),
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


def teach(folder: Path, size: Size, minutes: float, accelerator: Accelerator, weights: Path) -> None:
    """Train the decoder of a training folder further, on true codes and on drafts by the model in `weights`; resumes.

    Begins with the decoder in `weights`, too, where that is one of codes of this size.
    """
    basis = basis_at(folder, size.patch, size.latents)
    vae = first(folder, size, weights)
    artist = multiprocessing.get_context("spawn").Process(
        target=sketch_ahead, args=(weights, CONDITIONS, folder, SHARDS), daemon=True
    )
    artist.start()
    drafts = Drafts(folder)
    while not drafts.refresh():
        time.sleep(1)
    pupil = Pupil(vae).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    # What was set in closed form reacts to every step with all of its inputs; residual blocks start silent.
    blocks = {
        id(value) for block in vae.modules() if type(block).__name__ == "ResBlock" for value in block.parameters()
    }
    learners = [value for value in pupil.parameters() if id(value) in blocks and value.requires_grad]
    anchors = [value for value in pupil.parameters() if id(value) not in blocks and value.requires_grad]
    plan = Plan(steps=STEPS, minutes=minutes, rate=RATE, average=0.995, decay=0.6, save_minutes=2)
    lessons = Lessons(basis, drafts)
    train(
        pupil,
        lambda number: {key: value.to(accelerator.device) for key, value in lessons(number).items()},
        plan,
        folder / "codec.pt",
        accelerator,
        groups=[Group(learners), Group(anchors, 0.04)],
    )
    artist.terminate()


def adopt(vae: Any, weights: Path) -> None:
    """Take over what fits from the autoencoder of the model in `weights`; residual blocks that it lacks stay silent."""
    path = weights / "vae" / "diffusion_pytorch_model.safetensors"
    if not path.exists():
        return
    own = vae.state_dict()
    found = {key: value for key, value in load_file(path).items() if key in own and value.shape == own[key].shape}
    vae.load_state_dict(own | {key: value.float() for key, value in found.items()})
