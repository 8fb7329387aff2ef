"""What a picture costs a CPU by the ways that people take there: ours, diffusers' modules, the same compiled, and OpenVINO.

    .venv-bench/bin/python tests/bench/bench_cpu.py [--ways "ours;OpenVINO"] [--small] [--side PX] [--steps N] [--models FOLDER]

SD 1.5's real size at 512 px with one control, random weights: `make bench` makes the environment that has OpenVINO (it is the
studio's own with requirements-bench.txt added), and without it the rows of OpenVINO say why they are missing. Every way is a
process of its own, one after the other, for each of them takes 4 to 8 GB; all of them compute behind the engine's loop, so text,
noise and schedule are the same, and ControlNet, U-Net and decoder are what differs. Steps are timed one by one in processor
seconds of one thread, which other programs disturb less than they do the clock; so a picture of many steps is start, steps and
decoding added up, not waited for. How far each way's pictures are from ours is told in levels of 255; ways in fewer bits are lossy.

OpenVINO's models are made from the same modules (`openvino.convert_model`), with fixed shapes, as FastSD CPU does; int8 are
weights compressed by NNCF, computed in bfloat16. Compiled is torch.compile on both networks in channels_last; it compiles for
minutes, so it has to be asked for by its name. --docs makes the table of docs/performance.md from --out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from controlnet_core.diffusion import vae  # noqa: E402
from controlnet_core.diffusion.control_inputs import hint_of  # noqa: E402
from controlnet_core.domain.recipe import Recipe  # noqa: E402
from controlnet_core.models.loading import load_base, load_control  # noqa: E402
from controlnet_core.models.loading.load_extras import load_vae  # noqa: E402
from tests.gpu import right  # noqa: E402
from tests.gpu.models import SCALES, Scale, save  # noqa: E402

WAYS = (
    "ours", "OpenVINO", "ours, bfloat16", "OpenVINO, bfloat16", "OpenVINO, int8 weights", "diffusers", "diffusers, compiled",
)  # fmt: skip
LOSSY = ("bfloat16", "int8")
FILE = ROOT / "runs" / "cpu.jsonl"
BEGIN, END = "<!-- cpu: made by tests/bench/bench_cpu.py --docs -->", "<!-- /cpu -->"


class Step(nn.Module):
    """Both networks of a step, each half by itself, as their own libraries put them together."""

    def __init__(self, unet: Any, control: Any) -> None:
        super().__init__()
        self.unet, self.control = unet, control

    def forward(self, x: Tensor, time: Tensor, text: Tensor, picture: Tensor) -> Tensor:
        downs, middle = self.control(x, time, text, picture, return_dict=False)
        return self.unet(
            x, time, text, down_block_additional_residuals=downs, mid_block_additional_residual=middle, return_dict=False
        )[0]  # fmt: skip


class Decoder(nn.Module):
    """An autoencoder's second half."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents, return_dict=False)[0]


Call = Callable[..., Tensor]


@dataclass
class Way:
    """What computes steps and decodes in place of the engine: `step` (x, time, text, picture), `decoders` by the widest layer."""

    step: Callable[[Any, Any], Call]
    decode: Callable[[Any], Call]
    made_s: list[float] = field(default_factory=list[float])
    """Processor seconds that went into making ready, which is once a model, by its libraries."""

    @contextlib.contextmanager
    def in_place(self, picture: Tensor) -> Iterator[None]:
        """Have an engine use it."""
        step: list[Call] = []
        decoders: dict[int, Call] = {}

        @contextlib.contextmanager
        def quickened(_graphs: Any, denoiser: Any, *, still: bool = True) -> Iterator[Any]:
            if not step:
                step.append(self.step(denoiser.unet, denoiser.controls[0].network))
            yield _Predicts(denoiser, picture, step[0])

        def decode(autoencoder: Any, latents: Tensor) -> Tensor:
            if id(autoencoder) not in decoders:
                decoders[id(autoencoder)] = self.decode(autoencoder)
            scale, shift = vae._scale_shift(autoencoder)
            return decoders[id(autoencoder)](latents / scale + shift).float()

        with (
            mock.patch("controlnet_core.diffusion.cuda_graphs.Graphs.quickened", quickened),
            mock.patch("controlnet_core.diffusion.vae.decode", decode),
            mock.patch("controlnet_core.engine._quicken", lambda module, _device: module),
        ):
            yield


@dataclass
class _Predicts:
    """`Predicts` by a step of both networks."""

    denoiser: Any
    picture: Tensor
    step: Call

    def predict(self, model_input: Tensor, time: Tensor, index: int = 0, steps: int = 1) -> Tensor:
        """See `Denoiser.predict`."""
        halves = 2 if self.denoiser.guided else 1
        both = torch.cat([model_input] * halves)
        text = self.denoiser._conditioning(len(model_input)).context
        times = time.expand(len(both)).float()
        output = self.step(both, times, text.float(), self.picture.expand(len(both), -1, -1, -1))
        if halves == 1:
            return output
        free, bound = output.chunk(2)
        return free + self.denoiser.guidance * (bound - free)


