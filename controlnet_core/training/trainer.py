"""A whole training, from its configuration to a ControlNet in the models folder.

`conduct` loads the base model, looks through the data, caches, trains, shows samples on the way and publishes the
result. Everything it has to say goes into the run's folder (`controlnet_core.training.run`); it draws no page, chooses no data
and knows nobody who watches.
"""

# torch, diffusers and accelerate publish partial types.
# pyright: reportMissingTypeStubs=false, reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import logging
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from controlnet_core.datasets import Example, Pairs, checks
from controlnet_core.diffusion import schedulers, vae
from controlnet_core.diffusion.conditioning import Reading, encode_pair
from controlnet_core.diffusion.denoiser import Control, Denoiser, embed_hint, levels_of, sample
from controlnet_core.domain import picture
from controlnet_core.domain.control import ControlType
from controlnet_core.domain.errors import Cancelled, InputError, OutOfMemory, RecipeError, StudioError
from controlnet_core.memory import cache, gpu
from controlnet_core.memory.placement import sent
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import Base, Hints, lend_vocabularies, load_base, load_control
from controlnet_core.storage import store
from controlnet_core.training import export, weight_init
from controlnet_core.training.controlnet_loss import ControlNetLoss, fresh
from controlnet_core.training.dataloader import ControlDataLoader
from controlnet_core.training.loop import LoopSettings, Step, TrainingProgress, eight_bit_adam, train
from controlnet_core.training.run import HOLDS, Config, Point, Run, State, Status, Wish

STATUS_GAP_S = 0.5
SAY_GAP_S = 10.0
NOTHING_YET = "Stopped before the first step. Start it again when you like."
_THRIFTIER = (
    "Make the batch or the pictures smaller, or turn checkpointing on. What is kept goes on from its checkpoint."
)
_HALF = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_log = logging.getLogger("studio.training")


@dataclass(frozen=True)
class Surroundings:
    """What a training needs beside its configuration.

    `held` are pairs of their own to show in samples, for data without end. `busy()` says why somebody else needs the
    device now, "" when nobody does; `stopped()` whether this process is to end.
    """

    catalog: Catalog
    control: ControlType
    pairs: Pairs
    held: Pairs | None = None
    busy: Callable[[], str] = lambda: ""
    stopped: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda _text: None
    free_min_bytes: int = store.FREE_MIN_BYTES


def run_training(run: Run, around: Surroundings, accelerator: Accelerator | None = None) -> Status:
    """Train until the plan is done, or somebody wishes to stop; returns the last status, which the run tells too.

    Goes on from the run's checkpoint. Stopping by wish publishes what there is; `stopped()` only keeps the checkpoint.
    Raises StudioError after having told it.
    """
    config = run.config()
    # Without CUDA the processor trains, on a Mac too.
    apple = torch.backends.mps.is_available()
    accelerator = accelerator or Accelerator(mixed_precision=config.training.precision, cpu=apple)
    if accelerator.is_main_process:
        # Whoever started this process wished it already, and may have changed his mind since.
        started_by_another = HOLDS in os.environ
        run.claim()
        if not started_by_another:
            run.want("run")
    teller = _StatusWriter(run, around, accelerator, Status(steps=config.training.steps, pid=os.getpid()))
    try:
        return _conduct(run, config, around, accelerator, teller)
    except Cancelled:
        return teller.tell(state="stopped", text=NOTHING_YET)
    except StudioError as error:
        teller.tell(state="failed", text=error.message, hint=error.hint)
        raise
    except Exception as error:
        if cache.is_exhausted(error):
            full = OutOfMemory("This training needs more memory than its device has.", _THRIFTIER)
            _log.warning("the training %s ran out of memory", run.name, exc_info=True)
            teller.tell(state="failed", text=full.message, hint=full.hint)
            raise full from error
        _log.exception("the training %s failed", run.name)
        teller.tell(state="failed", text="Something went wrong in this training.", hint=f"{run.log} says what.")
        raise


