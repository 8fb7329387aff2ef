"""Pictures that a result is to be like: what an image encoder sees in them, as tokens that the U-Net reads beside the text.

Loads nothing itself: whoever asks brings the adapter and its encoder.
"""
# torch and transformers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError
from controlnet_core.domain.picture import hwc3
from controlnet_core.memory import cache
from controlnet_core.models.diffusers_setup import CLIPVisionModelWithProjection
from controlnet_core.models.loading.load_ip_adapter import IpAdapter


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
