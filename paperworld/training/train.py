"""Trains the embedded model: `python -m paperworld.training.train --minutes 9`, again and again: one training that adds up.

The rate is constant after its warm-up, so that any number of runs continue each other. Then comes a short settling, with a
falling rate, on a copy of the checkpoint, from which weights are exported to models/paperworld when they are better than those
there. The next run goes on where the rate was constant. Everything that is needed lies in runs/paperworld/<preset>/.
Several processes: `torchrun --nproc-per-node 2 -m paperworld.training.train ...`; `make paperworld` does it.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import cv2
import torch
from accelerate import Accelerator
from torch import Tensor

import paperworld
from controlnet_core.memory.placement import sent
from controlnet_core.training import weight_init
from controlnet_core.training.loop import Group, LoopSettings, TrainingProgress, read, train
from paperworld.model import tokens
from paperworld.model.latents import SHIPPED_BASIS, Basis
from paperworld.model.networks import SIZES, Size, Studio, inherit, wake
from paperworld.model.sampling import SHIPPED, Painter
from paperworld.training import checkpoints, export
from paperworld.training.batches import Batches

RUNS = Path("runs/paperworld")
SETTLE_SHARE = 0.15
"""Share of the minutes of a run that belongs to settling."""
WARMUP_STEPS = 100
MEANING_RATE = 5.0
"""Of the layer that says colours: it has to be right before it can teach."""
ASKING = re.compile(r"unet\..*attn2\.to_[kv]\.weight")


def studio_at(folder: Path, size: Size, batches: Batches, accelerator: Accelerator, further: Path | None) -> Studio:
    """The networks of a training folder as its training begins, from nothing or from the model in `further`.

    A checkpoint whose vocabulary was another one is renumbered.
    """
    torch.manual_seed(0)
    vocabulary = tokens.build(paperworld.WORDS).get_vocab()
    studio = Studio(size, len(vocabulary))
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        if checkpoints.carry(folder, paperworld.WORDS, studio.state_dict()[checkpoints.TABLE]):
            accelerator.print("The checkpoint was made for another vocabulary: its words are carried over.")
        checkpoints.note(folder, paperworld.WORDS)
        checkpoints.grow(folder, studio.state_dict(), MEANING_RATE)
    accelerator.wait_for_everyone()
    if not (folder / checkpoints.STUDIO).exists():
        wake(studio, batches(0)["hint"])
        if further:
            inherit(studio, Painter.load(further), vocabulary)
    return studio


def groups_of(folder: Path, studio: Studio, batches: Batches, accelerator: Accelerator) -> list[Group]:
    """Keys and values of texts learn in a basis in which all directions of texts are equally loud, the same at every run.

    A text encoder still keeps words apart by directions that hardly vary. The basis follows from the networks as they are
    when it is first asked for.
    """
    kept = folder / checkpoints.WHITENING
    if not kept.exists() and accelerator.is_main_process:
        _whitening(folder, studio, batches, kept)
    accelerator.wait_for_everyone()
    askers = [value for name, value in studio.named_parameters() if ASKING.match(name)]
    asking = {id(value) for value in askers}
    meaning = list(studio.colours.parameters())
    asking |= {id(value) for value in meaning}
    others = [value for value in studio.parameters() if id(value) not in asking]
    return [Group(others), Group(askers, basis=torch.load(kept, weights_only=True)), Group(meaning, scale=MEANING_RATE)]


@torch.no_grad()
def _whitening(folder: Path, studio: Studio, batches: Batches, kept: Path) -> None:
    text = studio.text
    if (folder / checkpoints.STUDIO).exists():
        average = read(folder / checkpoints.STUDIO)["average"]
        text.load_state_dict({k.removeprefix("text."): v for k, v in average.items() if k.startswith("text.")})
    texts = torch.cat([text(batches(number)["tokens"]).last_hidden_state for number in range(8)])
    torch.save(weight_init.text_basis(texts), kept)


def teach(
    folder: Path, size: Size, options: argparse.Namespace, accelerator: Accelerator, settle_steps: int = 0
) -> TrainingProgress:
    """Train the networks of a folder further, at a constant rate for `options.minutes`.

    With `settle_steps`: that many steps with falling rate instead, on a copy of the checkpoint that is begun anew.
    """
    batches = Batches(
        Basis.load(SHIPPED_BASIS),
        options.batch,
        options.ends,
        options.seed + 1000 * accelerator.process_index,
        options.workers,
    )
    studio = studio_at(folder, size, batches, accelerator, SHIPPED if options.further else None)
    if accelerator.device.type == "cpu":
        studio.attend_plainly()
    groups = groups_of(folder, studio, batches, accelerator)
    checkpoint = folder / checkpoints.STUDIO
    plan = LoopSettings(
        steps=options.steps, minutes=options.minutes, rate=options.rate, warmup=WARMUP_STEPS, decay=0.0,
        average=options.average, save_minutes=5, seed=options.seed,
    )  # fmt: skip
    if settle_steps:
        start = read(checkpoint)["step"]
        checkpoint = folder / checkpoints.SETTLED
        if accelerator.is_main_process:
            shutil.copyfile(folder / checkpoints.STUDIO, checkpoint)
        accelerator.wait_for_everyone()
        plan = LoopSettings(
            steps=start + settle_steps, rate=options.rate, warmup=0, decay=settle_steps / (start + settle_steps),
            floor=0.02, average=min(options.average, 1 - 5 / settle_steps), save_minutes=5, seed=options.seed,
        )  # fmt: skip
    device = accelerator.device
    if options.compile:
        studio.compile()

    def batch_at(number: int) -> dict[str, Tensor]:
        return {key: sent(value, device) for key, value in batches(number).items()}

    progress = train(studio, batch_at, plan, checkpoint, accelerator, groups=groups)
    accelerator.print(f"{progress.step} steps in {progress.seconds / 60:.1f} minutes.")
    return progress


def main() -> None:
    """The command line."""
    options = _options()
    cv2.setNumThreads(1)
    if not torch.cuda.is_available():
        torch.set_num_threads(options.threads)
    folder, size = options.folder or RUNS / options.preset, SIZES[options.preset]
    on_gpu = torch.cuda.is_available() and options.preset == "gpu"
    accelerator = Accelerator(cpu=not on_gpu, mixed_precision=_precision(on_gpu))
    checkpoint = folder / checkpoints.STUDIO
    settle = options.settle
    if options.stage in (None, "train"):
        before = read(checkpoint) if checkpoint.exists() else {"step": 0, "seconds": 0.0}
        minutes, options.minutes = options.minutes, options.minutes * (1 if options.stage else 1 - SETTLE_SHARE)
        done = teach(folder, size, options, accelerator)
        pace = (done.step - before["step"]) / max(1.0, done.seconds - before["seconds"])
        settle = settle or max(1, round(pace * minutes * 60 * SETTLE_SHARE))
    if options.stage in (None, "settle"):
        teach(folder, size, options, accelerator, settle or 300)
    if options.stage in (None, "export") and accelerator.is_main_process:
        accelerator.print(export.export(folder, size, options.to, options.whatever))


def _precision(on_gpu: bool) -> str:
    """bf16 where a machine computes in it: it takes two thirds of the time on such a CPU."""
    return "bf16" if on_gpu or torch.cpu.get_capabilities().get("avx512_bf16") else "no"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paperworld.training.train", description=__doc__)
    parser.add_argument("--preset", choices=list(SIZES), default="cpu", help="sizes of the networks and precision")
    parser.add_argument("--stage", choices=("train", "settle", "export"), help="only this stage")
    parser.add_argument("--further", action="store_true", help="begin a new training with the shipped networks")
    parser.add_argument("--minutes", type=float, default=9, help="how long to train now")
    parser.add_argument("--steps", type=int, default=10_000_000, help="where the whole training ends at the latest")
    parser.add_argument("--settle", type=int, default=0, help="steps of settling (default: by the minutes)")
    parser.add_argument("--batch", type=int, default=8, help="examples a step and process")
    parser.add_argument("--ends", type=float, default=0.85, help="share of draws at pure noise")
    parser.add_argument("--rate", type=float, default=8e-4, help="learning rate")
    parser.add_argument("--average", type=float, default=0.998, help="momentum of the averaged weights")
    parser.add_argument("--workers", type=int, default=0, help="processes that render ahead")
    parser.add_argument("--threads", type=int, default=1, help="threads of a process")
    parser.add_argument("--compile", action="store_true", help="compile the networks (a GPU)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where checkpoints lie (runs/paperworld/<preset>)")
    parser.add_argument("--to", type=Path, default=SHIPPED, help="where the weights are written")
    parser.add_argument("--whatever", action="store_true", help="export even what is not better")
    return parser.parse_args()


if __name__ == "__main__":
    main()
