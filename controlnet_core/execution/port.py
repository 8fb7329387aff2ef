"""What the dispatcher asks of a worker, and what a worker says, wherever it runs: the seam for another transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event, Job
from controlnet_core.execution.devices import Device


@dataclass(frozen=True)
class Ready:
    """The worker can take a job: said after its engine was built, and after every job.

    `device` is where the engine computes, `loaded` names what it has in memory (as `Job.needs` does), `pid` its process, 0
    when it is on another machine.
    """

    device: str
    loaded: tuple[str, ...] = ()
    pid: int = 0


@dataclass(frozen=True)
class Broken:
    """The engine cannot be built, for the reason in `error`. The worker lives, and tries again with the next job."""

    error: StudioError


@dataclass(frozen=True)
class Waits:
    """The worker has not begun yet, for the `reason`, and goes on trying."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker is gone, and with it the job that it had; `reason` is for the log. The last that is said in one life.

    `for_good`: there will be no other life, since its machine is gone.
    """

    reason: str
    for_good: bool = False


Said = Ready | Broken | Waits | Event | Lost
Hear = Callable[[Said], None]


class WorkerPort(Protocol):
    """One worker, which does one job at a time on one device.

    Nothing here waits for the worker, and nothing raises when it is gone: then `Lost` is on its way, after which `start`
    may be called again.
    """

    @property
    def device(self) -> Device:
        """Where it computes."""
        ...

    def start(self, hear: Hear) -> None:
        """Begin a life. `hear` is told everything that the worker says, in a thread of the port's, `Lost` at last."""
        ...

    def run(self, job: Job) -> None:
        """Do a job: its events come, the last one done, failed or cancelled."""
        ...

    def cancel(self, id: str) -> None:
        """Stop a job at its next step."""
        ...

    def stop(self) -> None:
        """End after the step that runs now."""
        ...

    def kill(self) -> None:
        """End at once, whatever it does."""
        ...
