"""Queue, two workers and gallery in a process of their own, which may be told to die at a moment: `python -m tests.soak.shop`.

    FOLDER PROMPTS [MOMENT NTH]

Submits a job for every line of the file PROMPTS (the same ones again with every start), ends when all are over. MOMENT "claim"
kills the process right after it took its NTH job, "write" at its NTH flush of a file to the disk.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from controlnet_core.domain.job import Job
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.devices import devices
from controlnet_core.execution.dispatcher import Dispatcher
from controlnet_core.execution.local_process import LocalProcess
from controlnet_core.execution.queue import Queue
from controlnet_core.storage import store
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs

STUCK_S = 300.0
"""Without a job that ends for so long, nothing is going to happen any more: a bound, also on a machine that is busy otherwise."""


def dying(plain: Any, nth: int) -> Any:
    """A function that does its work and, at the `nth` time, is the last that its process does."""
    left = nth

    def call(*args: Any) -> Any:
        nonlocal left
        done = plain(*args)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return call


def main(folder: Path, prompts: list[str], moment: str = "", nth: int = 0) -> None:
    store.sweep(folder)
    queue = Queue(folder / "jobs.sqlite", Blobs(folder / "blobs"), session_max=1000, queued_max=1000)
    if moment == "claim":
        queue.claim = dying(queue.claim, nth)
    if moment == "write":
        store.os.fsync = dying(os.fsync, nth)  # type: ignore[attr-defined]
    gallery = Gallery(folder / "gallery", free_min_bytes=0)
    log = folder / "studio.log"
    dispatcher = Dispatcher(
        queue,
        [LocalProcess("tests.soak.engine:build", device, log=log) for device in devices("cpu,cpu")],
        keep=gallery.add,
        tell=lambda _session, _event: None,
    )
    dispatcher.start()
    ids = [f"job-{number:05d}" for number in range(len(prompts))]
    for number, (id, prompt) in enumerate(zip(ids, prompts, strict=True)):
        recipe = Recipe(model="paperworld", width=64, height=64, steps=4, seed=number, images=2, prompt=prompt)
        queue.submit(Job(id, "soak", recipe, owner="soak"))
    dispatcher.wake()
    left, since = len(ids), time.monotonic()
    while left and time.monotonic() - since < STUCK_S:
        time.sleep(0.02)
        now = sum(not queue.get(id).over for id in ids)
        if now < left:
            left, since = now, time.monotonic()
    dispatcher.stop()
    queue.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines(), *sys.argv[3:4], *map(int, sys.argv[4:5]))
