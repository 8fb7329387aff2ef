"""What a training step costs: with a control against fine-tuning the whole U-Net, and with latents cached against not.

    python tests/bench/bench_training.py [--real] [--rounds N]

One JSON line a measurement; ratios are of medians taken in turns, in one process. Without a GPU the networks are those of
Stable Diffusion 1.5 at a fifth of its width, at 512 px; with one, or with --real (16 GB of memory, a minute a step on two
cores), at full width. Widths matter: the condition embedding has the same size at any of them, so beside narrow networks it
costs far more than its share.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from controlnet_core.diffusion import vae as codec
from controlnet_core.training.controlnet_loss import ControlNetLoss, Levels, fresh
from controlnet_core.training.run import Training

SIDE_PX = 512
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon"}


class Base:
    """What `fresh` wants to know of a base model."""

    cell = 8

    def __init__(self, width: int) -> None:
        self.unet = UNet2DConditionModel(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width), cross_attention_dim=768, attention_head_dim=8
        )
        vae = max(32, width * 128 // 320 // 32 * 32)
        self.vae: Any = AutoencoderKL(
            block_out_channels=(vae, 2 * vae, 4 * vae, 4 * vae), layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    base, batch = Base(320 if options.real or DEVICE == "cuda" else 64), 4 if DEVICE == "cuda" else 1
    control = fresh(base)  # pyright: ignore[reportArgumentType]
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.02)
    lesson = ControlNetLoss(base.unet, control, "epsilon", Training()).to(DEVICE)
    base.vae.to(DEVICE).requires_grad_(False)
    given = examples(batch)

    def with_control() -> torch.Tensor:
        base.unet.requires_grad_(False)
        return lesson(given)

    def fine_tune() -> torch.Tensor:
        base.unet.requires_grad_(True)
        noisy = (
            given["signal"].view(-1, 1, 1, 1) * given["latents"] + given["spread"].view(-1, 1, 1, 1) * given["noise"]
        )
        output = base.unet(noisy, given["times"], given["context"], return_dict=False)[0]
        return (output - given["noise"]).square().mean()

    pictures = torch.rand(batch, 3, SIDE_PX, SIDE_PX, device=DEVICE) * 2 - 1

    def encode() -> torch.Tensor | None:
        with torch.no_grad():
            codec.encode(base.vae, pictures)
        return None

    times: dict[str, list[float]] = {"control": [], "fine": [], "encode": []}
    for turn in range(options.rounds + 1):
        for name, work in (("control", with_control), ("fine", fine_tune), ("encode", encode)):
            spent = timed(work)
            if turn:
                times[name].append(spent)
    step, fine, encoding = (median(times[name]) for name in ("control", "fine", "encode"))
    trained = sum(value.numel() for value in control.parameters())
    whole = sum(value.numel() for value in base.unet.parameters())
    memory = {"control": 4 * (whole + 4 * trained) + kept(with_control), "fine": 4 * 4 * whole + kept(fine_tune)}
    print(
        json.dumps(
            {
                "bench": "training step with control / fine-tuning the U-Net",
                "device": DEVICE,
                "width": base.unet.config["block_out_channels"][0],
                "batch": batch,
                "step_s": round(step, 3),
                "fine_tune_s": round(fine, 3),
                "time_ratio": round(step / fine, 3),
                "memory_mib": memory["control"] >> 20,
                "fine_tune_mib": memory["fine"] >> 20,
                "memory_ratio": round(memory["control"] / memory["fine"], 3),
            }
        )
    )
    print(
        json.dumps(
            {
                "bench": "cached latents",
                "device": DEVICE,
                "encode_s": round(encoding, 3),
                "saved": round(encoding / (encoding + step), 3),
            }
        )
    )


def examples(batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    side = SIDE_PX // 8
    given = Levels(SCHEDULE).draw(batch, generator) | {
        "latents": torch.randn(batch, 4, side, side, generator=generator),
        "noise": torch.randn(batch, 4, side, side, generator=generator),
        "context": torch.randn(batch, 77, 768, generator=generator),
        "hint": torch.rand(batch, 3, SIDE_PX, SIDE_PX, generator=generator),
    }
    return {name: value.to(DEVICE) for name, value in given.items()}


def timed(work: Callable[[], torch.Tensor | None]) -> float:
    """Seconds of processor time on a CPU, which others may share; of the clock on a GPU."""
    clock = time.process_time if DEVICE == "cpu" else time.perf_counter
    begun = clock()
    loss = work()
    if loss is not None:
        loss.backward()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def kept(work: Callable[[], torch.Tensor | None]) -> int:
    """Bytes of activations that wait for the backward pass; parameters are not counted."""
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not tensor.is_leaf:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(seen.values())


if __name__ == "__main__":
    main()
