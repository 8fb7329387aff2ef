"""Data sets in the making: photos below data/photos, pairs below data/datasets, and the processes that turn one into the other.

A run is `studio annotate` in a process of its own, so that networks neither stand in the way of pictures nor of each other;
whatever ends it, the next run of the same set goes on where it was. Draws no page.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from annotator.datasets.dataset import PLAN, PROMPTS, SKIPPED, AnnotationPlan
from annotator.datasets.photos import MANY, SUFFIXES
from controlnet_core.domain.control import Value
from controlnet_core.domain.errors import InputError
from controlnet_core.storage import store
from webapp.application.owners import Owners
from webapp.application.settings import ROOT, Settings

ORIGIN = "origin.json"
NICE = 5
STOP_MAX_S = 5.0
RUNS_MAX = 2
"""Sets that are made at a time, one of each workspace: every run is a process with networks of its own."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")


@dataclass
class Run:
    """A process that annotates: how far it is, and when it has ended with a failure, the sentence about it."""

    child: subprocess.Popen[str]
    workspace: str = ""
    text: str = "Starting"
    done: int = 0
    total: int = 0
    stopped: bool = False
    problem: str = ""
    said: deque[str] = field(default_factory=lambda: deque[str](maxlen=8))

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self.child.poll() is None


@dataclass(frozen=True)
class Made:
    """A data set that was made here: its pairs, the photos that were skipped with the reason, and what it was made from."""

    name: str
    folder: Path
    plan: dict[str, Any]
    pairs: int
    skipped: list[tuple[str, str]]
    source: Path | None
    caption: str = ""


