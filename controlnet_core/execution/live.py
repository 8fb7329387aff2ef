"""Live frames: pictures of drawings in the making, made between the queue's jobs and kept nowhere.

Who draws is a `LiveSource`. It says that it has something new (`Dispatcher.want`) and is asked for a frame, its newest, when a
device is free for it: so the newest wins, nothing piles up, and several sources take turns frame by frame. `LiveLine` says whose
turn it is and what may be dropped; it starts nothing, and belongs to the dispatcher's thread.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event, Job

LOSSES_MAX = 2
"""A source whose frames took so many workers with them, one after the other, is told that they fail."""
_log = logging.getLogger("studio.live")


class LiveSource(Protocol):
    """A drawing that somebody draws on. Both are called in the dispatcher's thread and must be quick."""

    def frame(self) -> Job | None:
        """The newest frame as a live job; None when there is nothing new after all. Raises StudioError."""
        ...

    def hear(self, event: Event) -> None:
        """What becomes of its frame: "queued" while it waits (`text` says what for), then the events of the job; never "cancelled",
        because what was dropped is made anew."""
        ...


@dataclass
class Frame:
    """A frame that a worker makes: whose it is, its job, and the steps that are done."""

    source: LiveSource
    job: Job
    done: int = 0

    @property
    def is_worth_dropping(self) -> bool:
        """Whether at least half of it is still to come at its next step border."""
        return 2 * (self.done + 1) <= self.job.recipe.steps


class LiveLine:
    """The sources that wait for a frame, in their order, and the one frame that is made."""

    def __init__(self) -> None:
        self.made: Frame | None = None
        self._waiting: deque[LiveSource] = deque()
        self._patient: set[int] = set()  # those that were told that they wait
        # Those whose last frame was dropped: their next one is finished, or none ever would.
        self._dropped: set[int] = set()
        self._losses: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def want(self, source: LiveSource, first: bool = False) -> None:
        """A source has something new; `first`: it had its turn and lost it."""
        if source not in self._waiting:
            (self._waiting.appendleft if first else self._waiting.append)(source)

    def leave(self, source: LiveSource) -> None:
        """A source wants nothing any more."""
        if source in self._waiting:
            self._waiting.remove(source)
        for among in (self._patient, self._dropped):
            among.discard(id(source))
        self._losses.pop(id(source), None)

    def is_overtaken(self) -> bool:
        """Whether the frame that is made should give way to a newer one of its source."""
        frame = self.made
        if frame is None or frame.source not in self._waiting or id(frame.source) in self._dropped:
            return False
        return frame.is_worth_dropping

    def next(self) -> Job | None:
        """The newest frame of the source whose turn it is; None when nobody has any."""
        while self._waiting:
            source = self._waiting.popleft()
            self._patient.discard(id(source))
            try:
                job = source.frame()
            except StudioError as error:
                source.hear(Event("", "failed", text=error.message, hint=error.hint))
                continue
            except Exception:
                _log.exception("a live frame could not be prepared")
                source.hear(Event("", "failed", text="This drawing could not be prepared.", hint="Change it a little."))
                continue
            if job is not None:
                self.made = Frame(source, job)
                return job
        return None

    def wait(self, text: str) -> None:
        """Tell those that wait, once, what for."""
        for place, source in enumerate(self._waiting):
            if id(source) not in self._patient:
                self._patient.add(id(source))
                source.hear(Event("", "queued", ahead=place, text=text))

    def hear(self, event: Event, overtaken: bool) -> None:
        """What a worker says of the frame. One that was stopped is made anew; `overtaken`: because a newer one was there."""
        frame = self.made
        if frame is None or event.job != frame.job.id:
            return
        frame.done = event.step if event.kind == "step" else frame.done
        if event.over:
            self.made = None
            self._losses.pop(id(frame.source), None)
            (self._dropped.add if overtaken else self._dropped.discard)(id(frame.source))
        if event.kind == "cancelled":
            self.want(frame.source, first=True)
        else:
            frame.source.hear(event)

    def lost(self, error: StudioError, text: str) -> None:
        """The frame's worker is gone: it is made anew, unless it took several with it; `error` says so, `text` that it comes."""
        frame, self.made = self.made, None
        if frame is None:
            return
        key = id(frame.source)
        self._losses[key] = self._losses.get(key, 0) + 1
        if self._losses[key] >= LOSSES_MAX:
            del self._losses[key]
            frame.source.hear(Event(frame.job.id, "failed", text=error.message, hint=error.hint))
        else:
            frame.source.hear(Event(frame.job.id, "loading", text=text))
            self.want(frame.source, first=True)
