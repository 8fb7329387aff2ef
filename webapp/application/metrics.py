"""How the studio does, in figures: jobs by state and kind, how long they waited and ran, workers, memory, disk.

    metrics.text()      the text format that Prometheus reads (exposition format 0.0.4)

Says nothing of anybody: no session, owner, prompt or picture. What is counted begins with the process, as Prometheus
expects of counters; what stands as a gauge is looked at when it is asked for.
"""

from __future__ import annotations

import shutil
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from controlnet_core.domain.errors import StudioError
from controlnet_core.execution import devices
from controlnet_core.execution.devices import Device
from controlnet_core.execution.dispatcher import Status
from controlnet_core.execution.queue import Queue, QueueEntry
from webapp.application import views
from webapp.application.settings import version

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)
_OVER = ("done", "failed", "cancelled")
_STATES = ("stopped", "starting", "ready", "busy", "broken", "lent", "gone")
Label = tuple[str, str]


@dataclass
class _Histogram:
    """Seconds, in buckets."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: Sequence[Label]) -> Iterator[str]:
        count = 0
        for bound, here in zip((*map(_number, BUCKETS_S), "+Inf"), self.buckets, strict=True):
            count += here
            yield _line(f"{name}_bucket", [*labels, ("le", bound)], count)
        yield _line(f"{name}_sum", labels, self.total)
        yield _line(f"{name}_count", labels, count)


class Metrics:
    """The figures of one studio. `hear` is to be subscribed to its events. Safe across threads."""

    def __init__(
        self, queue: Queue, data: Path, here: Sequence[Device], statuses: Callable[[], Sequence[Status]]
    ) -> None:
        self._queue, self._data, self._here, self._statuses = queue, data, here, statuses
        self._lock = threading.Lock()
        self._begun = time.time()
        self._over = Counter[tuple[str, str]]()
        self._ran: dict[str, _Histogram] = {}
        self._waited: dict[str, _Histogram] = {}

    def hear(self, _session: str, event: views.Event) -> None:
        """Count a job that is over."""
        if event.kind not in _OVER:
            return
        with suppress(StudioError):
            entry = self._queue.get(event.job)
            with self._lock:
                self._count(entry, event.kind)

    def text(self) -> str:
        """The figures of now. Raises StudioError where the queue cannot be read."""
        lines = [*self._jobs(), *self._counted(), *self._workers(), *self._memory()]
        return "\n".join(lines) + "\n"

    def _count(self, entry: QueueEntry, kind: str) -> None:
        self._over[entry.kind, kind] += 1
        ended = entry.ended or time.time()
        begun = entry.started or ended
        self._waited.setdefault(entry.kind, _Histogram()).add(max(0.0, begun - entry.created))
        if entry.started is not None:
            self._ran.setdefault(entry.kind, _Histogram()).add(max(0.0, ended - begun))

    def _jobs(self) -> Iterator[str]:
        open_jobs, now = self._queue.open(), time.time()
        waiting = [entry for entry in open_jobs if entry.state == "queued"]
        yield from _about("studio_info", "gauge", "The version that runs.")
        yield _line("studio_info", [("version", version())], 1)
        yield from _about("studio_start_time_seconds", "gauge", "When this process began, seconds since 1970.")
        yield _line("studio_start_time_seconds", [], self._begun)
        yield from _about("studio_jobs_open", "gauge", "Jobs that wait or run.")
        for state in ("queued", "running"):
            for kind in ("recipe", "detection"):
                count = sum(entry.state == state and entry.kind == kind for entry in open_jobs)
                yield _line("studio_jobs_open", [("state", state), ("kind", kind)], count)
        yield from _about("studio_jobs_max", "gauge", "Jobs that may wait; more are refused.")
        yield _line("studio_jobs_max", [], self._queue.queued_max)
        yield from _about("studio_queue_age_seconds", "gauge", "How long the oldest waiting job has waited.")
        oldest = min((entry.created for entry in waiting), default=now)
        yield _line("studio_queue_age_seconds", [], max(0.0, now - oldest))

    def _counted(self) -> Iterator[str]:
        with self._lock:
            over, ran, waited = dict(self._over), dict(self._ran), dict(self._waited)
            yield from _about("studio_jobs_total", "counter", "Jobs that are over.")
            for (kind, state), count in sorted(over.items()):
                yield _line("studio_jobs_total", [("state", state), ("kind", kind)], count)
            for name, about, found in (
                ("studio_job_seconds", "How long jobs ran.", ran),
                ("studio_job_wait_seconds", "How long jobs waited before they began, or were stopped.", waited),
            ):
                yield from _about(name, "histogram", about)
                for kind, histogram in sorted(found.items()):
                    yield from histogram.lines(name, [("kind", kind)])

    def _workers(self) -> Iterator[str]:
        statuses = [(str(status.number), status) for status in self._statuses()]
        yield from _about("studio_worker", "gauge", "1 for the state that a worker is in.")
        for number, status in statuses:
            for state in _STATES:
                labels = [("worker", number), ("device", status.device), ("state", state)]
                yield _line("studio_worker", labels, int(status.state == state))
        yield from _about("studio_worker_deaths_total", "counter", "How often a worker was lost.")
        for number, status in statuses:
            yield _line("studio_worker_deaths_total", [("worker", number)], status.deaths)
        yield from _about("studio_worker_memory_bytes", "gauge", "Memory that a worker's process holds.")
        for number, status in statuses:
            held = _held(status.pid)
            if held:
                yield _line("studio_worker_memory_bytes", [("worker", number)], held)

    def _memory(self) -> Iterator[str]:
        yield from _about("studio_device_memory_bytes", "gauge", "Memory of the devices that pictures are made on.")
        for device in self._here:
            found = devices.gpu_memory(device.visible) if device.visible else None
            for what, size in zip(("used", "total"), found or (), strict=False):
                yield _line("studio_device_memory_bytes", [("device", device.name), ("what", what)], size)
        memory = psutil.virtual_memory()
        for what, size in (("used", memory.total - memory.available), ("total", memory.total)):
            yield _line("studio_device_memory_bytes", [("device", "cpu"), ("what", what)], size)
        yield from _about("studio_disk_free_bytes", "gauge", "Space that is free where drawings and pictures lie.")
        with suppress(OSError):
            yield _line("studio_disk_free_bytes", [], shutil.disk_usage(self._data).free)


def _held(pid: int) -> int:
    if not pid:
        return 0
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _about(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"


def _line(name: str, labels: Sequence[Label], value: float) -> str:
    told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{told}}} {_number(value)}" if told else f"{name} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}".rstrip("0")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
