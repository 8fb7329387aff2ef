"""Live: a drawing in the making and the pictures that follow it. Draws no page, speaks no HTTP.

    studio.live.prepare(token, Scene(recipe, 0, values, pictures))    what the page makes of the drawing under `token`
    drawing = studio.live.open(token, tell)                           somebody draws; `tell` hears what becomes of it
    drawing.begin(1, container)                                       the whole drawing, as revision 1
    drawing.change(2, 1, [(0, 0, 64, 64)], deflated)                  what changed since then
    drawing.close()

Revisions here are the browser's own count of changes, mid-stroke ones too; they have nothing to do with those that are saved, and
nothing of a live drawing is kept. The newest revision is what is asked for whenever a device is free (`LiveSource`).
"""

from __future__ import annotations

import hashlib
import secrets
import statistics
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from controlnet_core.domain import document as documents
from controlnet_core.domain import resize
from controlnet_core.domain.control import ControlType, Rgb, Value
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.job import Event, Job
from controlnet_core.domain.recipe import PROMPT_MAX, SEED_MAX, SIDE_STEP, Lora, Recipe
from controlnet_core.execution.live import LiveSource
from controlnet_core.families import UNKNOWN, Family
from controlnet_core.models.catalog import Catalog
from webapp.application import validation
from webapp.application.choices import LORAS_MAX, quick
from webapp.application.tokens import Unknown

DRAWINGS_MAX = 256
"""That are prepared; the longest unused ones go."""
OPEN_MAX = 32
"""That are drawn on at once."""
RECTS_MAX = 64
REV_MAX = 2**53 - 1
BUDGET_S = 0.5
"""What a frame may take before the next ones are made with less; they get it back when a quarter of this is enough."""
EFFORTS = ((1.0, 1.0), (0.5, 1.0), (0.5, 0.75), (0.5, 0.5))
"""Shares of the steps and of the sides, from all of it down."""
STEPS_MIN, SIDE_MIN_PX = 2, 256
FRAMES_JUDGED = 3

Rect = tuple[int, int, int, int]
"""x0, y0, x1, y1 in document pixels, ends excluded."""


class Skipped(InputError):
    """A change that builds upon a revision that is not here: the whole drawing has to come again."""


@dataclass(frozen=True)
class Scene:
    """What a page makes of its drawing: a recipe of one picture, in which the control at `place` is the drawing.

    `values` are those of its renderer, `pictures` what else the recipe names (digest -> uint8 RGB). `seed` is the one that the
    page's settings say, -1 for any: then it stays what it is. `family` says what sizes its model makes.
    """

    recipe: Recipe
    place: int = 0
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    pictures: Mapping[str, Rgb] = field(default_factory=dict[str, Rgb], repr=False, compare=False)
    seed: int = -1
    family: Family = UNKNOWN


@dataclass(frozen=True)
class News:
    """What is told of a live drawing: kind "drawing" (the frame of `rev` is made), "waiting" and "loading" (`text` says for
    what), "picture" (a JPEG of `rev` at `seed`, which took `seconds`; `text` says what was spared), "failed" (`text`, `hint`),
    "over" (`text`: somebody else draws on it now).
    """

    kind: Literal["drawing", "waiting", "loading", "picture", "failed", "over"]
    rev: int = 0
    seed: int = 0
    text: str = ""
    hint: str = ""
    picture: bytes = field(default=b"", repr=False)
    seconds: float = 0.0


Tell = Callable[[News], None]


@dataclass(frozen=True)
class _State:
    """What decides a frame."""

    rev: int
    seed: int
    version: int
    """Of scene and prompt."""


