"""The devices of this machine that workers compute on, and who has borrowed one. Imports no torch: `nvidia-smi` is asked.

GPUs are numbered as CUDA's programs see them: `cuda:1` is the second of CUDA_VISIBLE_DEVICES, or of all of them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from controlnet_core.domain.errors import StudioError
from controlnet_core.storage import store

ASK_S = 5.0

PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Added to the environment of whatever computes, before it imports torch: threads that have nothing to do sleep. Where a browser or
anybody else uses the cores too, those that spin while they wait for each other cost several times what they compute."""


@dataclass(frozen=True)
class Device:
    """Where one worker computes. `name` is "cpu", "cuda:1", "mps" (a Mac's GPU), or "" for whatever the engine finds by itself.

    `visible` is what CUDA calls a GPU ("GPU-8f6a..."). `place` counts the devices of the same name before it, and `alike`
    all of that name: two workers on one processor share its cores.
    """

    name: str = ""
    visible: str = ""
    place: int = 0
    alike: int = 1

    @property
    def kind(self) -> str:
        """What an engine in its environment calls it: "cpu", "cuda", "mps" or ""."""
        return self.name.partition(":")[0]

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told so that it sees this device and no other."""
        if self.kind == "cuda":
            # By bus, as nvidia-smi counts; CUDA by itself puts the fastest first.
            return {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        if self.kind == "cpu":
            cores = max(1, (os.cpu_count() or 1) // self.alike)
            threads = {"OMP_NUM_THREADS": str(cores)} if self.alike > 1 and "OMP_NUM_THREADS" not in os.environ else {}
            return {"CUDA_VISIBLE_DEVICES": ""} | threads
        if self.kind == "mps" and "PYTORCH_ENABLE_MPS_FALLBACK" not in os.environ:
            return {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}  # the few things that it cannot compute the processor does
        return {}

    @property
    def key(self) -> str:
        """A name of its own among all devices, fit for a file."""
        return f"{self.visible or self.name or 'any'}-{self.place}"


def devices(wanted: str = "", environ: Mapping[str, str] = os.environ) -> tuple[Device, ...]:
    """The devices that `wanted` names ("cuda:0,cuda:1", "cpu,cpu"); "" means every GPU, else what the engine finds.

    Raises StudioError when one of them is not here, or is no device.
    """
    names = [name.strip().lower() for name in wanted.split(",") if name.strip()]
    if set(names) <= {"cpu", "mps"} and names:
        gpus: tuple[str, ...] = ()  # nobody has to be asked
    else:
        gpus = visible_gpus(environ)
    if not names:
        return tuple(Device(f"cuda:{n}", gpu) for n, gpu in enumerate(gpus)) or (Device(),)
    found = [_named(name, gpus) for name in names]
    counts, seen = Counter(device.name for device in found), Counter[str]()
    placed: list[Device] = []
    for device in found:
        placed.append(Device(device.name, device.visible, seen[device.name], counts[device.name]))
        seen[device.name] += 1
    return tuple(placed)


def visible_gpus(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs that CUDA shows to programs in an environment, in its order, each by the name that CUDA knows it by."""
    told = _ask_gpus("index,uuid")
    by_index = {row[0]: row[1] for row in told if len(row) == 2}
    wish = environ.get("CUDA_VISIBLE_DEVICES")
    if wish is None:
        return tuple(by_index.values())
    shown: list[str] = []
    for name in (part.strip() for part in wish.split(",")):
        found = by_index.get(name) or next((uuid for uuid in by_index.values() if name and uuid.startswith(name)), "")
        if not found and name.startswith("MIG-") and by_index:
            found = name
        if not found:  # CUDA, too, takes a list up to its first mistake
            break
        shown.append(found)
    return tuple(shown)


def free_gpu_bytes(name: str, environ: Mapping[str, str] = os.environ) -> int:
    """Bytes that are free on the GPU called `name` ("cuda", "cuda:1"); 0 where nobody can tell."""
    gpus, number = visible_gpus(environ), int(name.partition(":")[2] or 0)
    told = _ask_gpus("memory.free", gpus[number]) if number < len(gpus) else []
    return int(told[0][0]) << 20 if told and told[0][0].isdecimal() else 0


def gpu_memory(visible: str) -> tuple[int, int] | None:
    """Bytes used and in all on the GPU that CUDA calls `visible`; None where nobody can tell."""
    told = _ask_gpus("memory.used,memory.total", visible)
    if not told or len(told[0]) != 2 or not all(word.isdecimal() for word in told[0]):
        return None
    return int(told[0][0]) << 20, int(told[0][1]) << 20


def borrow(device: Device, folder: Path) -> IO[str] | None:
    """Take a device away from the workers until the file is closed, also in children that inherit it; None: it is taken."""
    return store.lock(_lock_file(device, folder))


def is_borrowed(device: Device, folder: Path) -> bool:
    """Whether somebody has borrowed a device."""
    return store.is_locked(_lock_file(device, folder))


def _lock_file(device: Device, folder: Path) -> Path:
    return folder / "devices" / f"{device.key.replace(':', '-')}.lock"


def _named(name: str, gpus: Sequence[str]) -> Device:
    if name == "cpu":
        return Device("cpu")
    if name == "mps":
        if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
            raise StudioError(
                "STUDIO_DEVICES names mps, which is the GPU of a Mac with Apple silicon; this machine is none.",
                "Name another device, or leave STUDIO_DEVICES away.",
            )
        return Device("mps")
    kind, _, number = (f"cuda:{name}" if name.isdecimal() else name).partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise StudioError(
            f"STUDIO_DEVICES names {name[:40]}, which is no device.",
            "Write cpu, or cuda:0, cuda:1 with commas between; on a Mac, mps.",
        )
    if int(number or 0) >= len(gpus):
        here = ", ".join([*(f"cuda:{n}" for n in range(len(gpus))), "cpu"])
        raise StudioError(
            f"STUDIO_DEVICES names {name[:40]}, which is not on this machine.",
            f"Here are: {here}. Name some of them, or leave STUDIO_DEVICES away.",
        )
    return Device(f"cuda:{int(number or 0)}", gpus[int(number or 0)])


def _ask_gpus(fields: str, which: str = "") -> list[list[str]]:
    """What nvidia-smi says about the GPUs, or about one: a row for each; nothing where it is not here or has nothing to say."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits", *(["-i", which] if which else [])]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[word.strip() for word in line.split(",")] for line in told.splitlines() if line.strip()]
