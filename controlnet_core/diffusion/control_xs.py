"""ControlNet-XS (Zavadski et al., "ControlNet-XS", 2023): a small network that runs beside the U-Net and talks with it.

Both exchange what they see behind every layer, so they run as one network, diffusers' `UNetControlNetXSModel`. Here that is put
together of the very layers of the U-Net and of the adapter: no weight is copied, and whatever is done to a layer (a LoRA, a move to
another device, kept texts) holds in it too. Knows no recipes; `Denoiser` decides when.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from controlnet_core.models.diffusers_setup import (
    ControlNetXSAdapter,
    UNet2DConditionModel,
    UNetControlNetXSModel,
)

_JOINED: WeakKeyDictionary[nn.Module, tuple[ref[nn.Module], Any]] = WeakKeyDictionary()
"""The last network of each U-Net; to put one together takes longer than a step. It holds the U-Net's layers, not the U-Net."""
_SAME = ("cross_attention_dim", "down_block_types", "transformer_layers_per_block")
_LAYERS, _CHANNELS = 2, 4
"""What diffusers builds: layers of a block, and channels of the latents."""


def fits(adapter: ControlNetXSAdapter, unet: UNet2DConditionModel) -> bool:
    """Whether an adapter was made for U-Nets of this shape."""
    ours, theirs = adapter.config, unet.config
    built = theirs["in_channels"] == _CHANNELS and theirs["layers_per_block"] == _LAYERS
    told = theirs["addition_embed_type"] in (None, "text_time")
    widths = list(ours["base_block_out_channels"]) == list(theirs["block_out_channels"])
    levels = len(theirs["down_block_types"])
    return built and told and widths and all(_each(ours[key], levels) == _each(theirs[key], levels) for key in _SAME)


def _each(value: object, levels: int) -> list[object]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * levels


def joined(unet: UNet2DConditionModel, adapter: ControlNetXSAdapter) -> UNetControlNetXSModel:
    """The network of both. Its `controlnet_cond` is what `embed_hint` made of the control picture."""
    known = _JOINED.get(unet)
    if known is None or known[0]() is not adapter:
        known = _JOINED[unet] = (ref(adapter), _put_together(unet, adapter))
    return known[1]


def _put_together(unet: Any, adapter: Any) -> Any:
    with torch.device("meta"), warnings.catch_warnings():
        # It wants to copy weights, which on this device is nothing, and is told so for every one of them.
        warnings.simplefilter("ignore")
        made: Any = UNetControlNetXSModel.from_unet(unet, adapter)
    for name in ("conv_in", "time_proj", "time_embedding", "conv_norm_out", "conv_act", "conv_out"):
        setattr(made, f"base_{name}", getattr(unet, name))
    if made.base_add_embedding is not None:
        made.base_add_time_proj, made.base_add_embedding = unet.add_time_proj, unet.add_embedding
    made.ctrl_conv_in, made.ctrl_time_embedding = adapter.conv_in, adapter.time_embedding
    made.control_to_base_for_conv_in = adapter.control_to_base_for_conv_in
    # The picture is embedded once a run, outside.
    made.controlnet_cond_embedding = nn.Identity()
    made.register_to_config(ctrl_conditioning_channel_order="rgb")
    for block, base, control in zip(made.down_blocks, unet.down_blocks, adapter.down_blocks, strict=True):
        block.base_resnets, block.ctrl_resnets = base.resnets, control.resnets
        if getattr(base, "has_cross_attention", False):
            block.base_attentions, block.ctrl_attentions = base.attentions, control.attentions
        if base.downsamplers is not None:
            block.base_downsamplers, block.ctrl_downsamplers = base.downsamplers[0], control.downsamplers
        block.base_to_ctrl, block.ctrl_to_base = control.base_to_ctrl, control.ctrl_to_base
    middle = made.mid_block
    middle.base_midblock, middle.ctrl_midblock = unet.mid_block, adapter.mid_block.midblock
    middle.base_to_ctrl, middle.ctrl_to_base = adapter.mid_block.base_to_ctrl, adapter.mid_block.ctrl_to_base
    for block, base, control in zip(made.up_blocks, unet.up_blocks, adapter.up_connections, strict=True):
        block.resnets, block.ctrl_to_base = base.resnets, control.ctrl_to_base
        if getattr(base, "has_cross_attention", False):
            block.attentions = base.attentions
        if base.upsamplers is not None:
            block.upsamplers = base.upsamplers[0]
    return made.eval()