def _conduct(run: Run, config: Config, around: Surroundings, accelerator: Accelerator, teller: _StatusWriter) -> Status:
    teller.tell(state="starting", text="Loading the base model", device=_devices(accelerator))
    gpu.check_precision(accelerator.device, "bfloat16" if config.training.precision == "bf16" else "float32")
    if config.training.optimizer == "adamw8bit":
        eight_bit_adam()  # refused now, not after hours of encoding
    base, control = _networks(config, around.catalog)
    lesson = ControlNetLoss(base.unet, control, str(base.schedule.get("prediction_type", "epsilon")), config.training)
    for network in (lesson.unet, lesson.control):
        network.to(memory_format=torch.channels_last)
    helpers: tuple[Any, ...] = (base.vae, *base.text_encoders)
    for helper in helpers:
        helper.to(accelerator.device)
    with accelerator.main_process_first():
        indices, shown = _chosen(run, config, around, teller)
        feed = ControlDataLoader(base, around.pairs, indices, config, around.control.nearest)
        painter = _Validator(run, config, base, lesson, feed, shown, teller)
        if accelerator.is_main_process:
            painter.show()
        feed.prepare(run.folder / "cache", teller.counts("caching", "Encoding pictures"), around.free_min_bytes)
    basis = _awakened(config, lesson, feed) if config.training.awake else None
    feed.share(accelerator.process_index, accelerator.num_processes)
    if accelerator.is_main_process:
        lesson.to(accelerator.device)
        if config.watch.sample_every and not run.checkpoint.exists():
            painter.look(0)  # what the base does before the first step
    device = accelerator.device
    progress = train(
        lesson,
        lambda number: {key: sent(value, device) for key, value in feed(number).items()},
        _plan(config, around),
        run.checkpoint,
        accelerator,
        groups=lesson.groups(basis),
        on_step=painter.stepped,
        wish=teller.wish,
    )
    return _close(progress, config, base, lesson, painter, around, accelerator, teller)


def _devices(accelerator: Accelerator) -> str:
    """Where it computes; of several processes, asked all together, where each does: "2 x cpu on box1; cuda:0, cuda:1 on box2"."""
    here = accelerator.device
    own = str(here) if here.type == "cuda" else here.type  # elsewhere there is only one, whatever its number
    host = socket.gethostname().partition(".")[0]
    told: list[tuple[str, str]] = gather_object([(host, own)])
    if len(told) == 1:
        return own
    counts: dict[str, Counter[str]] = {}
    for machine, device in told:
        counts.setdefault(machine, Counter())[device] += 1
    names = {
        machine: ", ".join(f"{count} x {device}" if count > 1 else device for device, count in sorted(devices.items()))
        for machine, devices in counts.items()
    }
    return "; ".join(f"{devices} on {machine}" for machine, devices in names.items())


def _close(
    progress: TrainingProgress,
    config: Config,
    base: Base,
    lesson: ControlNetLoss,
    painter: _Validator,
    around: Surroundings,
    accelerator: Accelerator,
    teller: _StatusWriter,
) -> Status:
    """Say how it ended, and publish unless the process was merely told to go."""
    if not accelerator.is_main_process:
        return teller.status
    if progress.ended == "wish" and around.stopped():
        return teller.tell(state="stopped", text="Paused. The checkpoint is kept; start again to go on.")
    if not progress.step:
        return teller.tell(state="stopped", text=NOTHING_YET)
    with painter.averaged():
        result = _publish(config, base, lesson, around.catalog)
    done = progress.ended == "done"
    text = "Finished." if done else f"Stopped after {progress.step} steps and kept."
    return teller.tell(state="done" if done else "stopped", text=text, result=result)


def _networks(config: Config, catalog: Catalog) -> tuple[Base, Any]:
    card = catalog.card(config.base)
    if card.kind != "base":
        raise RecipeError(f"{card.title} is not a base model.", "Choose one that makes pictures by itself.")
    if why := catalog.family(card).refuses("training"):
        raise RecipeError(why, "Choose another base model.")
    catalog.family(card).check_size(config.data.size, config.data.size)
    half = _HALF[config.training.precision] if config.training.locked else torch.float32
    base = load_base(catalog.locate(card), half, Hints(prediction=card.prediction))
    lend_vocabularies(base, catalog)
    # The weights are master copies: whatever the precision, they are kept whole.
    torch.manual_seed(config.training.seed)
    if config.start == "fresh":
        return base, fresh(base)
    start = catalog.card(config.start)
    if start.kind != "controlnet":
        raise RecipeError(f"{start.title} is not a ControlNet.", "Start from a ControlNet, or fresh.")
    control = load_control(catalog.locate(start), torch.float32)
    if control.config["cross_attention_dim"] != base.unet.config["cross_attention_dim"]:
        raise RecipeError(
            f"{start.title} was made for another kind of model.", "Choose one of the base model's family."
        )
    return base, control


def _awakened(config: Config, lesson: ControlNetLoss, feed: ControlDataLoader) -> Tensor:
    """Wake a fresh control, and return the basis in which texts are learnt: the same in every process and every time."""
    batches = [feed.make(number) for number in range(weight_init.BATCHES)]
    if config.start == "fresh":
        weight_init.embedding(lesson.control, torch.cat([batch["hint"] for batch in batches[:4]]))
    return weight_init.text_basis(torch.cat([batch["context"] for batch in batches]))


