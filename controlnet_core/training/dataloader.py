"""Feeds a lesson: batch n of a data set as a function of n, and of nothing else.

Pictures are brought to one size, or to the nearest of several shapes of one area (aspect buckets); latents and text
embeddings are computed once and kept in a file, or anew with each batch. While a batch is used, the next one is made.
Does not judge pairs (`datasets.checks`); one that breaks after its check is replaced by its neighbour.
"""

# torch leaves parts of its types unknown.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from controlnet_core.datasets import Example, Pairs
from controlnet_core.diffusion import vae
from controlnet_core.diffusion.conditioning import encode_text
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.domain.resize import fit
from controlnet_core.models.loading import Base
from controlnet_core.training.controlnet_loss import Levels
from controlnet_core.training.run import Config

BUCKET_PX = 64
ASPECT_MAX = 2.0
TRIES = 16
_log = logging.getLogger("studio.training")

Shape = tuple[int, int]
"""Width and height in pixels."""


def buckets(size: int) -> list[Shape]:
    """The shapes of about `size` squared pixels, in multiples of 64, no longer than 2 : 1."""
    shapes = [
        (width, size * size // width // BUCKET_PX * BUCKET_PX) for width in range(BUCKET_PX, 2 * size + 1, BUCKET_PX)
    ]
    return [shape for shape in shapes if min(shape) > 0 and max(shape) / min(shape) <= ASPECT_MAX]


def bucket_of(width: int, height: int, shapes: Sequence[Shape]) -> Shape:
    """The shape whose aspect is nearest to a picture's."""
    return min(shapes, key=lambda shape: abs(math.log(shape[0] / shape[1] * height / width)))


class Order:
    """Which pairs batch n holds. `shapes` says the shape of every pair, None that all share one and never end.

    An epoch visits every pair once, shuffled; a batch holds one shape, and the last one of a shape is filled up from its
    beginning.
    """

    def __init__(self, shapes: Sequence[Shape] | None, batch: int, seed: int) -> None:
        self.size, self.seed = batch, seed
        self._members: dict[Shape, list[int]] = {}
        for place, shape in enumerate(shapes or []):
            self._members.setdefault(shape, []).append(place)
        self.batches = sum(math.ceil(len(members) / batch) for members in self._members.values())
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __call__(self, number: int) -> list[int]:
        """The places of batch `number`, counted among the pairs that are trained on."""
        if not self.batches:
            return list(range(number * self.size, (number + 1) * self.size))
        epoch, index = divmod(number, self.batches)
        return self._epoch(epoch)[index]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, 1, epoch))
        found: list[list[int]] = []
        for members in self._members.values():
            order = rng.permutation(members).tolist()
            order += (order * self.size)[: -len(order) % self.size]
            found += [order[start : start + self.size] for start in range(0, len(order), self.size)]
        return [found[place] for place in rng.permutation(len(found))]


@dataclass
class Cache:
    """Latents and text embeddings of every pair in half precision, in one file each, mapped and not read."""

    latents: NDArray[np.float16]
    starts: NDArray[np.int64]
    texts: NDArray[np.float16]
    rows: NDArray[np.int32]
    shapes: list[Shape]


