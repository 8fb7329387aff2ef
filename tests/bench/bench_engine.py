"""How long a picture takes, and how we compare with diffusers' own pipeline on the same model in the same process.

    python tests/bench/bench_engine.py [models folder] [steps]

Prints one JSON line a measurement: seconds by the clock, and seconds of processor time, which other programs on the
machine disturb less. Without an embedded model in the models folder a random one takes its place; speed
does not depend on the values. Ours and theirs take turns, and the quickest run counts.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from controlnet_core.domain.recipe import ControlUnit, Recipe  # noqa: E402
from controlnet_core.engine import LocalEngine  # noqa: E402
from controlnet_core.models.catalog import Catalog  # noqa: E402
from controlnet_core.models.loading import load_base, load_control  # noqa: E402
from tests.core.small import control_type, digest, save_small_model  # noqa: E402

ROUNDS = 3
SIDE = 256


def report(bench: str, **figures) -> None:
    print(json.dumps({"bench": bench, "threads": torch.get_num_threads(), **figures}), flush=True)


class Timed:
    """Runs something and keeps its result, its `seconds` and its `cpu` seconds."""

    def __init__(self, run) -> None:
        start, start_cpu = time.perf_counter(), time.process_time()
        self.result = run()
        self.seconds, self.cpu = time.perf_counter() - start, time.process_time() - start_cpu


def quickest(runs: list[Timed]) -> dict[str, float]:
    """The least of both clocks: everything else was disturbance."""
    return {
        "seconds": round(min(run.seconds for run in runs), 3),
        "cpu_seconds": round(min(run.cpu for run in runs), 3),
    }


def picture() -> np.ndarray:
    """A house of white lines on black."""
    import cv2

    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    for corners in (((60, 120), (196, 220)), ((110, 160), (146, 220))):
        cv2.rectangle(canvas, *corners, (255, 255, 255), 3)
    cv2.polylines(canvas, [np.array([(50, 120), (128, 50), (206, 120)])], True, (255, 255, 255), 3)
    return canvas


def main() -> None:
    models = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "models"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as scratch:
        embedded = (models / "paperworld" / "controlnet").is_dir()
        if not embedded:
            models = Path(scratch)
            save_small_model(models / "paperworld", "dc", "v_prediction", zero_snr=True, widths=(96, 128, 128))
        compare(models, steps, "paperworld" if embedded else "random weights")


def compare(models: Path, steps: int, name: str) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    folder = models / "paperworld"
    loading = Timed(lambda: load_base(folder))
    base = loading.result
    report("load base", model=name, **quickest([loading]))
    report("load control", model=name, **quickest([Timed(lambda: load_control(folder / "controlnet"))]))

    canvas = picture()
    engine = LocalEngine(Catalog(models), {"scribble": control_type("scribble")})
    unit = ControlUnit(control="scribble", picture=digest(canvas))
    recipe = Recipe(
        model="paperworld", prompt="a red house by the sea", negative="", controls=(unit,), width=SIDE, height=SIDE,
        steps=steps, guidance=3.0, seed=11,
    )  # fmt: skip
    latent = torch.randn(
        (1, base.channels, *(SIDE // base.vae_scale_factor,) * 2),
        generator=torch.Generator().manual_seed(11),
    )
    hint = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        folder, vae=type(base.vae).from_pretrained(folder / "vae"),
        controlnet=ControlNetModel.from_pretrained(folder / "controlnet"), safety_checker=None,
    ).to(engine.device, torch.float32)  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)

    def ours() -> np.ndarray:
        return engine.run(recipe, {digest(canvas): canvas}, lambda step: None)[0]

    def theirs() -> np.ndarray:
        # The pipeline cannot decode with every kind of autoencoder, so the last step is done here, as it would do it.
        latents = pipeline(
            recipe.prompt, hint, negative_prompt="", num_inference_steps=steps, guidance_scale=3.0, latents=latent,
            output_type="latent",
        ).images  # fmt: skip
        with torch.no_grad():
            decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
        return pipeline.image_processor.postprocess(decoded, output_type="np")[0]

    difference = float(np.abs(ours() - theirs() * 255).max())
    half = recipe.model_copy(update={"controls": (unit.model_copy(update={"end": 0.5}),)})

    def ours_half() -> np.ndarray:
        return engine.run(half, {digest(canvas): canvas}, lambda step: None)[0]

    ours_half()
    turns = [(Timed(ours), Timed(theirs), Timed(ours_half)) for _ in range(ROUNDS)]
    mine, other, halved = (quickest(list(runs)) for runs in zip(*turns, strict=True))
    shared = {"model": name, "side_px": SIDE, "steps": steps, "device": str(engine.device)}
    report("picture with one control", **shared, **mine)
    report("the same by diffusers", **shared, **other, max_difference_levels=round(difference, 2))
    report("diffusers / ours", **shared, **{clock: round(other[clock] / mine[clock], 3) for clock in mine})
    report("control in the first half alone", **shared, **halved)
    report("whole / first half", **shared, **{clock: round(mine[clock] / halved[clock], 3) for clock in mine})
    report("one preview", **shared, **quickest(previews(engine, recipe, canvas)))


def previews(engine: LocalEngine, recipe: Recipe, canvas: np.ndarray) -> list[Timed]:
    steps = []
    engine.run(recipe.model_copy(update={"steps": 3}), {digest(canvas): canvas}, steps.append)
    return [Timed(step.preview) for step in steps]


if __name__ == "__main__":
    main()
