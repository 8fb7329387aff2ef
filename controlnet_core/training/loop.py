"""The training loop: steps until the time or the plan is up, and goes on later as if it had never stopped.

It runs whatever module's forward pass returns a loss, on one CPU, several processes or a GPU (accelerate decides), with
AdamW, warm-up and cosine decay, gradient accumulation and clipping, and an exponential moving average of the weights.
What is frozen is neither trained nor written. Batch number n must be a function of n alone: then an interrupted and
resumed training takes the same steps as an uninterrupted one. It does not know what is trained, where examples come
from, or whether the result is any good.
"""

# accelerate and torch leave parts of their types unknown.
# pyright: reportMissingTypeStubs=false, reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateUsage=false

from __future__ import annotations

import contextlib
import json
import math
import pickle
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from controlnet_core.domain import amounts
from controlnet_core.domain.errors import ModelError, NoSpace, StudioError
from controlnet_core.storage import store

Batch = Mapping[str, Any]
Wish = Literal["run", "wait", "stop"]
WAIT_S = 0.25
ASTRAY = 50
"""Steps in a row without a gradient that is a number, after which a training ends."""


@dataclass(frozen=True)
class LoopSettings:
    """How to train. `minutes` limits this run, `steps` the whole training; `decay` is the share of steps with falling rate.

    A step takes `accumulate` batches in every process. `clip` limits the norm of the gradients (0: it does not), `average`
    is the momentum of the averaged weights (0: there are none). `save_steps` beside `save_minutes`: whichever comes first.
    """

    steps: int
    minutes: float = math.inf
    rate: float = 5e-4
    warmup: int = 100
    decay: float = 1.0
    floor: float = 0.05
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    average: float = 0.999
    accumulate: int = 1
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    seed: int = 0
    save_minutes: float = 3.0
    save_steps: int = 0
    free_min_bytes: int = 0
    """Space on the disk that a checkpoint leaves to others."""

    def rate_at(self, step: int) -> float:
        """Learning rate of `step`: linear warm-up, constant, then half a cosine down to `floor` of the rate."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        start = self.steps * (1 - self.decay)
        part = min(1.0, max(0.0, (step - start) / max(1.0, self.steps - start)))
        return self.rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * part)))


@dataclass(frozen=True)
class Group:
    """Parameters that learn at a rate of their own, `scale` times the plan's.

    With a `basis` B (n,n), symmetric, matrices (m,n) learn as W + V B, V from zero: as though their inputs were multiplied
    by it. They do not decay.
    """

    parameters: Sequence[nn.Parameter]
    scale: float = 1.0
    basis: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """A finished step: its number from 1 on, loss, norm of the gradients before clipping, rate, seconds since the start."""

    number: int
    loss: float
    norm: float
    rate: float
    seconds: float


@dataclass
class TrainingProgress:
    """Where a training stands: steps done, their losses since the last report, seconds spent over all runs.

    `ended` says why the loop came back: the plan is done, the time is up, or somebody wished it.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list[float])
    ended: Literal["done", "time", "wish"] = "done"


