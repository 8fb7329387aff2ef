"""Names of the original (LDM, CLDM) checkpoint layout, turned into those of diffusers and transformers.

A checkpoint in the original layout is one flat list of tensors: `model.diffusion_model.` (U-Net), `control_model.`
(ControlNet), `first_stage_model.` (autoencoder), `cond_stage_model.` (text encoder) and the tables of the schedule.
Works on names and shapes alone; knows no module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the web process looks at names too
    from torch import Tensor

V = TypeVar("V")
Tensors = Mapping[str, "Tensor"]
UNET, CONTROL, VAE, TEXT = "model.diffusion_model.", "control_model.", "first_stage_model.", "cond_stage_model."

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_PLAIN = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "input_blocks.0.0": "conv_in",
    "middle_block_out.0": "controlnet_mid_block",
    "input_hint_block.0": "controlnet_cond_embedding.conv_in",
    "input_hint_block.14": "controlnet_cond_embedding.conv_out",
}
_RESBLOCKS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks|zero_convs|input_hint_block)\.(\d+)(?:\.(.+))?$")


def part(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def unet(tensors: Mapping[str, V]) -> dict[str, V]:
    """A U-Net or a ControlNet (the names do not overlap) under the names that diffusers gives them.

    Only names matter: of names alone it makes a dictionary from new to old ones.
    """
    layers = _layers_per_level(tensors)
    return _renamed(tensors, lambda stem: _unet_stem(stem, layers))


def is_union(tensors: Iterable[str]) -> bool:
    """Whether a ControlNet is one for many conditions, to which the kind of condition is told."""
    return "task_embedding" in tensors


def is_xs(tensors: Iterable[str]) -> bool:
    """Whether tensors are those of a ControlNet-XS, under the names of diffusers."""
    return "control_to_base_for_conv_in.weight" in tensors


def is_adapter(tensors: Iterable[str]) -> bool:
    """Whether tensors are those of a T2I-Adapter, under the names of diffusers or of its makers."""
    return any(
        re.match(r"(?:adapter\.)?body\.\d+\.(?:resnets\.\d+\.|body\.\d+\.)?block1\.weight$", name) for name in tensors
    )


def adapter(tensors: Mapping[str, V]) -> dict[str, V]:
    """A T2I-Adapter under the names of diffusers: its makers number all blocks in one row, two to a level."""
    if any(name.startswith("adapter.") for name in tensors):
        return dict(tensors)
    light = any(re.match(r"body\.\d+\.body\.", name) for name in tensors)

    def stem(name: str) -> str:
        if light:
            return "adapter." + re.sub(r"^(body\.\d+)\.body\.", r"\1.resnets.", name)
        found = re.match(r"body\.(\d+)\.(in_conv|block\d)$", name)
        if found is None:
            return f"adapter.{name}"
        level, number = divmod(int(found[1]), 2)
        return f"adapter.body.{level}.{'' if found[2] == 'in_conv' else f'resnets.{number}.'}{found[2]}"

    return _renamed(tensors, stem)


def vae(tensors: Tensors) -> dict[str, Tensor]:
    """An autoencoder under the names of diffusers; 1 x 1 convolutions of its attention become linear layers."""
    levels = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"decoder\.up\.(\d+)\.", name)))
    renamed = _renamed(tensors, lambda stem: _vae_stem(stem, levels))
    return {
        name: tensor[:, :, 0, 0] if ".attentions." in name and tensor.ndim == 4 else tensor
        for name, tensor in renamed.items()
        if not name.startswith("loss.")
    }


def is_open_clip(tensors: Tensors) -> bool:
    """Whether a text encoder, without its prefix in the file, is in OpenCLIP's layout."""
    return any(name.startswith("model.") for name in tensors)


def text(tensors: Tensors, *, projected: bool = False) -> dict[str, Tensor]:
    """A text encoder under the names of transformers' CLIPTextModel, from CLIP's or from OpenCLIP's layout.

    Of OpenCLIP the last block is left out: the models were trained on the output of the one before. `projected` takes all
    of it, with the projection of its pooled output, as CLIPTextModelWithProjection.
    """
    if is_open_clip(tensors):
        own = part(tensors, "model.")
        return with_projection(_open_clip(own, whole=True)) if projected else _open_clip(own)
    own = part(tensors, "transformer.")
    return with_projection(own) if projected else clip(own)


def clip(tensors: Tensors) -> dict[str, Tensor]:
    """CLIP's text part without the prefix `text_model.` and the table of position numbers."""
    return {
        name.removeprefix("text_model."): tensor
        for name, tensor in tensors.items()
        if not name.endswith("position_ids") and not name.startswith("text_projection")
    }


def with_projection(tensors: Tensors) -> dict[str, Tensor]:
    """CLIP's text part under the names of transformers' CLIPTextModelWithProjection."""
    named = {f"text_model.{name}": tensor for name, tensor in clip(tensors).items()}
    return {**named, **{name: tensor for name, tensor in tensors.items() if name.startswith("text_projection")}}


