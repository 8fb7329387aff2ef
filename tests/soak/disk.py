"""A full disk, a file that another program holds: a sentence for the user, nothing torn or lost, and work goes on after it."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np

from controlnet_core.domain.document import Raster, encode
from controlnet_core.domain.errors import Busy, NoSpace
from controlnet_core.storage.gallery import Gallery
from tests.soak.kills import torn
from tests.soak.load import FIELDS, open_studio, put
from tests.soak.row import Row
from webapp.application.document_store import DocumentStore
from webapp.application.open_documents import OpenDocuments

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


def check_drawings(folder: Path, strokes: int) -> Row:
    """Draw on a disk that fills up: every answer is true, also after a restart."""
    amount = f"{strokes} strokes on {SIZE_MB} MB"
    with small_disk(folder) as refusal:
        if refusal:
            return Row("drawing, disk full", amount, refusal, None)
        workspace, rng = "ab" * 16, np.random.default_rng(0)
        kept, refused, untrue, accepted = 0, 0, 0, b""
        for number in range(strokes):
            documents = OpenDocuments(DocumentStore(folder / "documents", delay_s=0.01, free_min_bytes=0))
            token = documents.open(workspace, "soak", "scribble", encode(Raster("mask", np.zeros((8, 8), np.uint8))))
            rev, found = documents.read(token)
            untrue += bool(accepted) and found != accepted
            drawn = encode(Raster("mask", rng.integers(0, 256, (512, 512), np.uint8)))
            filler = folder / "filler"
            if number % 3 == 1:
                with suppress(OSError):
                    filler.write_bytes(b"0" * (SIZE_MB << 20))
            elif number % 3 == 0:
                filler.unlink(missing_ok=True)
            try:
                documents.write(token, drawn, rev)
                accepted, kept = drawn, kept + 1
            except NoSpace:
                refused += 1
            documents.close()
    figure = f"{kept} accepted, {refused} refused, {untrue} answers untrue after a restart"
    return Row("drawing, disk full", amount, figure, bool(kept and refused and not untrue))


def check_locked(folder: Path, jobs: int) -> Row:
    """Another program holds the queue's and the gallery's file again and again while pictures are made."""
    studio = open_studio(folder)
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            for name in ("jobs.sqlite", "gallery.sqlite"):
                other = sqlite3.connect(folder / name, isolation_level=None)
                with suppress(sqlite3.OperationalError):
                    other.execute("BEGIN IMMEDIATE")
                    time.sleep(0.3)
                other.close()
            time.sleep(0.1)

    holding = threading.Thread(target=hold)
    studio.dispatcher.wake()
    with patch.multiple("controlnet_core.storage.gallery_index", BUSY_S=0.05):
        studio.gallery.recent(1)
        holding.start()
        names = [f"locked-{number:05d}" for number in range(jobs)]
        for name in names:
            while True:
                try:
                    put(studio, name, name)
                    break
                except Busy:
                    time.sleep(0.05)
        end = time.monotonic() + 300
        states: list[str] = []
        while time.monotonic() < end:
            states = [studio.queue.get(name).state for name in names]
            if not {"queued", "running"} & set(states):
                break
            time.sleep(0.1)
        ended.set()
        holding.join()
    made = len(studio.gallery.recent(10 * jobs))
    studio.stop()
    figure = f"{states.count('done')} done, {made} pictures, {len(names) - states.count('done')} lost or stuck"
    return Row("files held by others", f"{jobs} jobs", figure, states.count("done") == made == jobs)
