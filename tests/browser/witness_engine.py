"""An engine whose pictures tell whether anything was different: noise from all that a recipe says and all that its pictures hold.

So two pictures are equal only if everything that any engine could look at was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.recipe import Recipe
from tests.core.strokes_engine import StrokesEngine


class WitnessEngine(StrokesEngine):
    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], *_: object) -> list[Rgb]:
        seen = hashlib.sha256(recipe.to_json().encode())
        for name in recipe.pictures:
            seen.update(pictures[name].tobytes())
        random = np.random.default_rng(list(seen.digest()))
        return [random.integers(0, 256, (recipe.height, recipe.width, 3), np.uint8) for _ in range(recipe.images)]


def build(_device: str = "") -> WitnessEngine:
    return WitnessEngine()
