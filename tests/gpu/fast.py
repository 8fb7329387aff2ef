"""Part 2: how fast is it, and how much memory does it take? Rows at real size on random weights.

`stock` is diffusers' own pipeline; `compiled` the same with torch.compile and channels_last on both networks; `ours` the engine.
Rows of four steps run without guidance and decode with a tiny decoder, which is less exact.
"""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import annotator
from controlnet_core.domain import amounts
from controlnet_core.domain import document as documents
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import OutOfMemory
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.execute import execute
from controlnet_core.memory import cache
from controlnet_core.memory import plan as memory_plan
from tests.gpu.card import Card
from tests.gpu.models import Scale
from tests.gpu.right import Studio, drawing, environment
from webapp.application.live import LiveDrawing, News, Scene


@dataclass(frozen=True)
class Row:
    """One measurement: who draws, and what. `live` draws something else every time and makes a JPEG of it; `pen` does so for a
    live drawing that a pen draws on without a pause."""

    who: str
    images: int = 1
    controls: int = 1
    steps: int = 20
    guided: bool = True
    tiny: bool = False
    end: float = 1.0
    xl: bool = False
    live: bool = False
    pen: bool = False
    env: dict[str, str] = field(default_factory=dict)


ROWS = {
    "ours": Row("ours"),
    "stock": Row("stock"),
    "ours, no control": Row("ours", controls=0),
    "ours, 3 controls": Row("ours", controls=3),
    "ours, 4 steps, tiny decoder": Row("ours", steps=4, guided=False, tiny=True),
    "ours, live": Row("ours", steps=4, guided=False, tiny=True, live=True),
    "ours, pen": Row("ours", steps=4, guided=False, tiny=True, pen=True),
    "ours, batch 4": Row("ours", images=4),
    "ours, window 0-0.5": Row("ours", end=0.5),
    "ours, streams": Row("ours", env={"STUDIO_STREAMS": "1"}),
    "ours, 3 controls, streams": Row("ours", controls=3, env={"STUDIO_STREAMS": "1"}),
    "ours, offload": Row("ours", env={"STUDIO_PLAN": "offload"}),
    "ours, controls": Row("ours", env={"STUDIO_PLAN": "controls"}),
    "ours, SDXL": Row("ours", xl=True),
    "stock, SDXL": Row("stock", xl=True),
    "ours, compiled": Row("ours", env={"STUDIO_COMPILE": "1"}),
    "compiled": Row("compiled"),
    "ours, steps one by one": Row("ours", env={"STUDIO_GRAPHS": "0"}),
    "stock, 3 controls": Row("stock", controls=3),
    "stock, batch 4": Row("stock", images=4),
    "stock, window 0-0.5": Row("stock", end=0.5),
    "stock, 4 steps, tiny decoder": Row("stock", steps=4, guided=False, tiny=True),
    "ours, bfloat16": Row("ours", env={"STUDIO_PRECISION": "bfloat16"}),
    "ours, layers": Row("ours", steps=4, env={"STUDIO_PLAN": "layers"}),
    "ours, fp8": Row("ours", steps=4, env={"STUDIO_PLAN": "fp8"}),
}
"""By name, what matters most first."""
LIVE_ROUNDS = 20
PEN_PICTURES = 60
PEN_EVENTS_PER_S = 120


def measure(name: str, models: Path, scale: Scale, card: Card) -> dict[str, Any]:
    """One row in this process: seconds of the quickest of a few rounds, steps a second without start and end, memory.

    What a card or a machine is too small for is no fault: such a row is `skipped`, with the reason.
    """
    row = ROWS[name]
    side = scale.side_xl if row.xl else scale.side
    with environment(**row.env), _settled():
        begun = time.perf_counter()
        drawer: Drawer | None = None
        try:
            drawer = (ours if row.who == "ours" else theirs)(row, models, scale, card, side)
            return _measured(row, drawer, scale, card, side, begun)
        except Exception as error:
            if why := beyond(row, error, drawer.least() if drawer else 0, card):
                return {"skipped": why}
            raise


def beyond(row: Row, error: Exception, least: int, card: Card) -> str:
    """Why a row is more than this machine can do, if that is what an error says; `least` is what our thriftiest plan takes."""
    if isinstance(error, OutOfMemory) or cache.is_exhausted(error):
        if row.who != "ours":
            return "it takes more memory than this GPU has"
        return f"it takes {amounts.size(least)} at least" if least > card.total() else ""
    compiles = row.who == "compiled" or row.env.get("STUDIO_COMPILE") == "1"
    said = f"{type(error).__name__}: {error}"
    if compiles and any(word in said for word in ("C compiler", "riton", "InvalidCxxCompiler", "Python.h")):
        return f"torch.compile cannot work here ({said.splitlines()[0][:120]})"
    return ""


