"""What a picture costs a CPU beside diffusers' own pipeline, on networks of SD 1.5's shape, and where the gain comes from.

    python tests/bench/bench_sampling.py [--real] [--xl] [--brief] [--steps N] [--rounds N] [--side PX]

Everything runs in one process on one thread and takes turns; what counts is processor time, which other programs disturb
less than they do the clock. Nothing is kept from one picture to the next. The widths are a fifth of the real ones unless
--real asks for those (8 GB of memory, minutes a picture); --xl takes networks of SDXL's shape. First both draw the same
picture, and the largest difference is told; that is all with --brief. Then what bfloat16 costs and changes, which is off by
default; then each lever is taken away alone: what a picture costs without it, over what it costs with all of them.
Winograd's convolutions need channels and pixels: at a fifth of the widths hardly any layer has enough. One JSON line a row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from controlnet_core.memory.kept import Kept  # noqa: E402
from tests.gpu import fast  # noqa: E402
from tests.gpu.card import StandIn  # noqa: E402
from tests.gpu.fast import Row  # noqa: E402
from tests.gpu.models import SCALES, Scale, save, save_xl  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--xl", action="store_true")
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = SCALES["real" if options.real else "fifth"]
    scale = Scale(base.widths, base.vae, options.side, base.text, options.rounds, options.steps)
    if options.xl:
        scale = replace(scale, side_xl=options.side, xl=(320, 640, 1280) if options.real else (64, 128, 256))
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch), scale)
        if options.xl:
            save_xl(Path(scratch), scale)
        compare(Path(scratch), scale, Row("ours", xl=options.xl), brief=options.brief)


def compare(models: Path, scale: Scale, row: Row, *, brief: bool) -> None:
    ours, theirs = _ours(row, scale, models), _theirs(row, scale, models)
    drawn, stock = np.asarray(ours()[0], float), np.asarray(theirs().images[0], float) * 255
    widths = scale.xl if row.xl else scale.widths
    shared = {
        "bench": "sampling",
        "family": "SDXL" if row.xl else "SD 1.5",
        "widths": widths,
        "side_px": scale.side,
        "steps": scale.steps,
        "threads": 1,
    }
    costs: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(scale.rounds):
        for name, draw in (("ours", ours), ("stock", theirs)):
            costs[name].append(_cpu(draw))
    mine, other = min(costs["ours"]), min(costs["stock"])
    figures = {"ours_cpu_s": mine, "stock_cpu_s": other, "stock_over_ours": other / mine}
    told = {name: round(value, 3) for name, value in figures.items()}
    print(
        json.dumps(shared | told | {"max_difference_levels": round(float(np.abs(drawn - stock).max()), 2)}), flush=True
    )
    if brief:
        return
    with mock.patch.dict("os.environ", STUDIO_PRECISION="bfloat16"):
        fewer = _ours(row, scale, models)
        apart = np.abs(np.asarray(fewer()[0], float) - drawn)
        cost = min(_cpu(fewer) for _ in range(scale.rounds))
    told = {"bfloat16, over float32": round(cost / mine, 3), "max_difference_levels": float(apart.max())}
    print(json.dumps(shared | told | {"mean_difference_levels": round(float(apart.mean()), 3)}), flush=True)
    half = _ours(replace(row, end=0.5), scale, models)
    half()
    print(json.dumps(shared | {"window 0-0.5, over whole": round(_cpu(half) / mine, 3)}), flush=True)
    for name, without in LEVERS.items():
        with without():
            slower = _ours(row, scale, models)
            slower()  # loading
            cost = min(_cpu(slower) for _ in range(scale.rounds))
        print(json.dumps(shared | {"without": name, "over_ours": round(cost / mine, 3)}), flush=True)


def _ours(row: Row, scale: Scale, models: Path) -> Callable[[], Any]:
    drawer = fast.ours(row, models, scale, StandIn(), scale.side)

    def draw() -> Any:
        # The pipeline reads words and embeds control pictures for every picture, too.
        with mock.patch.object(Kept, "get", lambda _kept, _key, compute: compute()):
            return drawer.draw(scale.steps)

    return draw


def _theirs(row: Row, scale: Scale, models: Path) -> Callable[[], Any]:
    drawer = fast.theirs(row, models, scale, StandIn(), scale.side)
    return lambda: drawer.draw(scale.steps)


def _cpu(draw: Callable[[], object]) -> float:
    begun = time.process_time()
    draw()
    return time.process_time() - begun


@contextlib.contextmanager
def _no_channels_last() -> Iterator[None]:
    with mock.patch("controlnet_core.engine._quicken", lambda module, _device: module):
        yield


@contextlib.contextmanager
def _no_winograd() -> Iterator[None]:
    with mock.patch("controlnet_core.diffusion.winograd.hasten", lambda _network: None):
        yield


@contextlib.contextmanager
def _no_kept_text() -> Iterator[None]:
    with mock.patch("controlnet_core.diffusion.cuda_graphs._plain", lambda _attention: False):
        yield


@contextlib.contextmanager
def _no_kept_condition() -> Iterator[None]:
    """Embeds the control picture in every step, for both halves, as the pipeline does."""
    from controlnet_core.diffusion import control_inputs, denoiser

    pictures: dict[int, torch.Tensor] = {}
    embed, run = control_inputs.embed_hint, denoiser.residuals

    def remember(network: object, picture: torch.Tensor) -> torch.Tensor:
        pictures[id(network)] = picture
        return embed(network, picture)  # pyright: ignore[reportArgumentType]

    def again(network: Any, seen: torch.Tensor, time: Any, texts: Any, hint: torch.Tensor, task: Any) -> Any:
        both = pictures[id(network)].expand(len(seen), -1, -1, -1)
        return run(network, seen, time, texts, embed(network, both), task)

    with mock.patch.object(control_inputs, "embed_hint", remember), mock.patch.object(denoiser, "residuals", again):
        yield


LEVERS = {
    "channels_last and winograd": _no_channels_last,
    "winograd": _no_winograd,
    "keys and values of the text once": _no_kept_text,
    "condition embedding once": _no_kept_condition,
}

if __name__ == "__main__":
    main()