def _renamed(tensors: Mapping[str, V], stem: Callable[[str], str]) -> dict[str, V]:
    result: dict[str, V] = {}
    for name, tensor in tensors.items():
        head, _, leaf = name.rpartition(".")
        result[f"{stem(head)}.{leaf}" if head else name] = tensor
    return result


def _layers_per_level(tensors: Iterable[str]) -> int:
    downs = [int(found[1]) for name in tensors if (found := re.match(r"input_blocks\.(\d+)\.0\.op\.", name))]
    if not downs:
        raise ValueError("no level of this U-Net ends in a convolution")
    return min(downs) - 1


def _unet_stem(stem: str, layers: int) -> str:
    found = _BLOCK.match(stem)
    if stem in _PLAIN or not found:
        return _PLAIN.get(stem, stem)
    group, index, rest = found[1], int(found[2]), found[3] or ""
    if group == "zero_convs":
        return f"controlnet_down_blocks.{index}"
    if group == "input_hint_block":
        return f"controlnet_cond_embedding.blocks.{index // 2 - 1}"
    if group == "middle_block":
        return f"mid_block.{_inner('attentions.0' if index == 1 else f'resnets.{index // 2}', rest)}"
    slot, _, rest = rest.partition(".")
    down = group == "input_blocks"
    level, layer = divmod(index - 1 if down else index, layers + 1)
    side = f"{'down' if down else 'up'}_blocks.{level}"
    if rest in ("op", "conv"):
        return f"{side}.{'downsamplers' if down else 'upsamplers'}.0.conv"
    return f"{side}.{_inner(f'resnets.{layer}' if slot == '0' else f'attentions.{layer}', rest)}"


def _inner(block: str, rest: str) -> str:
    return f"{block}.{_RESNET.get(rest, rest)}"


def _vae_stem(stem: str, levels: int) -> str:
    # The levels of the decoder count from the other end there.
    stem = re.sub(r"\bup\.(\d+)\.", lambda found: f"up_blocks.{levels - 1 - int(found[1])}.", stem)
    stem = re.sub(r"\bdown\.(\d+)\.", r"down_blocks.\1.", stem)
    stem = re.sub(r"(_blocks\.\d+)\.block\.(\d+)", r"\1.resnets.\2", stem)
    stem = re.sub(r"\.(down|up)sample\.conv$", r".\1samplers.0.conv", stem)
    stem = re.sub(r"\bmid\.block_(\d)", lambda f: f"mid_block.resnets.{int(f[1]) - 1}", stem)
    if ".mid.attn_1" in stem:
        stem = vae_attention(stem.replace(".mid.attn_1", ".mid_block.attentions.0"))
        stem = re.sub(r"\.norm$", ".group_norm", stem)
    return re.sub(r"\.norm_out$", ".conv_norm_out", stem).replace("nin_shortcut", "conv_shortcut")


def vae_attention(stem: str) -> str:
    """The attention of an autoencoder under its present names: both older conventions are known."""
    old = re.search(r"\.attentions\.0\.(q|k|v|query|key|value|proj_out|proj_attn)$", stem)
    if not old:
        return stem
    new = {"q": "to_q", "k": "to_k", "v": "to_v", "p": "to_out.0"}[old[1][0]]
    return f"{stem[: old.start(1)]}{new}"


def vae_folder(tensors: Tensors) -> dict[str, Tensor]:
    """An autoencoder saved by an early diffusers, under its present names."""
    return _renamed(tensors, vae_attention)


def _open_clip(tensors: Tensors, *, whole: bool = False) -> dict[str, Tensor]:
    blocks = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"transformer\.resblocks\.(\d+)\.", name)))
    result = {
        "embeddings.token_embedding.weight": tensors["token_embedding.weight"],
        "embeddings.position_embedding.weight": tensors["positional_embedding"],
        "final_layer_norm.weight": tensors["ln_final.weight"],
        "final_layer_norm.bias": tensors["ln_final.bias"],
    }
    if whole and "text_projection" in tensors:  # there a matrix that stands on the right
        result["text_projection.weight"] = tensors["text_projection"].T.contiguous()
    elif whole and "text_projection.weight" in tensors:
        result["text_projection.weight"] = tensors["text_projection.weight"]
    for name, tensor in tensors.items():
        found = re.match(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)$", name)
        if not found or (int(found[1]) == blocks - 1 and not whole):
            continue
        layer, stem, leaf = f"encoder.layers.{found[1]}", found[2], found[3]
        if stem == "attn.in_proj":
            for projection, third in zip("qkv", tensor.chunk(3), strict=True):
                result[f"{layer}.self_attn.{projection}_proj.{leaf}"] = third
        else:
            result[f"{layer}.{_RESBLOCKS[stem]}.{leaf}"] = tensor
    return result