def _measured(row: Row, drawer: Drawer, scale: Scale, card: Card, side: int, begun: float) -> dict[str, Any]:
    steps = min(scale.steps or row.steps, row.steps)
    draw = drawer.draw
    draw(steps)
    card.wait()
    first = time.perf_counter() - begun
    card.begin_peak()
    if row.pen:
        times = strokes(drawer, steps, PEN_PICTURES if card.real else 3)
    else:
        times = [_timed(draw, steps, card) for _ in range(LIVE_ROUNDS if row.live and card.real else scale.rounds)]
    peak = card.peak()
    alive = row.live or row.pen
    half = min(_timed(draw, steps // 2, card) for _ in range(scale.rounds)) if steps > 1 and not alive else 0.0
    seconds = min(times)
    found: dict[str, Any] = {
        "side_px": side, "steps": steps, "images": row.images, "controls": row.controls, "seconds": round(seconds, 5),
        "first_s": round(first, 1), "peak_gb": round(peak / 1e9, 3), **drawer.told(),
    }  # fmt: skip
    if half and seconds > half:
        found["steps_per_s"] = round((steps - steps // 2) / (seconds - half), 1)
    if alive:
        found["p50_s"], found["p95_s"] = (round(float(np.quantile(times, at)), 5) for at in (0.5, 0.95))
    return found


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Nothing is asked of the compiler where nothing but a processor is there: it takes minutes."""
    if torch.cuda.is_available():
        yield
        return
    with environment(TORCHDYNAMO_DISABLE="1"):
        from torch._dynamo import config

        with config.patch(disable=True):
            yield


def _timed(draw: Callable[[int], object], steps: int, card: Card) -> float:
    card.wait()
    begun = time.perf_counter()
    draw(steps)
    card.wait()
    return time.perf_counter() - begun


@dataclass
class Drawer:
    """Draws a number of steps; `told` says what is known beside the time."""

    draw: Callable[[int], Any]
    told: Callable[[], dict[str, Any]] = dict
    least: Callable[[], int] = int
    """Bytes that the thriftiest of our plans takes, by the estimate."""
    studio: Studio | None = None
    recipe: Callable[[int], Recipe] | None = None


def strokes(drawer: Drawer, steps: int, pictures: int) -> list[float]:
    """Seconds from the oldest change that a picture is the first to show to its JPEG, while a pen draws: all that Live does for a
    frame, without a worker's process, a socket and a browser."""
    assert drawer.studio is not None and drawer.recipe is not None
    due, over = threading.Event(), threading.Event()
    since: dict[int, float] = {}
    times: list[float] = []
    failed: list[str] = []

    def told(news: News) -> None:
        if news.kind == "failed":
            failed.append(news.text)
        if news.kind == "picture":
            shown = [rev for rev in list(since) if rev <= news.rev]
            times.append(time.perf_counter() - min(since.pop(rev) for rev in shown))

    recipe = drawer.recipe(steps)
    sheet = Raster("mask", np.zeros((recipe.height, recipe.width), np.uint8))
    live = LiveDrawing(annotator.control("scribble"), Scene(recipe), lambda _source: due.set(), lambda _source: None)
    live.open(told)
    since[1] = time.perf_counter()
    live.begin(1, documents.encode(sheet))
    ink = zlib.compress(bytes([255]) * 64)

    def draw() -> None:
        rev = 1
        while not over.wait(1 / PEN_EVENTS_PER_S):
            x, y = (4 * rev) % (recipe.width - 8), (rev // 8) % (recipe.height - 8)
            since[rev + 1] = time.perf_counter()
            live.change(rev + 1, rev, [(x, y, x + 8, y + 8)], ink)
            rev += 1

    pen = threading.Thread(target=draw)
    pen.start()
    try:
        while len(times) < pictures + 2 and not failed:
            due.wait()
            due.clear()
            if (job := live.frame()) is not None:
                for event in execute(job, drawer.studio.engine, lambda: False):
                    live.hear(event)
    finally:
        over.set()
        pen.join()
    assert not failed, failed
    return times[2:]  # without those in which the device chose its kernels


def ours(row: Row, models: Path, scale: Scale, card: Card, side: int) -> Drawer:
    """The engine."""
    studio = Studio(models, Scale(**{**scale.__dict__, "side": side}), card.device)
    name = "xl" if row.xl else "random"
    turn = iter(range(1 << 30))

    def recipe(steps: int) -> Recipe:
        shape = next(turn) % 4 if row.live else 0
        units = tuple(studio.unit(number, shape, end=row.end) for number in range(row.controls))
        if row.xl:
            units = tuple(unit.model_copy(update={"network": "xl0"}) for unit in units)
        return Recipe(
            model=name, prompt="a red house", negative="sea", controls=units, width=side, height=side, images=row.images,
            steps=steps, guidance=7.5 if row.guided else 1.0, vae="tiny" if row.tiny else None,
            sampler="lcm" if row.tiny else "ddim",
        )  # fmt: skip

    def draw(steps: int) -> Any:
        made = studio.make(recipe(steps))
        if row.live:
            cv2.imencode(".jpg", made[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        return made

    def told() -> dict[str, Any]:
        wanted = recipe(scale.steps or row.steps)
        facts = memory_plan.facts_of(wanted, studio.engine.catalog)
        plan = next(plan for plan in memory_plan.ladder("cuda") if plan.name == studio.took[-1])
        needed = memory_plan.needed(wanted, facts, "cuda", plan)
        return {"plan": plan.name, "estimate_gb": round(needed / 1e9, 3), "recorded": studio.recorded()}

    def least() -> int:
        wanted = recipe(scale.steps or row.steps)
        facts = memory_plan.facts_of(wanted, studio.engine.catalog)
        return min(memory_plan.needed(wanted, facts, "cuda", plan) for plan in memory_plan.ladder("cuda"))

    return Drawer(draw, told, least, studio, recipe)


def theirs(row: Row, models: Path, scale: Scale, card: Card, side: int) -> Drawer:
    """The pipeline of diffusers."""
    import diffusers

    # What the engine takes too: half precision on a GPU, except for small models.
    dtype = torch.float16 if card.real and scale.widths[0] == 320 else torch.float32
    folders = [models / "controlnet" / ("xl0" if row.xl else f"control{number}") for number in range(row.controls)]
    networks = [diffusers.ControlNetModel.from_pretrained(folder, torch_dtype=dtype) for folder in folders]
    family = "StableDiffusionXL" if row.xl else "StableDiffusion"
    kind: Any = getattr(diffusers, f"{family}ControlNetPipeline")
    more = {"add_watermarker": False} if row.xl else {"safety_checker": None}
    pipeline = kind.from_pretrained(
        models / "checkpoints" / ("xl" if row.xl else "random"), controlnet=networks, torch_dtype=dtype, **more
    ).to(card.device)
    scheduler = diffusers.LCMScheduler if row.tiny else diffusers.DDIMScheduler
    # What no configuration of SDXL says, its class would take to be so: latents are not clipped.
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    if row.tiny:
        pipeline.vae = diffusers.AutoencoderTiny.from_pretrained(models / "vae" / "tiny", torch_dtype=dtype).to(
            card.device
        )
    if row.who == "compiled":
        for network in (pipeline.unet, *networks):
            network.to(memory_format=torch.channels_last)
            network.compile()
    pipeline.set_progress_bar_config(disable=True)
    hint = torch.from_numpy(drawing(side)).permute(2, 0, 1)[None].float() / 255
    return Drawer(
        lambda steps: pipeline(
            "a red house",
            image=[hint] * row.controls,
            negative_prompt="sea",
            num_inference_steps=steps,
            guidance_scale=7.5 if row.guided else 1.0,
            num_images_per_prompt=row.images,
            output_type="np",
            control_guidance_end=row.end,
            generator=torch.Generator().manual_seed(0),
        )
    )


def weigh(rows: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, bool | None]]:
    """The goals on an H200: what is wanted, what came, and whether it is reached; None where a row is missing."""

    def figure(name: str, key: str = "seconds") -> float | None:
        return rows.get(name, {}).get(key)

    def ratio(above: str, below: str) -> float | None:
        top, bottom = figure(above), figure(below)
        return top / bottom if top and bottom else None

    milliseconds = 1000.0
    goals: list[tuple[str, str, float | None, float, bool, float, str]] = [
        # what, wanted in words, what came, the limit, whether more is better, a factor for the eye, a unit
        ("20 steps beside diffusers' pipeline", ">= 3 times as fast", ratio("stock", "ours"), 3, True, 1, "x"),
        ("20 steps beside the compiled pipeline", ">= 1.3 times as fast", ratio("compiled", "ours"), 1.3, True, 1, "x"),
        ("20 steps, guided, a control, to the picture", "<= 150 ms", figure("ours"), 0.150, False, milliseconds, " ms"),
        ("steps a second", ">= 110", figure("ours", "steps_per_s"), 110, True, 1, "/s"),
        ("what a control costs", "<= 1.3 times none", ratio("ours", "ours, no control"), 1.3, False, 1, "x"),
        ("three controls", "<= 1.45 times one", ratio("ours, 3 controls", "ours"), 1.45, False, 1, "x"),
        ("4 steps, tiny decoder", "<= 16 ms", figure("ours, 4 steps, tiny decoder"), 0.016, False, milliseconds, " ms"),
        ("live, drawing to JPEG, p95", "<= 40 ms", figure("ours, live", "p95_s"), 0.040, False, milliseconds, " ms"),
        ("live, stroke to picture, p95", "<= 80 ms", figure("ours, pen", "p95_s"), 0.080, False, milliseconds, " ms"),
        ("memory, everything resident", "<= 3.6 GB", figure("ours", "peak_gb"), 3.6, False, 1, " GB"),
        ("memory, plan controls", "<= 2.2 GB", figure("ours, controls", "peak_gb"), 2.2, False, 1, " GB"),
    ]
    found: list[tuple[str, str, str, bool | None]] = []
    for what, wanted, came, limit, more, factor, unit in goals:
        if came is None:
            found.append((what, wanted, "not measured", None))
        else:
            reached = came >= limit if more else came <= limit
            found.append((what, wanted, f"{came * factor:.3g}{unit}", reached))
    return found
