"""Speed and memory at Stable Diffusion 1.5's real size, beside diffusers' own pipeline, on random weights.

    python tests/bench/bench_sd15.py [--rows "a;b"] [--out FILE] [--scale real|small]

Every row runs in a process of its own and prints one JSON line: the quickest of a few runs, by the clock, and the peak of
the device's memory. With --out, rows that the file holds already are left out, so an interrupted bench goes on where it
was. Speed does not depend on the values of weights; the zero convolutions are made non-zero, for nobody times zeros.

On a CPU it rehearses: a small model and two steps show in a few minutes that every row runs, and nothing about a GPU. Nothing
is compiled there, and rows are forks of one process on one thread, for importing takes longer than drawing.

`stock` is StableDiffusionControlNetPipeline; `compiled` the same with torch.compile and channels_last on both networks;
`ours` the engine. "taesd" rows take four steps without guidance and decode with a tiny decoder, which is less exact.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


@dataclass(frozen=True)
class Row:
    """One measurement: who draws, and what."""

    who: str
    images: int = 1
    controls: int = 1
    steps: int = 20
    guided: bool = True
    tiny: bool = False
    end: float = 1.0
    env: tuple[tuple[str, str], ...] = ()


ROWS = {
    "stock": Row("stock"),
    "compiled": Row("compiled"),
    "ours": Row("ours"),
    "ours, steps one by one": Row("ours", env=(("STUDIO_GRAPHS", "0"),)),
    "ours, compiled": Row("ours", env=(("STUDIO_COMPILE", "1"),)),
    "ours, xformers": Row("ours", env=(("STUDIO_ATTENTION", "xformers"),)),
    "ours, no control": Row("ours", controls=0),
    "stock, batch 4": Row("stock", images=4),
    "ours, batch 4": Row("ours", images=4),
    "stock, 3 controls": Row("stock", controls=3),
    "ours, 3 controls": Row("ours", controls=3),
    "stock, window 0-0.5": Row("stock", end=0.5),
    "ours, window 0-0.5": Row("ours", end=0.5),
    "stock, 4 steps, taesd": Row("stock", steps=4, guided=False, tiny=True),
    "ours, 4 steps, taesd": Row("ours", steps=4, guided=False, tiny=True),
    "ours, offload": Row("ours", env=(("STUDIO_PLAN", "offload"),)),
    "ours, controls": Row("ours", env=(("STUDIO_PLAN", "controls"),)),
    "ours, layers": Row("ours", env=(("STUDIO_PLAN", "layers"),)),
    "ours, fp8": Row("ours", env=(("STUDIO_PLAN", "fp8"),)),
}


@dataclass(frozen=True)
class Scale:
    """Sizes: U-Net widths, autoencoder widths, side in pixels, text layers, rounds; `steps` 0 leaves the row's number."""

    widths: tuple[int, ...]
    vae: tuple[int, ...]
    side: int
    text: tuple[int, int]
    rounds: int
    steps: int = 0


SCALES = {
    "real": Scale((320, 640, 1280, 1280), (128, 256, 512, 512), 512, (768, 12), 5),
    "small": Scale((32, 32, 64, 64), (32, 32, 32, 32), 64, (32, 2), 1, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, SCALES[options.scale], options.models)), flush=True)
        return
    import torch

    cuda = torch.cuda.is_available()
    scale = options.scale or ("real" if cuda else "small")
    wanted = [name.strip() for name in options.rows.split(";") if name.strip()] or list(ROWS)
    held = _held(options.out)
    if not cuda:
        torch.set_num_threads(1)  # before anything is computed: a fork has no other threads
        _import()
    with tempfile.TemporaryDirectory() as scratch:
        models = options.models or Path(scratch)
        save(models, SCALES[scale])
        for name in wanted:
            if name not in held:
                line = _in_child(name, scale, models) if cuda else _in_fork(name, scale, models)
                _told(line, options.out)


def _held(out: Path | None) -> set[str]:
    if out is None or not out.is_file():
        return set()
    return {json.loads(line)["row"] for line in out.read_text().splitlines() if "seconds" in line}