def diffusers_way(*, compiled: bool) -> Way:
    """Both networks as diffusers calls them."""

    def step(unet: Any, control: Any) -> Call:
        if compiled:
            for network in (unet, control):
                network.to(memory_format=torch.channels_last)
                network.compile()
        return Step(unet, control)

    return Way(step, Decoder)


def openvino_way(folder: Path, kind: str) -> Way:
    """The networks by OpenVINO, each compiled for the shapes that it is first given."""
    import openvino

    core: Any = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if kind else "f32",
    }

    def loaded(name: str) -> Call:
        made: dict[Any, Any] = {}

        def call(*given: Tensor) -> Tensor:
            arrays = [np.ascontiguousarray(one.numpy()) for one in given]
            shapes = tuple(one.shape for one in arrays)
            if shapes not in made:
                begun = time.process_time()
                made.clear()  # they take as much memory as all weights
                model = core.read_model(folder / f"{name}.xml")
                model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
                made[shapes] = core.compile_model(model, "CPU", settings).create_infer_request()
                way.made_s.append(time.process_time() - begun)
            made[shapes].infer(dict(enumerate(arrays)))
            return torch.from_numpy(made[shapes].get_output_tensor(0).data.copy())

        return call

    def step(unet: Any, control: Any) -> Call:
        for network, stays in ((unet, ()), (control, control.controlnet_cond_embedding.parameters())):
            kept = {id(one) for one in stays}
            for value in network.parameters():
                if id(value) not in kept:
                    value.data = value.data.new_empty(0)  # OpenVINO has weights of its own
        return loaded("step-int8" if kind == "int8 weights" else "step")

    def decode(autoencoder: Any) -> Call:
        return loaded("decode" if "AutoencoderKL" in type(autoencoder).__name__ else "tiny")

    way = Way(step, decode)
    return way


def convert(models: Path, folder: Path, *, int8: bool) -> None:
    """OpenVINO's models of the random ones, kept where they are already."""
    import openvino

    folder.mkdir(exist_ok=True)
    given = torch.zeros(2, 4, 16, 16)
    if not (folder / "step.xml").is_file():
        base = load_base(models / "checkpoints" / "random", torch.float32)
        step = Step(base.unet, load_control(models / "controlnet" / "control0", torch.float32))
        width = int(base.unet.config["cross_attention_dim"])
        example = (given, torch.full((2,), 5.0), torch.zeros(2, 77, width), torch.zeros(2, 3, 128, 128))
        tiny = load_vae(models / "vae" / "tiny", torch.float32)
        with torch.no_grad():
            for name, module, inputs in (
                ("decode", Decoder(base.vae), (given[:1],)), ("tiny", Decoder(tiny), (given[:1],)), ("step", step, example),
            ):  # fmt: skip
                # Files are in half precision, so nothing is lost by keeping them in it.
                openvino.save_model(openvino.convert_model(module, example_input=inputs), folder / f"{name}.xml")
    if int8 and not (folder / "step-int8.xml").is_file():
        import nncf

        model = openvino.Core().read_model(folder / "step.xml")
        openvino.save_model(
            nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), folder / "step-int8.xml"
        )


