"""The benchmark: held-out scenes with their controls, and how far pictures agree with them, condition by condition.

Does not know where pictures come from, nor which figures stand in the report (`evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import paperworld
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.document import Skeleton
from paperworld.evaluation import measures
from paperworld.evaluation.reading import cells_of, read, refound
from paperworld.world.examples import COLOUR, HELD_OUT, control_of, example
from paperworld.world.freeform import compose_free
from paperworld.world.palette import NAMED, PALETTES, Colour
from paperworld.world.portraits import compose_people
from paperworld.world.rendering import Rendering
from paperworld.world.spoken import compose_spoken
from paperworld.world.warp import thinned

HAND_DRAWN = ("scribble", "seg", "pose", COLOUR)
"""Conditions that people draw; the others come from pictures, exact."""
LINE_CONDITIONS = ("scribble", "canny", "softedge", "lineart", "lineart_anime")
CONDITIONS = (*LINE_CONDITIONS, "lines", "seg", "pose", "depth", "normal")
SKYLESS = ("seg", "lines", "depth", "normal")
"""Controls that cannot show what floats in the sky."""


@dataclass(frozen=True)
class Benchmark:
    """Held-out pictures with captions and the controls of one condition."""

    truths: list[Rendering]
    prompts: list[str]
    controls: list[Rgb]


Agree = Callable[[Sequence[Rgb], Benchmark], float]
Count = Callable[[Rgb, Rgb, Skeleton], tuple[int, int]]


@dataclass(frozen=True)
class Measure:
    """How pictures are held against an benchmark. `least` is the value of pictures that have nothing to do with it."""

    name: str
    agree: Agree
    least: float = 0.0

    def share(self, generated: float, ceiling: float) -> float:
        """How much of what true pictures reach is reached."""
        return (generated - self.least) / (ceiling - self.least)


def benchmark(key: str, count: int, first: int = HELD_OUT, side_px: int = 256) -> Benchmark:
    """The first `count` held-out scenes that condition `key` has something to say about, with their exact controls.

    Skeletons are those of people before a stage, all others those of whole scenes.
    """
    test = Benchmark([], [], [])
    seed = first
    while len(test.truths) < count:
        rng = np.random.default_rng(seed)
        scene = compose_people(seed) if key == "pose" else paperworld.compose(seed)
        if key in SKYLESS:
            scene = thinned(scene, rng, 0.0, sky=False)
        truth = paperworld.render(scene, side_px, side_px)
        control = control_of(scene, truth, key)
        if control.any():
            test.truths.append(truth)
            test.prompts.append(paperworld.caption(scene, rng))
            test.controls.append(control)
        seed += 1
    return test


def by_hand(key: str, count: int, first: int = HELD_OUT, side_px: int = 256) -> Benchmark:
    """Held-out examples as training has them: lines as a hand draws them, painted layouts, skeletons with missing joints.

    The truths follow what was drawn.
    """
    made = [example(key, seed, side_px) for seed in range(first, first + count)]
    return Benchmark([each.truth for each in made], [each.caption for each in made], [each.control for each in made])


def edge_agreement(pictures: Sequence[Rgb], controls: Sequence[Rgb]) -> float:
    """Mean F1 within 2 px of pictures' edges and controls' line centres."""
    pairs = zip(pictures, controls, strict=True)
    return float(
        np.mean([measures.edge_f1(measures.edges_of(a), measures.centres_of(control)) for a, control in pairs])
    )


def _by_edges(pictures: Sequence[Rgb], test: Benchmark) -> float:
    return edge_agreement(pictures, test.controls)


def colour_error(pictures: Sequence[Rgb], truths: Sequence[Rendering]) -> float:
    """Mean absolute difference of pictures and true ones, 0..255."""
    pairs = zip(pictures, truths, strict=True)
    return float(np.mean([np.abs(a.astype(np.int16) - truth.picture).mean() for a, truth in pairs]))


def _by_lines(pictures: Sequence[Rgb], test: Benchmark) -> float:
    pairs = zip(pictures, test.controls, strict=True)
    return float(
        np.mean([measures.lines_recall(measures.lines_of(a), measures.centres_of(control)) for a, control in pairs])
    )


def _read(pictures: Sequence[Rgb], test: Benchmark, *names: str) -> list[list[Any]]:
    """What each picture shows of the maps `names` of its scene."""
    pairs = zip(pictures, test.truths, strict=True)
    return [read(a, truth.picture, *(getattr(truth, name) for name in names)) for a, truth in pairs]


def _by_layout(pictures: Sequence[Rgb], test: Benchmark) -> float:
    found = [classes for (classes,) in _read(pictures, test, "classes")]
    return float(np.mean(list(measures.iou(found, [cells_of(t.classes) for t in test.truths]).values())))


def _by_depth(pictures: Sequence[Rgb], test: Benchmark) -> float:
    pairs = zip(_read(pictures, test, "depth"), test.truths, strict=True)
    return float(np.mean([measures.rank_correlation(depth, cells_of(t.depth)) for (depth,), t in pairs]))


def _by_normal(pictures: Sequence[Rgb], test: Benchmark) -> float:
    pairs = zip(_read(pictures, test, "normal"), test.truths, strict=True)
    return float(np.mean([measures.mean_angle(normal, cells_of(t.normal)) for (normal,), t in pairs]))


def _shares(count: Count, pictures: Sequence[Rgb], test: Benchmark) -> float:
    pairs = zip(pictures, test.truths, strict=True)
    counts = [count(a, truth.picture, truth.skeleton) for a, truth in pairs]
    return sum(found for found, _ in counts) / max(1, sum(total for _, total in counts))


def _by_joints(pictures: Sequence[Rgb], test: Benchmark) -> float:
    return _shares(measures.joints_found, pictures, test)


def faces(pictures: Sequence[Rgb], test: Benchmark) -> float:
    """Share of the faces that are seen."""
    return _shares(measures.faces_found, pictures, test)


def measure_of(key: str) -> Measure:
    """The measure of a condition."""
    if key in LINE_CONDITIONS:
        return Measure("edge F1 within 2 px", _by_edges)
    return {
        "lines": Measure("share of straight lines that a line detector finds within 2 px", _by_lines),
        "seg": Measure("mean IoU over the classes present", _by_layout),
        "pose": Measure("PCK at 0.1 of the trunk, people of at least 64 px", _by_joints),
        "depth": Measure("rank correlation", _by_depth),
        # Unrelated directions are at right angles.
        "normal": Measure("mean angle in degrees", _by_normal, least=90.0),
    }[key]


@dataclass(frozen=True)
class Question:
    """A prompt that asks for one thing of a named colour in a light, and where its words alone put that: the true picture, the
    middle and the halves of the sides of the thing's box in pixels, its pixels of that colour, the colours that names mean in
    that light, and the asked colour and light."""

    prompt: str
    picture: Rgb
    middle: tuple[float, float]
    half: tuple[float, float]
    inside: NDArray[np.bool_]
    colours: dict[str, Colour]
    name: str
    time: str


def questions(count: int, first: int = HELD_OUT) -> list[Question]:
    """Held-out prompts of one thing whose colour they name."""
    asked: list[Question] = []
    seed = first
    while len(asked) < count:
        scene = compose_spoken(seed)
        seed += 1
        names = {(thing.name, thing.colour) for thing in scene.things if thing.colour}
        if len(names) != 1:
            continue
        _, name = names.pop()
        truth = paperworld.render(scene)
        own = np.isin(truth.things, [n for n, thing in enumerate(scene.things, 1) if thing.colour])
        colours = {each: scene.palette.tint(colour) for each, colour in NAMED.items()}
        inside = own & (np.abs(truth.picture.astype(int) - colours[name]).max(2) < 12)
        if name not in (scene.said or "").split() or inside.mean() < 0.002:
            continue
        rows, columns = np.nonzero(own)
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
        middle, half = (low + high) / 2, (high - low) / 2
        asked.append(
            Question(
                scene.said or "",
                truth.picture,
                (middle[0], middle[1]),
                (half[0], half[1]),
                inside,
                colours,
                name,
                "" if scene.place == "room" else scene.time,
            )
        )
    return asked


@dataclass(frozen=True)
class Coloured:
    """A free form whose caption names its colour: control, caption, where the form's own colour is (H,W), the colours that
    names mean in its light, and the name."""

    control: Rgb
    prompt: str
    inside: NDArray[np.bool_]
    colours: dict[str, Colour]
    name: str


def coloured(count: int, first: int = HELD_OUT) -> list[Coloured]:
    """Held-out scribbles of one free form of a named colour."""
    found: list[Coloured] = []
    seed = first
    while len(found) < count:
        scene = compose_free(seed)
        seed += 1
        if len(scene.things) != 1 or not scene.things[0].colour or scene.time == "night":
            continue
        truth = paperworld.render(scene)
        colours = {name: scene.palette.tint(colour) for name, colour in NAMED.items()}
        own = np.abs(truth.picture.astype(int) - colours[scene.things[0].colour]).max(2) < 12
        inside = own & (truth.things == 1)
        if inside.mean() < 0.01:
            continue
        said = paperworld.caption(scene, np.random.default_rng(seed))
        found.append(Coloured(control_of(scene, truth, "scribble"), said, inside, colours, scene.things[0].colour))
    return found


def right_colours(pictures: Sequence[Rgb], asked: Sequence[Coloured]) -> float:
    """Share of the forms whose colour is nearest to the asked one."""
    pairs = zip(pictures, asked, strict=True)
    return float(np.mean([measures.nearest_colour(a[each.inside], each.colours) == each.name for a, each in pairs]))


def answered(pictures: Sequence[Rgb], asked: Sequence[Question]) -> dict[str, float]:
    """Shares of what was asked for: things that fit where they always are, colours that are nearer than any other, skies of the
    light; and all of these together."""
    hits: dict[str, list[bool]] = {"object": [], "colour": [], "time of day": []}
    for picture, question in zip(pictures, asked, strict=True):
        _, fit = refound(picture, question.picture, question.middle, question.half, 6)
        hits["object"].append(fit >= measures.LEAST)
        hits["colour"].append(measures.nearest_colour(picture[question.inside], question.colours) == question.name)
        if question.time:
            skies = {time: palette.sky_top for time, palette in PALETTES.items()}
            sky = picture[: len(picture) // 16].reshape(-1, 3)
            hits["time of day"].append(measures.nearest_colour(sky, skies) == question.time)
    shares = {kind: float(np.mean(found)) for kind, found in hits.items()}
    return shares | {"all": float(np.mean([hit for found in hits.values() for hit in found]))}
