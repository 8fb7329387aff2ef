"""Reads LoRAs and their relatives (DoRA, LoHa, LoKr) in the forms they are shared in: what each adds to a layer's weight.

Nothing is applied here: `controlnet_core.models.lora` puts it into weights. Whose tensor is whose, `checkpoints.lora_keys` says.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from controlnet_core.checkpoints import lora_keys
from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.checkpoints.safetensors_header import AGAIN
from controlnet_core.domain.errors import ModelError
from controlnet_core.models.loading.load_extras import inside

FAMILY = "Choose one that was made for the family of the base model."


@dataclass(frozen=True)
class Change:
    """What a LoRA adds to one layer: `tensors` by their roles (`lora_keys.split`), at a strength of 1.

    up @ down * alpha / rank (Hu et al., "LoRA", 2021); for LoHa the product of two such, entry by entry (Hyeon-Woo et al.,
    "FedPara", 2022), for LoKr the Kronecker product of two matrices, each as it is or as a product (Yeh et al., "LyCORIS",
    2024). A DoRA (Liu et al., 2024) then brings the length of each row, or column, to a learned one.
    """

    tensors: Mapping[str, Tensor]

    @property
    def numel(self) -> int:
        """How many parameters it changes; 0 when its tensors do not belong together."""
        return lora_keys.numel({role: tuple(tensor.shape) for role, tensor in self.tensors.items()})

    def added(self, weight: Tensor) -> Tensor:
        """What comes to the original `weight` of the layer, float32 in its shape. Raises RuntimeError when it does not fit."""
        whole = self._product().reshape(weight.shape).to(weight.device)
        magnitude = self.tensors.get("magnitude", self.tensors.get("dora_scale"))
        if magnitude is None:
            return whole
        merged = weight.float() + whole
        # PEFT's lengths are those of the rows; LyCORIS' shape says which ones they are.
        rows = "magnitude" in self.tensors or (magnitude.shape[0] == len(weight) and magnitude[0].numel() == 1)
        axis = 0 if rows else 1
        length = torch.linalg.vector_norm(merged, dim=[one for one in range(merged.ndim) if one != axis], keepdim=True)
        wanted = magnitude.float().to(weight.device).reshape(length.shape)
        return merged * (wanted / length.clamp_min(torch.finfo(torch.float32).tiny)) - weight.float()

    def _product(self) -> Tensor:
        if "down" in self.tensors:
            return self._scale("down") * _composed(self._of("up"), self._of("down"), self._get("mid"))
        if "hada_w1_a" in self.tensors:
            halves = [
                _tucker(self._of(f"hada_t{number}"), self._of(f"hada_w{number}_a"), self._of(f"hada_w{number}_b"))
                if f"hada_t{number}" in self.tensors
                else self._of(f"hada_w{number}_a") @ self._of(f"hada_w{number}_b")
                for number in (1, 2)
            ]
            return self._scale("hada_w1_b") * halves[0] * halves[1]
        first, second = self._factor(1), self._factor(2)
        # Two whole matrices have no rank to divide by.
        scale = next((self._scale(name) for name in ("lokr_w2_b", "lokr_w1_b") if name in self.tensors), 1.0)
        if second.ndim == 4 and first.ndim == 2:
            first = first[:, :, None, None]
        return scale * torch.kron(first, second.contiguous())

    def _factor(self, number: int) -> Tensor:
        whole = self._get(f"lokr_w{number}")
        if whole is not None:
            return whole
        first, second = self._of(f"lokr_w{number}_a"), self._of(f"lokr_w{number}_b")
        core = self._get(f"lokr_t{number}")
        return _tucker(core, first, second) if core is not None else first @ second.flatten(1)

    def _scale(self, role: str) -> float:
        """alpha / rank; the rank is that of the tensor that stands first in the product."""
        return float(self.tensors["alpha"]) / max(1, len(self.tensors[role])) if "alpha" in self.tensors else 1.0

    def _of(self, role: str) -> Tensor:
        return self.tensors[role].float()

    def _get(self, role: str) -> Tensor | None:
        return self._of(role) if role in self.tensors else None


def _composed(up: Tensor, down: Tensor, mid: Tensor | None) -> Tensor:
    if mid is not None:
        return torch.einsum("on,nrhw,ri->oihw", up.flatten(1), mid, down.flatten(1))
    if down.ndim == 2:
        return up.flatten(1) @ down
    # Convolutions: the first works on the picture, the second on channels alone.
    return torch.einsum("or,rihw->oihw", up.flatten(1), down)


def _tucker(core: Tensor, outward: Tensor, inward: Tensor) -> Tensor:
    return torch.einsum("ijhw,io,jr->orhw", core, outward, inward)


def load_lora(path: Path) -> dict[str, Change]:
    """What a LoRA changes, by layer (`lora_keys.layer`). Raises ModelMissing, or ModelError with the reason."""
    file = inside(path)
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(file).items():
        if name.startswith("bundle_emb."):
            continue  # textual inversions that came along; they work as files of their own
        parted = lora_keys.split(name)
        if parted is None:
            raise ModelError(f"{file.name} is not a LoRA that is known here: it holds {name[:80]}.", FAMILY)
        found.setdefault(lora_keys.layer(parted[0]), {})[parted[1]] = tensor
    changes = {layer: Change(tensors) for layer, tensors in found.items()}
    if any(not _whole(change) for change in changes.values()):
        raise ModelError(f"{file.name} is damaged: its matrices do not belong together.", AGAIN)
    return changes


def _whole(change: Change) -> bool:
    """Whether the matrices of a layer can be multiplied."""
    shapes = {role: tuple(tensor.shape) for role, tensor in change.tensors.items()}
    if any(
        len(shape) not in (2, 4) for role, shape in shapes.items() if role not in ("alpha", "dora_scale", "magnitude")
    ):
        return False
    down, up = shapes.get("down"), shapes.get("up")
    if down and up and "mid" not in shapes and (len(down) != len(up) or up[1] != down[0]):
        return False
    return change.numel > 0 and ("alpha" not in change.tensors or change.tensors["alpha"].numel() == 1)
