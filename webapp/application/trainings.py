"""Trainings as the pages see them: their folders, their processes, what they cost.

A training is a process of its own (`studio train`) in a session of its own: it outlives the browser and this server,
which finds it again by its files. It stands back behind other programs. Where there are several devices it borrows one from
the workers; else it waits while pictures are made. No torch here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from pathlib import Path

from controlnet_core.checkpoints.safetensors_header import read_shapes
from controlnet_core.domain.errors import InputError, ModelError, NoSpace
from controlnet_core.execution.devices import Device, borrow, is_borrowed
from controlnet_core.families import family
from controlnet_core.models.catalog import Catalog, ModelCard
from controlnet_core.training import run as runs
from controlnet_core.training.run import Config, Run, Wish
from webapp.application.owners import Owners
from webapp.application.settings import ROOT, Settings

NICE = 10
BUILT_IN = {"circles": "Circles (the tutorial's task)", "world": "Picture world (endless)", "gallery": "My gallery"}
_MIB = 1 << 20
_SHARE = 0.114
"""A U-Net's operations, as a share of parameters times cells: its many deep parameters see few cells (SD 1.5)."""
_CORE_FLOPS_PER_S = {"large": 76e9, "small": 34e9}
"""What training reached on one core, with Stable Diffusion 1.5's widths and with the embedded model's (docs/training.md)."""
_GPU_FLOPS_PER_S = 40e12
"""What it may reach on a GPU of a few years' age; not measured."""
_EMBEDDING_S = 1.26e-6
"""Seconds of one core that the condition embedding takes for a pixel, at the original's width; measured on the embedded model."""
_EMBEDDING_VALUES = 110
"""Values that it keeps for a pixel until the way back, at that width."""
_STEP_S = 0.02
"""What a step takes whatever its size: the optimizer, the averages, Python."""
_CORES_MAX, _CORES_SHARE = 8, 0.85
"""Cores beyond which a step gets no faster, and what each of several gives of a single one."""
_UNCACHED = 1.5
"""A step that encodes its pictures takes so much longer than one with cached latents."""
_FREE_MIN_BYTES = 256 * _MIB


@dataclass(frozen=True)
class Cost:
    """What a training takes: memory of the device, seconds a step, and whether those were measured on this machine."""

    memory_mib: int
    step_s: float
    measured: bool


