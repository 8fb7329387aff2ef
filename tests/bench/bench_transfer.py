"""Transfer at the real size of SD 1.5: seconds and anonymous memory for a control in float32, bases in half precision.

Writes 5 GB of stand-in weights into a temporary folder first (their values do not change the time). One JSON line.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from controlnet_core.transfer import Work, transfer
from controlnet_core.weights import DTYPES, Entry, write


def shapes() -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Names and shapes of SD 1.5's U-Net and of its ControlNets."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        control = ControlNetModel(cross_attention_dim=768)
    return tuple({name: tuple(one.shape) for name, one in net.state_dict().items()} for net in (unet, control))


def stand_in(path: Path, sizes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> int:
    entries = [
        Entry(name, shape, DTYPES[dtype], lambda shape=shape: torch.full(shape, 0.5, dtype=dtype))
        for name, shape in sizes.items()
    ]
    return write(path, entries, {}, free_min_bytes=0)


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


def main() -> None:
    torch.set_num_threads(1)
    unet, control = shapes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = stand_in(folder / "control.safetensors", control, torch.float32)
        for base in ("origin", "target"):
            (folder / base).mkdir()
            stand_in(folder / base / "model.safetensors", unet, torch.float16)
        gc.collect()
        before = peak = anonymous()
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.002):
                peak = max(peak, anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.perf_counter()
        done = transfer(
            folder / "control.safetensors",
            folder / "origin",
            folder / "target",
            folder / "new.safetensors",
            Work(free_min_bytes=0),
        )
        seconds = time.perf_counter() - begun
        ended.set()
        watcher.join()
    largest = max(4 * torch.Size(shape).numel() for shape in control.values())
    figures = {
        "bench": "transfer",
        "control_mb": round(written / 1e6),
        "moved": done.moved,
        "seconds": round(seconds, 1),
        "peak_anonymous_mb": round((peak - before) / 1e6, 1),
        "largest_tensor_mb": round(largest / 1e6, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
