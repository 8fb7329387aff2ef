"""Part 1: is it right? Every check returns whether it passed (None: it could not be tried) and the figure that says so."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from controlnet_core.domain.recipe import ControlUnit, Lora, Recipe, Reference, Source
from controlnet_core.engine import LocalEngine
from controlnet_core.memory import plan as memory_plan
from controlnet_core.models import diffusers_setup
from controlnet_core.models.catalog import Catalog
from tests.core.small import control_type, digest
from tests.gpu.card import Card
from tests.gpu.models import Scale

LEVELS = 2
"""How far two pictures may be apart, of 255, where sums are taken in another order."""
Outcome = tuple[bool | None, str]
Pictures = list[np.ndarray]


@dataclass(frozen=True)
class Bench:
    """What a check has to work with: folders of models at two sizes, and the card. `small` is quick, `real` as large as life."""

    card: Card
    small: Path
    small_scale: Scale
    real: Path
    real_scale: Scale


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for so long."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


class Studio:
    """An engine and what it is asked for; `took` are the plans that its last picture was tried with."""

    def __init__(self, models: Path, scale: Scale, device: torch.device) -> None:
        self.scale = scale
        self.engine = LocalEngine(Catalog(models), {"scribble": control_type("scribble")}, device)
        self.pictures: dict[str, np.ndarray] = {}
        self.took: list[str] = []
        attempt = self.engine._attempt

        def told(request: Any, plan: Any) -> Any:
            self.took.append(plan.name)
            return attempt(request, plan)

        self.engine._attempt = told  # pyright: ignore[reportAttributeAccessIssue]

    def unit(self, number: int = 0, shape: int = 0, *, masked: bool = False, **more: Any) -> ControlUnit:
        """A control with a drawing of its own; `masked`, with a mask."""
        mask = self._kept(half(self.scale.side)) if masked else None
        return ControlUnit(
            control="scribble", picture=self._kept(drawing(self.scale.side, shape)), network=f"control{number}", mask=mask, **more
        )  # fmt: skip

    def source(self, **more: Any) -> Source:
        """A picture to start from, and the half of it that is made anew."""
        return Source(picture=self._kept(photo(self.scale.side)), mask=self._kept(half(self.scale.side)), **more)

    def reference(self, shape: int = 0, **more: Any) -> Reference:
        """A picture that the result is to be like; another `shape`, another picture."""
        return Reference(picture=self._kept(drawing(self.scale.side, shape)), **{"adapter": "look", **more})

    def recipe(self, **more: Any) -> Recipe:
        """A recipe at the scale's size, in a few steps, with one control."""
        side = self.scale.side
        steps = self.scale.steps or 4
        given = {
            "controls": (self.unit(),),
            "prompt": "a red house",
            "negative": "sea",
            "steps": steps,
            "guidance": 5.0,
        }
        return Recipe(model="random", width=side, height=side, **{**given, **more})

    def make(self, recipe: Recipe, on_step: Callable[[Any], None] = lambda _step: None) -> Pictures:
        """The pictures of a recipe."""
        self.took.clear()
        return self.engine.run(recipe, self.pictures, on_step)

    def recorded(self) -> int:
        """How many recorded steps are held."""
        return sum(len(record.steps) for record in self.engine._graphs._records.values())

    def _kept(self, picture: np.ndarray) -> str:
        self.pictures[digest(picture)] = picture
        return digest(picture)


