"""Names of tensors in LoRAs and their relatives: which layer they change, and what they are to it.

    split("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight")   # ("lora_te1_...", "down")
    layer("unet.mid_block.attentions.0.proj_in")                             # "lora_unet_mid_block_attentions_0_proj_in"

Knows kohya's names, the three forms of diffusers, PEFT's, LyCORIS' (LoHa, LoKr) and the original's names of layers. Works on
names and shapes alone and imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

ROLES: Mapping[str, str] = {
    "down": "down", "A": "down", "up": "up", "B": "up", "mid": "mid",
}  # fmt: skip
_MATRIX = r"(?:\.lora|_lora|\.lora_linear_layer)[._](?P<role>down|up|mid|A|B)(?:\.default)?\.weight"
_OTHER = r"\.(?P<other>alpha|dora_scale|hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?)"
_MAGNITUDE = r"\.(?P<magnitude>lora_magnitude_vector)(?:\.default)?(?:\.weight)?"
_NAME = re.compile(rf"(?P<layer>.+?)(?:{_MATRIX}|{_OTHER}|{_MAGNITUDE})$")
RELATIVES: Mapping[str, str] = {"hada_w1_a": "LoHa", "lokr_w1": "LoKr", "lokr_w1_a": "LoKr"}
"""What a relative of LoRA is called, by one of the roles that its tensors have."""


def split(name: str) -> tuple[str, str] | None:
    """The layer that a tensor belongs to, under the file's name for it, and its role; None when it is no part of a LoRA.

    Roles are "down", "up" and "mid" (LoRA), "hada_w1_a" and the like (LoHa), "lokr_w1" and the like (LoKr), "alpha",
    "dora_scale" and "magnitude" (DoRA, of which PEFT writes the second).
    """
    found = _NAME.match(name)
    if found is None:
        return None
    role = ROLES[found["role"]] if found["role"] else found["other"] or "magnitude"
    return found["layer"], role


def numel(shapes: Mapping[str, Sequence[int]]) -> int:
    """How many parameters the tensors of one layer change, by their roles and shapes; 0 when they do not belong together."""
    if "down" in shapes and "up" in shapes:
        kernel = shapes["mid"][2:] if "mid" in shapes else shapes["down"][2:]
        return shapes["up"][0] * shapes["down"][1] * math.prod(kernel)
    if "hada_w1_a" in shapes and "hada_w1_b" in shapes:
        core = shapes.get("hada_t1")
        if core is not None:
            return shapes["hada_w1_a"][1] * shapes["hada_w1_b"][1] * math.prod(core[2:])
        return shapes["hada_w1_a"][0] * shapes["hada_w1_b"][1]
    return _factor(shapes, "lokr_w1") * _factor(shapes, "lokr_w2")


def _factor(shapes: Mapping[str, Sequence[int]], name: str) -> int:
    if name in shapes:
        return math.prod(shapes[name])
    first, second = shapes.get(f"{name}_a"), shapes.get(f"{name}_b")
    if first is None or second is None:
        return 0
    core = shapes.get(name.replace("_w", "_t"))
    return first[1] * second[1] * math.prod(core[2:]) if core is not None else first[0] * math.prod(second[1:])


def inward(shapes: Mapping[str, Sequence[int]]) -> int:
    """How wide the input of a linear layer is that the tensors of one layer change; 0 when they do not tell."""
    for role in ("down", "hada_w1_b"):
        if role in shapes and len(shapes[role]) == 2:
            return shapes[role][1]
    sides = [shapes.get(name) or shapes.get(f"{name}_b") for name in ("lokr_w1", "lokr_w2")]
    return math.prod(side[1] for side in sides if side) if all(side and len(side) == 2 for side in sides) else 0


def layers(shapes: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Sequence[int]]]:
    """The shapes of a LoRA's tensors by layer (`layer`) and role; of other tensors nothing."""
    found: dict[str, dict[str, Sequence[int]]] = {}
    for name, shape in shapes.items():
        if (parted := split(name)) is not None:
            found.setdefault(layer(parted[0]), {})[parted[1]] = shape
    return found


def layer(name: str) -> str:
    """A layer's name as in kohya's files, its blocks by diffusers' names.

    The U-Net's begin with "lora_unet_"; a text encoder's with the prefix of kohya's file, as "lora_te1_", or with the
    name of its folder, as "text_encoder_2_".
    """
    name = name.removeprefix("base_model.model.")  # PEFT's
    if name.startswith("lora_te"):
        return name
    if name.startswith("text_encoder"):
        return re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", name).replace(".", "_")
    for prefix in ("lora_unet_", "unet.", "diffusion_model."):
        name = name.removeprefix(prefix)
    name = name.replace(".processor", "")
    if name.endswith(".to_out"):
        name += ".0"
    return f"lora_unet_{_renamed(name.replace('.', '_'))}"


_BLOCK = re.compile(r"(input_blocks|output_blocks|middle_block)_(\d+)_(?:(\d)_)?(.+)")
_INSIDE = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_OUTSIDE = {
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_2": "conv_out",
}


def _renamed(name: str) -> str:
    """A layer that bears the original's names, by those of diffusers; others as they are. See `ldm_keys`."""
    found = _BLOCK.fullmatch(name)
    if found is None:
        return _OUTSIDE.get(name, name)
    side, block, part, inner = found[1], int(found[2]), found[3], found[4]
    if side == "middle_block":
        inner = inner if part is None else f"{part}_{inner}"
        place = "attentions_0" if block == 1 else f"resnets_{block // 2}"
        return f"mid_block_{place}_{_INSIDE.get(inner, inner)}"
    if side == "input_blocks" and block == 0:
        return "conv_in"
    # Every level of the published families has two layers, and what leads to the next one.
    number, within = divmod(block - 1 if side == "input_blocks" else block, 3)
    way = "down" if side == "input_blocks" else "up"
    if inner in ("op", "conv") and part is not None:
        return f"{way}_blocks_{number}_{way}samplers_0_conv"
    kind = "attentions" if part == "1" else "resnets"
    return f"{way}_blocks_{number}_{kind}_{within}_{_INSIDE.get(inner, inner)}"
