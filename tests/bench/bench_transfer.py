"""Transfer at the real size of SD 1.5: seconds and anonymous memory, for the containers and precisions that people have.

    python tests/bench/bench_transfer.py [row ...]

Writes up to 8 GB of stand-in weights a row into a temporary folder first (their values do not change the time), and
transfers in a process of its own. One JSON line a row; `tensors` is the peak over the largest tensor of the output.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.checkpoints.transfer import TransferOptions, transfer
from controlnet_core.checkpoints.weight_files import DTYPES, TensorEntry, Weights, write

Sizes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """The control's precision and container, whether the bases are folders, and whether the whole target is written."""

    control: torch.dtype
    suffix: str = ".safetensors"
    folders: bool = False
    full: bool = False


ROWS = {
    "f32, folders": Row(torch.float32, folders=True),
    "f16, files": Row(torch.float16),
    "f16, pickles": Row(torch.float16, ".ckpt"),
    "f16, full": Row(torch.float16, full=True),
}


def shapes() -> tuple[Sizes, Sizes]:
    """Names, as diffusers gives them, and shapes of SD 1.5's U-Net and of its ControlNets."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        control = ControlNetModel(cross_attention_dim=768)
    first, second = ({name: tuple(one.shape) for name, one in net.state_dict().items()} for net in (unet, control))
    return first, second


def originally(sizes: Sizes, prefix: str) -> Sizes:
    """The same under the original's names: every name that could be one is renamed, and those that fit are kept."""
    inner = {name.split(".", 4)[4].rpartition(".")[0] for name in sizes if ".attentions." in name and "down" in name}
    parts = [f"0.{rest}" for rest in ldm_keys._RESNET] + [f"1.{rest}" for rest in inner]
    stems = [f"{side}_blocks.{n}.{part}" for side, n, part in product(("input", "output"), range(12), parts)]
    stems += [f"input_blocks.{n}.0.op" for n in (3, 6, 9)]
    stems += ["output_blocks.2.1.conv", "output_blocks.5.2.conv", "output_blocks.8.2.conv"]
    stems += [f"middle_block.{n}.{rest}" for n, rest in product("012", (*ldm_keys._RESNET, *inner))]
    stems += [
        *ldm_keys._PLAIN,
        *(f"zero_convs.{n}.0" for n in range(12)),
        *(f"input_hint_block.{n}" for n in range(2, 14, 2)),
    ]
    old = {ldm_keys._unet_stem(stem, 2): stem for stem in stems}
    return {f"{prefix}{old[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": size for name, size in sizes.items()}


def stand_in(path: Path, sizes: Sizes, dtype: torch.dtype) -> Path:
    path.parent.mkdir(exist_ok=True)
    entries = [
        TensorEntry(name, shape, DTYPES[dtype], lambda shape=shape: [torch.full(shape, 0.5, dtype=dtype)])
        for name, shape in sizes.items()
    ]
    plain = path.with_suffix(".safetensors")
    write(plain, entries, {}, free_min_bytes=0)
    if path != plain:
        held = Weights.open(plain)
        torch.save({"state_dict": {name: held.get(name) for name in sizes}}, path)
        plain.unlink()
    return path


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


def main() -> None:
    unet, control = shapes()
    names = sys.argv[1:] or list(ROWS)
    for name in names:
        row = ROWS[name]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            bases = [folder / base / "model.safetensors" for base in ("origin", "target")]
            held, base = control, unet
            if not row.folders:
                bases = [folder / f"{base}{row.suffix}" for base in ("origin", "target")]
                held, base = originally(control, ldm_keys.CONTROL), originally(unet, ldm_keys.UNET)
            if row.full:
                held |= base
            stand_in(folder / f"control{row.suffix}", held, row.control)
            for path in bases:
                stand_in(path, base, torch.float16)
            places = [path.parent if row.folders else path for path in bases]
            subprocess.run([sys.executable, __file__, "--one", name, *map(str, [folder, *places])], check=True)


def measure(name: str, folder: Path, origin: Path, target: Path) -> None:
    torch.set_num_threads(1)
    row, output = ROWS[name], folder / "new.safetensors"
    torch.dist(torch.ones(1 << 20).half().float(), torch.zeros(1 << 20))  # what libraries take once
    gc.collect()
    before = peak = anonymous()
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    try:
        now = TransferOptions(free_min_bytes=0)
        done = transfer(folder / f"control{row.suffix}", origin, target, output, now, full=row.full)
    finally:
        ended.set()
        watcher.join()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    written = Weights.open(output)
    largest = max(one.numel() * one.element_size() for one in map(written.get, written.shapes))
    figures = {
        "bench": "transfer",
        "row": name,
        "written_mb": round(done.size / 1e6),
        "moved": done.moved,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_anonymous_mb": round((peak - before) / 1e6, 1),
        "largest_tensor_mb": round(largest / 1e6, 1),
        "tensors": round((peak - before) / largest, 2),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], *map(Path, sys.argv[3:6]))
    else:
        main()
