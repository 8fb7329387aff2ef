"""The picture world as a data set without end: scene n with the truth of one condition as its control picture."""

from __future__ import annotations

import numpy as np

import paperworld
from controlnet_core.datasets.pairs import ENDLESS, Example
from controlnet_core.domain.control import ControlType, values
from controlnet_core.domain.errors import InputError

HELD_OUT = 10_000_000
"""Scenes from here on are never trained on."""


class WorldPairs:
    """Scenes from number `first` on, `size` px a side, for one condition. Pair n depends on n alone.

    Raises InputError for a condition without a truth.
    """

    def __init__(self, control: ControlType, size: int = 256, first: int = 0) -> None:
        if control.truth is None:
            raise InputError(*control.no_pairs)
        self.title = f"Paperworld: {control.title}"
        self.control, self.size, self.first = control, size, first

    def __len__(self) -> int:
        return ENDLESS

    def name(self, index: int) -> str:
        """See `Pairs.name`."""
        return f"scene {self.first + index}"

    def read(self, index: int) -> Example:
        """See `Pairs.read`."""
        seed = self.first + index
        scene = paperworld.compose(seed)
        truth = paperworld.render(scene, self.size, self.size)
        source = self.control.render(self.control.truth_of(truth), values(self.control.params, {}))
        return Example(source, truth.picture, paperworld.caption(scene, np.random.default_rng((seed, 3))))
