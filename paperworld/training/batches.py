"""Batches of training examples, each example rendered once and used a few times.

Batch n is a function of n alone, so that a training that was stopped goes on as if it had not been. Its examples come from a
window of numbers that moves on with n; what was rendered lately is kept, and processes may render ahead.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import paperworld
from controlnet_core.domain.control import Rgb
from paperworld.model import tokens
from paperworld.model.latents import Basis
from paperworld.model.networks import Noise, tokens_of
from paperworld.world.examples import COLOURED, DEAR, EDGE, HELD_OUT, INSIDE, MIX, PROMPT, SIDE_PX, example

FRESH = 0.25
"""Share of a batch that no batch had before: every example is used four times."""
WINDOW = 600
"""Numbers of examples from which a batch draws."""
CODE_LIMIT = 8.0
LOUD = 0.7
"""Channels weigh in the squared error with this power of their natural standard deviation: 2 would be pixels, 0 pure whitening."""
WORTH = {INSIDE: 1.5, EDGE: 0.7, DEAR: 3.0, COLOURED: 1.0}
"""How much more an error counts inside of things, at edges, in faces and hands, and where a colour has a name: there is less of
all of them than of flat paper."""
ALONE = 0.7
"""Share of the examples without a control that have none at all; the others have an empty sheet."""
LARGER = {5: 384, 13: 512}
"""Of sixteen batches these show larger pictures, as many as take the same time."""


@dataclass(frozen=True)
class Prepared:
    """What a batch keeps of an example: codes C,h,w, control H,W,3, why pixels are loud H,W, its colours, words and condition."""

    codes: NDArray[np.float16]
    control: Rgb
    loud: NDArray[np.uint8]
    colours: NDArray[np.float32]
    caption: str
    key: str


def prepare(basis: Basis, key: str, seed: int, side_px: int = SIDE_PX) -> Prepared:
    """Example `seed` of a condition in the codes of `basis`."""
    cv2.setNumThreads(1)
    made = example(key, seed, side_px)
    codes = np.clip(basis.encode(made.truth.picture), -CODE_LIMIT, CODE_LIMIT)
    return Prepared(codes.astype(np.float16), made.control, made.loud, made.colours, made.caption, key)


class Batches:
    """Batch n on the CPU: codes, control, tokens, loudness, times and noise.

    `size` examples of 256 px, or fewer larger ones. With `workers`, as many processes render the next `ahead` batches.
    """

    def __init__(self, basis: Basis, size: int, ends: float, seed: int = 0, workers: int = 0, ahead: int = 4) -> None:
        self.basis, self.size, self.seed, self.ahead = basis, size, seed, ahead
        weight = basis.scale**LOUD
        self.measure = {
            "weight": torch.from_numpy((weight / weight.mean()).astype(np.float32)),
            "patterns": torch.from_numpy(basis.scale[:, None] * basis.axes),
        }
        self.noise = Noise(ends)
        self.tokenizer = tokens.build(paperworld.WORDS)
        self.kept: dict[tuple[int, int], Prepared | Future[Prepared]] = {}
        self.pool: Executor | None = None
        if workers:
            self.pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def numbers(self, number: int) -> list[tuple[int, int]]:
        """The examples of batch `number`: their numbers, and their sides in pixels."""
        rng = np.random.default_rng((self.seed, number))
        side = LARGER.get(number % 16, SIDE_PX)
        count = max(1, self.size * SIDE_PX**2 // side**2)
        newest = int(number * self.size * FRESH)
        return [(newest - int(back), side) for back in rng.integers(0, WINDOW, count)]

    def __call__(self, number: int) -> dict[str, Tensor]:
        """One batch."""
        wanted = self.numbers(number)
        self._order(number)
        rows = [self._row(*each) for each in wanted]
        self._forget(number)
        rng = np.random.default_rng((self.seed, number, 1))
        codes = _like_pictures(torch.from_numpy(np.stack([row.codes for row in rows]).astype(np.float32)))
        controls = torch.from_numpy(np.stack([row.control for row in rows])).permute(0, 3, 1, 2)
        colours = torch.from_numpy(np.stack([row.colours for row in rows]))
        alone = torch.tensor([row.key == PROMPT and bool(rng.random() < ALONE) for row in rows])
        batch: dict[str, Any] = {
            "codes": codes,
            "hint": _like_pictures(controls.float().div(255)),
            "tokens": tokens_of(self.tokenizer, [row.caption for row in rows]),
            "loud": torch.from_numpy(np.stack([_loudness(row.loud, self.basis.side) for row in rows])),
            "colours": colours.nan_to_num(),
            "shown": ~colours.isnan(),
            "keep": 1.0 - alone.float(),
        }
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return batch | self.measure | self.noise.draw(codes, generator)

    def _what(self, index: int) -> tuple[str, int]:
        """Condition and seed of the example with number `index`."""
        rng = np.random.default_rng((self.seed, 2, index + 2**40))
        return str(rng.choice(list(MIX), p=list(MIX.values()))), int(rng.integers(HELD_OUT))

    def _order(self, number: int) -> None:
        """Have the next batches rendered."""
        if self.pool is None:
            return
        for after in range(self.ahead + 1):
            for index, side in self.numbers(number + after):
                if (index, side) not in self.kept:
                    self.kept[index, side] = self.pool.submit(prepare, self.basis, *self._what(index), side)

    def _row(self, index: int, side: int) -> Prepared:
        found = self.kept.get((index, side))
        if found is None:
            found = prepare(self.basis, *self._what(index), side)
        elif isinstance(found, Future):
            found = found.result()
        self.kept[index, side] = found
        return found

    def _forget(self, number: int) -> None:
        oldest = int(number * self.size * FRESH) - WINDOW
        for index, side in [each for each in self.kept if each[0] < oldest or (each[1] != SIDE_PX and not self.pool)]:
            del self.kept[index, side]


def _like_pictures(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _loudness(loud: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """h,w,P: the worth of each pixel of each cell, three colours each, from what `Example.loud` says."""
    worth = np.array([1 + sum(more for bit, more in WORTH.items() if why & bit) for why in range(16)], np.float32)[loud]
    height, width = loud.shape[0] // side, loud.shape[1] // side
    cells = worth.reshape(height, side, width, side).transpose(0, 2, 1, 3).reshape(height, width, -1)
    return np.repeat(cells, 3, axis=2)
