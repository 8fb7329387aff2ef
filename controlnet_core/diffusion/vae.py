"""Between pictures and latents, for every kind of autoencoder; and a cheap look at latents for previews.

Latents are those that the U-Net sees: shifted and scaled as the autoencoder's configuration says.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import StudioError
from controlnet_core.memory.placement import computes_in, sent
from controlnet_core.memory.plan import TILE_PX
from controlnet_core.models.diffusers_setup import AutoencoderKL
from controlnet_core.models.loading import Vae


def _scale_shift(vae: Vae) -> tuple[float, float]:
    return float(vae.config.get("scaling_factor") or 1.0), float(vae.config.get("shift_factor") or 0.0)


def encode(vae: Vae, pictures: Tensor) -> Tensor:
    """Latents (B, C, h, w), float32, of pictures (B, 3, H, W) in [-1, 1]; of a distribution its mean."""
    scale, shift = _scale_shift(vae)
    module: Any = vae
    encoded = module.encode(pictures.to(computes_in(vae)), return_dict=False)[0]
    latents = encoded if isinstance(encoded, Tensor) else encoded.mode()
    return (latents.float() - shift) * scale


def decode(vae: Vae, latents: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), float32, about [-1, 1], of latents (B, C, h, w)."""
    scale, shift = _scale_shift(vae)
    module: Any = vae
    return module.decode((latents / scale + shift).to(computes_in(vae)), return_dict=False)[0].float()


def finite(pictures: Tensor) -> Tensor:
    """The pictures as they are. Raises StudioError for what is no number: it would come out as black, and nobody would know."""
    if not torch.isfinite(pictures).all():
        raise StudioError(
            "The picture came out as something that is no number.",
            "Lower weights in the prompt, guidance, or the strength of controls and LoRAs; or choose another VAE. "
            "If every picture does, this device's half precision may be at fault: STUDIO_PRECISION=float32.",
        )
    return pictures


def tile(vae: Vae, on: bool) -> None:
    """Have the autoencoder work in slices and tiles: less memory, faint seams in large pictures."""
    module: Any = vae
    if on:
        module.enable_slicing()
        module.enable_tiling()
        if isinstance(vae, AutoencoderKL):
            # diffusers takes the size that it was trained at, which files do not tell: tiles of 32 px then.
            module.tile_sample_min_size = TILE_PX
            module.tile_latent_min_size = TILE_PX >> (len(vae.config["block_out_channels"]) - 1)
    else:
        module.disable_slicing()
        module.disable_tiling()


def to_rgb(pictures: Tensor) -> list[Rgb]:
    """uint8 pictures of (B, 3, H, W) in [-1, 1], truncated as the original does; converted on the device."""
    levels = (pictures.float() * 127.5 + 127.5).clamp(0, 255).to(torch.uint8)
    return list(np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy()))


def from_rgb(picture: Rgb, device: torch.device | str = "cpu") -> Tensor:
    """(1, 3, H, W) in [0, 1], on a device, of one uint8 picture."""
    levels = sent(torch.from_numpy(np.array(picture)), device)
    # By a tensor: CUDA divides by a number as a product with its reciprocal, and rounds otherwise than processors do.
    return levels.permute(2, 0, 1)[None].float() / torch.full((), 255.0, device=levels.device)


class Preview:
    """Latents to rough pictures by one linear map, a thousand times cheaper than a decoder.

    Every latent becomes a patch of `cell` / 2 pixels a side. The map is fitted once per autoencoder, by least squares
    between simple pictures and their latents.
    """

    def __init__(self, vae: Vae, cell: int) -> None:
        self.cell = cell
        self.side = max(1, cell // 2)
        pictures = _simple_pictures(count=8, side=8 * cell)
        device = next(vae.parameters()).device
        with torch.inference_mode():
            latents = encode(vae, pictures.to(device)).cpu()
        known = F.pad(latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]), (0, 1), value=1.0)
        small = F.interpolate(pictures, scale_factor=self.side / cell, mode="area")
        wanted = F.pixel_unshuffle(small, self.side).permute(0, 2, 3, 1).reshape(len(known), -1)
        # A little ridge: a latent channel that these pictures do not move must not blow up.
        ridge = 1e-3 * len(known) * torch.eye(known.shape[1])
        self._map = torch.linalg.solve(known.T @ known + ridge, known.T @ wanted)

    def __call__(self, latent: Tensor) -> Rgb:
        """A rough picture of one latent (C, h, w), at the full size of the picture."""
        cells = F.pad(latent.detach().float().cpu().permute(1, 2, 0), (0, 1), value=1.0) @ self._map
        patches = F.pixel_shuffle(cells.permute(2, 0, 1)[None], self.side)
        full = F.interpolate(patches, scale_factor=self.cell / self.side, mode="bilinear", align_corners=False)
        return to_rgb(full)[0]


def _simple_pictures(count: int, side: int) -> Tensor:
    """Coloured ramps with boxes on them, (count, 3, side, side) in [-1, 1]; always the same ones."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 3, 2, 2, generator=generator) * 2 - 1
    pictures = F.interpolate(corners, size=(side, side), mode="bilinear", align_corners=True)
    for picture in pictures:
        for _ in range(6):
            top, left = (torch.rand(2, generator=generator) * side * 0.8).int().tolist()
            height, width = (torch.rand(2, generator=generator) * side * 0.5 + 2).int().tolist()
            colour = torch.rand(3, 1, 1, generator=generator) * 2 - 1
            picture[:, top : top + height, left : left + width] = colour
    return pictures
