"""The worst pictures: processor time and memory of each, as the studio reads an upload; the worst of them is the row's figure."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil

from controlnet_core.domain.errors import InputError
from controlnet_core.execution import decoder
from tests.hostile_pictures import KINDS, hostile
from tests.soak.row import Row

MEMORY_MAX_MB = 400


def check() -> Row:
    """Each in a process of its own that has read nothing before."""
    slowest = largest = (0.0, "")
    refused, waited = 0, 0.0
    for kind in KINDS:
        data = hostile(kind)
        reader = decoder._for(data)
        reader.close()
        with suppress(InputError):
            reader.call({"pixels_max": 0, "longest": 0}, [b"x"])  # starts the process
        child = psutil.Process(reader._child.pid) if reader._child else None
        assert child is not None
        before, begun = sum(child.cpu_times()[:2]), time.monotonic()
        try:
            decoder.decode(data, longest=3072)
        except InputError:
            refused += 1
        waited = max(waited, time.monotonic() - begun)
        seconds = decoder.CPU_S  # of one that was ended: by a timer of exactly this
        with suppress(psutil.Error, OSError, StopIteration):
            seconds = sum(child.cpu_times()[:2]) - before
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
            largest = max(largest, (peak, kind))
        slowest = max(slowest, (seconds, kind))
    figure = f"{slowest[0]:.1f} s of processor ({slowest[1]}), {largest[0]:.0f} MB ({largest[1]}), "
    figure += f"{waited:.1f} s on the clock at most; {refused} refused"
    return Row(
        "worst pictures", f"{len(KINDS)} kinds", figure, largest[0] <= MEMORY_MAX_MB and slowest[0] <= decoder.CPU_S + 1
    )
