"""Pictures in a few steps: the presets of distilled models and LoRAs, and which of them a file of some name is made for.

    recognised("sdxl_lightning_8step_lora.safetensors", "lora")   # Lightning, in 8 steps

The presets themselves are data (`presets.toml`), as their makers say. A preset only suggests: whoever chooses it may change
every value. Imports no torch.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.samplers import Sampler, Spacing

DATA = Path(__file__).with_name("presets.toml")
_STEPS = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![a-z])")


class Preset(BaseModel):
    """How models of one making are run. `steps` are those that its files are for, the usual number first.

    `models` and `loras` are patterns of the names by which base models and LoRAs are recognised, "" for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    key: str
    title: str
    models: str = ""
    loras: str = ""
    sampler: Sampler
    spacing: Spacing = "model"
    steps: tuple[int, ...] = Field(min_length=1)
    guidance: float
    eta: float = 0.0
    source: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """What it suggests, as fields of a recipe."""
        return {
            "sampler": self.sampler,
            "spacing": self.spacing,
            "steps": self.steps[0],
            "guidance": self.guidance,
            "eta": self.eta,
        }


@cache
def presets() -> dict[str, Preset]:
    """Every preset by its key, the most particular ones first."""
    found = tomllib.loads(DATA.read_text(encoding="utf-8"))["preset"]
    return {one.key: one for one in map(Preset.model_validate, found)}


def preset(key: str) -> Preset:
    """The preset called `key`. Raises RecipeError that names those that there are."""
    found = presets().get(key)
    if found is None:
        raise RecipeError(f"There is no preset called {key[:64]!r}.", f"Known: {', '.join(presets())}.")
    return found


def recognised(name: str, kind: Literal["base", "lora"]) -> Preset | None:
    """The preset that a base model or LoRA of this name is made for, in as many steps as the name says; None for others."""
    plain = name.lower()
    for one in presets().values():
        pattern = one.models if kind == "base" else one.loras
        if pattern and re.search(pattern, plain):
            return in_steps(one, plain)
    return None


def in_steps(one: Preset, name: str) -> Preset:
    """A preset in the number of steps that a file's name says, where there are files for so many."""
    said = [int(number) for number in _STEPS.findall(name)]
    steps = next((number for number in said if number in one.steps), None)
    if steps is None:
        return one
    return one.model_copy(update={"steps": (steps, *(other for other in one.steps if other != steps))})
