"""Reads what is added to a base model: textual inversions and other autoencoders, in the forms they are shared in.

Nothing is applied here: `diffusion.conditioning` knows the inversions. LoRAs are read by `load_lora`.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.checkpoints.safetensors_header import AGAIN
from controlnet_core.domain.errors import ModelError
from controlnet_core.families import UNKNOWN, Family, families
from controlnet_core.models.loading import Hints, Vae, vae_of_file, vae_of_folder


def load_embedding(path: Path) -> Tensor | dict[str, Tensor]:
    """The vectors (count, width) of a textual inversion: `.pt` of the A1111 web UI, `.bin` or `.safetensors`.

    One for several text encoders has those of each by its name in the file ("clip_l", "clip_g"). Raises ModelError.
    """
    file = inside(path)
    tensors = read_tensors(file)
    for known in families().values():
        names = [encoder.inversion for encoder in known.text]
        if any(name in tensors for name in names[1:]):
            if missing := [name for name in names if name not in tensors]:
                raise ModelError(f"{file.name} is half a textual inversion: {missing[0]} is missing.", AGAIN)
            return {name: _vectors(file, tensors[name]) for name in names}
    return _vectors(file, tensors.get("emb_params", next(iter(tensors.values())) if len(tensors) == 1 else None))


def _vectors(file: Path, found: Tensor | None) -> Tensor:
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


def inside(path: Path) -> Path:
    """The file itself, where the catalog names a folder with one file of weights in it."""
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".pt", ".bin"))
    if not files:
        raise ModelError(f"{path.name} holds no weights.", "Put the file itself there.")
    return files[0]
