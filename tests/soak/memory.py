"""Memory runs out inside each module of the engine and inside a detector: less does too, or a plain sentence; the next works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from controlnet_core.domain.errors import OutOfMemory
from tests.soak.row import Row

Run = Callable[[], list[Any]]
Modules = dict[str, tuple[Any, str]]
"""What people call it, and where its function stands: an object and an attribute."""


def modules() -> Modules:
    """What may run out of memory while a picture is made."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.autoencoders.vae import Decoder, Encoder
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
    from transformers import CLIPTextModel

    from controlnet_core.diffusion import denoiser

    return {
        "text encoder": (CLIPTextModel, "forward"),
        "UNet": (UNet2DConditionModel, "forward"),
        "ControlNet": (denoiser, "residuals"),
        "ControlNet's eye": (ControlNetConditioningEmbedding, "forward"),
        "VAE decoder": (Decoder, "forward"),
        "VAE encoder": (Encoder, "forward"),
    }


@contextmanager
def exhausted(owner: Any, name: str, times: float = float("inf")) -> Iterator[list[int]]:
    """Have the first `times` calls of a function fail as a full device does; yields the numbers of all calls."""
    import torch

    plain = getattr(owner, name)
    calls: list[int] = []

    def failing(*given: Any, **more: Any) -> Any:
        calls.append(len(calls))
        if len(calls) > times:
            return plain(*given, **more)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    setattr(owner, name, failing)
    try:
        yield calls
    finally:
        setattr(owner, name, plain)


def check(folder: Path, times: int) -> list[Row]:
    """Each module of a run with a control and a picture to start from, then a detector's network."""
    from annotator.networks.lineart import Drawing

    rows = _rows(small_run(folder / "engine"), modules(), times)
    before = os.environ.get("STUDIO_MODELS")
    os.environ["STUDIO_MODELS"] = str(folder / "detectors")
    try:
        return rows + _rows(small_detection(folder / "detectors"), {"detector": (Drawing, "forward")}, times)
    finally:
        os.environ.pop("STUDIO_MODELS")
        os.environ |= {"STUDIO_MODELS": before} if before else {}


def _rows(run: Run, kinds: Modules, times: int) -> list[Row]:
    expected = run()
    return [_row(name, *where, run, expected, times) for name, where in kinds.items()]


def _row(title: str, owner: Any, name: str, run: Run, expected: list[Any], times: int) -> Row:
    walked = failed = right = 0
    for _ in range(times):
        with exhausted(owner, name, times=1) as calls:
            walked += same(run(), expected) and len(calls) > 1
        with exhausted(owner, name):
            try:
                run()
            except OutOfMemory:
                failed += 1
        right += same(run(), expected)
    figure = f"{walked} went on with less, {failed} plain sentences, {right} right afterwards"
    return Row(f"{title} out of memory", f"{times} times", figure, walked == failed == right == times)


def same(one: list[Any], other: list[Any]) -> bool:
    """Whether two runs gave the same, to the pixel."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def small_run(folder: Path) -> Run:
    """A function that makes the pictures of one recipe on a small random model with a ControlNet, from a picture."""
    from controlnet_core.domain.recipe import ControlUnit, Recipe, Source
    from controlnet_core.engine import LocalEngine
    from controlnet_core.models.catalog import Catalog
    from tests.core.small import control_type, digest, save_small_model

    model = save_small_model(folder / "small")
    for kind in ("checkpoints", "controlnet"):
        (folder / "models" / kind).mkdir(parents=True)
    (folder / "models" / "checkpoints" / "small").symlink_to(model)
    (folder / "models" / "controlnet" / "control").symlink_to(model / "controlnet")
    controls = {"scribble": control_type("scribble")}
    engine = LocalEngine(Catalog(folder / "models"), controls, "cpu")
    picture = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    name = digest(picture)
    recipe = Recipe(
        model="small",
        prompt="a red house",
        width=64,
        height=64,
        steps=2,
        guidance=4.0,
        controls=(ControlUnit(control="scribble", picture=name),),
        source=Source(picture=name, strength=1.0),
    )

    def run() -> list[Any]:
        engine.make_room()  # what a run before computed is not asked of its module again
        return engine.run(recipe, {name: picture}, lambda _step: None)

    return run


def small_detection(models: Path) -> Run:
    """A function that draws the lines of one picture by a network of random weights, which it puts into `models`.

    STUDIO_MODELS must name that folder.
    """
    import torch

    import annotator
    from annotator.networks.lineart import Drawing
    from controlnet_core.domain.detection import Detection
    from controlnet_core.models.catalog import Catalog
    from webapp.application.engine import StudioEngine

    catalog = Catalog(models)
    path = models / catalog.card("lineart-fine").path
    path.parent.mkdir(parents=True)
    torch.manual_seed(1)
    torch.save(Drawing().state_dict(), path)
    engine = StudioEngine(catalog, annotator.controls(), "cpu")
    picture = np.random.default_rng(4).integers(0, 256, (128, 128, 3), np.uint8)
    wanted = Detection(
        control="lineart", detector="fine", picture="0" * 64, width=128, height=128, values={"resolution": 128}
    )

    def run() -> list[Any]:
        document: Any = engine.detect(wanted, picture, lambda *_: None)
        return [document.pixels]

    return run