def train(
    module: nn.Module,
    batch_at: Callable[[int], Batch],
    plan: LoopSettings,
    checkpoint: Path,
    accelerator: Accelerator | None = None,
    report: Callable[[TrainingProgress, Mapping[str, Tensor]], None] | None = None,
    *,
    groups: Sequence[Group] = (),
    on_step: Callable[[Step, Mapping[str, Tensor]], float] | None = None,
    wish: Callable[[], Wish] | None = None,
) -> TrainingProgress:
    """Train what is not frozen in `module`, in place, and return where it stands.

    Resumes from `checkpoint` when it exists; raises ModelError when that is damaged or belongs to another network,
    NoSpace when the next one cannot be written, and StudioError when losses are no numbers any more: the last one then lies
    there whole. A step whose gradients are no numbers changes nothing. `report` is called after every save,
    `on_step` after every step, both with the averaged weights (or the weights themselves) and on the main process, the
    latter returning the seconds that it spent waiting for others, which do not count; `wish`, there too, is asked before
    every step whether to go on, wait or stop.
    """
    accelerator = accelerator or Accelerator()
    torch.manual_seed(plan.seed)
    optimizer = _optimizer(plan, groups or [Group([value for value in module.parameters() if value.requires_grad])])
    trained = _trained(module)
    progress = TrainingProgress()
    average: dict[str, Tensor] = {}
    if plan.average:
        average = {name: value.clone().float() for name, value in trained.items()}
    if checkpoint.exists():
        progress, average = _resume(checkpoint, trained, optimizer, plan, accelerator)
    running, optimizer = accelerator.prepare(module, optimizer)
    trained = _trained(module)  # on their way to a GPU parameters take other memory
    average = {name: value.to(accelerator.device) for name, value in average.items()}
    saver = _Saver(checkpoint, trained, optimizer, average, plan, accelerator, report)
    started = time.monotonic()
    before = progress.seconds
    waited = 0.0
    astray = 0
    while progress.step < plan.steps:
        idle, stop = _heed(wish, accelerator)
        waited += idle
        late = time.monotonic() - started - waited >= plan.minutes * 60
        if _agreed(late or stop, accelerator):
            progress.ended = "wish" if stop else "time"
            break
        loss, norm, rate = _step(running, optimizer, batch_at, plan, progress.step, accelerator)
        astray = 0 if math.isfinite(norm) else astray + 1
        if astray == ASTRAY:
            raise StudioError(
                f"The training has come apart: its loss has been no number for {ASTRAY} steps.",
                "The last checkpoint is whole. Start anew with a lower rate, or with clip = 1.",
            )
        progress.losses.append(loss)
        progress.step += 1
        _follow(average, trained, min(plan.average, (1 + progress.step) / (10 + progress.step)))
        progress.seconds = before + time.monotonic() - started - waited
        if on_step is not None and accelerator.is_main_process:
            waited += on_step(Step(progress.step, loss, norm, rate, progress.seconds), average or trained)
        saver.save_if_due(progress)
    saver.save(progress)
    return progress


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """The state that training changes, by name: all but what is frozen. The tensors are those of the module."""
    frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def _optimizer(plan: LoopSettings, groups: Sequence[Group]) -> torch.optim.Optimizer:
    given: list[dict[str, Any]] = [
        {"params": list(group.parameters), "scale": group.scale}
        | ({} if group.basis is None else {"weight_decay": 0.0})
        for group in groups
    ]
    settings: dict[str, Any] = {"lr": plan.rate, "weight_decay": plan.weight_decay, "betas": plan.betas}
    if plan.optimizer == "adamw":
        return _in_their_bases(torch.optim.AdamW(given, fused=True, **settings), groups)
    return _in_their_bases(eight_bit_adam()(given, **settings), groups)


def eight_bit_adam() -> Callable[..., torch.optim.Optimizer]:
    """AdamW with moments in 8 bits (Dettmers et al. 2022). Raises StudioError where bitsandbytes is not installed."""
    try:
        import bitsandbytes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise StudioError(
            "Adam in 8 bits needs bitsandbytes, which is not installed.",
            "Install it (pip install bitsandbytes) or choose the optimizer adamw.",
        ) from error
    return bitsandbytes.optim.AdamW8bit


