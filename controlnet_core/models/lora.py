"""Puts LoRAs into a base model's weights and takes them out again to the last bit.

What a LoRA adds to a weight (`loading.load_lora`) is added once, before a run, so a step costs what it cost without.
The weights as they were stay aside: taking a LoRA out restores them rather than subtracting.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from controlnet_core.domain.errors import ModelError
from controlnet_core.models.catalog import stamp_of
from controlnet_core.models.loading import Base
from controlnet_core.models.loading.load_lora import FAMILY, load_lora

Use = tuple[Path, float]


class Adapters:
    """The LoRAs that are in the weights of `base` now."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self.uses: tuple[object, ...] = ()
        """Their files, weights and stamps."""
        self._original: dict[nn.Parameter, Tensor] = {}

    def use(self, uses: Sequence[Use]) -> None:
        """Have exactly these LoRA files at these weights in the model. Raises ModelError; then none is in it."""
        wanted = tuple((path, weight, stamp_of(path)) for path, weight in uses if weight != 0)
        if wanted == self.uses:
            return
        self._restore()
        try:
            for path, weight, _ in wanted:
                self._add(path, weight)
        except BaseException:
            self._restore()
            raise
        self.uses = wanted

    def _restore(self) -> None:
        with torch.no_grad():
            for parameter, value in self._original.items():
                parameter.copy_(value)
        self._original.clear()
        self.uses = ()

    def _add(self, path: Path, weight: float) -> None:
        layers = _layers(("lora_unet_",), self._base.unet)
        for facts, encoder, _ in self._base.texts:
            layers |= _layers((facts.lora, f"{facts.part}_"), encoder)
        for name, change in load_lora(path).items():
            parameter = layers.get(name)
            if parameter is None or parameter.numel() != change.numel:
                raise self._foreign(path)
            self._original.setdefault(parameter, parameter.detach().to("cpu", copy=True))
            try:
                # Linear layers and 1 x 1 convolutions stand for each other in shared files.
                added = change.added(self._original[parameter])
            except (RuntimeError, KeyError) as error:
                raise self._foreign(path) from error
            with torch.no_grad():
                parameter.copy_(parameter.float() + weight * added.to(parameter.device))

    def _foreign(self, path: Path) -> ModelError:
        return ModelError(f"The LoRA {path.stem} was made for another kind of model than {self._base.name}.", FAMILY)


def _layers(prefixes: Sequence[str], module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a module's layers by the names that LoRA files give them."""
    found: dict[str, nn.Parameter] = {}
    for name, layer in cast("Iterable[tuple[str, Any]]", cast("Any", module).named_modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            flat = name.removeprefix("text_model.").replace(".", "_")
            for prefix in prefixes:
                found[prefix + flat] = cast("nn.Parameter", layer.weight)
                if not prefix.startswith("lora_unet"):  # transformers called the encoder text_model until version 5
                    found[f"{prefix}text_model_{flat}"] = cast("nn.Parameter", layer.weight)
    return found
