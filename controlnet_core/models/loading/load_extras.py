"""Reads what is added to a base model: LoRAs, textual inversions and other autoencoders, in the forms they are shared in.

Nothing is applied here: `controlnet_core.models.lora` puts LoRAs into weights, `diffusion.conditioning` knows the inversions.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.checkpoints.safetensors_header import AGAIN
from controlnet_core.domain.errors import ModelError
from controlnet_core.families import UNKNOWN, Family
from controlnet_core.models.loading import Hints, Vae, vae_of_file, vae_of_folder

_FAMILY = "Choose one that was made for the family of the base model."
_OTHER_KINDS = {"hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", ".oft_": "OFT"}


@dataclass(frozen=True)
class Matrices:
    """What a LoRA adds to one layer: scale * up @ down."""

    down: Tensor
    up: Tensor
    scale: float

    def change(self) -> Tensor:
        """The change of the layer's weight, float32."""
        down, up = self.down.float(), self.up.float()
        if down.ndim == 2:
            return self.scale * (up @ down)
        # Convolutions: the first works on the picture, the second on channels alone.
        return self.scale * torch.einsum("or,rihw->oihw", up.flatten(1), down)


def load_lora(path: Path) -> dict[str, Matrices]:
    """The matrices of a LoRA by layer, under the names that kohya's files give layers: "lora_unet_..." and "lora_te_...".

    Reads kohya's files and the three forms of diffusers. Raises ModelMissing, or ModelError with the reason.
    """
    file = _inside(path)
    tensors = read_tensors(file)
    for mark, kind in _OTHER_KINDS.items():
        if any(mark in name for name in tensors):
            raise ModelError(f"{file.name} is a {kind}, a relative of LoRA that does not run here.", "Choose a LoRA.")
    if any(name.startswith(("lora_te1_", "lora_te2_", "text_encoder_2.")) for name in tensors):
        raise ModelError(f"{file.name} is a LoRA for SDXL, which does not run here.", _FAMILY)
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("bundle_emb."):
            continue  # textual inversions that came along; they work as files of their own
        found = _LORA.match(name)
        if found is None:
            raise ModelError(f"{file.name} is not a LoRA that is known here: it holds {name[:80]}.", _FAMILY)
        role = {"down": "down", "A": "down", "up": "up", "B": "up", "alpha": "alpha"}[found["role"] or "alpha"]
        halves.setdefault(_layer(found["layer"]), {})[role] = tensor
    return {layer: _matrices(file, half) for layer, half in halves.items()}


_LORA = re.compile(
    r"(?P<layer>.+?)(?:\.alpha|(?:\.lora|_lora|\.lora_linear_layer)[._](?P<role>down|up|A|B)(?:\.default)?\.weight)$"
)


def _layer(name: str) -> str:
    """A layer's name as in kohya's files, its blocks by diffusers' names."""
    name = name.removeprefix("base_model.model.")  # PEFT's
    if name.startswith("lora_unet_"):
        return _renamed(name)
    if name.startswith("lora_te_"):
        return name
    text = name.startswith("text_encoder.")
    plain = name.removeprefix("text_encoder.").removeprefix("unet.").replace(".processor", "")
    if text:
        plain = re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", plain)
    elif plain.endswith(".to_out"):
        plain += ".0"
    return f"lora_{'te' if text else 'unet'}_{plain.replace('.', '_')}"


_BLOCK = re.compile(r"lora_unet_(input_blocks|output_blocks|middle_block)_(\d+)_(?:(\d)_)?(.+)")
_INSIDE = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


def _renamed(name: str) -> str:
    """A layer that bears the original's names, by those of diffusers; others as they are. See `ldm_keys`."""
    found = _BLOCK.fullmatch(name)
    if found is None:
        return name
    side, block, part, inner = found[1], int(found[2]), found[3], found[4]
    if side == "middle_block":
        inner = inner if part is None else f"{part}_{inner}"
        place = "attentions_0" if block == 1 else f"resnets_{block // 2}"
        return f"lora_unet_mid_block_{place}_{_INSIDE.get(inner, inner)}"
    if side == "input_blocks" and block == 0:
        return "lora_unet_conv_in"
    number, within = divmod(block - 1 if side == "input_blocks" else block, 3)
    way = "down" if side == "input_blocks" else "up"
    if inner in ("op", "conv") and part is not None:
        return f"lora_unet_{way}_blocks_{number}_{way}samplers_0_conv"
    kind = "attentions" if part == "1" else "resnets"
    return f"lora_unet_{way}_blocks_{number}_{kind}_{within}_{_INSIDE.get(inner, inner)}"


def _matrices(file: Path, half: dict[str, Tensor]) -> Matrices:
    down, up = half.get("down"), half.get("up")
    if down is None or up is None or down.ndim != up.ndim or down.ndim not in (2, 4) or up.shape[1] != down.shape[0]:
        raise ModelError(f"{file.name} is damaged: its matrices do not belong together.", AGAIN)
    rank = max(1, down.shape[0])
    return Matrices(down, up, float(half["alpha"]) / rank if "alpha" in half else 1.0)


def load_embedding(path: Path) -> Tensor:
    """The vectors (count, width) of a textual inversion: `.pt` of the A1111 web UI, `.bin` or `.safetensors`."""
    file = _inside(path)
    tensors = read_tensors(file)
    found = tensors.get("emb_params", next(iter(tensors.values())) if len(tensors) == 1 else None)
    if "clip_g" in tensors:
        raise ModelError(f"{file.name} is a textual inversion for SDXL, which does not run here.", _FAMILY)
    if found is None or found.ndim not in (1, 2) or not found.is_floating_point():
        raise ModelError(f"{file.name} is not a textual inversion.", "Choose a file from models/embeddings.")
    return found.reshape(-1, found.shape[-1]).float().clone()


def load_vae(
    path: Path, dtype: torch.dtype = torch.float32, hints: Hints | None = None, family: Family = UNKNOWN
) -> Vae:
    """Load an autoencoder of `family` by itself: a folder of diffusers, or a file in either naming."""
    if path.is_dir():
        return vae_of_folder(path, dtype, family)
    tensors = read_tensors(path)
    found = ldm_keys.part(tensors, ldm_keys.VAE) or dict(tensors)
    if "decoder.conv_in.weight" not in found:
        raise ModelError(f"{path.name} is not an autoencoder.", "Choose a file from models/vae.")
    return vae_of_file(path, found, dtype, hints, family)


def _inside(path: Path) -> Path:
    """The file itself, where the catalog names a folder with one file of weights in it."""
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".pt", ".bin"))
    if not files:
        raise ModelError(f"{path.name} holds no weights.", "Put the file itself there.")
    return files[0]
