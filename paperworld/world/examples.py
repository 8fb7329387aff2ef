"""Examples of the world, to learn from and to be measured on: picture, control picture and caption of a condition and a seed.

The picture always follows the control: a hand's wobble moves the scene itself (`warp`), what a control cannot show is not in
the picture, and what neither control nor caption says is the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

import paperworld
from annotator import controls
from controlnet_core.domain.control import Rgb, fed, values
from controlnet_core.models.catalog import shipped
from paperworld.world import colouring, freehand
from paperworld.world.freeform import compose_free
from paperworld.world.labels import PERSON
from paperworld.world.layouts import compose_layout
from paperworld.world.portraits import compose_people
from paperworld.world.rendering import Rendering
from paperworld.world.scene import Scene
from paperworld.world.spoken import compose_spoken
from paperworld.world.warp import thinned, wobbled

SIDE_PX = 256
HELD_OUT = 10_000_000
"""Seeds from here on are never trained on."""
PROMPT = "prompt"
"""Beside the conditions: no control, the words alone."""
COLOUR = "colour"
"""The condition whose drawings decide colours, too."""
MIX = {
    "scribble": 0.16, "pose": 0.2, "seg": 0.19, COLOUR: 0.25, PROMPT: 0.07, "canny": 0.03, "softedge": 0.02,
    "lines": 0.02, "lineart": 0.02, "lineart_anime": 0.01, "depth": 0.02, "normal": 0.01,
}  # fmt: skip
"""Conditions and how often an example shows each; one ControlNet learns them all."""
INSIDE, EDGE, DEAR, COLOURED = 1, 2, 4, 8
"""Why pixels are worth more: they lie in a thing, at an edge, in a face or a hand, in a thing of a colour with a name."""
LAND = frozenset({"mountain", "hill", "road", "sea", "sand", "river", "street", "bridge", "cloud", "window"})
"""What is a backdrop though the world calls it a thing."""
SLOTS = (
    *(f"{kind} {number}" for kind in ("form", "person") for number in (1, 2, 3)),
    *(f"{kind} 1" for kind in ("house", "car", "boat", "flower", "sofa", "bed", "dog", "cat", "sheep", "cow", "horse")),
    "upper", "lower",
)  # fmt: skip
"""Whose colours a prompt is taught to mean: things of a kind by their order, and the upper and the lower edge of the picture."""
LEAST_PX = 60
FREE, PAINTED, BY_HAND = 0.65, 0.4, 0.8
"""Shares: of scribbles that show free forms, of layouts that are painted blobs, of scribbles that are not exact."""


@dataclass(frozen=True)
class Example:
    """A scene with its rendering, its caption, and the control picture H,W,3 as the network reads it."""

    scene: Scene
    truth: Rendering
    control: Rgb
    caption: str
    told: bool = True
    """Whether its colours are those that the caption means."""

    @property
    def loud(self) -> NDArray[np.uint8]:
        """H,W: why the picture is worth more there, the sum of INSIDE, EDGE, DEAR and COLOURED."""
        grey = cv2.cvtColor(self.truth.picture, cv2.COLOR_RGB2GRAY)
        slope = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        why = [0] + [
            0 if thing.name in LAND else INSIDE + (COLOURED if thing.colour else 0) for thing in self.scene.things
        ]
        return (
            np.take(np.array(why, np.uint8), self.truth.things)
            + np.where(slope > 18, EDGE, 0).astype(np.uint8)
            + (_dear(self.truth) * np.uint8(DEAR))
        )

    @property
    def colours(self) -> NDArray[np.float32]:
        """SLOTS,3: mean colours, -1 to 1, of things by kind and of the upper and the lower eighth; nan for what is not there, or
        not told by words."""
        found = np.full((len(SLOTS), 3), np.nan, np.float32)
        if not self.told:
            return found
        picture, things = self.truth.picture, self.truth.things
        sums = np.stack(
            [np.bincount(things.ravel(), picture[..., k].ravel(), len(self.scene.things) + 1) for k in range(3)], 1
        )
        counts = np.bincount(things.ravel(), minlength=len(self.scene.things) + 1)
        seen: dict[str, int] = {}
        for number, thing in enumerate(self.scene.things, 1):
            kind = "person" if thing.doing else thing.name
            seen[kind] = seen.get(kind, 0) + 1
            slot = f"{kind} {seen[kind]}"
            if slot in SLOTS and counts[number] >= LEAST_PX:
                found[SLOTS.index(slot)] = sums[number] / counts[number]
        eighth = len(picture) // 8
        found[-2:] = picture[:eighth].mean((0, 1)), picture[-eighth:].mean((0, 1))
        return found / 127.5 - 1


def example(key: str, seed: int, side_px: int = SIDE_PX) -> Example:
    """Example `seed` of condition `key`, or of PROMPT, `side_px` a side. The same numbers give the same example."""
    rng = np.random.default_rng((11, seed))
    scene = _scene(key, seed, rng)
    if key == COLOUR:
        return _coloured(scene, side_px, rng)
    truth = paperworld.render(scene, side_px, side_px)
    by_hand = key in ("scribble", "pose") and rng.random() < (BY_HAND if key == "scribble" else 0.5)
    return Example(
        scene, truth, control_of(scene, truth, key, rng if by_hand else None), paperworld.caption(scene, rng)
    )


def _coloured(scene: Scene, side_px: int, rng: np.random.Generator) -> Example:
    """What a drawing colours in has its colours, whatever words say."""
    made = colouring.coloured_in(scene, rng)
    truth = paperworld.render(made.scene, side_px, side_px)
    control = colouring.drawing(made, truth, rng).pixels
    return Example(made.scene, truth, control, paperworld.caption(scene, rng), told=False)


def _dear(truth: Rendering) -> NDArray[np.bool_]:
    """H,W: faces and hands."""
    spots = np.zeros(truth.things.shape, np.uint8)
    for person in truth.skeleton.people:
        nose, neck = person.body[0], person.body[1]
        long = float(np.hypot(nose.x - neck.x, nose.y - neck.y))
        for point, share in ((nose, 0.8), (person.body[4], 0.4), (person.body[7], 0.4)):
            if point.confidence > 0:
                cv2.circle(spots, (round(point.x), round(point.y)), round(long * share), 1, -1)
    return (spots > 0) & (truth.classes == PERSON)


def _scene(key: str, seed: int, rng: np.random.Generator) -> Scene:
    if key == PROMPT:
        return compose_spoken(seed)
    if key == "pose":
        return compose_people(seed)
    if key == "seg":
        if rng.random() < PAINTED:
            return compose_layout(seed)
        scene = thinned(paperworld.compose(seed), rng, 0.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.6), sky=False)
        return wobbled(scene, rng, rng.uniform(0, 0.025)) if rng.random() < 0.8 else scene
    free = {"lines": 0.0, "scribble": FREE, COLOUR: FREE, "lineart": FREE, "lineart_anime": FREE}.get(key, 0.35)
    if rng.random() < free:
        scene = compose_free(seed)
    else:
        kind = rng.random()
        share = 0.0 if kind < 0.45 else rng.uniform(0.1, 0.5) if kind < 0.85 else 0.85
        # Distance and slope do not show what floats in the sky.
        scene = thinned(paperworld.compose(seed), rng, share, sky=key not in ("depth", "normal", "lines"))
    return wobbled(scene, rng) if key in ("scribble", COLOUR) and rng.random() < 0.8 else scene


def control_of(scene: Scene, truth: Rendering, key: str, rng: np.random.Generator | None = None) -> Rgb:
    """The control picture of a rendering under condition `key`, exact, or with `rng` as a person would draw it."""
    if key == PROMPT:
        return np.zeros_like(truth.picture)
    control = controls()[key]
    document = control.truth_of(truth)
    if rng is not None and key == "scribble":
        document = freehand.scribble(scene, truth, rng)
    elif rng is not None and key == "pose":
        document = freehand.pose(truth.skeleton, rng)
    card = shipped()["paperworld-control"]
    return fed(control.render(document, values(control.params, {})), card.feed.get(key, "rgb"))


def scene_of(seed: int) -> tuple[Scene, Rendering]:
    """The scene of `seed` and its rendering at 256 px."""
    scene = paperworld.compose(seed)
    return scene, paperworld.render(scene, SIDE_PX, SIDE_PX)