class Effort:
    """How much of a recipe's steps and size frames are made with, by how long the last ones took."""

    def __init__(self) -> None:
        self._level = 0
        self._took: list[float] = []
        self._excused = False

    def of(self, recipe: Recipe) -> tuple[int, int]:
        """The shorter side in pixels, and the steps, of a frame of `recipe`."""
        return self._at(self._level, recipe)

    def spared(self, recipe: Recipe) -> str:
        """What is less than the recipe says, in words."""
        whole, (side, steps) = self._at(0, recipe), self.of(recipe)
        words = [f"{steps} step{'s' if steps > 1 else ''}"] if steps < whole[1] else []
        return ", ".join([*words, f"{side} px"] if side < whole[0] else words)

    def excuse(self) -> None:
        """The present frame waits for something else, too: how long it takes says nothing."""
        self._excused = True

    def judge(self, seconds: float, recipe: Recipe) -> None:
        """A frame took so long."""
        excused, self._excused = self._excused, False
        if excused:
            return
        self._took.append(seconds)
        if len(self._took) < FRAMES_JUDGED:
            return
        usual = statistics.median(self._took)
        self._took.clear()
        if usual > BUDGET_S:
            less = range(self._level + 1, len(EFFORTS))
            self._level = next((n for n in less if self._at(n, recipe) != self.of(recipe)), self._level)
        elif usual < BUDGET_S / 4 and self._level:
            self._level -= 1

    def _at(self, level: int, recipe: Recipe) -> tuple[int, int]:
        steps, side = EFFORTS[level]
        shorter = min(recipe.width, recipe.height)
        wanted = round(shorter * side / SIDE_STEP) * SIDE_STEP
        return (
            max(min(SIDE_MIN_PX, shorter), wanted),
            max(min(STEPS_MIN, recipe.steps), round(recipe.steps * steps)),
        )


