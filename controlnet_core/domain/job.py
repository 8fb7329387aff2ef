"""Jobs and what is told about them: the words between page, queue, worker and engine.

A job's work is a recipe, which makes pictures, or a detection, which finds a document in a photo.

Types only. `controlnet_core.execution.queue` queues, `controlnet_core.execution.worker` runs, `controlnet_core.engine` samples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from controlnet_core.domain import detection, recipe
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document
from controlnet_core.domain.recipe import Recipe

State = Literal["queued", "running", "done", "failed", "cancelled"]
Kind = Literal["recipe", "detection"]
Work = Recipe | Detection
Lifetime = Literal["attached", "detached"]
"""Attached: ends when nobody of its browser is there any more. Detached: runs to its end, whoever listens."""


@dataclass(frozen=True)
class Job:
    """Work to do, with the pictures that it names (digest -> uint8 RGB).

    `id` is made by whoever submits, so that a double click is one job. `session` says whose it is; `owner`, where it is
    known, who keeps the result when the session is over (a browser's workspace). `slot` names the owner's drawing that a
    found document replaces; "" keeps it for whoever asks. `lifetime` says whether it needs somebody who waits for it. A
    `live` one is a frame of a drawing in the making: its pictures are JPEGs that nobody keeps, and no queue holds it.
    """

    id: str
    session: str
    work: Work
    pictures: Mapping[str, Rgb] = field(default_factory=dict[str, Rgb], repr=False)
    owner: str = ""
    slot: str = ""
    lifetime: Lifetime = "attached"
    live: bool = False

    @property
    def kind(self) -> Kind:
        """What kind of work it is."""
        return "recipe" if isinstance(self.work, Recipe) else "detection"

    @property
    def needs(self) -> str:
        """What an engine has to have in memory for it: a base model's id, or a condition's detector ("pose/openpose")."""
        return needs_of(self.kind, vars(self.work))

    @property
    def recipe(self) -> Recipe:
        """The work of a job that makes pictures."""
        assert isinstance(self.work, Recipe), "a detection has no recipe"
        return self.work


def needs_of(kind: Kind, fields: Mapping[str, Any]) -> str:
    """`Job.needs` of work of a kind with these fields. Raises KeyError."""
    return str(fields["model"]) if kind == "recipe" else f"{fields['control']}/{fields['detector']}"


def read_work(kind: Kind, text: str | bytes) -> Work:
    """Work of a kind from its JSON. Raises RecipeError or InputError with the name of the first wrong field."""
    return recipe.parse(text) if kind == "recipe" else detection.parse(text)


@dataclass(frozen=True)
class Step:
    """One finished sampling step: `step` of `steps` (1-based). `preview()` decodes what the latents show so far, RGB."""

    step: int
    steps: int
    preview: Callable[[], Rgb]


OnStep = Callable[[Step], None]


class OnLoad(Protocol):
    """Hears what is waited for, and how far it is: `done` of `total` bytes where that is known."""

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        """Tell it. Raises Cancelled when nobody wants it any more."""
        ...


class Engine(Protocol):
    """Does the work of jobs on one device."""

    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], on_step: OnStep, on_load: OnLoad) -> list[Rgb]:
        """Return `recipe.images` pictures. `on_step` is called after every step and `on_load` hears what is waited for;
        raising Cancelled in either stops the run."""
        ...

    def detect(self, detection: Detection, picture: Rgb, on_load: OnLoad) -> Document:
        """Return what is found in `picture`. `on_load` hears what is waited for; raising Cancelled there stops it."""
        ...

    def loaded(self) -> Collection[str]:
        """What is in memory, by the names of `Job.needs`: such jobs begin sooner here than elsewhere."""
        ...


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, as pages hear it.

    kind "queued" (`ahead` jobs before it), "loading" (`text` says what, `step` of `steps` how far), "step" (`step` of
    `steps`, `preview` JPEG bytes or None), "done" (`pictures` as PNG bytes with the recipe inside, live ones as JPEG; `kept`
    their ids in the gallery once they lie there; of a detection `found`, the document's container, and `kept` its digest),
    "failed" (`text`, `hint`), "cancelled". `seconds` since the job began to run.
    """

    job: str
    kind: Literal["queued", "loading", "step", "done", "failed", "cancelled"]
    ahead: int = 0
    step: int = 0
    steps: int = 0
    preview: bytes | None = None
    pictures: tuple[bytes, ...] = ()
    found: bytes = b""
    kept: tuple[str, ...] = ()
    text: str = ""
    hint: str = ""
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it is the last of its job's."""
        return self.kind in ("done", "failed", "cancelled")