class Trainings:
    """The trainings under a data folder. Safe across threads.

    `workspace` is everywhere who asks: it sees its own, what others share, and what is nobody's; "" sees the last two.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        devices: Sequence[Device] = (),
        borrowed: Callable[[], None] = lambda: None,
        cluster: Callable[[], Sequence[Device]] = lambda: (),
    ) -> None:
        """`devices` are those of this machine that pictures are made on, `cluster()` those of a Ray cluster that are so used now;
        `borrowed()` is called when a training takes some of them."""
        self.settings, self.catalog = settings, catalog
        self.devices, self._borrowed, self._cluster = devices, borrowed, cluster
        self.folder = settings.data / "training"
        self.owners = Owners(self.folder)
        self.set_owners = Owners(settings.data / "datasets")
        self._lock = threading.Lock()

    def all(self) -> list[Run]:
        """Every training, the newest first."""
        return runs.runs(self.folder)

    def seen(self, workspace: str) -> list[Run]:
        """The trainings that a workspace sees, the newest first."""
        return [run for run in self.all() if self.owners.sees(run.name, workspace)]

    def run(self, name: str, workspace: str = "") -> Run:
        """The training called `name`. Raises InputError where a workspace sees none."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,47}", name) or not (self.folder / name / "config.toml").is_file():
            raise InputError("There is no such training.")
        if not self.owners.sees(name, workspace):
            raise InputError("There is no such training.")
        return Run(self.folder / name)

    def running(self) -> Run | None:
        """The training whose process lives; None when the device is free of them."""
        return next((run for run in self.all() if run.alive()), None)

    def device(self) -> Device | None:
        """The device that a training would have for itself; None where there is but one, which pictures need too."""
        free = [device for device in self.devices if not is_borrowed(device, self.settings.data)]
        return free[-1] if len(free) > 1 else None

    def lendable(self) -> Sequence[Device]:
        """The devices of the cluster that a training may have; none where pictures are not made on several."""
        found = [device for device in self._cluster() if not is_borrowed(device, self.settings.data)]
        return found if len(found) > 1 else []

    def start(self, config: Config, workspace: str = "") -> Run:
        """Start a process that trains, or goes on from the checkpoint; on so many devices of the cluster as it is for.

        Raises InputError when one trains already, the name is that of somebody else's, or the cluster has not so many devices.
        """
        self.owners.check(config.name, workspace)
        wanted, there = config.training.devices, len(self.lendable())
        if wanted > there:
            raise InputError(
                f"This training is for {wanted} device{'s' if wanted > 1 else ''} of a cluster, and {there or 'none'} can be had.",
                "Join more nodes, or wait until they are back."
                if self.settings.ray
                else "Start the studio with --ray.",
            )
        with self._lock:
            busy = self.running()
            if busy is not None:
                name = busy.name if self.owners.sees(busy.name, workspace) else "Somebody else's network"
                raise InputError(f"{name} is training.", "Stop it or wait for it: the device can do one at a time.")
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free < self.settings.free_min_bytes + _FREE_MIN_BYTES:
                raise NoSpace("The disk has too little room for a training.", "Free some space first.")
            run = Run(self.folder / config.name)
            held = run.claim()
            run.create(config)
            self.owners.note(run.name, workspace)
            run.want("run")
            run.tell(runs.Status(state="starting", steps=config.training.steps, text="Starting its process"))
            try:
                self._spawn(run, held)
            finally:
                run.release()
        return run

    def want(self, run: Run, wish: Wish, workspace: str = "") -> None:
        """Say what is wanted of a training whose process lives; of a dead one nothing can be.

        Raises InputError when it is somebody else's, and for all but "stop" when it stops already: its process may have
        heard that.
        """
        self.owners.check(run.name, workspace)
        if not run.alive():
            return
        if wish != "stop" and run.wish() == "stop":
            raise InputError(f"{run.name} is stopping.", "When it has stopped it can go on from its checkpoint.")
        run.want(wish)

    def remove(self, run: Run, workspace: str = "") -> None:
        """Remove a training that is over, with all its files. Raises StudioError when it runs, is somebody else's or cannot be
        removed."""
        self.owners.check(run.name, workspace)
        with self._lock:
            run.claim()  # nobody starts it meanwhile
            try:
                # First what makes a folder a training: a removal that is cut off leaves none that is half there.
                (run.folder / "config.toml").unlink(missing_ok=True)
                shutil.rmtree(run.folder)
                self.owners.forget(run.name)
            except OSError as error:
                raise InputError(f"{run.name} cannot be removed: {error.strerror}.") from error
            finally:
                run.release()

    def _spawn(self, run: Run, held: int) -> None:
        where = {"STUDIO_DATA": str(self.settings.data), "STUDIO_MODELS": str(self.settings.models)}
        where[runs.HOLDS] = str(held)
        command = [sys.executable, "-m", "webapp", "train", str(run.folder / "config.toml"), "--nice", str(NICE)]
        several = run.config().training.devices
        device = None if several else self.device()
        if several and self.settings.ray != "auto":
            where["RAY_ADDRESS"] = self.settings.ray
        # The child holds the devices' locks by having them open, and so until its end, whatever becomes of this process.
        with ExitStack() as ours:
            log = ours.enter_context(run.log.open("ab"))
            wanted = chosen(self.lendable(), several) if several else [device] if device is not None else []
            locks = [lock for one in wanted if (lock := borrow(one, self.settings.data)) is not None]
            for lock in locks:
                ours.enter_context(lock)
            if device is not None and locks:
                where |= device.environment | {runs.APART: "1"}
            # A session of its own: neither Ctrl-C in the server's terminal nor its end reaches the training.
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | where,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[held, *(lock.fileno() for lock in locks)],
            )
        self._borrowed()
        # Somebody has to wait for a child, or it stays in the process table when it is dead.
        threading.Thread(target=child.wait, name=f"training {run.name}", daemon=True).start()

    def sources(self, workspace: str = "") -> dict[str, str]:
        """What can be learnt from: the built-in sets, then the folders under datasets/; title by source."""
        folders = sorted(path for path in (self.settings.data / "datasets").glob("*") if path.is_dir())
        seen = [path for path in folders if self.set_owners.sees(path.name, workspace)]
        return BUILT_IN | {str(path): path.name for path in seen}

    def cost(self, config: Config, device: str) -> Cost:
        """What a training will take: estimated from the models' files, measured where one like it has run."""
        base = self.catalog.card(config.base)
        found = self.catalog.locate(base)
        memory_mib, step_s = estimated(_parameters(found), config, device)
        measured = self._measured(config)
        return Cost(memory_mib, measured or step_s, bool(measured))

    def _measured(self, config: Config) -> float:
        """Seconds a step of the newest training of this base and size, for as many examples; 0 when there is none."""
        for run in self.all():
            try:
                other = run.config()
            except InputError:
                continue
            points = run.latest(200)
            if (other.base, other.data.size) != (config.base, config.data.size) or len(points) < 10:
                continue
            spans = [late.seconds - early.seconds for early, late in pairwise(points)]
            examples = other.training.batch * other.training.accumulate
            return sorted(spans)[len(spans) // 2] * config.training.batch * config.training.accumulate / examples
        return 0.0


def chosen(devices: Sequence[Device], count: int) -> list[Device]:
    """So many of a cluster's: GPUs where there are as many, for several processes compute on devices of one kind."""
    gpus = [device for device in devices if device.kind == "cuda"]
    others = [device for device in devices if device.kind != "cuda"]
    return gpus[:count] if len(gpus) >= count else [*others, *gpus][:count]


def estimated(sizes: Sizes, config: Config, device: str, cores: int = 0) -> tuple[int, float]:
    """MiB of the device's memory, and seconds a step, that a training will take; on a CPU with so many cores (0: this one's).

    Good to a quarter for the networks that were measured, on a machine that does nothing else.
    """
    how, size = config.training, config.data.size
    control = round(sizes.unet * 0.42)
    trained = control + (0 if how.locked else round(sizes.unet * 0.5))
    wide = 4 if how.precision == "no" else 2
    cells, pixels = (size / sizes.cell) ** 2, size * size * sizes.width / 320
    # Activations that wait for the way back; checkpointing keeps a fifth of the blocks'.
    blocks = (sizes.unet + control) * cells * _SHARE * (0.0002 if how.checkpointing else 0.001)
    kept = how.batch * (blocks + pixels * _EMBEDDING_VALUES) * wide
    moments = 2 if how.optimizer == "adamw8bit" else 8
    memory = (sizes.unet + sizes.rest) * wide + trained * (8 + moments + (4 if how.ema else 0)) + kept
    # Forward through both, backward through the control and the U-Net's decoder.
    examples = how.batch * how.accumulate
    flops = 2 * _SHARE * cells * examples * (2.0 * sizes.unet + 3 * control + (0 if how.locked else 0.5 * sizes.unet))
    if device.startswith("cuda"):
        base_mib, step_s = 600, flops / _GPU_FLOPS_PER_S
    else:
        cores = min(cores or os.cpu_count() or 1, _CORES_MAX)
        rate = _CORE_FLOPS_PER_S["large" if sizes.unet > 200_000_000 else "small"]
        alone = flops / rate + pixels * examples * _EMBEDDING_S
        base_mib, step_s = 500, _STEP_S + alone / (1 if cores == 1 else cores * _CORES_SHARE)
    return round(memory / _MIB) + base_mib, step_s * (1 if config.data.cache else _UNCACHED)


def starts(catalog: Catalog, base: ModelCard) -> list[ModelCard]:
    """The installed ControlNets that a training for `base` can start from."""
    cards = (card for card in catalog.cards() if card.kind == "controlnet" and card.family == base.family)
    return [card for card in cards if card.network == "controlnet" and catalog.installed(card)]


def suggested(base: ModelCard, steps: int) -> dict[str, float | int]:
    """What suits the family of a base model."""
    found = dict(family(base.family).training)
    return found | {"warmup": min(int(found["warmup"]), steps // 10)}


@dataclass(frozen=True)
class Sizes:
    """Of a base model: parameters of the U-Net and of the rest, pixels to a latent's cell, channels of its first level."""

    unet: int
    rest: int
    cell: int = 8
    width: int = 320


SD15 = Sizes(859_500_000, 206_800_000)


@cache
def _parameters(path: Path) -> Sizes:
    """Numbers of parameters of a base model, from its files' headers; SD 1.5's where they cannot tell."""
    if path.is_dir():
        unet, rest = _count(path / "unet"), _count(path / "vae") + _count(path / "text_encoder")
        small = unet and unet < 20_000_000
        return Sizes(unet or SD15.unet, rest or SD15.rest, 16 if small else 8, 64 if small else 320)
    return SD15


def _count(folder: Path) -> int:
    total = 0
    for file in folder.glob("*.safetensors"):
        try:
            total += sum(map(prod, read_shapes(file).values()))
        except (ModelError, KeyError, TypeError, OSError):
            continue
    return total
