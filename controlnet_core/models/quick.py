"""What makes a base model of the catalog quick: its own making, or the LoRAs that fit it.

    quick_ways(base, loras)   # the best first

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlnet_core.models.catalog import ModelCard
from controlnet_core.models.presets import Preset, in_steps, presets


@dataclass(frozen=True)
class Quick:
    """A preset for a base model, and the LoRA that it takes; None where the model is made for it itself."""

    preset: Preset
    lora: ModelCard | None = None

    @property
    def key(self) -> str:
        """What it is called in a page's settings: its LoRA, or its preset."""
        return self.lora.id if self.lora else self.preset.key

    @property
    def title(self) -> str:
        """In words, as "LCM, 4 steps"."""
        steps = self.preset.steps[0]
        return f"{self.preset.title}, {steps} step{'s' if steps > 1 else ''}"


def made_for(card: ModelCard) -> Preset | None:
    """The preset that a base model or LoRA of the catalog is made for; None for others."""
    found = presets().get(card.preset)
    return found and in_steps(found, f"{card.path} {card.file} {card.title}".lower())


def quick_ways(base: ModelCard, loras: Iterable[ModelCard]) -> list[Quick]:
    """What makes a base model quick: its own making, else what each of the LoRAs that fit it is made for. Best first."""
    own = made_for(base)
    if own is not None:
        return [Quick(own)]
    found = [Quick(one, lora) for lora in loras if (one := made_for(lora)) is not None]
    order = list(presets())
    return sorted(found, key=lambda one: (order.index(one.preset.key), one.key))
