"""Trains the embedded model: `python -m paperworld.training.train --minutes 9`, again and again, until it is good.

Three stages: "studio" (text encoder, UNet and ControlNet together), "codec" (the autoencoder), "export" (write the weights
to models/paperworld if they are better than those there). Without --stage all three run, and the minutes are shared out.
Scenes are rendered ahead by processes of their own. Everything that is needed to go on lies in runs/paperworld/<preset>/.
Several processes: `torchrun --nproc-per-node 2 -m paperworld.training.train ... --stage studio`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

import paperworld
from controlnet_core.training import weight_init
from controlnet_core.training.loop import Group, Plan, train
from paperworld.model import codec, tokens
from paperworld.model.latents import Basis
from paperworld.model.networks import SIZES, Noise, Size, Studio, inherit, tokens_of, wake
from paperworld.model.sampling import Painter
from paperworld.training import export
from paperworld.training.examples import Library, basis_at, render_ahead, unpack

RUNS = Path("runs/paperworld")
STAGES = ("studio", "codec", "export")
MIX = {
    "scribble": 0.34,
    "seg": 0.22,
    "pose": 0.14,
    "canny": 0.08,
    "softedge": 0.06,
    "lines": 0.05,
    "depth": 0.06,
    "normal": 0.05,
}
"""Conditions and how often an example shows each; one ControlNet learns them all."""
LOUD = 0.7
"""Channels weigh in the squared error with this power of their natural standard deviation: 2 would be pixels, 0 pure whitening."""
CODE_LIMIT = 8.0
BLANK = 0.02
"""Share of examples whose control is an empty sheet: it must mean "anything"."""


class Batches:
    """Batch n as a function of n (and of the shards that exist): codes, captions, one condition per example, noise.

    While a batch is used, the next one is made by threads.
    """

    def __init__(self, library: Library, basis: Basis, shape: Size, options: argparse.Namespace, seed: int) -> None:
        self.library, self.size, self.seed = library, options.batch, seed
        weight = basis.scale**LOUD
        self.measure = {
            "weight": torch.from_numpy(weight / weight.mean()),
            "patterns": torch.from_numpy(basis.scale[:, None] * basis.axes),
        }
        self.noise = Noise(shape, options.repeat, options.ends)
        self.keys = options.conditions.split(",")
        shares = np.array([MIX[key] for key in self.keys])
        self.shares = shares / shares.sum()
        self.tokenizer = tokens.build(paperworld.WORDS)
        self.pool = ThreadPoolExecutor(options.workers + 1)
        self.ahead: dict[int, Future[dict[str, Tensor]]] = {}

    def __call__(self, number: int) -> dict[str, Tensor]:
        """One batch on the CPU."""
        if number % 50 == 0:
            self.library.refresh()
        ready = self.ahead.pop(number, None)
        batch = ready.result() if ready else self.make(number)
        self.ahead = {number + 1: self.pool.submit(self.make, number + 1)}
        return batch

    def make(self, number: int) -> dict[str, Tensor]:
        """Batch `number`, without the one after it."""
        rng = np.random.default_rng((self.seed, number))
        keys = rng.choice(self.keys, size=self.size, p=self.shares)
        every = range(len(self.library.codes))
        rows = [rng.choice(self.library.showing.get(key, every)) for key in keys]
        captions = [self.library.captions[row][rng.integers(len(self.library.captions[row]))] for row in rows]
        packed = [self.library.controls[row][key] for row, key in zip(rows, keys, strict=True)]
        hints = np.stack([unpack(data) for data in packed])
        hints[rng.random(self.size) < BLANK] = 0
        codes = np.clip(np.stack([self.library.codes[row] for row in rows]).astype(np.float32), -CODE_LIMIT, CODE_LIMIT)
        batch: dict[str, Any] = {
            "codes": _picture_like(torch.from_numpy(codes)),
            "hint": _picture_like(torch.from_numpy(hints).permute(0, 3, 1, 2)).float() / 255,
            # Not cached: what a thread keeps lies between what it frees, and holds all of that memory.
            "tokens": tokens_of(self.tokenizer, captions),
            "empty": tokens_of(self.tokenizer, [""]),
        }
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return batch | self.measure | self.noise.draw(batch["codes"], generator)


def _picture_like(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def teach(folder: Path, size: Size, options: argparse.Namespace, minutes: float, accelerator: Accelerator) -> None:
    """Train text encoder, UNet and ControlNet of a training folder further; resumes."""
    basis = basis_at(folder, size.patch, size.latents)
    workers = _render(folder, basis, options) if accelerator.is_main_process else []
    library = Library(folder)
    while library.refresh() < options.first:
        time.sleep(1)
    batches = Batches(library, basis, size, options, options.seed + 1000 * accelerator.process_index)
    torch.manual_seed(options.seed)
    studio = Studio(size, len(batches.tokenizer))
    wake(studio, batches.make(0)["hint"])
    if options.further:
        inherit(studio, Painter.load(options.to))
    groups = _by_words(studio, batches) if options.further else ()
    plan = Plan(
        steps=options.steps,
        minutes=minutes,
        rate=options.rate,
        seed=options.seed,
        decay=options.decay,
        # A memory of a fiftieth of the training at most: short trainings must forget sooner.
        average=min(0.999, 1 - 50 / options.steps),
    )
    device = accelerator.device
    progress = train(
        studio,
        lambda number: {key: value.to(device, non_blocking=True) for key, value in batches(number).items()},
        plan,
        folder / "studio.pt",
        accelerator,
        groups=groups,
    )
    for worker in workers:
        worker.terminate()
    accelerator.print(f"{progress.step} steps in {progress.seconds / 60:.1f} minutes, {len(library.codes)} scenes.")


@torch.no_grad()
def _by_words(studio: Studio, batches: Batches) -> list[Group]:
    """A trained text encoder still keeps words apart by directions that hardly vary; where pictures ask, all are equally loud."""
    texts = torch.cat([studio.text(batches.make(number)["tokens"]).last_hidden_state for number in range(8)])
    askers = [value for name, value in studio.unet.named_parameters() if re.search(r"attn2\.to_[kv]\.weight", name)]
    asking = {id(value) for value in askers}
    others = [value for value in studio.parameters() if id(value) not in asking]
    return [Group(others), Group(askers, basis=weight_init.text_basis(texts))]


def _render(folder: Path, basis: Basis, options: argparse.Namespace) -> list[Any]:
    spawn = multiprocessing.get_context("spawn")
    arguments = [(folder, basis, list(MIX), options.scenes, part, options.workers) for part in range(options.workers)]
    workers = [spawn.Process(target=render_ahead, args=each, daemon=True) for each in arguments]
    for worker in workers:
        worker.start()
    return workers


def main() -> None:
    """The command line."""
    options = _options()
    folder, size = options.folder or RUNS / options.preset, SIZES[options.preset]
    on_gpu = torch.cuda.is_available() and options.preset == "gpu"
    accelerator = Accelerator(cpu=not on_gpu, mixed_precision="bf16" if on_gpu or options.bf16 else "no")
    share = {"studio": 0.75, "codec": 0.25} if options.stage is None else {options.stage: 1.0}
    if "studio" in share:
        teach(folder, size, options, share["studio"] * options.minutes, accelerator)
    if "codec" in share:
        codec.teach(
            folder, size, share["codec"] * options.minutes, accelerator, export.candidate(folder, size, options.to)
        )
    if options.stage in (None, "export") and accelerator.is_main_process:
        accelerator.print(export.export(folder, size, options.to))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paperworld.training.train", description=__doc__)
    parser.add_argument("--preset", choices=list(SIZES), default="cpu", help="sizes of the networks and precision")
    parser.add_argument("--stage", choices=STAGES, help="only this stage")
    parser.add_argument("--further", action="store_true", help="begin a new training with the shipped networks")
    parser.add_argument("--minutes", type=float, default=60, help="how long to train now")
    parser.add_argument("--steps", type=int, default=8000, help="length of the whole training, for the learning rate")
    parser.add_argument("--batch", type=int, default=8, help="examples a step and process")
    parser.add_argument("--repeat", type=int, default=1, help="noise draws an example")
    parser.add_argument("--ends", type=float, default=0.4, help="share of draws at pure noise")
    parser.add_argument("--rate", type=float, default=1.2e-3, help="learning rate")
    parser.add_argument("--decay", type=float, default=1.0, help="share of the training with falling rate")
    parser.add_argument("--conditions", default=",".join(MIX), help="which conditions to learn, comma-separated")
    parser.add_argument("--scenes", type=int, default=20_000, help="scenes to render ahead")
    parser.add_argument("--first", type=int, default=500, help="scenes to wait for before training")
    parser.add_argument("--workers", type=int, default=1, help="rendering processes")
    parser.add_argument(
        "--bf16", action="store_true", help="on a CPU, too: 1.4 times the steps where it knows bfloat16"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where checkpoints and shards lie (runs/paperworld/<preset>)")
    parser.add_argument("--to", type=Path, default=export.SHIPPED, help="where the weights are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
