"""How well the estimate before a run predicts the memory that the run takes.

    python tests/bench/bench_memory.py

A model of a few hundred megabytes of random weights runs in a child process for each row; what the child's resident
memory grew by, at its peak, is compared with `preflight.needed`. One JSON line a row. CPU alone: there the allocator
keeps no account of its own.
"""

import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

ROWS = [(256, 0, 1.0), (256, 3, 3.0), (384, 0, 1.0), (512, 1, 3.0)]
"""Side in pixels, controls, guidance."""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch))
        for row in ROWS:
            subprocess.run([sys.executable, __file__, scratch, *map(str, row)], check=True)


def save(models: Path) -> None:
    """A base model with SD 1.5's autoencoder and a U-Net of a third of its widths, and three ControlNets."""
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    from tests.core.small import save_small_model

    folder = save_small_model(models / "checkpoints" / "big")
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(96, 192, 384, 384), layers_per_block=2,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3), cross_attention_dim=32, attention_head_dim=8,
    )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    widths = (128, 256, 512, 512)
    AutoencoderKL(
        block_out_channels=widths, down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=512,
    ).save_pretrained(folder / "vae")  # fmt: skip
    control = ControlNetModel.from_unet(unet)
    for number in range(3):
        control.save_pretrained(models / "controlnet" / f"control{number}")


def measure(models: Path, side: int, count: int, guidance: float) -> None:
    import torch

    from controlnet_core import memory, preflight
    from controlnet_core.catalog import Catalog
    from controlnet_core.engine import LocalEngine
    from controlnet_core.recipe import ControlUnit, Recipe
    from tests.core.small import control_type, digest

    torch.set_num_threads(1)
    canvas = np.zeros((side, side, 3), np.uint8)
    controls = {"scribble": control_type("scribble", networks={})}
    units = tuple(
        ControlUnit(control="scribble", picture=digest(canvas), network=f"control{number}") for number in range(count)
    )
    recipe = Recipe(model="big", width=side, height=side, steps=1, guidance=guidance, controls=units)
    engine = LocalEngine(Catalog(models), controls, "cpu")
    before = resident("VmRSS")
    tiny = recipe.model_copy(update={"width": 64, "height": 64})
    engine.run(tiny, {digest(canvas): canvas}, lambda step: None)  # loading takes its own memory for a moment
    gc.collect()
    loaded = resident("VmRSS") - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    engine.run(recipe, {digest(canvas): canvas}, lambda step: None)
    measured = resident("VmHWM") - before
    facts = preflight.facts_of(recipe, engine.catalog, controls)
    estimated = preflight.needed(recipe, facts, "cpu", memory.plans(engine.device)[0])
    row = {"side_px": side, "controls": count, "guidance": guidance, "weights_mib": 4 * facts.weights >> 20}
    figures = {"loaded_mib": loaded >> 20, "measured_mib": measured >> 20, "estimated_mib": estimated >> 20}
    print(json.dumps({"bench": "memory", **row, **figures, "ratio": round(estimated / measured, 3)}), flush=True)


def resident(key: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        main()
