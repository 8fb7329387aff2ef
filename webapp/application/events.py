"""The event bus: what happens to jobs, told to open tabs, to clients that listen, and to whoever subscribed in this process.

A session's events are reached under a token. Of each subject (a job) only the newest message matters, so nothing piles up for
a slow listener; a subscriber hears them all. Knows no documents, no HTTP and no queue.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from controlnet_core.domain.errors import InputError
from webapp.application import tokens
from webapp.application.tokens import Unknown

STREAMS_MAX = 1024
LISTENERS_MAX = 8
SUBJECTS_MAX = 32
GONE_S = 30.0
"""Time enough for a reload, also on a slow machine."""
M = TypeVar("M")
"""What is told: the bus does not look into it."""
log = logging.getLogger("studio.events")


class Listener(Generic[M]):
    """One open stream of events. Belongs to the event loop that made it; filled from any thread."""

    def __init__(self, backlog: Mapping[str, M]) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._waiting: OrderedDict[str, M] = OrderedDict(backlog)
        self._lock = threading.Lock()
        if backlog:
            self._arrived.set()

    def put(self, subject: str, message: M) -> None:
        """The newest about a subject."""
        with self._lock:
            self._waiting[subject] = message
        self.wake()

    def wake(self) -> None:
        """End the present wait, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def get(self, timeout_s: float) -> list[M]:
        """The newest message of each subject that changed; empty after `timeout_s` of silence."""
        try:
            await asyncio.wait_for(self._arrived.wait(), timeout_s)
        except TimeoutError:
            return []
        self._arrived.clear()
        with self._lock:
            found, self._waiting = list(self._waiting.values()), OrderedDict()
        return found


@dataclass
class _Stream(Generic[M]):
    """The events of one session, and the workspace that it belongs to ("" before anybody has said)."""

    session: str
    workspace: str = ""
    last: OrderedDict[str, M] = field(default_factory=OrderedDict[str, Any])
    listeners: list[Listener[M]] = field(default_factory=list[Listener[Any]])

    def tell(self, subject: str, message: M) -> None:
        self.last[subject] = message
        self.last.move_to_end(subject)
        while len(self.last) > SUBJECTS_MAX:
            self.last.popitem(last=False)
        for listener in self.listeners:
            listener.put(subject, message)


