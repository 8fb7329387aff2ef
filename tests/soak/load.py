"""Many sessions at once: nothing lost, nothing twice, no event in another's hands; and nobody waits for a flooder."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from controlnet_core.domain.errors import QueueFull
from tests.soak.row import Row
from webapp.application import views
from webapp.application.settings import Settings
from webapp.application.studio import Studio

LIMIT_S = 900.0
FIELDS: dict[str, Any] = {"model": "paperworld", "width": 64, "height": 64, "steps": 2}


def open_studio(folder: Path) -> Studio:
    """A studio with two workers at work on the tests' engine."""
    settings = Settings(folder, folder / "models", 0, "tests.soak.engine:build", "cpu,cpu")
    studio = Studio(settings)
    studio.start()
    return studio


TABS, FLOODER = 17, "f" * 32


def put(studio: Studio, session: str, id: str, prompt: str = "", owner: str = "") -> None:
    """Submit a job, and wait with it while the queue is full."""
    recipe = studio.new_recipe([], prompt=prompt, **FIELDS)
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        try:
            studio.submit(session, recipe, owner=owner or _workspace(session), id=id)
            return
        except QueueFull:
            time.sleep(0.02)
    raise TimeoutError(id)


def check_load(folder: Path, sessions: int, jobs: int) -> Row:
    """Every session submits its jobs (each twice, as a double click does) and listens to its own events."""
    studio = open_studio(folder)
    names = [f"session{number:03d}" for number in range(sessions)]
    heard: dict[str, list[views.Event]] = {name: [] for name in names}

    async def listen(name: str) -> None:
        async with studio.events.listen(studio.events.stream(name, _workspace(name))) as listener:
            while Counter(one.kind for one in heard[name])["done"] < jobs:
                heard[name] += await listener.get(LIMIT_S)

    async def listen_all() -> None:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(listen(name) for name in names))

    def submit(name: str) -> None:
        for number in range(jobs):
            for _ in range(2):
                put(studio, name, f"{name}-{number:05d}")

    listening = threading.Thread(target=lambda: asyncio.run(listen_all()))
    listening.start()
    threads = [threading.Thread(target=submit, args=(name,)) for name in names]
    begun = time.monotonic()
    for thread in [*threads, listening]:
        thread.start() if thread is not listening else None
    for thread in [*threads, listening]:
        thread.join()
    seconds = time.monotonic() - begun
    lost = doubled = leaked = 0
    for name in names:
        own = {f"{name}-{number:05d}" for number in range(jobs)}
        done = Counter(one.job for one in heard[name] if one.kind == "done")
        results = Counter(one.job for one in studio.gallery.recent(100_000, _workspace(name)))
        lost += len(own - set(done)) + len(own - set(results))
        doubled += sum(times - 1 for times in (done + Counter()).values()) + sum(n - 1 for n in results.values())
        leaked += sum(one.job not in own for one in heard[name]) + len(set(results) - own)
    studio.stop()
    figure = (
        f"{lost} lost, {doubled} doubled, {leaked} events or pictures leaked; {sessions * jobs / seconds:.0f} jobs/s"
    )
    return Row("load", f"{sessions} sessions x {jobs} jobs", figure, not (lost or doubled or leaked))


def check_fairness(folder: Path, singles: int = 9) -> Row:
    """A flooder keeps all places full that it gets in 17 tabs; `singles` others come with one job each: how many jobs start before
    theirs?"""
    studio = open_studio(folder)
    stop = threading.Event()

    def flood() -> None:
        number = 0
        while not stop.is_set():
            put(studio, f"tab{number % TABS}", f"flood-{number:05d}", "slow=0.02", FLOODER)
            number += 1

    flooding = threading.Thread(target=flood)
    flooding.start()
    while len(studio.queue.of(FLOODER, 100)) < 8:
        time.sleep(0.02)
    ids = [f"single-{number:05d}" for number in range(singles)]
    for id in ids:
        put(studio, id, id)
    submitted = time.time()
    end = time.monotonic() + 120
    while not all(studio.queue.get(id).over for id in ids) and time.monotonic() < end:
        time.sleep(0.02)
    stop.set()
    flooding.join()
    every = [*studio.queue.of(FLOODER, 1000), *(studio.queue.get(id) for id in ids)]
    starts = sorted((one.started, one.id) for one in every if one.started is not None and one.started >= submitted)
    order = [id for _, id in starts]
    worst = max(order.index(id) + 1 if id in order else 0 for id in ids)
    started = all(studio.queue.get(id).started for id in ids)
    studio.stop()
    return Row(
        "fairness",
        f"1 flooder in {TABS} tabs, {singles} singles",
        f"the last single starts as job {worst}",
        started and worst <= 10,
    )


def _workspace(session: str) -> str:
    return session.encode().hex().ljust(32, "0")[-32:]