def drawing(side: int, shape: int = 0) -> np.ndarray:
    """White lines on black; another `shape`, other lines."""
    canvas = np.zeros((side, side, 3), np.uint8)
    corner = (side // 4 + side * shape // 16, side // 3)
    cv2.rectangle(canvas, corner, (3 * side // 4, 5 * side // 6), (255, 255, 255), max(1, side // 100))
    return canvas


def photo(side: int) -> np.ndarray:
    """A picture with something of everything in it."""
    across = np.linspace(0, 255, side, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(across[:, None], across[None, :], np.uint8(90)), axis=2).copy()


def half(side: int) -> np.ndarray:
    """A mask: white at the left."""
    mask = np.zeros((side, side, 3), np.uint8)
    mask[:, : side // 2] = 255
    return mask


def apart(one: Pictures, other: Pictures) -> int:
    """The largest difference of two lists of pictures, in levels of 255."""
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(one, other, strict=True))


def scenes(studio: Studio) -> dict[str, Recipe]:
    """Recipes one after another, each with something else changed; what is recorded has to follow all of it."""
    plain = studio.recipe()
    read = {"kind": "reference_only", "adapter": None, "end": 0.5}
    return {
        "first": plain,
        "drawing": studio.recipe(controls=(studio.unit(shape=2),)),
        "text": studio.recipe(prompt="a blue tree"),
        "long text": studio.recipe(prompt="a red house, a blue tree, " * 12),
        "mask": studio.recipe(controls=(studio.unit(masked=True),)),
        "other mask": studio.recipe(controls=(studio.unit(shape=1, masked=True),)),
        "window": studio.recipe(controls=(studio.unit(end=0.5),)),
        "guess": studio.recipe(controls=(studio.unit(mode="control"),)),
        "two": studio.recipe(controls=(studio.unit(), studio.unit(1, shape=1, weight=0.6))),
        "picture": studio.recipe(source=studio.source(strength=0.8)),
        "reference": studio.recipe(references=(studio.reference(),)),
        "other reference": studio.recipe(references=(studio.reference(1, weight=0.9),)),
        "reference seen anew": studio.recipe(references=(studio.reference(2, weight=0.9),)),
        "reference-only": studio.recipe(references=(studio.reference(**read),)),
        "reference-only, seen anew": studio.recipe(references=(studio.reference(1, **read),)),
        "LoRA": studio.recipe(loras=(Lora(key="style"),)),
        "LoRA gone": studio.recipe(seed=3),
        "batch": studio.recipe(images=3, seed=11),
        "sampler": studio.recipe(sampler="dpmpp_2m"),
        "no guidance": studio.recipe(guidance=1.0, sampler="lcm"),
        "first again": plain,
    }


def check_recorded(bench: Bench, precision: str) -> Outcome:
    """A picture by recorded steps is the one step by step, to the last bit, whatever was changed in between."""
    with environment(STUDIO_PRECISION=precision):
        quick = Studio(bench.small, bench.small_scale, bench.card.device)
        with environment(STUDIO_GRAPHS="0"):
            plain = Studio(bench.small, bench.small_scale, bench.card.device)
        wrong: dict[str, int] = {}
        most = 0
        shown = scenes(quick)
        if precision != "float32" and not bench.card.real:
            shown = {name: shown[name] for name in ("first", "drawing", "batch")}
        for name, recipe in shown.items():
            plain.pictures = quick.pictures
            made = quick.make(recipe)
            most = max(most, quick.recorded())
            if distance := apart(made, plain.make(recipe)):
                wrong[name] = distance
    if not most:
        return False, "nothing was recorded"
    if plain.recorded():
        return False, "steps were recorded although STUDIO_GRAPHS=0"
    if wrong:
        return False, "differ: " + ", ".join(f"{name} by {levels}" for name, levels in wrong.items())
    return True, f"{len(shown)} pictures equal, {most} recordings at once"


def check_streams(bench: Bench) -> Outcome:
    """ControlNets beside the U-Net's encoder change no bit."""
    with environment(STUDIO_STREAMS="1"):
        beside = Studio(bench.small, bench.small_scale, bench.card.device)
    one = Studio(bench.small, bench.small_scale, bench.card.device)
    names = ("first", "drawing", "mask", "guess", "two", "batch")
    rounds = 3 if bench.card.real else 1
    wrong = {}
    for name in names:
        recipe = scenes(one)[name]
        beside.pictures = one.pictures
        expected = one.make(recipe)
        with environment(STUDIO_STREAMS="1"):
            # A race need not show at once.
            distance = max(apart(beside.make(recipe), expected) for _ in range(rounds))
        if distance:
            wrong[name] = distance
    return not wrong, f"{rounds * len(names)} pictures, " + (f"differ: {wrong}" if wrong else "all equal")


def check_plan(bench: Bench, name: str) -> Outcome:
    """A memory plan gives the picture that everything in memory gives; of eight bits only the distance is told."""
    studio = Studio(bench.small, bench.small_scale, bench.card.device)
    recipe = studio.recipe(controls=(studio.unit(), studio.unit(1, shape=1)), source=studio.source())
    expected = studio.make(recipe)
    with environment(STUDIO_PLAN=name):
        made = studio.make(recipe)
        took = studio.took[-1]
    after = studio.make(recipe)
    distance = apart(made, expected)
    figure = f"{distance} levels apart" if distance else "equal"
    if name == "fp8":
        mean = float(np.abs(made[0].astype(int) - expected[0]).mean())
        figure = f"{distance} levels apart, {mean:.2f} in the mean"
    if took != name:
        return False, f"{name} was asked for, {took} came"
    if again := apart(after, expected):
        return False, f"{figure}; everything in memory afterwards: {again} levels apart"
    return distance == 0 or name == "fp8", f"{figure}; and again afterwards"


def check_batch(bench: Bench) -> Outcome:
    """Picture k of a batch is the one of its own seed."""
    with environment(STUDIO_PRECISION="float32"):
        studio = Studio(bench.small, bench.small_scale, bench.card.device)
        batch = studio.make(studio.recipe(images=4, seed=5, sampler="euler_a"))
        alone = [studio.make(studio.recipe(seed=5 + number, sampler="euler_a"))[0] for number in range(4)]
    distance = apart(batch, alone)
    return distance <= LEVELS, f"4 pictures, at most {distance} levels apart"


def check_processor(bench: Bench) -> Outcome:
    """The card and the processor draw the same in float32."""
    distances = []
    with environment(STUDIO_PRECISION="float32"):
        here, there = (
            Studio(bench.small, bench.small_scale, device) for device in (bench.card.device, torch.device("cpu"))
        )
        for sampler in ("ddim", "euler_a", "dpmpp_2m", "heun"):
            recipe = here.recipe(sampler=sampler, seed=2)
            there.pictures = here.pictures
            distances.append(apart(here.make(recipe), there.make(recipe)))
    return max(distances) <= LEVELS, f"{len(distances)} pictures, at most {max(distances)} levels apart"


def check_finite(bench: Bench, precision: str) -> Outcome:
    """At real size, in half the bits, everything stays a number through the decoder: the engine refuses what is none."""
    with environment(STUDIO_PRECISION=precision):
        studio = Studio(bench.real, bench.real_scale, bench.card.device)
        made = studio.make(studio.recipe(source=studio.source(), images=2))
    spread = min(float(picture.std()) for picture in made)
    return spread > 0, f"2 pictures, encoded and decoded; contrast {spread:.1f}"


def check_cancel(bench: Bench) -> Outcome:
    """A run that ends in the middle leaves an engine that draws as before."""
    studio = Studio(bench.small, bench.small_scale, bench.card.device)
    recipe = studio.recipe()
    expected = studio.make(recipe)
    seen: list[int] = []

    def leave(step: Any) -> None:
        seen.append(step.step)
        step.preview()
        if len(seen) == 2:
            raise InterruptedError

    try:
        studio.make(recipe.model_copy(update={"seed": 9}), leave)
    except InterruptedError:
        distance = apart(studio.make(recipe), expected)
        return distance == 0, f"left after step {len(seen)}; the next picture " + (
            "is the same" if not distance else f"is {distance} apart"
        )
    return False, "it went on to the end"


def check_memory(bench: Bench) -> Outcome:
    """With too little memory a cheaper plan is taken by itself; with enough again, the quickest one."""
    studio = Studio(bench.real, bench.real_scale, bench.card.device)
    recipe = studio.recipe(seed=4)
    studio.make(recipe)
    usual = list(studio.took)  # a small card begins with less than everything in memory
    bench.card.begin_peak()
    expected = studio.make(recipe)
    peak = bench.card.peak()
    studio.engine.make_room()
    cap = int(peak * 0.75)
    with bench.card.capped(cap):
        made = studio.make(recipe)
        took = list(studio.took)
        twice = studio.make(recipe)
    studio.engine.make_room()
    after = studio.make(recipe)
    distance = max(apart(one, expected) for one in (made, twice, after))
    walked = len(took) > 1 and took[0] != took[-1]
    back = studio.took == usual
    figure = f"of {peak / 1e9:.2f} GB {cap / 1e9:.2f}: {' > '.join(took)}, then {studio.took[-1]}; at most {distance} levels apart"
    return walked and back and distance <= LEVELS, figure


def check_leak(bench: Bench) -> Outcome:
    """What is loaded, used and dropped, three times over, leaves nothing behind."""
    studio = Studio(bench.small, bench.small_scale, bench.card.device)
    held: list[int] = []
    for _ in range(3):
        for number in range(3 if bench.card.real else 1):
            studio.make(studio.recipe(controls=(studio.unit(number),), loras=(Lora(key="style"),), images=2))
        studio.engine.make_room()
        held.append(bench.card.held())
    told = ", ".join(f"{bytes_ / 1e6:.1f}" for bytes_ in held)
    return held[2] <= held[1] and held[2] < 300e6, f"{told} MB held after each time"


def check_training(bench: Bench, precision: str) -> Outcome:
    """Steps of training in half the bits lower the loss of a batch."""
    import tempfile

    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from controlnet_core.memory.placement import sent
    from controlnet_core.models.loading import load_base
    from controlnet_core.training import loop
    from controlnet_core.training.controlnet_loss import ControlNetLoss, Levels, fresh
    from controlnet_core.training.run import Training

    AcceleratorState._reset_state(reset_partial_state=True)
    real = bench.card.real
    accelerator = Accelerator(cpu=not real, mixed_precision=precision if real else "bf16")
    base = load_base(
        bench.small / "checkpoints" / "random", torch.float16 if precision == "fp16" and real else torch.bfloat16
    )
    torch.manual_seed(0)
    loss = ControlNetLoss(base.unet, fresh(base), "epsilon", Training())
    for network in (loss.unet, loss.control):
        network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(1)
    cells = 8 if bench.small_scale.side <= 64 else 16
    batch = Levels(base.schedule).draw(2, generator) | {
        "latents": torch.randn(2, 4, cells, cells, generator=generator),
        "noise": torch.randn(2, 4, cells, cells, generator=generator),
        "context": torch.randn(2, 77, bench.small_scale.text[0], generator=generator),
        "hint": torch.rand(2, 3, 8 * cells, 8 * cells, generator=generator),
    }
    losses: list[float] = []

    def stepped(step: Any, _average: Any) -> float:
        losses.append(step.loss)
        return 0.0

    plan = loop.LoopSettings(
        steps=60 if real else 12, rate=1e-3, warmup=0, decay=0.0, save_minutes=math.inf, average=0.9
    )
    with tempfile.TemporaryDirectory() as folder:
        loop.train(
            loss,
            lambda _number: {key: sent(value, accelerator.device) for key, value in batch.items()},
            plan,
            Path(folder) / "toy.ckpt",
            accelerator,
            groups=loss.groups(),
            on_step=stepped,
        )
    AcceleratorState._reset_state(reset_partial_state=True)
    first, last = losses[0], min(losses[-3:])
    finite = all(math.isfinite(one) for one in losses)
    return finite and last < 0.97 * first, f"{len(losses)} steps: loss {first:.3f} to {last:.3f}"


def check_xformers(bench: Bench) -> Outcome:
    """Asked for, xformers computes attention, or why it does not is said."""
    with environment(STUDIO_ATTENTION="xformers"):
        studio = Studio(bench.small, bench.small_scale, bench.card.device)
        made = studio.make(studio.recipe())
        loaded = next(iter(studio.engine._models._held.values()))[0]
        unet = loaded.base.unet
        kinds = {type(module.processor).__name__ for module in unet.modules() if hasattr(module, "processor")}
        why = diffusers_setup.take_xformers(unet)
    used = any("XFormers" in kind for kind in kinds)
    return bool(made[0].std() > 0 and used != bool(why)), "it computes attention" if used else f"not used: {why}"


def one_of_two(bench: Bench, seed: int) -> list[str]:
    """What one of two workers draws."""
    studio = Studio(bench.small, bench.small_scale, bench.card.device)
    made = [
        studio.make(studio.recipe(seed=seed + number, controls=(studio.unit(shape=number),)))[0]
        for number in range(4 if bench.card.real else 1)
    ]
    return [digest(picture) for picture in made]


CHECKS: dict[str, Callable[[Bench], Outcome]] = {
    "recorded steps, float32": lambda bench: check_recorded(bench, "float32"),
    "recorded steps, float16": lambda bench: check_recorded(bench, "float16" if bench.card.real else "bfloat16"),
    **{
        f"plan {plan.name}": lambda bench, name=plan.name: check_plan(bench, name)
        for plan in memory_plan.ladder("cuda")
        if plan.name != "resident"
    },
    "a batch and its pictures alone": check_batch,
    "card beside processor, float32": check_processor,
    "numbers stay numbers, float16": lambda bench: check_finite(bench, "float16" if bench.card.real else "bfloat16"),
    "numbers stay numbers, bfloat16": lambda bench: check_finite(bench, "bfloat16"),
    "cancelled in the middle": check_cancel,
    "too little memory": check_memory,
    "loaded, dropped, loaded again": check_leak,
    "training, float16": lambda bench: check_training(bench, "fp16"),
    "training, bfloat16": lambda bench: check_training(bench, "bf16"),
    "streams beside each other": check_streams,
    "xformers": check_xformers,
}
"""By name, what matters most first. "two workers on a card" needs processes of its own: see `run`."""

__all__ = ["CHECKS", "Bench", "Outcome", "Studio", "apart", "drawing", "environment", "one_of_two", "replace"]
