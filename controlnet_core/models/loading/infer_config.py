"""Configurations of diffusers' and transformers' modules, read from the shapes of their tensors.

What shapes cannot tell (numbers of heads, activation, prediction type) comes from `Hints`, else from what the published
families do. Names are those of diffusers: `ldm_keys` has been there before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from controlnet_core.families import UNKNOWN, Family, families, recognised, traits_of_config
from controlnet_core.models.catalog import Prediction

Tensors = Mapping[str, Tensor]
HEAD_DIM = 64
_TIME_IDS = 6
"""Numbers of "time_ids": the original size, the corner of its crop and the target size, two each."""


@dataclass(frozen=True)
class Hints:
    """What the shapes of a checkpoint cannot tell; None: as the published models of that shape do."""

    heads: int | None = None
    """Attention heads of the U-Net and of the ControlNet, the same number on every level."""
    text_heads: int | None = None
    text_activation: str | None = None
    """"quick_gelu" or "gelu"."""
    prediction: Prediction | None = None
    pooled: bool = False
    """Whether a ControlNet's outputs are averaged over the picture."""
    scale_factor: float | None = None
    """Latents are the autoencoder's times this."""


def family(unet_config: Mapping[str, Any]) -> Family:
    """The family of a base model by the configuration of its U-Net; `UNKNOWN` when it is none of those that are known."""
    return recognised(traits_of_config({"out_channels": 4, **unet_config}))


