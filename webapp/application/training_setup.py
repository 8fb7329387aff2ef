"""Puts a training together for this machine: models, conditions and data by their names. The pages never import this.

The process that trains is `studio train CONFIG.toml`, from a terminal or started by the training page; several of it
run under `accelerate launch -m webapp train CONFIG.toml`.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import annotator
from controlnet_core.datasets import Pairs, open_folder
from controlnet_core.datasets.example_circles import Circles
from controlnet_core.datasets.gallery_pairs import KeptPairs
from controlnet_core.domain.errors import Cancelled, InputError, StudioError
from controlnet_core.storage import store
from controlnet_core.storage.gallery import Gallery
from controlnet_core.storage.store import Blobs
from controlnet_core.training.run import ANOTHER, APART, HOLDS, Config, Run, Status, parse, to_toml
from paperworld.world.pairs import HELD_OUT, WorldPairs
from webapp.application.settings import Settings

HELD_OUT_CIRCLES = 10_000_000


def data_of(config: Config, settings: Settings, run: Run) -> tuple[Pairs, Pairs | None]:
    """As `pairs_of`, but the same for as long as the training lasts: the gallery as it was when that began."""
    pairs, held = pairs_of(config, settings, run.gallery())
    if isinstance(pairs, KeptPairs) and len(pairs) and int(os.environ.get("RANK", "0")) == 0:
        run.keep_gallery(pairs.ids)
    return pairs, held


def pairs_of(config: Config, settings: Settings, gallery: Sequence[str] | None = None) -> tuple[Pairs, Pairs | None]:
    """The data of a training, and pairs of their own to hold out where it never ends. Raises InputError.

    `gallery` are the ids of its pictures, where they are not those that it has now.
    """
    source, size = config.data.source, config.data.size
    kind = annotator.control(config.control)
    if not kind.trains:
        raise InputError(f"{kind.title} cannot be trained here.", "Choose another control.")
    if source == "circles":
        return Circles(size), Circles(size, HELD_OUT_CIRCLES)
    if source == "world":
        return WorldPairs(kind, size), WorldPairs(kind, size, HELD_OUT)
    if source == "gallery":
        blobs = Blobs(settings.data / "blobs", free_min_bytes=settings.free_min_bytes)
        return KeptPairs(Gallery(settings.data / "gallery"), blobs, config.control, config.data.owner, gallery), None
    return open_folder(Path(source)), None


def main(config: Config, settings: Settings, say: Callable[[str], None], run: Run | None = None) -> Status:
    """Train in this process until it is done or told to stop. Raises StudioError."""
    run = run or Run(settings.data / "training" / config.name)
    # Only one process of several writes the configuration.
    if int(os.environ.get("RANK", "0")) == 0:
        run.create(config)
    pairs, held = data_of(config, settings, run)
    if len(pairs) == 0:
        raise InputError("There is nothing to learn from: the data set is empty.")
    from controlnet_core.training.trainer import Surroundings, run_training

    stop = _stop_signal()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    around = Surroundings(
        catalog=settings.catalog(),
        control=annotator.control(config.control),
        pairs=pairs,
        held=held,
        busy=(lambda: "") if os.environ.get(APART) else Busy(settings.data),
        stopped=lambda: stop.stopped,
        say=say,
        free_min_bytes=settings.free_min_bytes,
    )
    return run_training(run, around)


def on_cluster(config: Config, settings: Settings, run: Run, processes: int) -> Status:
    """Train in several processes of a Ray cluster, whose nodes see the run's folder, the data and the models under the same paths.

    The losses are those of one process with all their batches. When a process dies all begin again from the checkpoint.
    """
    from controlnet_core.execution.ray_train import together

    config = config.model_copy(update={"training": config.training.model_copy(update={"devices": processes})})
    source = Path(config.data.source)
    if source.exists():  # another node has another working folder
        config = config.model_copy(update={"data": config.data.model_copy(update={"source": str(source.resolve())})})
    where = {
        "STUDIO_DATA": settings.data,
        "STUDIO_MODELS": settings.models,
        "STUDIO_FREE_MB": settings.free_min_bytes >> 20,
    }
    given = {"config": to_toml(config), "environment": {name: str(value) for name, value in where.items()}}
    started_by_another = HOLDS in os.environ
    run.claim()
    run.create(config)
    if not started_by_another:
        run.want("run")
    about = Status(steps=config.training.steps, pid=os.getpid())

    def waits(text: str) -> None:
        if run.wish() == "stop":
            raise Cancelled
        run.tell(replace(about, state="waiting", text=text))

    run.tell(replace(about, text="Starting its processes on the cluster"))
    try:
        together(_on_node, given, processes, run.folder / "ray", say=waits)
        if run.status().state == "failed":
            raise StudioError(run.status().text, run.status().hint)
    except Cancelled:
        run.tell(replace(about, state="stopped", text="Stopped before the first step, so nothing was kept."))
    except StudioError as error:
        run.tell(replace(run.status(), state="failed", text=error.message, hint=error.hint))
        raise
    finally:
        run.release()
    return run.status()


def _on_node(given: Mapping[str, Any]) -> None:
    """One of the processes. What fails is told in the run's folder, and does not begin again."""
    os.environ.update(given["environment"] | {APART: "1", HOLDS: ANOTHER})
    import torch

    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    with suppress(StudioError):
        main(parse(given["config"].encode()), Settings.from_environment(), lambda _text: None)


class Busy:
    """Says why the device is wanted: pictures go first. Asks the studio's queue, if a studio runs at all."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._queue: sqlite3.Connection | None = None

    def __call__(self) -> str:
        """The reason to wait; "" when there is none."""
        if not store.is_locked(self.data / "studio.lock") or not (self.data / "jobs.sqlite").is_file():
            return ""
        try:
            if self._queue is None:
                self._queue = sqlite3.connect(f"file:{self.data / 'jobs.sqlite'}?mode=ro", uri=True, timeout=1)
            waiting = self._queue.execute("SELECT count(*) FROM job WHERE state IN ('queued', 'running')").fetchone()
        except sqlite3.Error:
            self._queue = None
            return ""
        return "A picture is being made; training goes on after it." if waiting and waiting[0] else ""


class _Stop:
    stopped = False

    def __call__(self, _signal: int, _frame: object) -> None:
        self.stopped = True


def _stop_signal() -> _Stop:
    """Ctrl-C and termination end a training in good order, after the step that runs."""
    stop = _Stop()
    if threading.current_thread() is threading.main_thread():  # on a cluster it is not
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return stop
