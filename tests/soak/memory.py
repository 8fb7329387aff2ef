"""Memory runs out inside each module of the engine: a plain sentence, and the next job works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from controlnet_core.errors import OutOfMemory
from tests.soak.row import Row


def modules() -> dict[str, type[Any]]:
    """What may run out of memory, by what people call it."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.autoencoders.vae import Decoder
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
    from transformers import CLIPTextModel

    return {
        "text encoder": CLIPTextModel,
        "UNet": UNet2DConditionModel,
        "ControlNet": ControlNetConditioningEmbedding,
        "VAE": Decoder,
    }


@contextmanager
def exhausted(kind: type[Any], asked: list[str]) -> Iterator[None]:
    """Have every call of a module fail as a full device does."""
    import torch

    plain = kind.forward

    def failing(*_args: Any, **_more: Any) -> Any:
        asked.append(kind.__name__)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    kind.forward = failing
    try:
        yield
    finally:
        kind.forward = plain


def check(run: Callable[[], list[Any]], times: int) -> list[Row]:
    """`run` makes the pictures of one recipe that uses every module."""
    expected = run()
    rows: list[Row] = []
    for name, kind in modules().items():
        failed = right = 0
        asked: list[str] = []
        for _ in range(times):
            with exhausted(kind, asked):
                try:
                    run()
                except OutOfMemory:
                    failed += 1
            right += all(np.array_equal(a, b) for a, b in zip(run(), expected, strict=True))
        figure = f"{failed} plain sentences, {right} right pictures afterwards, {len(asked)} calls failed"
        rows.append(
            Row(f"out of memory in the {name}", f"{times} times", figure, failed == right == times and bool(asked))
        )
    return rows


def small_run(folder: Path) -> Callable[[], list[Any]]:
    """A function that makes the pictures of one recipe on a small random model with a ControlNet."""
    from controlnet_core.catalog import Catalog
    from controlnet_core.engine import LocalEngine
    from controlnet_core.recipe import ControlUnit, Recipe
    from tests.core.small import control_type, digest, save_small_model

    model = save_small_model(folder / "small")
    for kind in ("checkpoints", "controlnet"):
        (folder / "models" / kind).mkdir(parents=True)
    (folder / "models" / "checkpoints" / "small").symlink_to(model)
    (folder / "models" / "controlnet" / "control").symlink_to(model / "controlnet")
    controls = {"scribble": control_type("scribble", networks={"": "control"})}
    engine = LocalEngine(Catalog(folder / "models"), controls, "cpu")
    picture = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    unit = ControlUnit(control="scribble", picture=digest(picture))
    recipe = Recipe(model="small", prompt="a red house", width=64, height=64, steps=2, guidance=4.0, controls=(unit,))
    return lambda: engine.run(recipe, {digest(picture): picture}, lambda _step: None)