def quickened(catalog: Catalog, recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe in the fewest steps that something on this machine is made for, with a tiny decoder where there is one; and
    what that is in words, "" where nothing is changed."""
    base = catalog.card(recipe.model)
    best = next((one for one in quick(catalog, base) if one.preset.steps[0] < recipe.steps), None)
    words: list[str] = []
    changes: dict[str, object] = {}
    if best is not None and (best.lora is None or len(recipe.loras) < LORAS_MAX):
        changes |= best.preset.fields
        words.append(best.title)
        if best.lora is not None and best.lora.id not in {lora.key for lora in recipe.loras}:
            changes["loras"] = (*recipe.loras, Lora(key=best.lora.id))
    tiny = catalog.family(base).preview
    if tiny and recipe.vae is None and catalog.has(tiny):
        changes["vae"] = tiny
        words.append(catalog.card(tiny).title)
    return recipe.model_copy(update=changes), ", ".join(words)


class LiveDrawing:
    """One drawing that somebody draws on, as the `LiveSource` of its pictures. Safe across threads."""

    def __init__(
        self,
        control: ControlType,
        scene: Scene,
        want: Callable[[LiveSource], None],
        leave: Callable[[LiveSource], None],
    ) -> None:
        self._control = control
        self._want, self._leave = want, leave
        self._lock = threading.RLock()
        self._tell: Tell | None = None
        self._scene = scene
        self._seed = scene.seed if scene.seed >= 0 else secrets.randbelow(SEED_MAX + 1)
        self._version = 0
        self._document: Document | None = None
        self._rev = 0
        self._made: _State | None = None  # what the frame that is made shows
        self._shown: _State | None = None
        self._effort = Effort()

    @property
    def is_open(self) -> bool:
        """Whether somebody draws on it."""
        return self._tell is not None

    @property
    def seed(self) -> int:
        """The seed of its pictures."""
        return self._seed

    # ---- what the page and the hand do

    def set_scene(self, scene: Scene) -> None:
        """The page makes something else of the drawing from now on."""
        with self._lock:
            if scene.seed != self._scene.seed and scene.seed >= 0:
                self._seed = scene.seed
            if _plain(scene) == _plain(self._scene):
                return
            self._scene = scene
            self._version += 1
        self._ask()

    def open(self, tell: Tell) -> None:
        """Somebody draws. Whoever did before is told that it is over."""
        with self._lock:
            before, self._tell = self._tell, tell
            self._document, self._rev, self._shown, self._made = None, 0, None, None
            self._effort = Effort()
        if before is not None:
            before(News("over", text="This drawing goes on live in another place."))

    def close(self, tell: Tell) -> None:
        """Whoever heard by `tell` draws no more."""
        with self._lock:
            if self._tell is not tell:
                return
            self._tell, self._document = None, None
        self._leave(self)

    def begin(self, rev: int, container: bytes) -> None:
        """The whole drawing, as revision `rev`. Raises InputError for what is damaged or belongs to another control."""
        found = documents.decode(container)
        kind = self._control.document
        if found.kind != kind:
            raise InputError("This drawing belongs to another control.", "Open it on the page that it was drawn on.")
        if isinstance(found, Raster):
            found = Raster(found.kind, found.pixels.copy())  # it is drawn on
        with self._lock:
            self._document, self._rev = found, _revision(rev)
        self._ask()

    def change(self, rev: int, on: int, rects: Sequence[Rect], deflated: bytes) -> None:
        """Make revision `on` revision `rev`: new pixels in `rects`, one after the other and packed by zlib.

        Raises Skipped where `on` is not the present revision, InputError for anything that does not fit the drawing; then
        nothing has changed.
        """
        with self._lock:
            document = self._document
            if document is None or on != self._rev:
                raise Skipped(
                    f"This change builds upon revision {on}, but revision {self._rev} is here.",
                    "Send the whole drawing.",
                )
            if _revision(rev) <= on:
                raise InputError("Revisions only grow.", "Send the whole drawing.")
            if not isinstance(document, Raster):
                raise InputError("Parts of this drawing cannot be changed alone.", "Send the whole drawing.")
            _paint(document, rects, deflated)
            self._rev = rev
        self._ask()

    def say(self, prompt: object) -> None:
        """Another prompt, until the page says one. Raises InputError."""
        text = validation.text(prompt, PROMPT_MAX, "The prompt")
        with self._lock:
            if text == self._scene.recipe.prompt:
                return
            self._scene = replace(self._scene, recipe=self._scene.recipe.model_copy(update={"prompt": text}))
            self._version += 1
        self._ask()

    def next_seed(self) -> None:
        """The next seed: the same drawing, another picture."""
        with self._lock:
            self._seed = (self._seed + 1) % (SEED_MAX + 1)
        self._ask()

    # ---- what the dispatcher asks

    def frame(self) -> Job | None:
        """The newest revision as a live job; None when its picture is there already. Raises InputError."""
        with self._lock:
            document, scene, now = self._document, self._scene, self._now
            if document is None or self._tell is None or now == self._shown:
                return None
            recipe = scene.recipe
            shorter, steps = self._effort.of(recipe)
            size = scene.family.size_of(recipe.width, recipe.height) * shorter / min(recipe.width, recipe.height)
            width, height = scene.family.picture_size(document.width, document.height, round(size))
            unit = recipe.controls[scene.place]
            rgb = self._control.render(document, scene.values)
            rgb = resize.fit(rgb, width, height, unit.resize, self._control.nearest)
            self._made = now
            self._tell(News("drawing", now.rev))
        digest = hashlib.sha256(rgb.tobytes()).hexdigest()
        units = list(recipe.controls)
        units[scene.place] = unit.model_copy(update={"picture": digest})
        changed = {
            "controls": tuple(units),
            "width": width,
            "height": height,
            "seed": now.seed,
            "images": 1,
            "steps": steps,
        }
        work = recipe.model_copy(update=changed)
        wanted = {name: scene.pictures[name] for name in work.pictures if name in scene.pictures}
        return Job(f"live-{secrets.token_hex(8)}", "live", work, {**wanted, digest: rgb}, live=True)

    def hear(self, event: Event) -> None:
        """What became of the frame."""
        with self._lock:
            made, tell = self._made, self._tell
            spared = self._effort.spared(self._scene.recipe)
            if event.kind == "loading":
                self._effort.excuse()
            elif event.kind == "done":
                self._effort.judge(event.seconds, self._scene.recipe)
            if event.over:  # what failed is not tried again before something changes
                self._made, self._shown = None, made or self._now
            rev = made.rev if made else self._rev
        if tell is None:
            return
        if event.kind == "done" and made is not None:
            tell(News("picture", rev, made.seed, spared, picture=event.pictures[0], seconds=event.seconds))
        elif event.kind == "failed":
            tell(News("failed", rev, text=event.text, hint=event.hint))
        elif event.kind == "queued":
            tell(News("waiting", rev, text=event.text))
        elif event.kind == "loading":
            tell(News("loading", rev, text=event.text))

    @property
    def _now(self) -> _State:
        return _State(self._rev, self._seed, self._version)

    def _ask(self) -> None:
        if self._document is not None:
            self._want(self)


class LiveDrawings:
    """The live drawings by the tokens of their documents. Safe across threads."""

    def __init__(
        self,
        controls: Mapping[str, ControlType],
        want: Callable[[LiveSource], None],
        leave: Callable[[LiveSource], None],
    ) -> None:
        self._controls = controls
        self._want, self._leave = want, leave
        self._lock = threading.Lock()
        self._drawings: OrderedDict[str, LiveDrawing] = OrderedDict()

    def prepare(self, token: str, scene: Scene) -> LiveDrawing:
        """Say what is made of the drawing under `token`, live; also while somebody draws on it."""
        with self._lock:
            drawing = self._drawings.get(token)
            if drawing is None:
                control = self._controls[scene.recipe.controls[scene.place].control]
                drawing = self._drawings[token] = LiveDrawing(control, scene, self._want, self._leave)
                idle = [name for name, one in self._drawings.items() if not one.is_open and name != token]
                for name in idle[: max(0, len(self._drawings) - DRAWINGS_MAX)]:
                    del self._drawings[name]
            self._drawings.move_to_end(token)
        drawing.set_scene(scene)
        return drawing

    def open(self, token: str, tell: Tell) -> LiveDrawing:
        """Draw on the drawing under `token`. Raises Unknown where its page is not live, InputError for one too many."""
        with self._lock:
            drawing = self._drawings.get(token)
            if drawing is None:
                raise Unknown("Live is off for this drawing.", "Switch it on beside Generate.")
            others = sum(one.is_open for name, one in self._drawings.items() if name != token)
            if others >= OPEN_MAX:
                raise InputError("Too many people draw live at once.", "Wait a moment, or use Generate.")
        drawing.open(tell)
        return drawing

    def forget(self, token: str) -> None:
        """The page is not live any more."""
        with self._lock:
            drawing = self._drawings.pop(token, None)
        if drawing is not None:
            self._leave(drawing)


def _paint(document: Raster, rects: Sequence[Rect], deflated: bytes) -> None:
    """Put pixels into a raster, all or nothing. Raises InputError."""
    pixels = document.pixels
    if not 0 < len(rects) <= RECTS_MAX:
        raise InputError(f"A change has 1 to {RECTS_MAX} parts.", "Send the whole drawing.")
    for x0, y0, x1, y1 in rects:
        if not (0 <= x0 < x1 <= document.width and 0 <= y0 < y1 <= document.height):
            raise InputError("This change lies outside of the drawing.", "Send the whole drawing.")
    depth = 1 if pixels.ndim == 2 else pixels.shape[2]
    size = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in rects) * depth
    if size > 2 * pixels.size:
        raise InputError("This change is larger than the drawing.", "Send the whole drawing.")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(deflated, size + 1)
    except zlib.error as error:
        raise InputError("This change is damaged.", "Send the whole drawing.") from error
    if len(raw) != size or not inflate.eof:
        raise InputError("This change is damaged: it has another size than it says.", "Send the whole drawing.")
    at = 0
    for x0, y0, x1, y1 in rects:
        count = (x1 - x0) * (y1 - y0) * depth
        part = np.frombuffer(raw, np.uint8, count, at)
        pixels[y0:y1, x0:x1] = part.reshape(y1 - y0, x1 - x0, *pixels.shape[2:])
        at += count


def _revision(rev: int) -> int:
    if not 0 < rev <= REV_MAX:
        raise InputError("This is not the number of a revision.", "Send the whole drawing.")
    return rev


def _plain(scene: Scene) -> Scene:
    """A scene without what a live drawing brings along itself."""
    units = list(scene.recipe.controls)
    units[scene.place] = units[scene.place].model_copy(update={"picture": "0" * 64, "document": None})
    return replace(scene, seed=-1, recipe=scene.recipe.model_copy(update={"seed": 0, "controls": tuple(units)}))
