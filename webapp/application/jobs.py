"""The jobs of a workspace in views, and how long those that wait will wait."""

from __future__ import annotations

import heapq
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlnet_core.domain.samplers import looks
from controlnet_core.execution.queue import QueueEntry
from webapp.application import views
from webapp.application.studio import Studio

OVER_MAX = 24
"""Jobs that are over and still listed."""


def jobs(studio: Studio, workspace: str) -> views.Jobs:
    """The jobs of a workspace: those that run or wait in their order, then the last that ended."""
    pace = Throughput.of(studio.queue.ended())
    everybody = studio.queue.open()
    own = [entry for entry in everybody if entry.owner == workspace]
    over = [entry for entry in studio.queue.of(workspace, OVER_MAX + len(own)) if entry.over]
    workers = studio.dispatcher.statuses()
    at_work = sum(worker.state not in ("lent", "gone") for worker in workers)
    return views.Jobs(
        open=[view(studio, entry, pace.wait_s(entry, everybody, at_work)) for entry in own],
        over=[view(studio, entry) for entry in over[:OVER_MAX]],
        workers=[views.Worker(device=worker.device, state=worker.state, text=worker.text) for worker in workers],
    )


def view(studio: Studio, entry: QueueEntry, wait_s: float | None = None) -> views.Job:
    """One job; `wait_s` is how long it will wait."""
    workers = studio.dispatcher.statuses()
    device = next((worker.device for worker in workers if worker.job == entry.id), "") if len(workers) > 1 else ""
    work: dict[str, Any] = json.loads(entry.work)
    keys = [work["control"]] if entry.kind == "detection" else [unit["control"] for unit in work.get("controls", ())]
    return views.Job(
        id=entry.id,
        kind=entry.kind,
        state=entry.state,
        ahead=entry.ahead,
        prompt=work.get("prompt", ""),
        controls=[studio.controls[key].title for key in keys if key in studio.controls],
        images=work.get("images", 1),
        created=entry.created,
        seconds=entry.ended - entry.started if entry.ended and entry.started else None,
        text=entry.text,
        hint=entry.hint,
        pictures=studio.pictures(entry.kept) if entry.kind == "recipe" else [],
        wait_s=wait_s,
        device=device,
    )


@dataclass(frozen=True)
class Throughput:
    """How long work takes on this machine, from what was done lately: seconds for a unit of work, by kind of job.

    A unit is a million pixels through one step, of a detection the whole of it.
    """

    unit_s: dict[str, float]

    @classmethod
    def of(cls, done: Sequence[QueueEntry]) -> Throughput:
        """The median over finished jobs; a job that loaded a model counts no more than any other."""
        times: dict[str, list[float]] = {}
        for entry in done:
            if entry.started is not None and entry.ended is not None:
                times.setdefault(entry.kind, []).append((entry.ended - entry.started) / _amount(entry))
        return cls({kind: statistics.median(values) for kind, values in times.items()})

    def run_s(self, entry: QueueEntry) -> float | None:
        """How long a job is going to run, in seconds; None before anything of its kind was done."""
        return self.unit_s[entry.kind] * _amount(entry) if entry.kind in self.unit_s else None

    def wait_s(self, entry: QueueEntry, queue: Sequence[QueueEntry], workers: int = 1) -> float | None:
        """How long a waiting job waits before it begins, given everything that runs or waits; None when nobody can tell.

        Each of so many workers takes the next job when it has done its last.
        """
        if entry.state != "queued":
            return None
        free_at = [0.0] * max(1, workers)
        for one in queue[: next((place for place, one in enumerate(queue) if one.id == entry.id), 0)]:
            seconds = self.run_s(one)
            if seconds is None:
                return None
            heapq.heapreplace(free_at, free_at[0] + seconds)
        return round(free_at[0], 1)


def _amount(entry: QueueEntry) -> float:
    if entry.kind != "recipe":
        return 1.0
    recipe = json.loads(entry.recipe)
    pixels = recipe.get("width", 512) * recipe.get("height", 512)
    asked = looks(recipe.get("sampler", "ddim"), recipe.get("steps", 20))
    return recipe.get("images", 1) * asked * pixels / 1e6