class ControlDataLoader:
    """Batches for a `ControlNetLoss`, on the CPU.

    `indices` are the pairs to train on; None trains on pair 0, 1, 2 ... for ever. `nearest` resizes control pictures
    without inventing colours.
    """

    def __init__(self, base: Base, pairs: Pairs, indices: Sequence[int] | None, config: Config, nearest: bool) -> None:
        self.base, self.pairs, self.indices, self.config, self.nearest = base, pairs, indices, config, nearest
        self.levels = Levels(base.schedule, config.training.min_snr)
        self.shapes = buckets(config.data.size) if config.data.buckets else [(config.data.size, config.data.size)]
        self.cache: Cache | None = None
        self.order: Order | None = None
        self.stride, self.offset = 1, 0
        self._pool = ThreadPoolExecutor(2, "feed")
        self._ahead: dict[int, Future[dict[str, Tensor]]] = {}

    def prepare(self, folder: Path, on_pair: Callable[[int, int], None], free_min_bytes: int = 0) -> None:
        """Look at all pairs: fill the cache in `folder` or find their shapes. Raises NoSpace."""
        batch, seed = self.config.training.batch, self.config.training.seed
        if self.indices is None:
            self.order = Order(None, batch, seed)
            return
        if self.config.data.cache:
            if not (folder / "cache.json").is_file():
                self._fill(folder, on_pair, free_min_bytes)
            self.cache = _open_cache(folder, self.base)
            self.order = Order(self.cache.shapes, batch, seed)
            return
        shapes = self.shapes * len(self.indices)
        if self.config.data.buckets:
            shapes = [self._shape(self.pairs.read(index)) for index in self.indices]
        self.order = Order(shapes, batch, seed)

    def share(self, offset: int, stride: int) -> None:
        """Give this process every `stride`-th batch from `offset` on."""
        self.offset, self.stride = offset, stride

    def __call__(self, number: int) -> dict[str, Tensor]:
        """Batch `number` of this process."""
        number = number * self.stride + self.offset
        ready = self._ahead.pop(number, None)
        after = number + self.stride
        batch = ready.result() if ready else self.make(number)
        self._ahead = {after: self._pool.submit(self.make, after)}
        if "latents" not in batch:
            batch |= self._encoded(batch.pop("target"))
            batch |= self._noise(number, batch["latents"])
        return batch

    def make(self, number: int) -> dict[str, Tensor]:
        """Batch `number` of all, as far as it can be made beside the training: what needs no network."""
        assert self.order is not None, "prepare() comes first"
        rng = np.random.default_rng((self.config.training.seed, 2, number))
        places = self.order(number)
        drop = rng.random(len(places)) < self.config.training.prompt_dropout
        if self.cache is None:
            examples = [self.sized(self._readable(place)[1]) for place in places]
            prompts = ["" if dropped else one.prompt for one, dropped in zip(examples, drop, strict=True)]
            # Not kept for later batches: between the large buffers that come and go here, small ones that stay would keep
            # the allocator from using any room twice (14 GB after 1,000 batches of 512 px).
            texts = {prompt: self._embedded(prompt) for prompt in dict.fromkeys(prompts)}
            hint = _stacked([one.source for one in examples])
            return {
                "hint": hint,
                **self._texts(torch.stack([texts[prompt] for prompt in prompts]), hint),
                "target": _stacked([one.target for one in examples]) * 2 - 1,
            }
        found = [self._readable(place) for place in places]
        places = [place for place, _ in found]
        hints = [self.sized(example, self.cache.shapes[place]).source for place, example in found]
        # The last row is that of the empty prompt.
        rows = [-1 if dropped else int(self.cache.rows[place]) for place, dropped in zip(places, drop, strict=True)]
        latents = torch.from_numpy(np.stack([self._latent(place) for place in places]).astype(np.float32))
        hint = _stacked(hints)
        return {
            "hint": hint,
            **self._texts(torch.from_numpy(self.cache.texts[rows].astype(np.float32)), hint),
            "latents": latents,
            **self._noise(number, latents),
        }

    def sized(self, example: Example, shape: Shape | None = None) -> Example:
        """A pair at its training size: scaled to cover it, the rest cut off evenly."""
        width, height = shape or self._shape(example)
        return Example(
            fit(example.source, width, height, "crop", self.nearest),
            fit(example.target, width, height, "crop"),
            example.prompt,
        )

    def _shape(self, example: Example) -> Shape:
        height, width = example.target.shape[:2]
        return bucket_of(width, height, self.shapes)

    def _readable(self, place: int) -> tuple[int, Example]:
        """The pair at `place`, or the next one of its shape that can still be read, with its place.

        Files vanish and rot during long trainings.
        """
        for near in islice(self._near(place), TRIES):
            index = near if self.indices is None else self.indices[near]
            try:
                return near, self.pairs.read(index)
            except InputError as error:
                _log.warning("%s is skipped: %s", self.pairs.name(index), error)
        raise InputError("Many pairs in a row cannot be read any more.", "Check the data set and start again.")

    def _near(self, place: int) -> Iterator[int]:
        """`place` and those after it, around to the first; once latents are cached, those of its shape."""
        if self.indices is None:
            yield from range(place, place + TRIES)
            return
        for step in range(len(self.indices)):
            near = (place + step) % len(self.indices)
            if self.cache is None or self.cache.shapes[near] == self.cache.shapes[place]:
                yield near

    def _noise(self, number: int, latents: Tensor) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed((self.config.training.seed << 32) + number)
        drawn = self.levels.draw(len(latents), generator)
        return drawn | {"noise": torch.randn(latents.shape, generator=generator)}

    @torch.no_grad()
    def _encoded(self, target: Tensor) -> dict[str, Tensor]:
        return {"latents": vae.encode(self.base.vae, target.to(self.base.vae.device)).cpu()}

    def _embedded(self, prompt: str) -> Tensor:
        """A text as one row of numbers: its hidden states, and behind them the pooled output of families that take it."""
        with torch.no_grad():
            found = encode_text(self.base, prompt)
            pooled = [found.added["text_embeds"][0]] if "text_embeds" in found.added else []
            return torch.cat([found.context[0].flatten(), *pooled]).float().cpu().clone()

    def _texts(self, rows: Tensor, hint: Tensor) -> dict[str, Tensor]:
        """What the networks read of texts (`_embedded`, one below the other), at the size of the pictures."""
        tokens, width = _context_shape(self.base)
        found = {"context": rows[:, : tokens * width].reshape(-1, tokens, width)}
        if "text_embeds" in self.base.family.added:
            found["text_embeds"] = rows[:, tokens * width :]
        if "time_ids" in self.base.family.added:
            height, width = hint.shape[-2:]
            found["time_ids"] = torch.tensor([[height, width, 0, 0, height, width]]).expand(len(rows), -1).float()
        return found

    def _latent(self, place: int) -> NDArray[np.float16]:
        assert self.cache is not None
        width, height = self.cache.shapes[place]
        shape = (self.base.channels, height // self.base.vae_scale_factor, width // self.base.vae_scale_factor)
        start = int(self.cache.starts[place])
        return self.cache.latents[start : start + math.prod(shape)].reshape(shape)

    def _fill(self, folder: Path, on_pair: Callable[[int, int], None], free_min_bytes: int) -> None:
        assert self.indices is not None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        known: dict[str, int] = {}
        rows: list[int] = []
        shapes: list[Shape] = []
        try:
            with (folder / "latents.f16").open("wb") as latents, (folder / "texts.f16").open("wb") as texts:

                def row_of(prompt: str) -> int:
                    if prompt not in known:
                        known[prompt] = len(known)
                        texts.write(self._embedded(prompt).half().numpy().tobytes())
                    return known[prompt]

                for place in range(len(self.indices)):
                    if place % 100 == 0 and shutil.disk_usage(folder).free < free_min_bytes:
                        raise OSError("too little space")
                    _, example = self._readable(place)
                    shapes.append(self._shape(example))
                    target = _stacked([self.sized(example, shapes[-1]).target]) * 2 - 1
                    latents.write(self._encoded(target)["latents"][0].half().numpy().tobytes())
                    rows.append(row_of(example.prompt))
                    on_pair(place + 1, len(self.indices))
                texts.write(self._embedded("").half().numpy().tobytes())
            np.save(folder / "rows.npy", np.array(rows, np.int32))
            np.save(folder / "shapes.npy", np.array(shapes, np.int32))
            (folder / "cache.json").write_text(json.dumps({"pairs": len(rows), "prompts": len(known)}))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise NoSpace(
                "The disk has no room for the cached latents.", "Free some space, or train without the cache."
            ) from error


def _open_cache(folder: Path, base: Base) -> Cache:
    shapes: list[Shape] = [(int(width), int(height)) for width, height in np.load(folder / "shapes.npy")]
    sizes = [
        base.channels * (height // base.vae_scale_factor) * (width // base.vae_scale_factor) for width, height in shapes
    ]
    texts = np.memmap(folder / "texts.f16", np.float16, "r")
    return Cache(
        latents=np.memmap(folder / "latents.f16", np.float16, "r"),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        texts=texts.reshape(-1, _text_numbers(base)),
        rows=np.load(folder / "rows.npy"),
        shapes=shapes,
    )


def _context_shape(base: Base) -> tuple[int, int]:
    """Tokens of a text, and the width of its hidden states: encoders stand side by side."""
    configs: list[Any] = [encoder.config for encoder in base.text_encoders]
    return int(configs[0].max_position_embeddings), sum(int(config.hidden_size) for config in configs)


def _text_numbers(base: Base) -> int:
    """How many numbers a text is in the cache."""
    tokens, width = _context_shape(base)
    pooled = sum(int(encoder.config.projection_dim) for facts, encoder, _ in base.texts if facts.pooled)
    return tokens * width + pooled


def _stacked(pictures: Sequence[Rgb]) -> Tensor:
    """(B, 3, H, W) in [0, 1]."""
    whole: Any = torch.from_numpy(np.stack(pictures))
    return whole.permute(0, 3, 1, 2).contiguous().float() / 255