def measure(name: str, models: Path, scale: Scale, steps: int, wanted: str) -> dict[str, Any]:
    """One way in this process: processor seconds of its steps and decoders, and its pictures beside the models."""
    who, _, kind = name.partition(", ")
    studio = right.Studio(models, scale, torch.device("cpu"))
    picture = hint_of(right.drawing(scale.side))
    way = {
        "ours": lambda: None,
        "diffusers": lambda: diffusers_way(compiled=kind == "compiled"),
        "OpenVINO": lambda: openvino_way(models / "openvino", kind),
    }[who]()
    found: dict[str, Any] = {"bench": "cpu", "way": name, "side_px": scale.side, "widths": scale.widths}
    found |= {"threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)}
    rows = {"plain": (steps, 1.0, "lcm", "tiny"), "guided": (steps, 7.5, "ddim", None)}
    rows = {row: how for row, how in rows.items() if row in wanted}
    precision = "bfloat16" if name == "ours, bfloat16" else "float32"
    with right.environment(STUDIO_PRECISION=precision), way.in_place(picture) if way else contextlib.nullcontext():
        for row, (count, guidance, sampler, tiny) in rows.items():
            recipe = Recipe(
                model="random", prompt="a red house", negative="sea", controls=(studio.unit(),), width=scale.side,
                height=scale.side, steps=count, guidance=guidance, sampler=sampler, vae=tiny,
            )  # fmt: skip
            marks: list[float] = []

            def now() -> float:
                """Processor seconds, without those of making ready."""
                return time.process_time() - (sum(way.made_s) if way else 0.0)

            made = studio.make(recipe, lambda _step, marks=marks, now=now: marks.append(now()))
            end = now()
            # The first step loads, compiles and warms up.
            found[f"{row}_step_s"] = round(min(after - before for before, after in itertools.pairwise(marks)), 2)
            found[f"{row}_decode_s"] = round(end - marks[-1], 2)
            np.save(models / f"{name} {row}.npy", made[0])
    found["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)
    return found


def compare(line: dict[str, Any], models: Path) -> dict[str, Any]:
    """A line with how far its pictures are from ours, and what whole pictures take."""
    for row in ("plain", "guided"):
        mine, other = (models / f"{who} {row}.npy" for who in ("ours", line["way"]))
        if f"{row}_step_s" in line and mine.is_file():
            apart = np.abs(np.load(mine).astype(int) - np.load(other))
            line |= {f"{row}_levels_apart": int(apart.max()), f"{row}_mean_apart": round(float(apart.mean()), 2)}
        if f"{row}_step_s" in line:
            for count in (20,) if row == "guided" else (4, 1):
                line[f"{count}_steps_s"] = round(count * line[f"{row}_step_s"] + line[f"{row}_decode_s"], 1)
    return line


def documentation(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown, from the newest figures of each way."""
    newest: dict[str, dict[str, Any]] = {}
    for line in lines:
        newest.setdefault(line["way"], {}).update(line)
    ours = newest.get("ours", {})
    told = [
        BEGIN, "| way | 20 steps, guided | 4 steps, tiny decoder | 1 step, tiny decoder | levels apart, guided / not | GB |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for way in WAYS:
        line = newest.get(way)
        if line is None:
            told.append(f"| {way} | not measured | | | | |")
            continue
        cells: list[str] = []
        for key in ("20_steps_s", "4_steps_s", "1_steps_s"):
            share = f" ({line[key] / ours[key]:.2f})" if key in line and key in ours and way != "ours" else ""
            cells.append(f"{line[key]:.0f} s{share}" if key in line else "-")
        apart = [
            f"{line[f'{row}_levels_apart']} (mean {line[f'{row}_mean_apart']})"
            if f"{row}_levels_apart" in line
            else "-"
            for row in ("guided", "plain")
        ]
        name = way + (", lossy" if any(word in way for word in LOSSY) else "")
        told.append(
            f"| {name} | {' | '.join(cells)} | {' / '.join(apart) if way != 'ours' else '0'} | {line['peak_gb']} |"
        )
    return "\n".join([*told, END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", default=";".join(way for way in WAYS if way != "diffusers, compiled"))
    parser.add_argument("--models", type=Path, help="where models are made and kept (default: a temporary folder)")
    parser.add_argument(
        "--rows",
        default="plain, guided",
        help="plain: without guidance, a tiny decoder; guided: with it, the whole one",
    )
    parser.add_argument("--small", action="store_true", help="small networks, to try the bench itself")
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2, help="how many are timed, at least 2")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md from --out, and measure nothing")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.docs:
        page = ROOT / "docs" / "performance.md"
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        lines = [json.loads(line) for line in given.out.read_text(encoding="utf-8").splitlines()]
        page.write_text(before + documentation(lines) + rest.split(END)[1], encoding="utf-8")
        return
    torch.set_num_threads(1)
    base = SCALES["small" if given.small else "real"]
    scale = Scale(base.widths, base.vae, given.side or base.side, base.text, 1)
    with tempfile.TemporaryDirectory() as scratch:
        models = given.models or Path(scratch)
        if given.alone:
            if given.alone == "convert":
                convert(models, models / "openvino", int8="int8" in given.ways)
            else:
                print(json.dumps(measure(given.alone, models, scale, given.steps, given.rows)), flush=True)
            return
        models.mkdir(parents=True, exist_ok=True)
        save(models, scale)
        for way in given.ways.split(";"):
            _one(way.strip(), models, given)


def _one(way: str, models: Path, given: argparse.Namespace) -> None:
    """A way in a process of its own; its line is told and kept."""
    command = [
        sys.executable,
        __file__,
        "--models",
        str(models),
        "--steps",
        str(given.steps),
        "--side",
        str(given.side),
    ]
    command += ["--rows", given.rows]
    command += ["--small"] if given.small else []
    if way.startswith("OpenVINO"):
        try:
            import openvino  # noqa: F401
        except ImportError:
            print(
                json.dumps({"bench": "cpu", "way": way, "missing": "OpenVINO is not installed: make bench does that."})
            )
            return
        subprocess.run([*command, "--alone", "convert", "--ways", way], check=True)
    told = subprocess.run([*command, "--alone", way], check=True, stdout=subprocess.PIPE, text=True).stdout
    line = compare(json.loads(told.splitlines()[-1]), models)
    print(json.dumps(line), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
