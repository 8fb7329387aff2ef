"""People alone before a stage: what a skeleton and a caption can tell, and nothing else."""

from __future__ import annotations

import numpy as np

from paperworld.world import people
from paperworld.world.caption import one_of, standing_before, with_article
from paperworld.world.palette import PALETTES
from paperworld.world.people import Pose, pose_for
from paperworld.world.scene import Scene
from paperworld.world.shapes import Thing
from paperworld.world.stages import stage

_SPOTS = {1: (0.5,), 2: (0.28, 0.72), 3: (0.19, 0.5, 0.81)}


def compose_people(seed: int) -> Scene:
    """One to three people of `seed`, each with words of its own, from left to right."""
    rng = np.random.default_rng((7, seed))
    silent = rng.random() < 0.08
    time = "day" if silent or rng.random() < 0.5 else one_of(rng, tuple(PALETTES))
    place = "country" if silent else str(rng.choice(("country", "coast", "river", "room", "city")))
    sheet, words = stage(rng, time, place, silent=silent or rng.random() < 0.5)
    many = int(rng.choice((1, 2, 3), p=(0.66, 0.27, 0.07)))
    size = float(rng.uniform(0.58, 0.94) if many == 1 else rng.uniform(0.5, 0.74))
    if many == 1 and rng.random() < 0.15:  # so near that the frame cuts the legs
        size = float(rng.uniform(1.0, 1.4))
    said = []
    for x in _SPOTS[many]:
        doing = one_of(rng, people.DOING)
        pose = pose_for(doing, rng) if rng.random() < 0.6 else _any_pose(rng)
        foot = 0.34 + size if size > 1 else float(rng.uniform(max(0.6, size + 0.04), 0.98))
        at = x + float(rng.normal(0, 0.08 if many == 1 else 0.02))
        tall, head = size * rng.uniform(0.92, 1.08), float(rng.uniform(0.82, 1.1))
        people.person(sheet, at, foot, tall, doing, pose, jitter=float(rng.uniform(0, 0.015)), head=head)
        said.append(_said(sheet.things[-1], rng))
    caption = standing_before(one_of(rng, (" and ", " with ")).join(said), words)
    if words and rng.random() < 0.15:
        caption = f"{words}, {' and '.join(said)}"
    if silent and set(said) <= {"a person", "a man", "a person standing", "a man standing"}:
        caption = ""
    return Scene(
        seed, place, time, "summer", sheet.horizon, sheet.palette, tuple(sheet.shapes), tuple(sheet.things),
        tuple(sheet.bodies), said=caption,
    )  # fmt: skip


def _any_pose(rng: np.random.Generator) -> Pose:
    """A pose that nobody need ever have taken."""
    u = rng.uniform
    return Pose(
        (u(-190, 40), u(-230, 90)),
        (u(-40, 190), u(-90, 230)),
        (u(-80, 25), u(-70, 40)),
        (u(-25, 80), u(-40, 70)),
        turn=float(rng.choice((0.0, u(-0.95, 0.95)))),
        lean=u(-25, 25),
        lift=u(0, 0.1),
    )


def _said(thing: Thing, rng: np.random.Generator) -> str:
    """Words for a person; a man in red is what one thinks of, and need not be dressed by words."""
    usual = thing.colour == "red" and thing.wears == "shirt"
    dressed = not usual or rng.random() < 0.4
    who = thing.name if thing.name == "woman" or rng.random() < 0.6 else "person"
    clothes = with_article(f"{thing.colour} {thing.wears}")
    if thing.wears == "shirt" and rng.random() < 0.25:
        clothes = thing.colour
    return " ".join(
        part
        for part in (f"a {who}", f"in {clothes}" if dressed else "", thing.doing if rng.random() < 0.4 else "")
        if part
    )