def _in_child(name: str, scale: str, models: Path) -> str:
    command = [sys.executable, __file__, "--one", name, "--scale", scale, "--models", str(models)]
    done = subprocess.run(command, env=os.environ | dict(ROWS[name].env), capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return lines[-1] if lines else _failed(name, done.stderr)


def _in_fork(name: str, scale: str, models: Path) -> str:
    """The same in a fork, which has imported everything already; not for CUDA, which does not survive one."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work() -> None:
        os.environ |= {"TORCHDYNAMO_DISABLE": "1", **dict(ROWS[name].env)}
        try:
            there.send(json.dumps(measure(name, SCALES[scale], models)))
        except Exception:
            there.send(_failed(name, traceback.format_exc()))

    child = context.Process(target=work)
    child.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return _failed(name, "its process died")
    finally:
        child.join()


def _failed(name: str, why: str) -> str:
    return json.dumps({"bench": "sd15", "row": name, "failed": why[-600:]})


def _told(line: str, out: Path | None) -> None:
    print(line, flush=True)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(line + "\n")


def _import() -> None:
    """What every row needs, so that forks have it."""
    from controlnet_core import engine  # noqa: F401 - first: it keeps xformers out

    import diffusers  # isort: skip

    assert diffusers.StableDiffusionControlNetPipeline
    assert diffusers.AutoencoderTiny


def save(models: Path, scale: Scale) -> None:
    """The model, three ControlNets and a tiny autoencoder; kept where they are already."""
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.core.small import save_small_model

    if (models / "vae" / "tiny" / "config.json").is_file():
        return
    folder = save_small_model(models / "checkpoints" / "random")
    torch.manual_seed(0)
    width, layers = scale.text
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=max(1, width // 64), bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    ).half().save_pretrained(folder / "text_encoder")  # fmt: skip
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=scale.widths, layers_per_block=2, attention_head_dim=8,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"), cross_attention_dim=width,
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    )  # fmt: skip
    for number in range(3):
        control = ControlNetModel.from_unet(unet)
        for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
            torch.nn.init.normal_(layer.weight, std=0.02)
        torch.nn.init.normal_(control.controlnet_cond_embedding.conv_out.weight, std=0.02)
        control.half().save_pretrained(models / "controlnet" / f"control{number}")
    unet.half().save_pretrained(folder / "unet")
    levels = len(scale.vae)
    AutoencoderKL(
        block_out_channels=scale.vae, down_block_types=("DownEncoderBlock2D",) * levels, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=2, sample_size=512,
    ).half().save_pretrained(folder / "vae")  # fmt: skip
    AutoencoderTiny(scaling_factor=1.0).half().save_pretrained(models / "vae" / "tiny")


def measure(name: str, scale: Scale, models: Path) -> dict[str, object]:
    """Run one row in this process."""
    import torch

    row = ROWS[name]
    begun = time.perf_counter()
    draw = (_ours if row.who == "ours" else _theirs)(row, scale, models)
    draw()
    first = time.perf_counter() - begun
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []
    for _ in range(scale.rounds):
        start = time.perf_counter()
        draw()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 1e9 if cuda else None
    device = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
    return {
        "bench": "sd15", "row": name, "device": device, "side_px": scale.side, "steps": scale.steps or row.steps,
        "images": row.images, "controls": row.controls, "seconds": round(min(seconds), 4),
        "first_seconds": round(first, 1), "peak_gb": peak and round(peak, 2),
    }  # fmt: skip


def _canvas(side: int):
    import cv2
    import numpy as np

    canvas = np.zeros((side, side, 3), np.uint8)
    cv2.rectangle(canvas, (side // 4, side // 3), (3 * side // 4, 5 * side // 6), (255, 255, 255), 3)
    return canvas


def _ours(row: Row, scale: Scale, models: Path):
    from controlnet_core.domain.recipe import ControlUnit, Recipe
    from controlnet_core.engine import LocalEngine
    from controlnet_core.models.catalog import Catalog
    from tests.core.small import control_type, digest

    canvas = _canvas(scale.side)
    engine = LocalEngine(Catalog(models), {"scribble": control_type("scribble")})
    units = tuple(
        ControlUnit(control="scribble", picture=digest(canvas), network=f"control{number}", end=row.end)
        for number in range(row.controls)
    )
    recipe = Recipe(
        model="random", prompt="a red house", negative="sea", controls=units, width=scale.side, height=scale.side,
        images=row.images, steps=scale.steps or row.steps, guidance=7.5 if row.guided else 1.0,
        vae="tiny" if row.tiny else None, sampler="lcm" if row.tiny else "ddim",
    )  # fmt: skip
    return lambda: engine.run(recipe, {digest(canvas): canvas}, lambda step: None)


def _theirs(row: Row, scale: Scale, models: Path):
    import torch
    from diffusers import (
        AutoencoderTiny,
        ControlNetModel,
        DDIMScheduler,
        LCMScheduler,
        StableDiffusionControlNetPipeline,
    )

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # What the engine takes too: half precision on a GPU, except for small models.
    dtype = torch.float16 if device == "cuda" and scale.widths[0] == 320 else torch.float32
    networks = [
        ControlNetModel.from_pretrained(models / "controlnet" / f"control{number}", torch_dtype=dtype)
        for number in range(row.controls)
    ]
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        models / "checkpoints" / "random", controlnet=networks, safety_checker=None, torch_dtype=dtype
    ).to(device)
    kind = LCMScheduler if row.tiny else DDIMScheduler
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    if row.tiny:
        pipeline.vae = AutoencoderTiny.from_pretrained(models / "vae" / "tiny", torch_dtype=dtype).to(device)
    if row.who == "compiled":
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.unet.compile()
        for network in networks:
            network.to(memory_format=torch.channels_last)
            network.compile()
    pipeline.set_progress_bar_config(disable=True)
    hint = torch.from_numpy(_canvas(scale.side)).permute(2, 0, 1)[None].float() / 255
    return lambda: pipeline(
        "a red house", [hint] * row.controls, negative_prompt="sea", num_inference_steps=scale.steps or row.steps,
        guidance_scale=7.5 if row.guided else 1.0, num_images_per_prompt=row.images, output_type="np",
        control_guidance_end=row.end, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


if __name__ == "__main__":
    main()
