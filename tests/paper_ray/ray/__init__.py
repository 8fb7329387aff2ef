"""What the studio uses of Ray, in one process and on paper: where Ray is not installed its bridge is tested with this.

Not Ray: nothing here is far away. Nodes are rows of the JSON file that PAPER_RAY_NODES names, which a test writes anew when one
comes or goes: `{"NodeID": "a", "Resources": {"GPU": 2}, "root": "..."}`; below `root` lie the paths that a function sees there; a
node that is "held" lets no actor begin.
Actors are threads, which stop answering when their node is gone. PAPER_RAY_STORE is the object store's room in bytes.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ray.exceptions import ActorDiedError, GetTimeoutError, ObjectStoreFullError, RayActorError, RayTaskError

__version__ = "0.0.0"
DEAD_LOOK_S = 0.02


def init(address: str, **_how: object) -> None:
    """There is a cluster where there is a file of nodes; the address is not looked at."""
    if not Path(os.environ["PAPER_RAY_NODES"]).is_file():
        raise ConnectionError("Could not find any running Ray instance.")


def shutdown() -> None:
    """Nothing is open."""


def nodes() -> list[dict[str, Any]]:
    """Those of the file, in Ray's words."""
    told = json.loads(Path(os.environ["PAPER_RAY_NODES"]).read_text(encoding="utf-8"))
    return [{"Alive": True, "NodeManagerHostname": node["NodeID"], **node} for node in told]


def cluster_resources() -> dict[str, float]:
    """Of all nodes together."""
    found: dict[str, float] = {}
    for node in nodes():
        for name, count in node["Resources"].items():
            found[name] = found.get(name, 0) + count
    return found


available_resources = cluster_resources


def put(value: bytes) -> Future[Any]:
    """Something in the object store."""
    if len(value) > int(os.environ.get("PAPER_RAY_STORE", "1000000000")):
        raise ObjectStoreFullError("The object store is full.")
    done: Future[Any] = Future()
    done.set_result(value)
    return done


def get(refs: Any, timeout: float | None = None) -> Any:
    """What comes of calls. Raises what they raised, and RayActorError when whoever was to answer is gone."""
    if isinstance(refs, list):
        return [get(ref, timeout) for ref in refs]
    end = time.monotonic() + timeout if timeout is not None else None
    while True:
        try:
            return refs.result(DEAD_LOOK_S)
        except TimeoutError:
            if end is not None and time.monotonic() > end:
                raise GetTimeoutError("It does not answer.") from None
            actor = getattr(refs, "actor", None)
            if actor is not None and not actor.lives():
                raise ActorDiedError("The actor died.") from None


def remote(**needs: Any) -> Callable[[Any], Any]:
    """An actor's class or a function, as something that is called elsewhere."""

    def made(body: Any) -> Any:
        return _Class(body, needs) if isinstance(body, type) else _Function(body, "")

    return made


def kill(actor: _Actor) -> None:
    """End an actor at once."""
    actor.killed = True


class _Function:
    def __init__(self, body: Callable[..., Any], node: str) -> None:
        self._body, self._node = body, node

    def options(self, scheduling_strategy: Any) -> _Function:
        """On one node."""
        return _Function(self._body, scheduling_strategy.node_id)

    def remote(self, path: str) -> Future[Any]:
        """Call it with a path of that node."""
        root = next((node.get("root", "") for node in nodes() if node["NodeID"] == self._node), "")
        done: Future[Any] = Future()
        done.set_result(self._body(root + path))
        return done


class _Class:
    def __init__(self, body: type, needs: dict[str, Any]) -> None:
        self._body, self._needs = body, needs

    def remote(self, *given: Any) -> _Actor:
        """Make one on its node."""
        node = self._needs["scheduling_strategy"].node_id
        wanted = "GPU" if self._needs.get("num_gpus") else "CPU"
        here = next((one["Resources"] for one in nodes() if one["NodeID"] == node), {})
        if not here.get(wanted):
            raise ValueError(f"{node} has no {wanted}")
        return _Actor(self._body(*given), node)


class _Actor:
    """One method at a time in each of its groups."""

    def __init__(self, body: Any, node: str) -> None:
        self.body, self.node, self.killed = body, node, False
        self.groups: dict[str, queue.SimpleQueue[Callable[[], None]]] = {}

    def lives(self) -> bool:
        """Until it is killed, or its node is gone."""
        return not self.killed and any(node["NodeID"] == self.node for node in nodes())

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    def do(self, group: str, call: Callable[[], None]) -> None:
        """Do it after what the group was asked before."""
        if group not in self.groups:
            self.groups[group] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self.groups[group],), daemon=True).start()
        self.groups[group].put(call)

    def _work(self, asked: queue.SimpleQueue[Callable[[], None]]) -> None:
        while True:
            call = asked.get()
            while any(node.get("held") for node in nodes() if node["NodeID"] == self.node):
                time.sleep(DEAD_LOOK_S)
            call()


class _Method:
    def __init__(self, actor: _Actor, name: str, group: str = "", streams: bool = False) -> None:
        self._actor, self._name, self._group, self._streams = actor, name, group, streams

    def options(self, concurrency_group: str = "", num_returns: str = "") -> _Method:
        """In a group of its own, or as a stream."""
        return _Method(self._actor, self._name, concurrency_group, num_returns == "streaming")

    def remote(self, *given: Any) -> Any:
        """Call it; what was put arrives as it is."""
        given = tuple(get(one) if isinstance(one, Future) else one for one in given)
        if self._streams:
            return self._stream(given)
        done = _pending(self._actor)
        self._actor.do(self._group, lambda: _settle(done, lambda: getattr(self._actor.body, self._name)(*given)))
        return done

    def _stream(self, given: tuple[Any, ...]) -> Iterator[Future[Any]]:
        came: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()

        def call() -> None:
            try:
                for value in getattr(self._actor.body, self._name)(*given):
                    if not self._actor.lives():
                        return
                    done: Future[Any] = Future()
                    done.set_result(value)
                    came.put(done)
            except Exception as error:
                failed: Future[Any] = Future()
                failed.set_exception(RayTaskError(str(error)))
                came.put(failed)
            came.put(None)

        self._actor.do(self._group, call)
        while True:
            try:
                one = came.get(timeout=DEAD_LOOK_S)
            except queue.Empty:
                if not self._actor.lives():
                    raise RayActorError("The actor died.") from None
                continue
            if one is None:
                return
            yield one


def _pending(actor: _Actor) -> Future[Any]:
    done: Any = Future()
    done.actor = actor
    return done


def _settle(done: Future[Any], call: Callable[[], Any]) -> None:
    try:
        done.set_result(call())
    except Exception as error:
        done.set_exception(RayTaskError(str(error)))