def _chosen(
    run: Run, config: Config, around: Surroundings, teller: _StatusWriter
) -> tuple[Sequence[int] | None, list[Example]]:
    """The pairs to train on (None: they never end) and the held-out ones that samples show. Raises InputError."""
    pairs, data = around.pairs, config.data
    if checks.is_endless(pairs):
        held = around.held or pairs
        shown = [held.read(index) for index in range(config.samples)]
        return (range(data.pairs) if data.pairs else None), shown
    # Decided once: a training that goes on must find the same pairs, whatever was changed in its data meanwhile.
    kept = run.folder / "split.json"
    if kept.is_file():
        split: dict[str, list[int]] = json.loads(kept.read_text(encoding="utf-8"))
        trained, held_out = split["trained"], split["held_out"]
    else:
        report = checks.check(pairs, data.pairs, teller.counts("checking", "Looking at every pair"))
        for line in checks.lines(report):
            around.say(line)
        if report.bad and data.bad == "refuse":
            first = report.problems[0]
            raise InputError(
                f"{len(report.bad)} of {report.count} pairs cannot be used; {first.name}: {first.text}",
                'Mend them (studio dataset check lists all), or skip them with bad = "skip".',
            )
        usable = report.usable()
        by_hand = checks.held_out(pairs, usable)
        trained, held_out = checks.split(usable, data.held_out, config.training.seed, by_hand)
        split = {"trained": trained, "held_out": held_out}
        store.write(kept, json.dumps(split).encode(), free_min_bytes=around.free_min_bytes)
    return trained, [pairs.read(index) for index in held_out[: config.samples]]


def _plan(config: Config, around: Surroundings) -> LoopSettings:
    how, watch = config.training, config.watch
    return LoopSettings(
        steps=how.steps,
        minutes=how.minutes or float("inf"),
        rate=how.rate,
        warmup=how.warmup,
        decay=how.decay,
        floor=0.05 if how.decay else 1.0,
        weight_decay=how.weight_decay,
        betas=(0.9, 0.999),
        clip=how.clip,
        average=how.ema,
        accumulate=how.accumulate,
        optimizer=how.optimizer,
        seed=how.seed,
        save_minutes=watch.save_minutes,
        save_steps=watch.save_steps,
        free_min_bytes=around.free_min_bytes,
    )


def _publish(config: Config, base: Base, lesson: ControlNetLoss, catalog: Catalog) -> str:
    """Put the ControlNet (and a base whose decoder learnt too) into the models folder; returns its card's id."""
    card = catalog.card(config.base)
    family = card.family or base.family.key
    title = config.title or config.name
    name = config.name
    about = {"title": title, "family": family, "controls": [config.control], "licence": "your own work"}
    if not config.training.locked:
        words = catalog.words(card)
        decoded: dict[str, object] = {"title": f"{title} (base)", "family": family, "licence": card.licence}
        decoded |= {"words": "words.txt" if words else "", "defaults": card.defaults.model_dump()}
        folder = catalog.models / "checkpoints" / f"{name}-base"
        export.publish_base(base, folder, decoded | {"note": f"{card.title}, its decoder trained with {title}."}, words)
        about["note"] = f"Goes with the base model {title} (base)."
    else:
        about["note"] = f"Trained here on {config.data.source.rsplit('/', 1)[-1]}, for {card.title}."
    export.publish(lesson.control, catalog.models / "controlnet" / name, about)
    return name


@dataclass
class _StatusWriter:
    """Writes the status, seldom enough, and reads wishes."""

    run: Run
    around: Surroundings
    accelerator: Accelerator
    status: Status
    told_at: float = 0.0

    def tell(self, *, now: bool = True, **changes: Any) -> Status:
        """Change the status, and write it; without `now` only every half second."""
        if changes.get("state", self.status.state) != self.status.state:
            now = True
        self.status = replace(self.status, memory_mib=_memory_mib(), **changes)
        if self.accelerator.is_main_process and (now or time.monotonic() - self.told_at > STATUS_GAP_S):
            self.run.tell(self.status)
            self.told_at = time.monotonic()
            if now:
                self.around.say(f"{self.status.state}: {self.status.text}".rstrip(": "))
        return self.status

    def counts(self, state: State, text: str) -> Callable[[int, int], None]:
        """A callback for long preparations, which may be stopped and give way too."""

        def count(done: int, total: int) -> None:
            self.tell(now=done == 1, state=state, text=f"{text}: {done} of {total}")
            self.give_way()
            if self.wish() == "stop":
                raise Cancelled()

        return count

    def give_way(self) -> float:
        """Wait while somebody wishes it, between two parts of something long; returns the seconds that it took."""
        begun = time.monotonic()
        while self.wish() == "wait":
            time.sleep(STATUS_GAP_S)
        return time.monotonic() - begun

    def wish(self) -> Wish:
        """Whether to go on: asked before every step."""
        if self.around.stopped():
            return "stop"
        wanted = self.run.wish()
        reason = "Paused." if wanted == "wait" else self.around.busy() if wanted == "run" else ""
        if reason:
            self.tell(now=False, state="waiting", text=reason)
        return wanted if wanted != "run" else "wait" if reason else "run"


