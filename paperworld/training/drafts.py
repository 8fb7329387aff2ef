"""Drafts: the codes that the trained denoiser makes of scenes, beside whose pictures the decoder is taught.

A denoiser's codes differ from true ones in ways that no made-up noise has: fine channels mottled, outlines soft. A decoder
that has seen them paints flat paper flat again. One shard is one file; a shard is a function of its number and the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import paperworld
from paperworld.model.sampling import Hint, Painter
from paperworld.training.examples import control_of, scene_of

FIRST = 2_000_000
"""Seeds from here on: scenes that the denoiser was not trained on, so that its mistakes are those of use."""
BATCHES, BATCH = 16, 8
STEPS = (4, 5, 6, 8, 10)
GUIDANCE = (1.0, 1.5, 1.5, 2.5)
FREEHAND_SHARE = 0.4
"""By hand less often than in training: what a rough line leaves open has no one picture to be taught."""


def sketch(painter: Painter, number: int, keys: Sequence[str], folder: Path) -> None:
    """Write the drafts of shard `number`: seeds N and codes N,C,h,w (float16), whole or not at all."""
    rng = np.random.default_rng((7, number))
    seeds = FIRST + (number * BATCHES * BATCH + np.arange(BATCHES * BATCH))
    codes: list[NDArray[np.float16]] = []
    for start in range(0, len(seeds), BATCH):
        key, prompts, pictures = str(rng.choice(keys)), [], []
        for seed in seeds[start : start + BATCH]:
            scene, truth = scene_of(int(seed))
            freehand = bool(rng.random() < FREEHAND_SHARE)
            picture = control_of(truth, key, rng, freehand)
            # Nobody to pose, nothing straight: the outlines then.
            pictures.append(picture if picture.any() else control_of(truth, "scribble", rng, freehand))
            prompts.append(paperworld.caption(scene, rng))
        steps, guidance = int(rng.choice(STEPS)), float(rng.choice(GUIDANCE))
        made = painter.sample(prompts, [Hint(pictures)], steps, guidance, seed=int(rng.integers(2**31)))
        codes.append(made.numpy().astype(np.float16))
    path = folder / f"drafts-{number:05d}.npz"
    part = path.with_name("part-" + path.name)
    np.savez(part, seeds=seeds, codes=np.concatenate(codes))
    part.replace(path)


def sketch_ahead(weights: Path, keys: Sequence[str], folder: Path, count: int) -> None:
    """Write the shards up to `count` that are missing, with the model in `weights`."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    painter = Painter.load(weights)
    for number in range(count):
        if not (folder / f"drafts-{number:05d}.npz").exists():
            sketch(painter, number, keys, folder)


@dataclass
class Drafts:
    """The drafts that lie in a folder; `refresh` takes in new ones."""

    folder: Path
    seeds: list[int] = field(default_factory=list[int])
    codes: list[NDArray[np.float16]] = field(default_factory=list[NDArray[np.float16]])
    taken: set[str] = field(default_factory=set[str])

    def refresh(self) -> int:
        """Read new shards; returns the number of drafts."""
        for path in sorted(self.folder.glob("drafts-*.npz")):
            if path.name not in self.taken:
                with np.load(path) as file:
                    self.seeds += file["seeds"].tolist()
                    self.codes += list(file["codes"])
                self.taken.add(path.name)
        return len(self.seeds)
