"""A disk that is full: a sentence for the user, no torn file, and work goes on when there is space again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlnet_core.domain.errors import NoSpace
from controlnet_core.storage.gallery import Gallery
from tests.soak.kills import torn
from tests.soak.load import FIELDS, open_studio
from tests.soak.row import Row

SIZE_MB = 6


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A disk of a few megabytes at `folder`; yields why there is none, "" when there is."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        refusal = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        refusal = str(error)
    yield f"no disk of {SIZE_MB} MB can be mounted here: {refusal}" if refusal else ""
    if not refusal:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def check(folder: Path, jobs: int) -> Row:
    """Make pictures until well after the disk is full, then make room and one more."""
    amount = f"{jobs} jobs on {SIZE_MB} MB"
    with small_disk(folder) as refusal:
        if refusal:
            return Row("disk full", amount, refusal, None)
        studio = open_studio(folder)
        states: list[str] = []
        plain = 0
        for number in range(jobs):
            try:
                recipe = studio.new_recipe([], seed=number, **FIELDS | {"width": 512, "height": 512})
                job = studio.submit("disk", recipe, owner="ab" * 16)
            except NoSpace:
                states.append("refused")
                plain += 1
                continue
            entry = studio.queue.get(job)
            end = time.monotonic() + 30
            while not entry.over and time.monotonic() < end:
                time.sleep(0.02)
                entry = studio.queue.get(job)
            states.append(entry.state)
            plain += "too little space" in entry.text
        whole = studio.gallery.recent(1000)
        halves = torn(studio.gallery, whole) + torn(studio.gallery, Gallery(folder / "gallery").recent(1000))
        studio.gallery.delete([one.id for one in whole], "ab" * 16)
        studio.gallery.empty_bin(float("inf"))
        studio.gallery.sweep(0)
        job = studio.submit("disk", studio.new_recipe([], **FIELDS), owner="ab" * 16)
        end = time.monotonic() + 30
        while not studio.queue.get(job).over and time.monotonic() < end:
            time.sleep(0.02)
        after = studio.queue.get(job).state
        studio.stop()
    done, full = states.count("done"), len(states) - states.count("done")
    figure = f"{done} kept, {full} failed, {plain} in plain words; {halves} torn; after making room: {after}"
    return Row("disk full", amount, figure, bool(done and full == plain and not halves and after == "done"))
