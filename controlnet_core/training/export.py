"""Trained weights as files: a diffusers folder, a single file, or a single file under the original's names.

`publish` puts a ControlNet where the catalog looks, whole or not at all, with a card beside it. Does not train.
"""

# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from safetensors.torch import save_file
from torch import Tensor

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.domain.errors import ModelError, NoSpace
from controlnet_core.models.diffusers_setup import ControlNetModel
from controlnet_core.models.loading import Base

Form = Literal["folder", "file", "original"]
_HINT_BLOCKS = 6
"""Convolutions between the first and the last of the original's condition embedding: fixed by its names."""
_GROUPS = 32
"""Groups of the normalisations in every published model: the one thing that no shape shows."""
_INNER = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}
_BLOCK = re.compile(r"(down_blocks\.(\d+)|mid_block)\.(resnets|attentions|downsamplers)\.(\d+)\.?(.*)")


def save(control: ControlNetModel, path: Path, form: Form) -> None:
    """Write a ControlNet to `path`: a folder, or a .safetensors file. Raises ModelError and NoSpace."""
    if form != "folder" and control.config["norm_num_groups"] != _GROUPS:
        raise ModelError(
            "The shapes in a single file cannot tell how this network is built.", "Export it as a folder instead."
        )
    tensors = {name: value.detach().cpu().contiguous() for name, value in control.state_dict().items()}
    if form == "original":
        tensors = to_original(tensors)
    part = path.with_name(f".{path.name}.part")
    _remove(part)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        if form == "folder":
            control.save_pretrained(part)
        else:
            save_file(tensors, part, {"format": "pt"})
        _remove(path)
        part.replace(path)
    except OSError as error:
        _remove(part)
        raise NoSpace(f"{path.name} could not be written.", "Free some space and export again.") from error


def to_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ControlNet's tensors under the original's names, `control_model.` before each.

    Raises ModelError for a network whose condition embedding has another depth: the original's names do not cover it.
    """
    hints = {name.split(".")[2] for name in tensors if name.startswith("controlnet_cond_embedding.blocks.")}
    if len(hints) != _HINT_BLOCKS:
        raise ModelError(
            "The original's names fit only networks whose latents are an eighth of the picture.",
            "Export a folder or a file instead.",
        )
    layers = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"down_blocks\.0\.resnets\.(\d+)", name)))
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, leaf = name.rpartition(".")
        result[f"{ldm_keys.CONTROL}{_stem(stem, layers)}.{leaf}"] = tensor
    return result


def _stem(stem: str, layers: int) -> str:
    if stem in _OUTER:
        return _OUTER[stem]
    head, _, number = stem.rpartition(".")
    if head == "controlnet_down_blocks":
        return f"zero_convs.{number}.0"
    if head == "controlnet_cond_embedding.blocks":
        return f"input_hint_block.{2 * int(number) + 2}"
    found = _BLOCK.fullmatch(stem)
    if not found:
        raise ModelError(f"The original has no name for {stem}.", "Export a folder or a file instead.")
    kind, index, inner = found[3], int(found[4]), _INNER.get(found[5], found[5])
    if found[1] == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * index}.{inner}"
    first = 1 + int(found[2]) * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers}.0.op"
    return f"input_blocks.{first + index}.{1 if kind == 'attentions' else 0}.{inner}"


def publish(control: ControlNetModel, folder: Path, card: Mapping[str, object]) -> None:
    """Put a ControlNet into `folder`, a diffusers folder with `card.toml` beside the weights. Raises NoSpace."""
    part = folder.with_name(f".{folder.name}.new")
    _remove(part)
    try:
        part.mkdir(parents=True)
        control.save_pretrained(part)
        _finish(part, folder, card)
    except OSError as error:
        _remove(part)
        raise NoSpace(
            f"{folder.name} could not be written.", "Free some space and choose Stop and keep again."
        ) from error


def publish_base(base: Base, folder: Path, card: Mapping[str, object], words: list[str]) -> None:
    """Put a whole base model into `folder`, for a training that changed its decoder. Raises NoSpace."""
    part = folder.with_name(f".{folder.name}.new")
    _remove(part)
    try:
        part.mkdir(parents=True)
        base.unet.save_pretrained(part / "unet")
        base.vae.save_pretrained(part / "vae")
        for facts, encoder, tokenizer in base.texts:
            encoder.save_pretrained(part / facts.part)
            if tokenizer is not None:
                tokenizer.save_pretrained(part / facts.tokenizer)
        (part / "scheduler").mkdir()
        (part / "scheduler" / "scheduler_config.json").write_text(json.dumps(base.schedule, indent=2))
        (part / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
        if words:
            (part / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        _finish(part, folder, card)
    except OSError as error:
        _remove(part)
        raise NoSpace(
            f"{folder.name} could not be written.", "Free some space and choose Stop and keep again."
        ) from error


def _finish(part: Path, folder: Path, card: Mapping[str, object]) -> None:
    texts = [f"{key} = {json.dumps(value)}" for key, value in card.items() if not isinstance(value, Mapping)]
    tables = [(key, cast("Mapping[str, object]", value)) for key, value in card.items() if isinstance(value, Mapping)]
    lines = [*texts, *(f"{key} = {{ {_inline(table)} }}" for key, table in tables)]
    (part / "card.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _remove(folder)
    part.rename(folder)


def _inline(table: Mapping[str, object]) -> str:
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
