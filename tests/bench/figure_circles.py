"""The fill-circle task on held-out pairs: how often the circle is where and what it should be.

    python tests/bench/figure_circles.py RUN_FOLDER [--samples 100] [--write docs]

Reads the run's checkpoint (averaged weights where there are some), draws held-out pairs that it never trained on, and
prints one JSON line: mean overlap (IoU), shares of right colours, seconds of training. With --write it leaves
training-circles.png (control, wanted, drawn) and training-curve.png there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SHEET = 10
CURVE_PX = (900, 320)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()

    from controlnet_core.datasets.example_circles import Circles, verdict
    from controlnet_core.domain.picture import to_png
    from controlnet_core.training.run import Run
    from webapp.application.training_setup import HELD_OUT_CIRCLES

    run = Run(options.run)
    config, points = run.config(), run.curve()
    held = Circles(config.data.size, HELD_OUT_CIRCLES)
    step, drawn = sampled(run, options, held)
    verdicts = [verdict(rgb, held.circle(index)) for index, rgb in enumerate(drawn)]
    line = {
        "bench": "fill circles",
        "step": step,
        "batch": config.training.batch * config.training.accumulate,
        "train_s": round(next((point.seconds for point in points if point.step == step), 0.0)),
        "samples": len(verdicts),
        "iou_mean": round(float(np.mean([one.iou for one in verdicts])), 3),
        "iou_over_0.8": round(float(np.mean([one.iou >= 0.8 for one in verdicts])), 3),
        "circle_colour": round(float(np.mean([one.colour for one in verdicts])), 3),
        "ground_colour": round(float(np.mean([one.ground for one in verdicts])), 3),
    }
    print(json.dumps(line))
    if options.write:
        pairs = [held.read(index) for index in range(SHEET)]
        columns = [np.concatenate([pair.source, pair.target, drawn[n]]) for n, pair in enumerate(pairs)]
        sheet = np.concatenate(columns, axis=1)
        scale = 1440 / sheet.shape[1]
        small = cv2.resize(sheet, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        (options.write / "training-circles.png").write_bytes(to_png(small))
        (options.write / "training-curve.png").write_bytes(to_png(curve([point.loss for point in points])))


def sampled(run, options, held) -> tuple[int, list[np.ndarray]]:
    """The checkpoint's step, and a picture for each held-out pair."""
    import torch

    from controlnet_core.diffusion import schedulers, vae
    from controlnet_core.diffusion.conditioning import encode_text
    from controlnet_core.diffusion.denoiser import Control, Denoiser, embed_hint, levels_of, sample
    from controlnet_core.models.catalog import Catalog
    from controlnet_core.models.loading import load_base
    from controlnet_core.training.controlnet_loss import ControlNetLoss, fresh
    from controlnet_core.training.loop import read

    config, catalog = run.config(), Catalog(options.models)
    base = load_base(catalog.locate(catalog.card(config.base)))
    lesson = ControlNetLoss(base.unet, fresh(base), "", config.training)
    state = read(run.checkpoint)
    lesson.load_state_dict({**lesson.state_dict(), **(state["average"] or state["module"])})
    scales = (1.0,) * levels_of(lesson.control)
    drawn = []
    with torch.inference_mode():
        for index in range(options.samples):
            source, _, prompt = held.read(index)
            acting = Control(lesson.control, embed_hint(lesson.control, vae.from_rgb(source)), scales=scales)
            denoiser = Denoiser(base.unet, encode_text(base, prompt), None, 1.0, [acting])
            noise = schedulers.Noise([index])
            side = config.data.size // base.vae_scale_factor
            sampler = schedulers.make("ddim", base.schedule, options.steps)
            latent = sample(denoiser, sampler, noise, noise.draw((base.channels, side, side)))
            drawn += vae.to_rgb(vae.decode(base.vae, latent))
    return int(state["step"]), drawn


def curve(losses: list[float]) -> np.ndarray:
    """The losses, pale, and their running mean, on a logarithmic height."""
    from webapp.ui.training.curves import smoothed

    width, height = CURVE_PX
    canvas = np.full((height, width, 3), 255, np.uint8)
    logs = np.log(np.maximum(losses, 1e-6))
    low, high = float(logs.min()), float(logs.max())

    def line(values: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
        x = np.linspace(20, width - 20, len(values))
        y = height - 20 - (values - low) / max(1e-9, high - low) * (height - 40)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA)

    line(logs, (240, 200, 185), 1)
    line(np.log(np.array(smoothed(losses))), (200, 66, 28), 2)
    font, ink = cv2.FONT_HERSHEY_SIMPLEX, (60, 60, 60)
    cv2.putText(canvas, f"loss {np.exp(high):.3g} to {np.exp(low):.3g}", (24, 30), font, 0.5, ink, 1, cv2.LINE_AA)
    cv2.putText(canvas, f"{len(losses)} steps", (width - 130, height - 26), font, 0.5, ink, 1, cv2.LINE_AA)
    return canvas


if __name__ == "__main__":
    main()
