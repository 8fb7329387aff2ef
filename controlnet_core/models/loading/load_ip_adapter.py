"""Reads IP-Adapters (Ye et al., "IP-Adapter", 2023) and the image encoders that look at pictures for them.

Which encoder an adapter was trained with stands on its card. What a picture becomes, `diffusion.references` says.
"""
# torch, diffusers and transformers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.checkpoints.safetensors_header import AGAIN
from controlnet_core.domain.errors import ModelError
from controlnet_core.models.diffusers_setup import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    UNet2DConditionModel,
)
from controlnet_core.models.loading import assembled, folder_config, folder_weights
from controlnet_core.models.loading.load_lora import FAMILY

_PROJECTION, _ATTENTION = "image_proj.", "ip_adapter."


class IpAdapter(nn.Module):
    """An IP-Adapter: `projection` turns an image encoder's output into tokens (B, n, width of the text).

    `to_k` and `to_v` are those of the tokens for each cross attention of the U-Net, in the order of its modules. `deep` says
    that it reads the encoder's hidden states before the last layer, not its pooled output.
    """

    def __init__(self, projection: nn.Module, keys: list[Tensor], values: list[Tensor], deep: bool) -> None:
        super().__init__()
        self.projection = projection
        self.to_k, self.to_v = (nn.ModuleList(_linear(one) for one in given) for given in (keys, values))
        self.deep = deep


def _linear(weight: Tensor) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.load_state_dict({"weight": weight}, assign=True)
    return layer


def load_ip_adapter(path: Path, unet: UNet2DConditionModel) -> IpAdapter:
    """Load an IP-Adapter for `unet` onto the CPU, in its dtype. Raises ModelMissing, or ModelError with the reason."""
    tensors = read_tensors(path)
    given = {name.removeprefix(_PROJECTION): one for name, one in tensors.items() if name.startswith(_PROJECTION)}
    owners = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    try:
        # Its names and its kinds are known by the library; numbers of layers count the self attentions too.
        projection: Any = cast("Any", unet)._convert_ip_adapter_image_proj_to_diffusers(given, low_cpu_mem_usage=False)
        keys = [tensors[f"{_ATTENTION}{2 * number + 1}.to_k_ip.weight"] for number in range(len(owners))]
        values = [tensors[f"{_ATTENTION}{2 * number + 1}.to_v_ip.weight"] for number in range(len(owners))]
        widths = [cast("Any", unet.get_submodule(owner)).to_k.weight.shape for owner in owners]
    except (KeyError, IndexError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"{path.name} is damaged, or no IP-Adapter that is known here.", AGAIN) from error
    if [one.shape for one in keys] != widths or [one.shape for one in values] != widths:
        raise ModelError(f"{path.name} was made for another kind of model.", FAMILY)
    deep = type(projection).__name__ != "ImageProjection"
    # Copies: what was read may be a view of the file.
    own = [[one.to(unet.dtype, copy=True) for one in half] for half in (keys, values)]
    made = IpAdapter(projection, own[0], own[1], deep)
    return made.to(unet.dtype).eval().requires_grad_(False)


def load_image_encoder(path: Path, dtype: torch.dtype) -> CLIPVisionModelWithProjection:
    """Load the folder of an image encoder of CLIP onto the CPU. Raises ModelMissing, or ModelError with the reason."""
    config = CLIPVisionConfig(**folder_config(path))
    return assembled(lambda: CLIPVisionModelWithProjection(config), folder_weights(path), dtype, path.name)
