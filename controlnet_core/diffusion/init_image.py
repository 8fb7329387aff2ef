"""What a run starts from, when that is a picture: its latent, what of it stays, and the finished picture put into it.

Needs an autoencoder to encode; knows no samplers and no devices of its own.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from controlnet_core.diffusion import vae
from controlnet_core.diffusion.denoiser import InpaintBlend
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.picture import hwc3
from controlnet_core.domain.recipe import Recipe
from controlnet_core.domain.resize import fit
from controlnet_core.memory.placement import sent
from controlnet_core.models.loading import Base

Mask = NDArray[np.float32]
"""H,W in [0, 1]."""


@dataclass(frozen=True)
class InitImage:
    """How a run starts: `kept` and `inpaint_latents` as the loop takes them, `picture` and `mask` for the finished pictures."""

    kept: InpaintBlend | None = None
    inpaint_latents: Tensor | None = None
    picture: Rgb | None = None
    mask: Mask | None = None

    def finish(self, made: Rgb) -> Rgb:
        """A finished picture with the source's own pixels where the mask is black."""
        if self.mask is None or self.picture is None:
            return made
        share = self.mask[:, :, None]
        return np.rint(made * share + self.picture * (1 - share)).astype(np.uint8)


def prepare(recipe: Recipe, base: Base, pictures: Mapping[str, Rgb], device: torch.device) -> InitImage:
    """Encode what the recipe starts from, with the autoencoder of `base` on `device`."""
    source = recipe.source
    shape = (recipe.height // base.vae_scale_factor, recipe.width // base.vae_scale_factor)
    everywhere = torch.ones(1, 1, *shape)
    if source is None:
        # An inpainting model paints all of an empty picture.
        latents = _inpaint_latents(base, everywhere, None, recipe, device) if base.inpaints else None
        return InitImage(inpaint_latents=latents)
    picture = fit(hwc3(pictures[source.picture]), recipe.width, recipe.height, source.resize)
    mask, cells = None, None
    if source.mask is not None:
        mask = soft_mask(fit(pictures[source.mask], recipe.width, recipe.height, source.resize), source.blur_px)
        # A cell is made anew as soon as one of its pixels is.
        cells = (F.adaptive_max_pool2d(torch.from_numpy(mask)[None, None], shape) > 0).float().to(device)
    clean = _encoded(base, picture, device)
    inpaint_latents = None
    if base.inpaints:
        inpaint_latents = _inpaint_latents(
            base, everywhere if cells is None else cells, (picture, mask), recipe, device
        )
    blend = InpaintBlend(clean, cells, blank=source.fill == "noise", blends=not base.inpaints)
    return InitImage(blend, inpaint_latents, picture, mask)


def soft_mask(mask: Rgb, blur_px: int) -> Mask:
    """A mask picture in [0, 1] with its edge softened over about `blur_px` pixels to either side."""
    grey = np.asarray(mask.max(axis=2), np.uint8)
    if blur_px:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur_px / 2, borderType=cv2.BORDER_REPLICATE), np.uint8)
    return grey.astype(np.float32) / np.float32(255)


def _encoded(base: Base, picture: Rgb, device: torch.device) -> Tensor:
    return vae.encode(base.vae, vae.from_rgb(picture, device) * 2 - 1)


def _inpaint_latents(
    base: Base, cells: Tensor, given: tuple[Rgb, Mask | None] | None, recipe: Recipe, device: torch.device
) -> Tensor:
    """What an inpainting U-Net sees: the mask, and the latent of the picture with the mask's part in middle grey."""
    seen = torch.zeros(1, 3, recipe.height, recipe.width)
    if given is not None and given[1] is not None:
        seen = (vae.from_rgb(given[0]) * 2 - 1) * torch.from_numpy(given[1] < 0.5)
    return torch.cat([cells.to(device), vae.encode(base.vae, sent(seen, device))], dim=1)
