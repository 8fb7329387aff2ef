"""What goes to browsers and to clients of the API, as types: the one place that says how something looks as JSON.

Every view is made from the core's nouns and knows nothing of how it is sent. Addresses are relative to a page of the studio.
"""

from __future__ import annotations

import base64
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from controlnet_core.domain import job
from controlnet_core.domain.job import Kind, State
from controlnet_core.storage.gallery import Result


def picture_url(id: str) -> str:
    """Where a browser gets a gallery picture, relative to a page."""
    return f"./studio/pictures/{id}.png"


class View(BaseModel):
    """The base of them all: fixed once made, no field that is not named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Picture(View):
    """A picture of the gallery as the result pane shows it."""

    id: str
    url: str
    name: str
    seed: int

    @classmethod
    def of(cls, result: Result) -> Picture:
        """The view of a result."""
        seed = result.recipe.seed
        return cls(id=result.id, url=picture_url(result.id), name=f"studio-{result.id[:12]}-{seed}.png", seed=seed)


class Event(View):
    """Something that happened to a job, see `controlnet_core.domain.job.Event`.

    `preview` is a JPEG in base64, `pictures` those that were made, `document` the digest of what a detection found.
    """

    job: str
    kind: Literal["queued", "loading", "step", "done", "failed", "cancelled"]
    ahead: int = 0
    step: int = 0
    steps: int = 0
    preview: str | None = None
    pictures: list[Picture] = []
    document: str | None = None
    text: str = ""
    hint: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, event: job.Event, pictures: list[Picture]) -> Event:
        """The view of an event; `pictures` are those of its results that are in the gallery."""
        return cls(
            job=event.job,
            kind=event.kind,
            ahead=event.ahead,
            step=event.step,
            steps=event.steps,
            preview=base64.b64encode(event.preview).decode() if event.preview else None,
            pictures=[] if event.found else pictures,
            document=event.kept[0] if event.found and event.kept else None,
            text=event.text,
            hint=event.hint,
            seconds=event.seconds,
        )


class Tile(View):
    """A result as the picture wall shows it; `created` in seconds since 1970."""

    id: str
    url: str
    name: str
    prompt: str
    seed: int
    width: int
    height: int
    controls: list[str]
    created: float
    job: str
    starred: bool
    deleted: bool

    @classmethod
    def of(cls, result: Result) -> Tile:
        """The view of a result."""
        return cls(**_tile(result))


class About(Tile):
    """A tile with its recipe, in words (name and value) and as JSON."""

    words: list[tuple[str, str]]
    recipe: str

    @classmethod
    def told(cls, result: Result, words: list[tuple[str, str]]) -> About:
        """The view of a result; `words` are its recipe's."""
        return cls(**_tile(result), words=words, recipe=result.recipe.to_json())


def _tile(result: Result) -> dict[str, Any]:
    recipe = result.recipe
    return {
        "id": result.id,
        "url": picture_url(result.id),
        "name": result.name,
        "prompt": recipe.prompt,
        "seed": recipe.seed,
        "width": recipe.width,
        "height": recipe.height,
        "controls": [unit.control for unit in recipe.controls],
        "created": result.created,
        "job": result.job,
        "starred": result.starred,
        "deleted": result.deleted is not None,
    }


class Wall(View):
    """One page of the picture wall; what counts the whole shelf comes with the first page alone."""

    pictures: list[Tile]
    more: bool
    total: int | None = None
    controls: dict[str, int] | None = None
    binned: int | None = None


class Job(View):
    """A job as the drawer shows it: `controls` by title, `created` in seconds since 1970, `seconds` that it ran.

    `wait_s` is how long a waiting one will wait, None when nobody can tell; `device` where one runs that has several to choose.
    """

    id: str
    kind: Kind
    state: State
    ahead: int
    prompt: str
    controls: list[str]
    images: int
    created: float
    seconds: float | None
    text: str
    hint: str
    pictures: list[Picture]
    wait_s: float | None = None
    device: str = ""


class Worker(View):
    """Where pictures are made, and how the worker there is (see `controlnet_core.execution.dispatcher.Status`)."""

    device: str
    state: str
    text: str = ""


class Jobs(View):
    """The jobs of a workspace: those that run or wait in their order, the last that ended; and the workers."""

    open: list[Job]
    over: list[Job]
    workers: list[Worker]