@dataclass
class _Validator:
    """What is seen of a training: the curve, and samples of held-out pairs at fixed seeds."""

    run: Run
    config: Config
    base: Base
    lesson: ControlNetLoss
    feed: ControlDataLoader
    shown: list[Example]
    teller: _StatusWriter
    weights: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    begun: bool = False
    recent: list[float] = field(default_factory=list[float])
    said_at: float = field(default_factory=time.monotonic)

    def show(self) -> None:
        """Show the held-out pairs."""
        self.shown = [self.feed.sized(example) for example in self.shown]
        for index, example in enumerate(self.shown):
            self._write(f"control-{index}.png", example.source)
            self._write(f"target-{index}.png", example.target)
        prompts = json.dumps([example.prompt for example in self.shown])
        (self.run.samples() / "prompts.json").write_text(prompts, encoding="utf-8")

    def stepped(self, step: Step, weights: Mapping[str, Tensor]) -> float:
        """Add a step to the curve; now and then, look. Returns the seconds waited meanwhile."""
        if not self.begun:
            self.run.rewind(step.number - 1)
            self.begun = True
        self.weights = weights
        self.run.add([Point(step.number, step.loss, step.norm, step.rate, round(step.seconds, 3))])
        every = self.config.watch.sample_every
        waited = 0.0
        if every and (step.number % every == 0 or step.number == self.config.training.steps):
            waited = self.look(step.number)
        self.teller.tell(now=False, state="training", step=step.number, seconds=step.seconds, text="")
        self.recent.append(step.loss)
        if time.monotonic() - self.said_at > SAY_GAP_S:
            mean = sum(self.recent) / len(self.recent)
            self.teller.around.say(f"step {step.number} of {self.config.training.steps}, loss {mean:.4f}")
            self.recent, self.said_at = [], time.monotonic()
        return waited

    def look(self, step: int) -> float:
        """Sample every shown pair at its fixed seed, one at a time, giving way between them; returns the seconds waited."""
        waited = 0.0
        with self.averaged():
            for index, example in enumerate(self.shown):
                # Other processes of this training would wait for this one, and not for ever.
                waited += self.teller.give_way() if self.teller.accelerator.num_processes == 1 else 0.0
                if self.teller.wish() == "stop":
                    break
                self.teller.tell(state="sampling", text=f"Drawing samples of step {step}")
                self._write(f"step-{step:06d}-{index}.png", self._sampled(index, example))
        return waited

    def averaged(self) -> Any:
        """For a while, the averaged weights in place of the momentary ones."""
        return _Swapped(self.lesson, self.weights)

    @torch.inference_mode()
    def _sampled(self, index: int, example: Example) -> Any:
        watch, base = self.config.watch, self.base
        device = next(self.lesson.parameters()).device
        network = self.lesson.control
        scales = (1.0,) * levels_of(network)
        if self.config.training.middle_only:
            scales = (*(0.0,) * (len(scales) - 1), 1.0)
        helpers: tuple[Any, ...] = (base.vae, *base.text_encoders)
        for helper in helpers:
            helper.to(device)
        hint = embed_hint(network, vae.from_rgb(example.source, device))
        height, width = example.source.shape[:2]
        both = encode_pair(base, example.prompt, "", Reading(weighted=False), (width, height))
        conditional, unconditional = both[0], both[1] if watch.guidance != 1 else None
        denoiser = Denoiser(
            base.unet, conditional, unconditional, watch.guidance, [Control(network, hint, scales=scales)]
        )
        sampler = schedulers.make("ddim", base.schedule, watch.sample_steps, device)
        noise = schedulers.Noise([index], device)
        latent = noise.draw((base.channels, height // base.vae_scale_factor, width // base.vae_scale_factor))
        return vae.to_rgb(vae.decode(base.vae, sample(denoiser, sampler, noise, latent)))[0]

    def _write(self, name: str, rgb: Any) -> None:
        store.write(self.run.samples() / name, picture.to_png(rgb), free_min_bytes=self.teller.around.free_min_bytes)


class _Swapped:
    """Puts other weights into a module, and the old ones back."""

    def __init__(self, module: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
        self.module, self.weights = module, weights
        self.before: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        own = self.module.state_dict()
        with torch.no_grad():
            for name, value in self.weights.items():
                if own[name].data_ptr() != value.data_ptr():
                    self.before[name] = own[name].clone()
                    own[name].copy_(value)

    def __exit__(self, *_error: object) -> None:
        own = self.module.state_dict()
        with torch.no_grad():
            for name, value in self.before.items():
                own[name].copy_(value)


def _memory_mib() -> int:
    """The most memory that this process took: the device's, or on a CPU its own."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
