"""kill -9 at every phase: no file is torn, every job ends, every picture is there once."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

from PIL import Image

from controlnet_core.execution.queue import Queue
from controlnet_core.storage.gallery import Gallery, Result
from controlnet_core.storage.metadata import recipe_of
from controlnet_core.storage.store import Blobs
from tests.soak.row import Row

ROOT = Path(__file__).resolve().parents[2]
IN_WORKER = ("load", "step", "decode")
IN_PARENT = ("claim", "write")
CALM = ["calm", "calm"]
WRITES = 24
"""Flushes of a file or folder to the disk while two jobs of two pictures are kept: six files, each flushed with its folder."""


def shop(folder: Path, prompts: list[str], *moment: str) -> int:
    """Run a shop to its end or death; returns its exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "prompts.txt"
    listed.write_text("\n".join(prompts))
    command = [sys.executable, "-m", "tests.soak.shop", str(folder), str(listed), *moment]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=7200).returncode


def torn(gallery: Gallery, results: list[Result]) -> int:
    """How many results are not whole, and how many files of interrupted writes are left."""
    count = len(list(gallery.folder.parent.rglob(".part-*")))
    for result in results:
        try:
            png = result.png.read_bytes()
            Image.open(io.BytesIO(png)).load()
            Image.open(result.thumb).load()
            whole = recipe_of(png) == result.recipe
        except (OSError, SyntaxError, ValueError):
            whole = False
        count += not whole
    return count


def count(folder: Path, jobs: int) -> tuple[int, int, int]:
    """Torn files, jobs that did not end well, and pictures too many or too few."""
    gallery = Gallery(folder / "gallery")
    queue = Queue(folder / "jobs.sqlite", Blobs(folder / "blobs"))
    results = gallery.recent(100_000)
    entries = queue.of("soak", 100_000)
    queue.close()
    open_jobs = jobs - sum(entry.state == "done" for entry in entries)
    wrong = 0
    for entry in entries:
        wrong += {one.id for one in results if one.job == entry.id} != set(entry.kept) or len(entry.kept) != 2
    return torn(gallery, results), open_jobs, wrong


def check(folder: Path, times: int, seed: int = 0) -> list[Row]:
    """Kill `times` times at each phase."""
    return [*_in_worker(folder / "worker", times), *(_in_parent(folder, phase, times, seed) for phase in IN_PARENT)]


def _in_worker(folder: Path, times: int) -> list[Row]:
    """One shop, whose worker dies under every job once."""
    marks = [(phase, folder / f"{phase}{number}") for number in range(times) for phase in IN_WORKER]
    ended = shop(folder, [f"die-{phase}={path}" for phase, path in marks]) == 0
    found = count(folder, len(marks))
    kills = {phase: sum(path.exists() for one, path in marks if one == phase) for phase in IN_WORKER}
    return [_row(phase, kills[phase], found, ended and kills[phase] == times) for phase in IN_WORKER]


def _in_parent(folder: Path, phase: str, times: int, seed: int) -> Row:
    """Shops that die at a moment, and are started again."""
    rng = random.Random(seed)
    sums, killed = [0, 0, 0], 0
    for number in range(times):
        here = folder / f"{phase}{number}"
        nth = rng.randint(1, 2) if phase == "claim" else rng.randint(1, WRITES)
        killed += shop(here, CALM, phase, str(nth)) == -9
        ended = shop(here, CALM) == 0
        sums = [before + now for before, now in zip(sums, count(here, len(CALM)), strict=True)]
        sums[1] += not ended
    return _row(phase, killed, (sums[0], sums[1], sums[2]), killed == times)


def _row(phase: str, killed: int, found: tuple[int, int, int], ran: bool) -> Row:
    figure = f"{found[0]} torn files, {found[1]} jobs not ended, {found[2]} with pictures lost or doubled"
    return Row(f"kill -9 at {phase}", f"{killed} kills", figure, ran and not any(found))
