"""Pictures that a result is to be like, as the loop takes them.

By an IP-Adapter: what an image encoder sees in them, as tokens that the U-Net reads beside the text. Reference-only: their
latents, which its self attention reads. Loads nothing itself: whoever asks brings the networks.
"""
# torch and transformers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from controlnet_core.diffusion import vae
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError
from controlnet_core.domain.picture import hwc3
from controlnet_core.domain.recipe import SEED_MAX
from controlnet_core.domain.resize import fit
from controlnet_core.memory import cache
from controlnet_core.models.diffusers_setup import CLIPVisionModelWithProjection
from controlnet_core.models.loading import Vae
from controlnet_core.models.loading.load_ip_adapter import IpAdapter

NOISE_SEED = SEED_MAX + 1
"""No recipe has it, so the noise on a reference is never that of the picture."""


@torch.inference_mode()
def look(picture: Rgb, adapter: IpAdapter, encoder: CLIPVisionModelWithProjection) -> tuple[Tensor, Tensor]:
    """`tokens` and `nothing` of a `PictureReference`; both networks have to be on the device. Raises ModelError for a misfit."""
    side: Any = encoder.config.image_size
    pixels = _pixels(picture, int(side)).to(encoder.device, encoder.dtype)
    seen, nothing = _features(pixels, adapter, encoder)
    try:
        return adapter.projection(seen), adapter.projection(nothing)
    except RuntimeError as error:
        if cache.is_exhausted(error):
            raise
        raise ModelError(
            "The image encoder is not the one that this IP-Adapter was made with.",
            "Download the encoder that its card names.",
        ) from error


@torch.inference_mode()
def latent(picture: Rgb, size: tuple[int, int], autoencoder: Vae, device: torch.device) -> Tensor:
    """`clean` of an `AttendedReference`: a picture cropped to `size` (width, height) of what is made.

    The autoencoder has to be on `device`.
    """
    shown = fit(hwc3(picture), *size, "crop")
    return vae.encode(autoencoder, vae.from_rgb(shown, device) * 2 - 1)


def _features(pixels: Tensor, adapter: IpAdapter, encoder: Any) -> tuple[Tensor, Tensor]:
    """What the adapter reads of a picture, and of none: of plain adapters zeros, of the others a grey picture's states."""
    if not adapter.deep:
        seen = encoder(pixels).image_embeds
        return seen, torch.zeros_like(seen)
    seen, nothing = (
        encoder(one, output_hidden_states=True).hidden_states[-2] for one in (pixels, torch.zeros_like(pixels))
    )
    return seen, nothing


def _pixels(picture: Rgb, side: int) -> Tensor:
    """The middle square of a picture as CLIP takes it, (1, 3, side, side)."""
    from transformers import CLIPImageProcessorPil

    processor: Any = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return processor(hwc3(picture), return_tensors="pt", input_data_format="channels_last").pixel_values