class Annotations:
    """The data sets of one data folder. Safe across threads.

    `workspace` is everywhere who asks: it sees its own, what others share, and what is nobody's; "" sees the last two.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.photos = settings.data / "photos"
        self.folder = settings.data / "datasets"
        self.owners = Owners(self.folder)
        self.photo_owners = Owners(self.photos)
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}

    def sources(self, workspace: str = "") -> list[Path]:
        """The folders, zips, lists and shards of photos to choose from, by name."""
        if not self.photos.is_dir():
            return []
        found = sorted(path for path in self.photos.iterdir() if path.is_dir() or path.suffix.lower() in MANY)
        return [path for path in found if self.photo_owners.sees(path.name, workspace)]

    def keep(self, name: str, files: Sequence[tuple[str, bytes]], workspace: str = "") -> Path:
        """Keep uploaded photos, captions (.txt) or one zip under a name; returns what to annotate. Raises InputError, NoSpace."""
        self._check(name)
        for place in (name, f"{name}.zip"):
            self.photo_owners.check(place, workspace)
        free = self.settings.free_min_bytes
        zips = [data for file, data in files if file.lower().endswith(".zip")]
        if zips:
            if len(files) > 1:
                raise InputError("A zip comes alone.", "Upload one zip, or photos and their captions.")
            place = self.photos / f"{name}.zip"
            store.write(place, zips[0], free_min_bytes=free)
            self.photo_owners.note(place.name, workspace)
            return place
        place = self.photos / name
        for file, data in files:
            safe = Path(file.replace("\\", "/")).name.lstrip(".")
            if Path(safe).suffix.lower() in (*SUFFIXES, ".txt", ".jsonl"):
                store.write(place / safe, data, free_min_bytes=free)
        if not place.is_dir():
            raise InputError("There are no photos among these files.", "PNG, JPEG and WebP are read.")
        self.photo_owners.note(name, workspace)
        return place

    def start(self, name: str, source: Path, plan: AnnotationPlan, workspace: str = "") -> None:
        """Annotate `source` into the set called `name`, or go on.

        Raises InputError when that is running already, when as many run as may, or when the set is somebody else's.
        """
        self._check(name)
        self.owners.check(name, workspace)
        if source not in self.sources(workspace):
            raise InputError("These photos are not here any more.", f"Put them into {self.photos}.")
        with self._lock:
            if name in self._runs and self._runs[name].alive:
                raise InputError(f"{name} is being made already.")
            busy = [run.workspace for run in self._runs.values() if run.alive]
            if workspace in busy or len(busy) >= RUNS_MAX:
                whose = "A set of yours" if workspace in busy else "As many sets as may be"
                raise InputError(
                    f"{whose} {'is' if workspace in busy else 'are'} being made already.", "Wait for the end."
                )
            self.owners.note(name, workspace)
            origin = {"source": source.name, "plan": asdict(plan)}
            store.write(
                self.folder / name / ORIGIN, json.dumps(origin).encode(), free_min_bytes=self.settings.free_min_bytes
            )
            run = self._runs[name] = Run(self._spawn(source, self.folder / name, plan), workspace)
        threading.Thread(target=_read, args=(run,), name=f"annotate {name}", daemon=True).start()

    def resume(self, made: Made, workspace: str = "") -> None:
        """Go on with a set. Raises InputError when its photos are gone."""
        if made.source is None:
            raise InputError("The photos of this set are not here any more.", f"Put them into {self.photos}.")
        plan = {key: made.plan[key] for key in ("control", "detector", "values", "drawn", "size")}
        self.start(made.name, made.source, AnnotationPlan(**plan, caption=made.caption), workspace)

    def run(self, name: str) -> Run | None:
        """The last run of a set in this process."""
        with self._lock:
            return self._runs.get(name)

    def running(self) -> bool:
        """Whether anything is being made."""
        with self._lock:
            return any(run.alive for run in self._runs.values())

    def stop(self, name: str, workspace: str = "") -> None:
        """End the run of a set, and wait for that; what it has made stays. Raises InputError when it is somebody else's."""
        self.owners.check(name, workspace)
        run = self.run(name)
        if run is not None and run.alive:
            run.stopped = True
            run.child.terminate()
            try:
                run.child.wait(STOP_MAX_S)
            except subprocess.TimeoutExpired:
                run.child.kill()
                run.child.wait()

    def made(self, workspace: str = "") -> list[Made]:
        """The sets that were made here, the newest first."""
        found = list({path.parent: 0 for name in (PLAN, ORIGIN) for path in self.folder.glob(f"*/{name}")})
        found.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        seen = [folder for folder in found if self.owners.sees(folder.name, workspace)]
        return [one for folder in seen if (one := self._made(folder, workspace)) is not None]

    def _made(self, folder: Path, workspace: str) -> Made | None:
        try:
            origin: dict[str, Any] = json.loads(_bytes(folder / ORIGIN) or b"{}")
            plan: dict[str, Any] = origin.get("plan") or json.loads((folder / PLAN).read_bytes())
            source = self.photos / str(origin.get("source", ""))
            return Made(
                folder.name,
                folder,
                plan,
                (_bytes(folder / PROMPTS)).count(b"\n"),
                [(str(row["file"]), str(row["why"])) for row in map(json.loads, _bytes(folder / SKIPPED).splitlines())],
                source if origin.get("source") and source in self.sources(workspace) else None,
                str(plan.get("caption", "")),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # not made by this program

    def _check(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InputError("A name has letters a to z, digits, - and _.", "For example street-edges.")

    def _spawn(self, source: Path, target: Path, plan: AnnotationPlan) -> subprocess.Popen[str]:
        words = ["annotate", plan.control, str(source), str(target), "--json", "--detector", plan.detector]
        words += ["--size", str(plan.size), "--caption", plan.caption]
        for key, value in {**plan.values, **plan.drawn}.items():
            words += [f"--{key.replace('_', '-')}", _word(value)]
        where = {"STUDIO_DATA": str(self.settings.data), "STUDIO_MODELS": str(self.settings.models)}
        return subprocess.Popen(
            # Pictures that somebody waits for come first.
            ["nice", "-n", str(NICE), sys.executable, "-m", "webapp", *words],
            cwd=ROOT,
            env=os.environ | where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _read(run: Run) -> None:
    """Hear what a process says until it ends."""
    assert run.child.stdout is not None
    for line in run.child.stdout:
        try:
            told: dict[str, Any] = json.loads(line)
            run.text, run.done, run.total = str(told["text"]), int(told["done"]), int(told["total"])
        except (ValueError, TypeError, KeyError):
            run.said.append(line.strip())
    code = run.child.wait()
    if code and not run.stopped:
        said = [line.removeprefix("studio: ") for line in run.said if line.startswith("studio: ")]
        run.problem = said[-1] if said else "The run ended unexpectedly. What it has made stays; go on with it."


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
