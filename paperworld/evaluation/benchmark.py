"""The benchmark: held-out scenes with their controls, and how far pictures agree with them, condition by condition.

Does not know where pictures come from, nor which figures stand in the report (`evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import paperworld
from controlnet_core.domain.control import Rgb
from paperworld.evaluation import measures
from paperworld.evaluation.classifier import COLOURED, GRID, Classifier, cells_of
from paperworld.world.caption import Facts
from paperworld.world.examples import HELD_OUT, control_of, example
from paperworld.world.freeform import compose_free
from paperworld.world.palette import NAMED, PALETTES, Colour
from paperworld.world.portraits import compose_people
from paperworld.world.rendering import Rendering
from paperworld.world.spoken import compose_spoken
from paperworld.world.warp import thinned
from paperworld.world.words import PLACES_SAID, TIMES_SAID

HAND_DRAWN = ("scribble", "seg", "pose")
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


def measure_of(key: str, classifier: Classifier | None) -> Measure:
    """The measure of a condition; those that need a classifier ask for it."""
    if key in LINE_CONDITIONS:
        return Measure("edge F1 within 2 px", _by_edges)
    if key == "lines":
        return Measure("share of straight lines that a line detector finds within 2 px", _by_lines)
    assert classifier is not None

    def by_layout(pictures: Sequence[Rgb], test: Benchmark) -> float:
        found = [opinion.classes for opinion in classifier.look(pictures)]
        return float(np.mean(list(measures.iou(found, [cells_of(t.classes) for t in test.truths]).values())))

    def by_joints(pictures: Sequence[Rgb], test: Benchmark) -> float:
        pairs = zip(classifier.look(pictures), test.truths, strict=True)
        counts = [measures.joints_found(seen.joints, GRID, truth.skeleton) for seen, truth in pairs]
        return sum(found for found, _ in counts) / max(1, sum(total for _, total in counts))

    def by_depth(pictures: Sequence[Rgb], test: Benchmark) -> float:
        pairs = zip(classifier.look(pictures), test.truths, strict=True)
        return float(np.mean([measures.rank_correlation(seen.depth, cells_of(t.depth)) for seen, t in pairs]))

    def by_normal(pictures: Sequence[Rgb], test: Benchmark) -> float:
        pairs = zip(classifier.look(pictures), test.truths, strict=True)
        return float(np.mean([measures.mean_angle(seen.normal, cells_of(t.normal)) for seen, t in pairs]))

    return {
        "seg": Measure("mean IoU over the classes present", by_layout),
        "pose": Measure("PCK at 0.1 of the trunk, people of at least 64 px", by_joints),
        "depth": Measure("rank correlation", by_depth),
        # Unrelated directions are at right angles.
        "normal": Measure("mean angle in degrees", by_normal, least=90.0),
    }[key]


@dataclass(frozen=True)
class Question:
    """A prompt and the facts that it asks for: an object, its colour, and mostly a time of day."""

    prompt: str
    asked: tuple[str, ...]


def questions(count: int, first: int = HELD_OUT) -> tuple[list[Question], list[Rgb]]:
    """Prompts that ask for one coloured object and a time of day, and pictures in which they are true."""
    asked: list[Question] = []
    pictures: list[Rgb] = []
    seed = first
    while len(asked) < count:
        scene = compose_spoken(seed)
        question = _question(paperworld.facts(scene))
        if question is not None:
            asked.append(question)
            pictures.append(paperworld.render(scene).picture)
        seed += 1
    return asked, pictures


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


def _question(known: Facts) -> Question | None:
    for seen in known.objects:
        if seen.colour and seen.count == 1 and seen.name in COLOURED:
            prompt = f"a {seen.colour} {seen.name} {PLACES_SAID[known.place][0]}, {TIMES_SAID[known.time][0]}"
            time = () if known.place == "room" else (known.time,)
            return Question(prompt, (seen.name, f"{seen.colour} {seen.name}", *time))
    return None


def answered(classifier: Classifier, pictures: Sequence[Rgb], asked: Sequence[Question]) -> dict[str, float]:
    """Shares of what was asked for: objects that the classifier finds likelier than not, colours and times of day that it finds
    the likeliest; and all of these together."""
    hits: dict[str, list[bool]] = {"object": [], "colour": [], "time of day": []}
    for seen, question in zip(classifier.look(pictures), asked, strict=True):
        name, colour, *time = question.asked
        hits["object"].append(seen.facts[name] > 0.5)
        hits["colour"].append(max((f"{each} {name}" for each in NAMED), key=seen.facts.__getitem__) == colour)
        hits["time of day"] += [max(PALETTES, key=seen.facts.__getitem__) == each for each in time]
    shares = {kind: float(np.mean(found)) for kind, found in hits.items()}
    return shares | {"all": float(np.mean([hit for found in hits.values() for hit in found]))}
