"""Small random models of SD 1.5's family as single files in the original's layout, the form in which people share them.

Wide enough that everything about them can be read from the shapes of their tensors: groups of 32 channels, eight heads.
"""
# diffusers' types are narrower than what it takes.
# pyright: reportArgumentType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

TEXT_WIDTH = 768
TOKENS = ["a", "house", "tree", "red", "blue", ",", "sea", "<s>", "</s>"]  # the last two as CLIP has them
WIDTHS = (32, 64)
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0",
    "conv_out": "out.2", "conv_in": "input_blocks.0.0", "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0", "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}  # fmt: skip
_VAE = {
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm", "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
}  # fmt: skip


def save_tokenizer(folder: Path) -> None:
    """The words of these models, where single files look for those of SD 1.5."""
    words = Tokenizer(models.WordLevel({token: n for n, token in enumerate(TOKENS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, TOKENS.index(token)) for token in ("<s>", "</s>")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="a", model_max_length=77
    ).save_pretrained(folder)


def save_base(path: Path, seed: int) -> None:
    """A whole base model; equal seeds give equal models."""
    torch.manual_seed(seed)
    codec = AutoencoderKL(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(TOKENS), hidden_size=TEXT_WIDTH, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=12, bos_token_id=7, eos_token_id=8, pad_token_id=8,
        )
    )  # fmt: skip
    tensors = _renamed(_unet().state_dict(), "model.diffusion_model.", _unet_name)
    tensors |= _renamed(codec.state_dict(), "first_stage_model.", _vae_name)
    tensors |= _renamed(text.state_dict(), "cond_stage_model.transformer.", lambda stem: f"text_model.{stem}")
    save_file(tensors, path)


def save_control(path: Path, seed: int) -> None:
    """A ControlNet alone that changes pictures: its connections are random, not zero."""
    torch.manual_seed(seed)
    control = ControlNetModel.from_unet(_unet(), conditioning_embedding_out_channels=(4,) * 4)
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight, std=0.5)
    save_file(_renamed(control.state_dict(), "control_model.", _unet_name), path)


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=WIDTHS, layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=TEXT_WIDTH, attention_head_dim=8,
    )  # fmt: skip


def _renamed(tensors: Mapping[str, Tensor], prefix: str, name) -> dict[str, Tensor]:
    found = {}
    for key, tensor in tensors.items():
        stem, _, leaf = key.rpartition(".")
        found[f"{prefix}{name(stem)}.{leaf}"] = tensor.contiguous()
    return found


def _unet_name(stem: str) -> str:
    """A module of diffusers' U-Net or ControlNet under its original name."""
    if stem in _ENDS:
        return _ENDS[stem]
    if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)", stem):
        return f"zero_convs.{found[1]}.0"
    if found := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)", stem):
        return f"input_hint_block.{2 * int(found[1]) + 2}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", stem):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_RESNET.get(found[3], found[3])}"
    return _block_name(stem)


def _block_name(stem: str) -> str:
    """One of the blocks on the way down or up, each of one layer (two on the way up)."""
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", stem)
    assert found, stem
    side, level, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    first = 1 if side == "down" else 0
    group = "input_blocks" if side == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{group}.{2 * level + 2}.0.op"
    if kind == "upsamplers":
        return f"{group}.{2 * level + 1}.2.conv"  # after the attention
    slot = 0 if kind == "resnets" else 1
    return f"{group}.{first + 2 * level + layer}.{slot}.{_RESNET.get(rest, rest)}"


def _vae_name(stem: str) -> str:
    """A module of diffusers' autoencoder under its original name."""
    stem = re.sub(r"\bdown_blocks\.(\d)", r"down.\1", stem)
    stem = re.sub(r"\bup_blocks\.(\d)", lambda found: f"up.{3 - int(found[1])}", stem)
    stem = re.sub(r"\b(down|up)samplers\.0", r"\1sample", stem)
    stem = re.sub(r"\bmid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", stem)
    stem = stem.replace("mid_block.attentions.0", "mid.attn_1").replace(".resnets.", ".block.")
    for name, old in _VAE.items():
        stem = re.sub(rf"\.{re.escape(name)}$", f".{old}", stem)
    return stem
