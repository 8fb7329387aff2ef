"""The Jobs drawer, on every page: what runs, what waits and for how long, what came out. Cheap while it is closed.

The list is asked for when the drawer opens (`GET /studio/jobs/{token}`) and then follows the session's events; while it is
closed, nothing is asked and nothing listens. It also takes what is dropped on a page: a PNG that holds a recipe.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

import components
from controlnet_core.execution.queue import Entry
from webapp.application import services
from webapp.application.hub import Message
from webapp.ui.gallery import reopen
from webapp.ui.messages import told

OVER_MAX = 24
"""Jobs that are over and still listed."""


def jobs(studio: services.Studio, workspace: str) -> Message:
    """The jobs of a workspace as the drawer shows them: those that run or wait in their order, then the last that ended."""
    pace = Pace.of(studio.queue.ended())
    everybody = studio.queue.open()
    own = [entry for entry in everybody if entry.owner == workspace]
    over = [entry for entry in studio.queue.of(workspace, OVER_MAX + len(own)) if entry.over]
    return {
        "open": [_shown(studio, entry) | {"wait_s": pace.wait_s(entry, everybody)} for entry in own],
        "over": [_shown(studio, entry) for entry in over[:OVER_MAX]],
        "worker": studio.supervisor.status.state,
    }


def show(page: str) -> None:
    """Put the drawer on the page at the path `page`, before the page itself: what it wants may change the page or leave it."""
    studio, workspace = services.studio(), services.workspace()
    stream = studio.hub.stream(services.session(), workspace)
    with st.container(key="drawer"), told():
        wanted = components.drawer(
            key="jobs",
            jobs_url=f"./studio/jobs/{stream}",
            events_url=f"./studio/events/{stream}",
            open_jobs=[entry.id for entry in studio.queue.open() if entry.owner == workspace],
        )
        if wanted is not None:
            reopen.take(wanted, page)
        reopen.tell_notice()


@dataclass(frozen=True)
class Pace:
    """How long work takes on this machine, from what was done lately: seconds for a unit of work, by kind of job.

    A unit is a million pixels through one step, of a detection the whole of it.
    """

    unit_s: dict[str, float]

    @classmethod
    def of(cls, done: Sequence[Entry]) -> Pace:
        """The median over finished jobs; a job that loaded a model counts no more than any other."""
        times: dict[str, list[float]] = {}
        for entry in done:
            if entry.started is not None and entry.ended is not None:
                times.setdefault(entry.kind, []).append((entry.ended - entry.started) / _amount(entry))
        return cls({kind: statistics.median(values) for kind, values in times.items()})

    def run_s(self, entry: Entry) -> float | None:
        """How long a job is going to run, in seconds; None before anything of its kind was done."""
        return self.unit_s[entry.kind] * _amount(entry) if entry.kind in self.unit_s else None

    def wait_s(self, entry: Entry, queue: Sequence[Entry]) -> float | None:
        """How long a waiting job waits before it begins, given everything that runs or waits; None when nobody can tell."""
        if entry.state != "queued":
            return None
        ahead = queue[: next((place for place, one in enumerate(queue) if one.id == entry.id), 0)]
        times = [self.run_s(one) for one in ahead]
        if any(seconds is None for seconds in times):
            return None
        return round(sum(seconds for seconds in times if seconds is not None), 1)


def _amount(entry: Entry) -> float:
    if entry.kind != "recipe":
        return 1.0
    recipe = json.loads(entry.recipe)
    pixels = recipe.get("width", 512) * recipe.get("height", 512)
    return recipe.get("images", 1) * recipe.get("steps", 20) * pixels / 1e6


def _shown(studio: services.Studio, entry: Entry) -> dict[str, Any]:
    work: dict[str, Any] = json.loads(entry.work)
    keys = [work["control"]] if entry.kind == "detection" else [unit["control"] for unit in work.get("controls", ())]
    return {
        "id": entry.id,
        "kind": entry.kind,
        "state": entry.state,
        "ahead": entry.ahead,
        "prompt": work.get("prompt", ""),
        "controls": [studio.controls[key].title for key in keys if key in studio.controls],
        "images": work.get("images", 1),
        "created": entry.created,
        "seconds": entry.ended - entry.started if entry.ended and entry.started else None,
        "text": entry.text,
        "hint": entry.hint,
        "pictures": studio.pictures(entry.kept) if entry.kind == "recipe" else [],
    }
