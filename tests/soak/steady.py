"""Hours of use: tabs come and go, pictures are made, the gallery is looked at. Memory and threads stay flat.

Streamlit keeps the last 128 sessions whose tab is closed, three descriptors each, for two minutes in case it comes back: how many
descriptors there are says how many tabs came. So they are counted before the work and when all those sessions are over.
"""

from __future__ import annotations

import random
import re
import statistics
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.soak.row import Row
from tests.soak.server import Running, running
from tests.soak.tab import open_tab

VISITORS = 3
LOOKS = 2.0
"""Seconds between two looks at the processes."""
WARM_SHARE = 0.4
GROWTH_MIB = 48.0
"""What may come on top of one hour: caches that fill (pages, thumbnails, SQLite), not what grows for ever."""
KEPT_S = 120.0
"""How long Streamlit keeps a session without a tab (`MemorySessionStorage`); it forgets them when the next one comes."""
PAGES = ("", "pose", "seg", "gallery", "models")


@dataclass(frozen=True)
class Look:
    """What a studio held at a moment: web process and worker together."""

    rss_mib: float
    threads: int
    descriptors: int
    workers: tuple[int, ...] = ()


def look(studio: Running) -> Look:
    """What is held now. Raises psutil.Error when a process ends meanwhile."""
    workers = studio.workers()
    processes = [psutil.Process(studio.process.pid), *workers]
    with_memory = [(one.memory_info().rss, one.num_threads(), one.num_fds()) for one in processes]
    held = [sum(one[k] for one in with_memory) for k in range(3)]
    return Look(held[0] / 2**20, held[1], held[2], tuple(one.pid for one in workers))


def visit(studio: Running, rng: random.Random) -> int:
    """One tab: a page, a picture, the gallery, a star, a deletion; returns how many pictures came."""
    workspace = f"{rng.randrange(8):032x}"
    with open_tab(studio.url, workspace) as tab, httpx.Client(base_url=studio.url, timeout=60) as client:
        headers = {"Origin": studio.url}
        for page in rng.sample(PAGES, 2):
            tab.run(page)
        tab.run()
        tab.run(
            **{
                "scribble.prompt": ("string_value", f"calm {rng.random()}"),
                "scribble.generate": ("trigger_value", True),
            }
        )
        with client.stream("GET", f"/studio/events/{tab.stream}") as events:
            for line in events.iter_lines():
                if re.search(r'"kind": "(done|failed|cancelled)"', line):
                    break
        told = client.get(f"/studio/gallery/{tab.stream}", params={"n": 60}).json()
        for picture in told["pictures"][:10]:
            client.get(picture["url"].removeprefix("."), params={"thumb": ""}).raise_for_status()
        ids = [picture["id"] for picture in told["pictures"]]
        client.post(f"/studio/gallery/{tab.stream}/star", json={"ids": ids[:1]}, headers=headers).raise_for_status()
        if len(ids) > 20:
            client.post(
                f"/studio/gallery/{tab.stream}/delete", json={"ids": ids[10:]}, headers=headers
            ).raise_for_status()
            client.post(f"/studio/gallery/{tab.stream}/empty", json={}, headers=headers).raise_for_status()
        client.get(f"/studio/jobs/{tab.stream}").raise_for_status()
        return len(ids)


def check(folder: Path, seconds: float) -> list[Row]:
    """Work for `seconds`, then rest; what is held in the last part is compared with the part right after the warm-up."""
    failures: list[str] = []
    visits = 0
    looks: list[tuple[float, Look]] = []
    lock = threading.Lock()
    with running(folder) as studio:
        visit(studio, random.Random(VISITORS))
        before = look(studio).descriptors
        begun = time.monotonic()

        def come_and_go(seed: int) -> None:
            nonlocal visits
            rng = random.Random(seed)
            while time.monotonic() - begun < seconds:
                try:
                    visit(studio, rng)
                except Exception as error:
                    failures.append(f"{type(error).__name__}: {error}")
                with lock:
                    visits += 1

        threads = [threading.Thread(target=come_and_go, args=(seed,)) for seed in range(VISITORS)]
        for thread in threads:
            thread.start()
        while time.monotonic() - begun < seconds:
            with suppress(psutil.Error):  # a worker that ends just now; how many there were is counted
                looks.append((time.monotonic() - begun, look(studio)))
            time.sleep(LOOKS)
        for thread in threads:
            thread.join()
        time.sleep(KEPT_S + 5)
        visit(studio, random.Random(VISITORS))
        left = look(studio).descriptors - before
    warm = [one for at, one in looks if at >= WARM_SHARE * seconds]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]
    grown = {name: _median(last, name) - _median(first, name) for name in ("rss_mib", "threads")}
    flat = grown["rss_mib"] <= GROWTH_MIB * max(0.25, seconds / 3600) and grown["threads"] <= 4 and left <= 12
    lives = len({pid for _, one in looks for pid in one.workers})
    figure = (
        f"{_median(last, 'rss_mib'):.0f} MiB ({grown['rss_mib']:+.0f}), {_median(last, 'threads'):.0f} threads "
        f"({grown['threads']:+.0f}), {_median(last, 'descriptors'):.0f} descriptors ({left:+d} at rest)"
    )
    amount = f"{seconds / 60:.1f} min, {visits} visits"
    rows = [Row("steady work", amount, figure, flat), Row("worker processes", amount, f"{lives}", lives == 1)]
    rows.append(
        Row("visits that failed", amount, f"{len(failures)} {failures[0][:50] if failures else ''}", not failures)
    )
    return rows


def _median(looks: list[Look], name: str) -> float:
    return statistics.median(getattr(one, name) for one in looks)
