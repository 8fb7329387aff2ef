"""Trainings as folders: the configuration that decides one, and what it tells while it runs.

    <run>/config.toml      the configuration: everything that decides the training, and only that
          status.json      where it stands, rewritten every second or so
          curve.jsonl      one line a step: loss, gradient norm, learning rate
          wish             "run", "wait" or "stop": what somebody else wants of it
          gallery.txt      pictures of the gallery that it learns from, if it does
          samples/         control-0.png, target-0.png, and step-000300-0.png for each look at fixed seeds
          state.pt         the checkpoint
          trainer.lock     held by the process that trains, so that nobody has to trust process ids

Whoever trains writes, whoever watches reads; they share nothing but these files, so either may die and come back. Needs
no torch.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.recipe import Key, Side
from controlnet_core.storage import store

State = Literal["starting", "checking", "caching", "training", "sampling", "waiting", "stopped", "done", "failed"]
Wish = Literal["run", "wait", "stop"]
OVER: tuple[State, ...] = ("stopped", "done", "failed")
HOLDS = "STUDIO_RUN_HELD_BY"
ANOTHER = "another"
"""Under `HOLDS`: the process that started this one, perhaps on another machine, holds the run as long as this one trains."""
APART = "STUDIO_TRAINS_APART"
"""Set in the environment of a training that has a device for itself."""
CONFIG_MAX_BYTES = 64 * 1024
_LOOK_S = 0.2
"""More than `Run.alive` holds the lock for a look at it."""
_POINT_BYTES = 160
"""More than a line of a curve has."""
_SAMPLE = re.compile(r"step-(\d+)-(\d+)\.png")
Positive = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """What is learnt from.

    `source` is a folder, or one of "circles", "world" and "gallery". `pairs` takes only the first so many (0: all; data
    that is made when asked needs a number to be cached). `held_out` pairs are never trained on: the first four of them
    are what samples show; pairs that a person chose in a folder are held out instead. `owner` is the workspace whose
    pictures the gallery gives ("": everybody's). `bad` says what becomes of pairs that cannot be used. `size` is the side
    of the square (with `buckets`: of its area) that pictures are brought to, in pixels.
    """

    source: str
    owner: Annotated[str, Field(max_length=64)] = ""
    pairs: Annotated[int, Field(ge=0)] = 0
    held_out: Annotated[int, Field(ge=1, le=1000)] = 4
    bad: Literal["refuse", "skip"] = "refuse"
    size: Side = 512
    buckets: bool = False
    cache: bool = True


class Training(_Strict):
    """How it is learnt. The defaults are those of the original's tutorial.

    `locked` freezes the base model (the original's sd_locked); else its decoder learns too, at `decoder_rate`. `awake`
    makes a small base's condition embedding and texts loud enough to learn from (`training.weight_init`).
    `middle_only` gives the decoder the control's middle output alone (only_mid_control). `min_snr` is the gamma of Hang et
    al. 2023 (5 there; 0: all noise levels weigh the same), `prompt_dropout` the share of empty prompts (0.5 in the paper),
    `devices` are those of a Ray cluster that train together, each with batches of its own (0: this process alone).
    `ema` is the momentum of averaged weights (0: none), `decay` the share of steps with falling rate, `minutes` 0: no limit.
    """

    steps: Positive = 10_000
    minutes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    accumulate: Annotated[int, Field(ge=1, le=1024)] = 1
    rate: Rate = 1e-5
    decoder_rate: Rate = 2e-6
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Share = 0.0
    weight_decay: Share = 0.01
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    precision: Literal["no", "fp16", "bf16"] = "no"
    checkpointing: bool = False
    locked: bool = True
    awake: bool = False
    middle_only: bool = False
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    devices: Annotated[int, Field(ge=0, le=1024)] = 0
    min_snr: Annotated[float, Field(ge=0, le=100)] = 0.0
    prompt_dropout: Share = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Watch(_Strict):
    """What is kept and shown on the way: a checkpoint every so often, samples every so many steps (0: none)."""

    save_steps: Annotated[int, Field(ge=0)] = 0
    save_minutes: Annotated[float, Field(gt=0)] = 5.0
    sample_every: Annotated[int, Field(ge=0)] = 300
    samples: Annotated[int, Field(ge=1, le=16)] = 4
    sample_steps: Annotated[int, Field(ge=1, le=100)] = 20
    guidance: Annotated[float, Field(ge=0, le=30)] = 9.0


class Config(_Strict):
    """A training: `base` is the id of a base model's card, `start` "fresh" or the id of a ControlNet's, `control` the
    condition that the new ControlNet will serve."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
    title: Annotated[str, Field(max_length=100)] = ""
    base: Key
    control: Key
    start: Key = "fresh"
    data: Data
    training: Training = Training()
    watch: Watch = Watch()

    @property
    def samples(self) -> int:
        """How many held-out pairs the samples show."""
        return min(self.watch.samples, self.data.held_out)


def parse(text: str | bytes) -> Config:
    """A configuration from TOML that may come from anywhere. Raises InputError with the name of the first wrong field."""
    if len(text) > CONFIG_MAX_BYTES:
        raise InputError("The configuration is larger than 64 KiB.")
    try:
        plain = text if isinstance(text, str) else text.decode()
        return Config.model_validate(tomllib.loads(plain))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"The configuration is not TOML: {error}.", "docs/training.md shows one.") from error
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> InputError:
    """The first problem of a configuration, in a sentence that names the field."""
    return InputError(json_input.first_fault(error, "configuration"))


def to_toml(config: Config) -> str:
    """A configuration as TOML, defaults included."""
    fields = config.model_dump()
    sections = {key: fields.pop(key) for key in ("data", "training", "watch")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    for name, section in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Status:
    """Where a training stands. `text` and `hint` say what happened; `seconds` are those spent on steps; `device` names those of all
    its processes; `memory_mib` is the most that the first of them took, `result` the id of the new ControlNet's card."""

    state: State = "starting"
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    text: str = ""
    hint: str = ""
    device: str = ""
    memory_mib: int = 0
    result: str = ""
    pid: int = 0


@dataclass(frozen=True)
class Point:
    """One step of the curve."""

    step: int
    loss: float
    norm: float
    rate: float
    seconds: float


class Outline:
    """The curve of a run in a few hundred points, whatever its length: each the mean of as many steps as the others.

    `update` reads only what was written since the last time, so following a long training costs no more than a short
    one. Not safe across threads.
    """

    def __init__(self, run: Run, points: int = 480) -> None:
        self.path, self.most = run.folder / "curve.jsonl", points
        self._forget()

    def _forget(self) -> None:
        self._file, self._read, self._rest = 0, 0, b""
        self._span = 1  # steps that a point stands for
        self._points: list[Point] = []
        self._open: list[Point] = []  # steps of the next point

    def update(self) -> list[Point]:
        """The outline now; the last point may stand for fewer steps."""
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                # A training that goes on from a checkpoint writes its curve anew, and shorter.
                if about.st_ino != self._file or about.st_size < self._read:
                    self._forget()
                    self._file = about.st_ino
                file.seek(self._read)
                data = file.read()
        except OSError:
            self._forget()
            return []
        self._read += len(data)
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        for point in _points(whole):
            self._add(point)
        return [*self._points, _mean(self._open)] if self._open else list(self._points)

    def _add(self, point: Point) -> None:
        self._open.append(point)
        if len(self._open) < self._span:
            return
        self._points.append(_mean(self._open))
        self._open.clear()
        if len(self._points) == self.most:
            self._points = [_mean(pair) for pair in zip(self._points[::2], self._points[1::2], strict=True)]
            self._span *= 2


def _mean(points: Sequence[Point]) -> Point:
    """One point for several: means, at the last one's step. What is not finite counts only where nothing else is there."""

    def mean(values: list[float]) -> float:
        known = [value for value in values if math.isfinite(value)]
        return sum(known) / len(known) if known else values[-1]

    last, columns = points[-1], zip(*((one.loss, one.norm, one.rate) for one in points), strict=True)
    loss, norm, rate = (mean(list(column)) for column in columns)
    return Point(last.step, loss, norm, rate, last.seconds)


def _points(lines: bytes) -> list[Point]:
    """The steps that lines of a curve tell; what is no such line is left out."""
    points: list[Point] = []
    for line in lines.splitlines():
        try:
            points.append(Point(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return points


@dataclass(frozen=True)
class Samples:
    """The samples of one step: a file for each held-out pair."""

    step: int
    files: tuple[Path, ...]


@dataclass
class Run:
    """The folder of one training."""

    folder: Path
    _lock: IO[str] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What the training is called."""
        return self.folder.name

    @property
    def checkpoint(self) -> Path:
        """Where the loop keeps its state."""
        return self.folder / "state.pt"

    @property
    def log(self) -> Path:
        """Where details of failures go."""
        return self.folder / "train.log"

    def config(self) -> Config:
        """The configuration. Raises InputError when it is not there or damaged."""
        try:
            return parse((self.folder / "config.toml").read_bytes())
        except OSError as error:
            raise InputError(f"There is no training called {self.name}.") from error

    def create(self, config: Config) -> None:
        """Make the folder. Raises InputError when it holds another training."""
        path = self.folder / "config.toml"
        if path.is_file():
            before = self.config()
            same = {"training": config.training, "watch": config.watch, "title": config.title}
            if before.model_copy(update=same) != config:
                raise InputError(
                    f"{self.folder} holds a training of other data or another model.", "Give this one another name."
                )
        store.make_private(self.folder)
        _replace(path, to_toml(config))

    def claim(self) -> int:
        """Take the run until `release`, or the end of this process; returns the number of the open file that holds it.

        A child that inherits that file, and finds its number under `HOLDS` in its environment, holds the run from its
        first moment on; one that finds `ANOTHER` there leaves it to whoever started it. Raises StudioError when another process
        trains it.
        """
        inherited = os.environ.pop(HOLDS, "")
        if inherited == ANOTHER:
            return -1
        if inherited.isdecimal():
            self._lock = os.fdopen(int(inherited), "a+", encoding="utf-8")
            return int(inherited)
        store.make_private(self.folder)
        lock = os.fdopen(
            store.open_private(self.folder / "trainer.lock", os.O_RDWR | os.O_APPEND | os.O_CREAT),
            "a+",
            encoding="utf-8",
        )
        end = time.monotonic() + _LOOK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() < end:
                    time.sleep(_LOOK_S / 20)
                    continue
                lock.close()
                raise StudioError(f"{self.name} is training already.", "Watch it, or stop it first.") from error
            self._lock = lock
            return lock.fileno()

    def release(self) -> None:
        """Give the run back, as the end of the process would; children that inherited it keep it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def alive(self) -> bool:
        """Whether a process trains it now."""
        try:
            with (self.folder / "trainer.lock").open("r", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def status(self) -> Status:
        """Where it stands; of a process that died without a word, "stopped"."""
        try:
            told: dict[str, Any] = json.loads((self.folder / "status.json").read_bytes())
            status = Status(**told)
        except (OSError, ValueError, TypeError):
            return Status()
        if status.state not in OVER and not self.alive():
            died = "Its process ended before the training did. The last checkpoint is kept."
            return replace(status, state="stopped", text=died, pid=0)
        return status

    def tell(self, status: Status) -> None:
        """Write where it stands."""
        _replace(self.folder / "status.json", json.dumps(asdict(status)))

    def wish(self) -> Wish:
        """What somebody else wants of it; "run" if nothing."""
        try:
            said = (self.folder / "wish").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return "run"
        return "wait" if said == "wait" else "stop" if said == "stop" else "run"

    def want(self, wish: Wish) -> None:
        """Say what is wanted of it."""
        _replace(self.folder / "wish", wish)

    def gallery(self) -> list[str] | None:
        """The gallery's pictures that it learns from, by their ids; None when that was not decided yet."""
        try:
            return (self.folder / "gallery.txt").read_text(encoding="utf-8").split()
        except OSError:
            return None

    def keep_gallery(self, ids: Sequence[str]) -> None:
        """Decide which pictures it learns from: the gallery grows, and numbers of pictures with it."""
        _replace(self.folder / "gallery.txt", "\n".join(ids))

    def add(self, points: Sequence[Point]) -> None:
        """Add steps to the curve."""
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(point)) + "\n" for point in points)

    def curve(self) -> list[Point]:
        """The steps so far; a line that a kill cut off is left out."""
        return _points(self._tail(0))

    def latest(self, count: int) -> list[Point]:
        """About the last `count` steps, at the cost of reading those."""
        return _points(self._tail(count * _POINT_BYTES))[-count:]

    def _tail(self, size: int) -> bytes:
        """The last `size` bytes of the curve, or all (0), from the beginning of a line on."""
        try:
            with (self.folder / "curve.jsonl").open("rb") as file:
                if size and file.seek(0, os.SEEK_END) > size:
                    file.seek(-size, os.SEEK_END)
                    file.readline()
                else:
                    file.seek(0)
                return file.read()
        except OSError:
            return b""

    def rewind(self, step: int) -> None:
        """Forget the steps after `step`: they are taken again from the checkpoint."""
        kept = [point for point in self.curve() if point.step <= step]
        _replace(self.folder / "curve.jsonl", "".join(json.dumps(asdict(point)) + "\n" for point in kept))

    def samples(self) -> Path:
        """The folder of samples, made."""
        path = self.folder / "samples"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def looks(self) -> list[Samples]:
        """The samples so far, oldest first."""
        found: dict[int, dict[int, Path]] = {}
        for path in (self.folder / "samples").glob("step-*.png"):
            if match := _SAMPLE.fullmatch(path.name):
                found.setdefault(int(match[1]), {})[int(match[2])] = path
        return [
            Samples(step, tuple(path for _, path in sorted(files.items()))) for step, files in sorted(found.items())
        ]


def runs(folder: Path) -> list[Run]:
    """The trainings in a folder, the one that changed last first."""
    found = [path.parent for path in folder.glob("*/config.toml")]
    return [Run(path) for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def _replace(path: Path, text: str) -> None:
    with store.replacing(path, durable=False) as file:
        file.write(text.encode())