class Events(Generic[M]):
    """The events of all sessions: `publish` from any thread, `listen` from the event loop.

    `on_gone(session)` is called, in a thread of its own, when the last listener of a session has been away for `gone_s`.
    """

    def __init__(self, on_gone: Callable[[str], None] = lambda _session: None, gone_s: float = GONE_S) -> None:
        self.on_gone = on_gone
        self.gone_s = gone_s
        self.closed = False
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._due: dict[str, float] = {}
        self._watcher: threading.Thread | None = None
        self._streams: OrderedDict[str, _Stream[M]] = OrderedDict()
        self._stream_of: dict[str, str] = {}
        self._subscribers: tuple[Callable[[str, M], None], ...] = ()

    def stream(self, session: str, workspace: str = "") -> str:
        """The token of a session's events. The sessions of one workspace hear each other's."""
        with self._lock:
            if session not in self._stream_of:
                token = tokens.fresh()
                self._stream_of[session], self._streams[token] = token, _Stream(session)
                self._shed_streams()
            token = self._stream_of[session]
            if workspace:
                self._streams[token].workspace = workspace
            return token

    def visitor(self, token: str) -> tuple[str, str]:
        """Session and workspace of an events' token. Raises InputError for one that opens no workspace's things."""
        with self._lock:
            stream = self._stream(token)
            if not stream.workspace:
                raise Unknown("This session has ended.", "Reload the page.")
            return stream.session, stream.workspace

    def sessions_of(self, workspace: str) -> list[str]:
        """The sessions of a workspace that are known here."""
        with self._lock:
            return [stream.session for stream in self._streams.values() if workspace and stream.workspace == workspace]

    def session_of_stream(self, token: str) -> str:
        """The session whose events a token opens. Raises InputError for an unknown one."""
        with self._lock:
            return self._stream(token).session

    def last(self, session: str, subject: str) -> M | None:
        """The newest message about a subject that a session was told; None where there is none (any more)."""
        with self._lock:
            token = self._stream_of.get(session)
            return None if token is None else self._streams[token].last.get(subject)

    def publish(self, session: str, subject: str, message: M) -> None:
        """Tell the listeners of a session and its workspace, present and future, the newest about a subject; then the
        subscribers. From any thread.
        """
        with self._lock:
            own = self._streams[self.stream(session)]
            self._streams.move_to_end(self._stream_of[session])
            for stream in self._streams.values():
                if stream is own or (own.workspace and stream.workspace == own.workspace):
                    stream.tell(subject, message)
            subscribers = self._subscribers
        for hear in subscribers:
            hear(session, message)

    def subscribe(self, hear: Callable[[str, M], None]) -> Callable[[], None]:
        """Call `hear(session, message)` after every message, in the publisher's thread; returns what ends it.

        Ending twice is ending once.
        """
        with self._lock:
            self._subscribers = (*self._subscribers, hear)

        def end() -> None:
            with self._lock:
                self._subscribers = tuple(one for one in self._subscribers if one is not hear)

        return end

    @property
    def subscribers(self) -> int:
        """How many hear every message."""
        return len(self._subscribers)

    @asynccontextmanager
    async def listen(self, token: str) -> AsyncIterator[Listener[M]]:
        """A listener that starts with the newest message of every subject. Raises InputError when there are too many."""
        with self._lock:
            stream = self._stream(token)
            self._streams.move_to_end(token)
            if len(stream.listeners) >= LISTENERS_MAX:
                raise InputError("This session has too many tabs open.", "Close one of them.")
            listener = Listener[M](stream.last)
            stream.listeners.append(listener)
        try:
            yield listener
        finally:
            with self._lock:
                stream.listeners.remove(listener)
            if not stream.listeners:
                self.watch(stream.session)

    def watch(self, session: str) -> None:
        """Look again in `gone_s` whether anybody listens to a session, and call `on_gone` when nobody does.

        One thread looks for all of them, and for each session once, however often it comes and goes.
        """
        with self._lock:
            self._due[session] = time.monotonic() + self.gone_s
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._watch, name="gone", daemon=True)
                self._watcher.start()
            self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._lock:
                if self.closed or not self._due:
                    self._watcher = None
                    return
                session, due = min(self._due.items(), key=lambda one: one[1])
                left = due - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                del self._due[session]
            self._look(session)

    def listens(self, session: str) -> bool:
        """Whether anybody listens to a session's events now."""
        with self._lock:
            token = self._stream_of.get(session)
            return token is not None and bool(self._streams[token].listeners)

    def close(self) -> None:
        """End every stream of events; for the end of the program."""
        self.closed = True
        with self._lock:
            listeners = [listener for stream in self._streams.values() for listener in stream.listeners]
            self._changed.notify_all()
        for listener in listeners:
            listener.wake()

    def _look(self, session: str) -> None:
        if not self.closed and not self.listens(session):
            try:
                self.on_gone(session)
            except Exception:
                log.exception("the end of a session could not be handled")

    def _stream(self, token: str) -> _Stream[M]:
        if token not in self._streams:
            raise Unknown("This session has ended.", "Reload the page.")
        return self._streams[token]

    def _shed_streams(self) -> None:
        """Forget who has not been heard of for longest; never the newest, which somebody is about to use."""
        for token in list(self._streams)[:-1]:
            if len(self._streams) <= STREAMS_MAX:
                return
            if not self._streams[token].listeners:
                del self._stream_of[self._streams.pop(token).session]
