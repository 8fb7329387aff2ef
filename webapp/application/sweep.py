"""A control sweep: one recipe at many strengths and end steps, same seed, as ordinary jobs.

Only a few of its jobs are in the queue at a time, so that it leaves room for others and for its own session: the end of
one brings the next. Knows no page; the sheet that shows it stands in `sheet`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from controlnet_core.domain.errors import InputError, QueueFull, StudioError
from controlnet_core.domain.recipe import Recipe
from webapp.application import views
from webapp.application.studio import Studio

IN_FLIGHT_MAX = 2
CELLS_MAX = 36
State = Literal["waiting", "queued", "done", "failed", "left out"]
log = logging.getLogger("studio.sweep")


@dataclass
class Cell:
    """One picture of the sheet. `job` is its job's number, made in advance; `picture` its id in the gallery when done."""

    weight: float
    end: float
    job: str
    recipe: Recipe
    state: State = "waiting"
    picture: str = ""
    text: str = ""


class Sweep:
    """A sheet of `weights` by `ends` for control `unit` of a recipe. Safe across threads.

    Raises InputError when there is nothing to vary or too much of it.
    """

    def __init__(
        self,
        studio: Studio,
        session: str,
        owner: str,
        recipe: Recipe,
        unit: int,
        weights: Sequence[float],
        ends: Sequence[float],
    ) -> None:
        self.weights, self.ends = tuple(dict.fromkeys(weights)), tuple(dict.fromkeys(ends))
        if not 0 < len(self.weights) * len(self.ends) <= CELLS_MAX:
            raise InputError(f"A sheet has 1 to {CELLS_MAX} pictures.", "Choose fewer strengths or end steps.")
        if not 0 <= unit < len(recipe.controls):
            raise InputError("There is no control to vary.", "Switch one on.")
        self.recipe = recipe
        self.unit = unit
        self.stopped = False
        self._studio, self._session, self._owner = studio, session, owner
        self._lock = threading.RLock()
        self._end_hearing: Callable[[], None] = lambda: None
        self.cells = [
            Cell(weight, end, secrets.token_hex(16), varied(recipe, unit, weight, end))
            for weight in self.weights
            for end in self.ends
        ]
        self._of_job = {cell.job: cell for cell in self.cells}

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return all(cell.state not in ("waiting", "queued") for cell in self.cells)

    def start(self) -> None:
        """Queue the first jobs. Raises StudioError when not even one can be queued."""
        self._end_hearing = self._studio.events.subscribe(self._hear)
        try:
            self._advance()
        except StudioError:
            self._finish()
            raise

    def stop(self) -> None:
        """Leave out what has not come yet."""
        with self._lock:
            self.stopped = True
            queued = [cell.job for cell in self.cells if cell.state == "queued"]
            for cell in self.cells:
                if cell.state == "waiting":
                    cell.state = "left out"
        for job in queued:
            self._studio.cancel(job, self._session)
        self._close()

    def _hear(self, _session: str, event: views.Event) -> None:
        """An event of any job; called in the dispatcher's thread, which must not be disturbed."""
        cell = self._of_job.get(event.job)
        if cell is None or event.kind not in ("done", "failed", "cancelled"):
            return
        with self._lock:
            cell.state = "left out" if event.kind == "cancelled" else event.kind
            cell.picture, cell.text = (event.pictures[0].id if event.pictures else ""), event.text
            if event.kind == "cancelled":  # by the person, or because the tab is gone
                self._finish()
        try:
            self._advance()
        except StudioError as error:
            log.info("a sweep ends early: %s", error)
            self._finish(str(error))
        except Exception:
            log.exception("a sweep failed")
            self._finish("Something went wrong.")

    def _advance(self) -> None:
        """Queue as many of the next cells as may be in the queue. Raises StudioError when none is and none can be."""
        with self._lock:
            waiting = [cell for cell in self.cells if cell.state == "waiting"]
            free = IN_FLIGHT_MAX - sum(cell.state == "queued" for cell in self.cells)
            for cell in waiting[: max(0, free)]:
                try:
                    cell.state = "queued"
                    self._studio.submit(self._session, cell.recipe, owner=self._owner, id=cell.job)
                except QueueFull:
                    cell.state = "waiting"
                    if not any(one.state == "queued" for one in self.cells):
                        raise
                    break
        self._close()

    def _finish(self, text: str = "") -> None:
        with self._lock:
            self.stopped = True
            for cell in self.cells:
                if cell.state == "waiting":
                    cell.state, cell.text = "left out", text
        self._close()

    def _close(self) -> None:
        if self.over:
            self._end_hearing()


def varied(recipe: Recipe, unit: int, weight: float, end: float) -> Recipe:
    """A recipe for one picture with another strength and end of one control; its start moves before the end."""
    controls = list(recipe.controls)
    one = controls[unit]
    controls[unit] = one.model_copy(update={"weight": weight, "end": end, "start": min(one.start, end)})
    return recipe.model_copy(update={"controls": tuple(controls), "images": 1})


def spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` values from `low` to `high` in equal steps, in hundredths."""
    if count == 1 or low == high:
        return (round(high, 2),)
    return tuple(round(low + (high - low) * k / (count - 1), 2) for k in range(count))
