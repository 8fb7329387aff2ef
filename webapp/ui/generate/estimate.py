"""What Generate would take, before it is pressed: time from this machine's last runs of the same shape, memory from its plan.

Says sentences, draws nothing and never delays a page: what is not known yet is left out.
"""

from __future__ import annotations

import logging
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import lru_cache

import psutil

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.recipe import ControlUnit, Recipe, Reference, parse
from controlnet_core.domain.samplers import looks
from controlnet_core.execution.queue import QueueEntry
from controlnet_core.memory import plan
from controlnet_core.models.catalog import ModelCard
from webapp.application.choices import Choices
from webapp.application.studio import Studio
from webapp.ui.generate import references
from webapp.ui.session import GenerationState

LOOK_BACK = 24
RUNS = 5
FRESH_S = 20.0
NOWHERE = "0" * 64
"""Stands for pictures where only a recipe's shape counts."""
Network = tuple[str, str | None]
"""A control's key and the id of its own ControlNet, if it has one."""
log = logging.getLogger("studio")


def sentence(
    studio: Studio, at: GenerationState, base: ModelCard, size: tuple[int, int], networks: Sequence[Network]
) -> str:
    """What a run of the page's settings would take at `size` (width, height) with the controls whose networks are given."""
    chosen = at.choices
    share = at.begin.strength if at.begin else 1.0
    asked = looks(chosen.sampler, max(1, round(chosen.steps * share)))
    work = chosen.images * asked * (1 if chosen.guidance == 1 else 2)
    work += asked * _looked_at(references.of_recipe(studio, at, base))
    each = _seconds_each(studio, base.id, size, len(networks))
    parts = [f"{size[0]} × {size[1]} px"]
    parts += [f"{chosen.images} pictures"] if chosen.images > 1 else []
    parts += [duration(each * work)] if each is not None else []
    return ", ".join(parts) + "." + _memory(studio, base, chosen, size, tuple(networks))


def duration(seconds: float) -> str:
    """A time in words: "about 4 s", "about 2 minutes"."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 90:
        return f"about {round(seconds) if seconds < 10 else round(seconds / 5) * 5} s"
    return f"about {round(seconds / 60)} minutes"


def latest_picture_s(studio: Studio, model: str) -> float | None:
    """Seconds that one picture of this model took in the last run; None when there was none."""
    for entry in studio.queue.ended(LOOK_BACK):
        recipe = _made(entry)
        if recipe is not None and recipe.model == model:
            return _took_s(entry) / recipe.images
    return None


def passes(recipe: Recipe) -> int:
    """How often the network runs for a recipe, in single pictures."""
    share = recipe.source.strength if recipe.source else 1.0
    asked = looks(recipe.sampler, max(1, round(recipe.steps * share)))
    return asked * (recipe.images * (1 if recipe.guidance == 1 else 2) + _looked_at(recipe.references))


def _looked_at(shown: Sequence[Reference]) -> int:
    """How often the network runs in a step for the references that it looks at by itself, however many pictures are made."""
    return sum(one.kind == "reference_only" and one.weight > 0 for one in shown)


# ---- time


def _seconds_each(studio: Studio, model: str, size: tuple[int, int], controls: int) -> float | None:
    """Seconds for one pass of one picture, from the last runs with this model, size and number of controls."""
    found: list[float] = []
    for entry in studio.queue.ended(LOOK_BACK):
        recipe = _made(entry)
        if recipe is None:
            continue
        acting = sum(unit.weight > 0 for unit in recipe.controls)
        if (recipe.model, recipe.width, recipe.height, acting) == (model, *size, controls):
            found.append(_took_s(entry) / passes(recipe))
    # Of two runs the shorter one: the first mostly loaded the model, too.
    return statistics.median_low(found[:RUNS]) if found else None


def _made(entry: QueueEntry) -> Recipe | None:
    """The recipe of a job that made its pictures."""
    if entry.state != "done" or entry.kind != "recipe" or entry.started is None or entry.ended is None:
        return None
    return _parsed(entry.work)


@lru_cache(maxsize=256)
def _parsed(work: str) -> Recipe | None:
    try:
        return parse(work)
    except StudioError:
        return None  # of another version


def _took_s(entry: QueueEntry) -> float:
    return (entry.ended or 0.0) - (entry.started or 0.0)


# ---- memory


def _memory(
    studio: Studio, base: ModelCard, chosen: Choices, size: tuple[int, int], networks: tuple[Network, ...]
) -> str:
    """A sentence where memory decides how the run goes; where there is plenty, nothing."""
    rooms = [
        (room_bytes, status.device)
        for status in studio.dispatcher.statuses()
        if status.device and status.pid and (room_bytes := _ROOM.bytes(status.device, status.pid))
    ]
    if not rooms:
        return ""
    room_bytes, device = min(rooms)  # any of them may get it
    guided = chosen.guidance != 1
    try:
        facts = _facts(studio, base.id, networks, chosen.vae)
        shape = _shape(base.id, networks, size, chosen.images, guided)
        found = plan.estimate(shape, facts, device.partition(":")[0], room_bytes)
    except (StudioError, ValueError):
        return ""  # what is missing says so when Generate is pressed
    return f" {found.text}" if found.notable else ""


@lru_cache(maxsize=64)
def _facts(studio: Studio, model: str, networks: tuple[Network, ...], vae: str | None) -> plan.ModelFacts:
    shape = _shape(model, networks, (64, 64), 1, True).model_copy(update={"vae": vae})
    return plan.facts_of(shape, studio.catalog)


def _shape(model: str, networks: tuple[Network, ...], size: tuple[int, int], images: int, guided: bool) -> Recipe:
    """A recipe of that shape; what it shows does not matter."""
    units = tuple(ControlUnit(control=control, picture=NOWHERE, network=network) for control, network in networks)
    return Recipe(
        model=model, width=size[0], height=size[1], images=images, guidance=7 if guided else 1, controls=units
    )


class _Room:
    """Free memory for a worker: what is free and what it holds already; asked for in the background, seldom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, int]] = {}
        self._asking: set[str] = set()

    def bytes(self, device: str, pid: int) -> int:
        """The last answer; 0 while there is none."""
        if plan.shares(device):
            return plan.room(device) + _resident(pid)
        with self._lock:
            at, found = self._found.get(device, (float("-inf"), 0))
            if time.monotonic() - at > FRESH_S and device not in self._asking:
                self._asking.add(device)
                threading.Thread(target=self._ask, args=(device, pid), name="room", daemon=True).start()
        return found

    def _ask(self, device: str, pid: int) -> None:
        try:
            found = plan.room(device)
            found = found + _held_on_gpu(pid) if found else 0
        finally:
            with self._lock:
                self._asking.discard(device)
        with self._lock:
            self._found[device] = (time.monotonic(), found)


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _held_on_gpu(pid: int) -> int:
    command = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        held = [line.split(",") for line in told.splitlines()]
        return sum(int(used) << 20 for one, used in held if int(one) == pid)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


_ROOM = _Room()