def _in_their_bases(optimizer: torch.optim.Optimizer, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Have groups with a basis step in it: V's gradient is W's times B, and W moves by V's step times B."""
    turned = [(value, group.basis) for group in groups if group.basis is not None for value in group.parameters]
    before: list[Tensor] = []
    placed: dict[object, Tensor] = {}

    def beside(basis: Tensor, value: Tensor) -> Tensor:
        """The basis where a matrix is: it is brought to a device once, not in every step."""
        key = (id(basis), value.device, value.dtype)
        if key not in placed:
            placed[key] = basis.to(value)
        return placed[key]

    @torch.no_grad()
    def turn(*_: object) -> None:
        before[:] = [value.detach().clone() for value, _ in turned]
        for value, basis in turned:
            if value.grad is not None:
                value.grad = value.grad @ beside(basis, value)

    @torch.no_grad()
    def turn_back(*_: object) -> None:
        for (value, basis), old in zip(turned, before, strict=True):
            value.copy_(old + (value - old) @ beside(basis, value))

    if turned:
        optimizer.register_step_pre_hook(turn)
        optimizer.register_step_post_hook(turn_back)
    return optimizer


def _heed(wish: Callable[[], Wish] | None, accelerator: Accelerator) -> tuple[float, bool]:
    """Wait as long as it is wished; returns the seconds waited, and whether to stop."""
    if wish is None:
        return 0.0, False
    begun = time.monotonic()
    while True:
        now: Wish = wish() if accelerator.is_main_process else "run"
        # Every process asks the same questions in the same order: they are collective.
        if _agreed(now == "stop", accelerator):
            return time.monotonic() - begun, True
        if not _agreed(now == "wait", accelerator):
            return time.monotonic() - begun, False
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()  # what steps use, for whoever is waited for
        time.sleep(WAIT_S)


def _step(
    running: nn.Module,
    optimizer: Any,
    batch_at: Callable[[int], Batch],
    plan: LoopSettings,
    step: int,
    accelerator: Accelerator,
) -> tuple[float, float, float]:
    rate = plan.rate_at(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
    total = 0.0
    for part in range(plan.accumulate):
        last = part == plan.accumulate - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(running):
            with accelerator.autocast():
                loss = running(batch_at(step * plan.accumulate + part)) / plan.accumulate
            accelerator.backward(loss)
        total += float(loss.detach())
    parameters = [value for value in running.parameters() if value.requires_grad]
    clipped: Any = accelerator.clip_grad_norm_(parameters, plan.clip or math.inf)
    norm = float(clipped)
    # In float16 the scale of the losses looks after that itself, and has to see it.
    if math.isfinite(norm) or accelerator.scaler is not None:
        optimizer.step()
    optimizer.zero_grad()
    if accelerator.num_processes > 1:
        mean: Any = accelerator.reduce(torch.tensor(total, device=accelerator.device), "mean")
        total = float(mean)
    return total, norm, rate


def _agreed(value: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return value
    flag = torch.tensor(float(value), device=accelerator.device)
    total: Any = accelerator.reduce(flag, "sum")
    return bool(total > 0)


@torch.no_grad()
def _follow(average: dict[str, Tensor], trained: Mapping[str, Tensor], momentum: float) -> None:
    ours, theirs = [], []
    for name, mean in average.items():
        if trained[name].is_floating_point():
            ours.append(mean)
            theirs.append(trained[name].float())
    if ours:
        torch._foreach_lerp_(ours, theirs, 1 - momentum)


@dataclass
class _Saver:
    """Writes checkpoints: whole or not at all, and never the last thing that fits on a disk."""

    path: Path
    trained: Mapping[str, Tensor]
    optimizer: Any
    average: dict[str, Tensor]
    plan: LoopSettings
    accelerator: Accelerator
    report: Callable[[TrainingProgress, Mapping[str, Tensor]], None] | None
    saved_at: float = field(default_factory=time.monotonic)
    saved_step: int = -1

    def save_if_due(self, progress: TrainingProgress) -> None:
        """Save by the clock or by the step."""
        by_step = self.plan.save_steps > 0 and progress.step % self.plan.save_steps == 0
        by_clock = time.monotonic() - self.saved_at > self.plan.save_minutes * 60
        # Processes save together or not at all: the clocks of two processes differ, their step counts do not.
        if by_step or _agreed(by_clock, self.accelerator):
            self.save(progress)

    def save(self, progress: TrainingProgress) -> None:
        """Save now, unless this step is saved already."""
        if self.saved_step == progress.step:
            return
        self.saved_step, self.saved_at = progress.step, time.monotonic()
        if not self.accelerator.is_main_process:
            return
        self._write(progress)
        losses = [loss for loss in progress.losses if math.isfinite(loss)]
        line = {
            "step": progress.step,
            "seconds": round(progress.seconds),
            "loss": round(sum(losses) / len(losses), 5) if losses else None,
        }
        with self.path.with_suffix(".jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self.report is not None:
            self.report(progress, self.average or self.trained)
        progress.losses = []

    def _write(self, progress: TrainingProgress) -> None:
        state = {
            "module": dict(self.trained),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": progress.step,
            "seconds": progress.seconds,
        }
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = sum(value.nbytes for value in self.trained.values()) * (4 if self.average else 3)
        try:
            if shutil.disk_usage(self.path.parent).free < self.plan.free_min_bytes + size:
                raise OSError("too little space")
            with store.replacing(self.path) as file:
                torch.save(state, file)
        # torch.save reports a write that failed as a RuntimeError of its own.
        except (OSError, RuntimeError) as error:
            raise NoSpace(
                f"The disk has no room for the checkpoint of step {progress.step}.",
                f"The last checkpoint is whole. Free about {amounts.size(size)} and start again: it goes on from there.",
            ) from error


def _resume(
    path: Path, trained: Mapping[str, Tensor], optimizer: Any, plan: LoopSettings, accelerator: Accelerator
) -> tuple[TrainingProgress, dict[str, Tensor]]:
    state = read(path)
    saved = state["module"]
    try:
        if not trained.keys() <= saved.keys():
            raise KeyError("other parameters")
        with torch.no_grad():
            for name, value in trained.items():
                if saved[name].shape != value.shape:
                    raise ValueError("other shapes")
                value.copy_(saved[name])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path.name} belongs to a training of another network.",
            "Remove it to begin anew, or give this training another name.",
        ) from error
    if accelerator.scaler is not None and "scaler" in state:
        # In float16 the scale of the losses goes on too, or the first steps would overflow again and be skipped.
        accelerator.scaler.load_state_dict(state["scaler"])
    average: dict[str, Tensor] = {}
    if plan.average:
        average = {name: state["average"].get(name, saved[name]).float() for name in trained}
    return TrainingProgress(state["step"], state["seconds"]), average


def read(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU; raises ModelError when the file is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not {"module", "optimizer", "average", "step", "seconds"} <= state.keys():
            raise KeyError("parts are missing")
        return state
    except (OSError, RuntimeError, EOFError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise ModelError(f"The checkpoint {path.name} is damaged.", "Remove it to begin anew.") from error
