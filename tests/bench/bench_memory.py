"""How well the estimate before a run predicts the memory that the run takes.

    python tests/bench/bench_memory.py [row ...]

A model of random weights runs in a child process for each row: SD 1.5's autoencoder with a U-Net of a third of its widths,
or of all of them where the row says so (those take up to 9 GB). What the child's resident memory grew by, at its peak, is
compared with `preflight.needed`. One JSON line a row. CPU alone: there the allocator keeps no account of its own.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

ROWS: dict[str, dict[str, float | str]] = {
    "256 px": {"side": 256},
    "256 px, 3 controls": {"side": 256, "controls": 3, "guidance": 3.0},
    "256 px, 4 pictures": {"side": 256, "guidance": 3.0, "images": 4},
    "256 px, a LoRA": {"side": 256, "guidance": 3.0, "lora": 1},
    "256 px, a LoRA, bfloat16": {"side": 256, "guidance": 3.0, "lora": 1, "precision": "bfloat16"},
    "384 px, from a picture": {"side": 384, "guidance": 3.0, "source": 1},
    "384 px, a part anew": {"side": 384, "guidance": 3.0, "source": 1, "mask": 1},
    "512 px, a control": {"side": 512, "controls": 1, "guidance": 3.0},
    "512 px, a control, bfloat16": {"side": 512, "controls": 1, "guidance": 3.0, "precision": "bfloat16"},
    "768 px": {"side": 768, "guidance": 3.0},
    "768 px, tiled": {"side": 768, "guidance": 3.0, "plan": "tiled"},
    # Decoding takes more than a step, which is what decides on a GPU: here without it.
    "512 px, steps alone": {"side": 512, "guidance": 3.0, "alone": 1},
    "512 px, 3 controls, steps alone": {"side": 512, "controls": 3, "guidance": 3.0, "alone": 1},
    "768 px, a control, steps alone": {"side": 768, "controls": 1, "guidance": 3.0, "alone": 1},
    "768 px, a control, steps alone, bfloat16": {
        "side": 768, "controls": 1, "guidance": 3.0, "alone": 1, "precision": "bfloat16",
    },
    "256 px, all widths, a control": {"side": 256, "controls": 1, "guidance": 3.0, "wide": 1},
    "512 px, all widths, a control, steps alone": {
        "side": 512, "controls": 1, "guidance": 3.0, "wide": 1, "alone": 1,
    },
    "512 px, all widths, a control, bfloat16": {
        "side": 512, "controls": 1, "guidance": 3.0, "wide": 1, "precision": "bfloat16",
    },
    "512 px, all widths, 3 controls, steps alone, bfloat16": {
        "side": 512, "controls": 3, "guidance": 3.0, "wide": 1, "alone": 1, "precision": "bfloat16",
    },
}  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name in sys.argv[1:] or ROWS:
            row = ROWS[name]
            models = Path(scratch) / ("wide" if "wide" in row else "narrow")
            env = os.environ | {
                "STUDIO_PRECISION": str(row.get("precision", "")),
                "STUDIO_PLAN": str(row.get("plan", "")),
            }
            if not models.is_dir():
                subprocess.run([sys.executable, __file__, "--save", models], check=True)
            subprocess.run([sys.executable, __file__, "--one", models, name], env=env, check=True)


def save(models: Path) -> None:
    """A base model with SD 1.5's autoencoder and a U-Net of its widths or a third of them, ControlNets, a LoRA of attention."""
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from safetensors.torch import save_file

    from tests.core.small import save_small_model

    wide = models.name == "wide"
    folder = save_small_model(models / "checkpoints" / "big", text_width=768 if wide else 32)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280) if wide else (96, 192, 384, 384),
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"), layers_per_block=2, attention_head_dim=8,
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3), cross_attention_dim=768 if wide else 32,
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
    (models / "loras").mkdir()
    matrices: dict[str, torch.Tensor] = {}
    for name, layer in unet.named_modules():
        if ".attentions." in name and isinstance(layer, torch.nn.Linear):
            stem = f"lora_unet_{name.replace('.', '_')}"
            matrices[f"{stem}.lora_down.weight"] = torch.randn(4, layer.in_features)
            matrices[f"{stem}.lora_up.weight"] = torch.zeros(layer.out_features, 4)
    save_file(matrices, models / "loras" / "style.safetensors")


def measure(models: Path, name: str) -> None:
    import torch

    from controlnet_core.diffusion import vae as codec
    from controlnet_core.domain.recipe import ControlUnit, Lora, Recipe, Source
    from controlnet_core.engine import LocalEngine
    from controlnet_core.memory import cache
    from controlnet_core.memory import plan as preflight
    from controlnet_core.models.catalog import Catalog
    from tests.core.small import control_type, digest

    torch.set_num_threads(1)
    row = ROWS[name]
    side, count = int(row["side"]), int(row.get("controls", 0))
    canvas = np.full((side, side, 3), 255, np.uint8)
    source = Source(picture=digest(canvas), mask=digest(canvas) if "mask" in row else None) if "source" in row else None
    controls = {"scribble": control_type("scribble")}
    units = tuple(
        ControlUnit(control="scribble", picture=digest(canvas), network=f"control{number}") for number in range(count)
    )
    recipe = Recipe(
        model="big", width=side, height=side, steps=1, guidance=float(row.get("guidance", 1.0)), controls=units, source=source,
        images=int(row.get("images", 1)), loras=(Lora(key="style"),) if "lora" in row else (),
    )  # fmt: skip
    engine = LocalEngine(Catalog(models), controls, "cpu")
    if "alone" in row:
        codec.decode = lambda vae, latents: torch.zeros(len(latents), 3, 8, 8)
    before = resident("VmRSS")
    tiny = recipe.model_copy(update={"width": 64, "height": 64, "images": 1})
    engine.run(tiny, {digest(canvas): canvas}, lambda step: None)  # loading takes its own memory for a moment
    gc.collect()
    loaded = resident("VmRSS") - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    engine.run(recipe, {digest(canvas): canvas}, lambda step: None)
    measured = resident("VmHWM") - before
    facts = preflight.facts_of(recipe, engine.catalog)
    if "alone" in row:
        facts = replace(facts, vae_widths=(1,))
    plan = cache.plans(engine.device, str(row.get("plan", "")))[0]
    estimated = preflight.needed(recipe, facts, "cpu", plan)
    figures = {"loaded_mib": loaded >> 20, "measured_mib": measured >> 20, "estimated_mib": estimated >> 20}
    print(json.dumps({"bench": "memory", "row": name, **figures, "ratio": round(estimated / measured, 3)}), flush=True)


def resident(key: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--save"]:
        save(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--one"]:
        measure(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