def encoder(tensors: Tensors, hints: Hints) -> dict[str, Any]:
    """What U-Net and ControlNet have in common: levels, widths, attention."""
    levels = _count(tensors, r"down_blocks\.(\d+)\.")
    widths = [tensors[f"down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in range(levels)]
    crossed = [f"down_blocks.{level}.attentions.0.proj_in.weight" in tensors for level in range(levels)]
    key = next((name for name in tensors if name.endswith("attn2.to_k.weight")), None)
    if key is None:
        raise ValueError("this U-Net takes no text")
    linear = next(tensor for name, tensor in tensors.items() if name.endswith("proj_in.weight")).ndim == 2
    # diffusers calls the number of heads attention_head_dim.
    heads = hints.heads or ([max(1, width // HEAD_DIM) for width in widths] if linear else 8)
    return {
        "in_channels": tensors["conv_in.weight"].shape[1],
        "block_out_channels": widths,
        "layers_per_block": _count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in crossed],
        "cross_attention_dim": tensors[key].shape[1],
        "transformer_layers_per_block": _depths(tensors, crossed),
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        **_sizes(tensors),
    }


def _depths(tensors: Tensors, crossed: Sequence[bool]) -> int | list[int]:
    """How many transformer blocks an attention has, on each level: one number where all agree."""
    middle = _count(tensors, r"mid_block\.attentions\.0\.transformer_blocks\.(\d+)\.")
    found = [
        _count(tensors, rf"down_blocks\.{level}\.attentions\.0\.transformer_blocks\.(\d+)\.") if yes else 0
        for level, yes in enumerate(crossed)
    ]
    # A level without attention says nothing; the last number is the middle's too.
    depths = [depth or middle for depth in found]
    return middle if set(depths) == {middle} else depths


def _sizes(tensors: Tensors) -> dict[str, Any]:
    """How pooled text and sizes are taken beside the text; nothing for networks that take none."""
    first = tensors.get("add_embedding.linear_1.weight")
    if first is None:
        return {}
    pooled = next((one.width for kind in families().values() for one in kind.text if one.pooled), 0)
    return {
        "addition_embed_type": "text_time",
        "projection_class_embeddings_input_dim": first.shape[1],
        "addition_time_embed_dim": (first.shape[1] - pooled) // _TIME_IDS,
    }


def unet(tensors: Tensors, hints: Hints) -> dict[str, Any]:
    """The configuration of a UNet2DConditionModel."""
    config = encoder(tensors, hints)
    ups = ["CrossAttnUpBlock2D" if "Cross" in kind else "UpBlock2D" for kind in reversed(config["down_block_types"])]
    return {**config, "out_channels": tensors["conv_out.weight"].shape[0], "up_block_types": ups}


def control(tensors: Tensors, hints: Hints) -> dict[str, Any]:
    """The configuration of a ControlNetModel."""
    hint = "controlnet_cond_embedding"
    first = tensors[f"{hint}.conv_in.weight"]
    steps = range(1, _count(tensors, rf"{hint}\.blocks\.(\d+)\."), 2)
    return {
        **encoder(tensors, hints),
        "conditioning_channels": first.shape[1],
        "global_pool_conditions": hints.pooled,
        "conditioning_embedding_out_channels": [
            first.shape[0],
            *(tensors[f"{hint}.blocks.{step}.weight"].shape[0] for step in steps),
        ],
    }


def union(tensors: Tensors) -> dict[str, Any]:
    """What the configuration of a ControlNetUnionModel has beside that of a ControlNetModel."""
    types, width = tensors["task_embedding"].shape
    hint = "controlnet_cond_embedding"
    steps = range(1, _count(tensors, rf"{hint}\.blocks\.(\d+)\."), 2)
    return {
        "num_control_type": types,
        "num_trans_channel": width,
        "num_trans_layer": _count(tensors, r"transformer_layes\.(\d+)\."),
        "num_proj_channel": tensors["spatial_ch_projs.weight"].shape[0],
        "addition_time_embed_dim": tensors["control_add_embedding.linear_1.weight"].shape[1] // types,
        "conditioning_embedding_out_channels": [
            tensors[f"{hint}.conv_in.weight"].shape[0],
            *(tensors[f"{hint}.blocks.{step}.weight"].shape[0] for step in steps),
        ],
    }


def adapter(tensors: Tensors) -> dict[str, Any]:
    """The configuration of a T2IAdapter: how far it shrinks the picture first tells SD 1.5's and SDXL's apart."""
    blocks = range(_count(tensors, r"adapter\.body\.(\d+)\."))
    light = "adapter.conv_in.weight" not in tensors
    first = tensors["adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight"].shape[1]
    # One channel or three, in squares of 8 or of 16 pixels.
    side = 16 if first in (16 * 16, 3 * 16 * 16) else 8
    widest = "out_conv" if light else "resnets.0.block1"
    channels = [tensors[f"adapter.body.{block}.{widest}.weight"].shape[0] for block in blocks]
    kind = "light_adapter" if light else "full_adapter_xl" if side == 16 else "full_adapter"
    return {
        "in_channels": first // side**2,
        "channels": channels[:-1] if light else channels,
        "num_res_blocks": _count(tensors, r"adapter\.body\.0\.resnets\.(\d+)\."),
        "downscale_factor": side,
        "adapter_type": kind,
    }


def vae(tensors: Tensors, hints: Hints, of: Family = UNKNOWN) -> dict[str, Any]:
    """The configuration of an AutoencoderKL; how its latents are scaled, no tensor says: as those of the family are."""
    levels = _count(tensors, r"encoder\.down_blocks\.(\d+)\.")
    latent = tensors["decoder.conv_in.weight"].shape[1]
    return {
        "block_out_channels": [
            tensors[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in range(levels)
        ],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": _count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "latent_channels": latent,
        "scaling_factor": hints.scale_factor or of.latent.scale,
        "shift_factor": of.latent.shift or None,
        "force_upcast": of.latent.force_upcast,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
    }


def text(tensors: Tensors, hints: Hints, openclip: bool) -> dict[str, Any]:
    """The configuration of a CLIPTextModel, with a projection or without."""
    projection = tensors.get("text_projection.weight")
    tensors = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    vocabulary, width = tensors["embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _count(tensors, r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": hints.text_heads or max(1, width // HEAD_DIM),
        "projection_dim": projection.shape[0] if projection is not None else width,
        "max_position_embeddings": tensors["embeddings.position_embedding.weight"].shape[0],
        "hidden_act": hints.text_activation or ("gelu" if openclip else "quick_gelu"),
        "pad_token_id": 0 if openclip else vocabulary - 1,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }


def schedule(tensors: Tensors, hints: Hints, openclip: bool) -> dict[str, Any]:
    """The configuration of a noise schedule: the original's, or the one whose table lies in the checkpoint."""
    betas = tensors.get("betas")
    steps, start, end = 1000, 0.00085, 0.012
    if betas is not None and betas.ndim == 1 and len(betas) > 1:
        steps, start, end = len(betas), round(float(betas[0]), 7), round(float(betas[-1]), 7)
    zero_snr = "ztsnr" in tensors
    return {
        "num_train_timesteps": steps,
        "beta_start": start,
        "beta_end": end,
        "beta_schedule": "scaled_linear",
        "prediction_type": hints.prediction or ("v_prediction" if openclip or "v_pred" in tensors else "epsilon"),
        "timestep_spacing": "trailing" if zero_snr else "leading",
        "rescale_betas_zero_snr": zero_snr,
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "clip_sample": False,
    }


def _count(tensors: Tensors, pattern: str) -> int:
    numbers = [int(found[1]) for name in tensors if (found := re.match(pattern, name))]
    return 1 + max(numbers, default=-1)
