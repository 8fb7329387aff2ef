"""Words for a scene: what is truly visible, said in varied, short and regular sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np

from paperworld.world.rendering import shape_map
from paperworld.world.scene import Scene
from paperworld.world.shapes import Thing
from paperworld.world.words import BACKDROPS, FRAMES, NOUNS, NUMBERS, PLACES_SAID, SEASONS, TIMES_SAID, USUAL

Choice = TypeVar("Choice")
_SIDE_PX = 128
_LEAST_PX = 24
_LEAST_SHARE = 0.55


@dataclass(frozen=True)
class Seen:
    """A kind of visible object: its name, how many, and its colour ("" when it has none, or several)."""

    name: str
    count: int
    colour: str
    label: int


@dataclass(frozen=True)
class Facts:
    """What is true of a scene: setting, visible objects, and what its people do."""

    time: str
    season: str
    place: str
    objects: tuple[Seen, ...]
    people: tuple[Thing, ...]


@lru_cache(maxsize=32)
def facts(scene: Scene) -> Facts:
    """What is visible in the scene's square frame: an object counts when at least half of it shows."""
    visible = _visible(scene)
    kinds: dict[str, list[tuple[Thing, int]]] = {}
    for thing, label in visible:
        kinds.setdefault(thing.name, []).append((thing, label))
    seen = []
    for name, members in kinds.items():
        colours = Counter(thing.colour for thing, _ in members)
        seen.append(Seen(name, len(members), next(iter(colours)) if len(colours) == 1 else "", members[0][1]))
    people = tuple(thing for thing, _ in visible if thing.doing)
    return Facts(scene.time, scene.season, scene.place, tuple(seen), people)


def _visible(scene: Scene) -> list[tuple[Thing, int]]:
    ids = shape_map(scene, _SIDE_PX, _SIDE_PX)
    owner = np.array([s.thing for s in scene.shapes])
    pixels = np.bincount(owner[ids].ravel(), minlength=len(scene.things) + 1)
    found = []
    for number, thing in enumerate(scene.things, 1):
        own = [s for s in scene.shapes if s.thing == number and s.label >= 0]
        if not own or pixels[number] < _LEAST_PX:
            continue
        least = _LEAST_SHARE if not thing.doing else _LEAST_SHARE * 0.6  # a cut person is still one
        if thing.name in NOUNS and pixels[number] < least * _whole(scene, number):
            continue
        found.append((thing, own[0].label))
    return found


def _whole(scene: Scene, number: int) -> int:
    """The pixels that the object would cover if nothing stood before it and the paper were larger."""
    mask = np.zeros((_SIDE_PX * 2, _SIDE_PX * 2), np.uint8)
    for shape in scene.shapes:
        if shape.thing == number and shape.label >= 0:
            fixed = np.round((shape.points + 0.5) * _SIDE_PX * 16 - 8).astype(np.int32)
            cv2.fillPoly(mask, [fixed], 1, cv2.LINE_8, 4)
    return int(cv2.countNonZero(mask))


def with_article(words: str) -> str:
    """`words` after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def standing_before(said: str, behind: str) -> str:
    """Words for things, then those for what is behind them; a light alone comes after a comma."""
    light = any(behind in times for times in TIMES_SAID.values())
    return f"{said}, {behind}" if said and light else f"{said} {behind}".strip()


def one_of(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """One of `options`, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def _unusual(seen: Seen) -> bool:
    return bool(seen.colour) and seen.colour != USUAL.get(seen.name, seen.colour)


def _noun(seen: Seen, rng: np.random.Generator) -> str:
    single, plural = one_of(rng, NOUNS[seen.name])
    colour = seen.colour if rng.random() < 0.4 or _unusual(seen) else ""
    if seen.count == 1:
        words = f"{colour} {single}".strip()
        return with_article(words)
    number = NUMBERS.get(seen.count, "many") if rng.random() < 0.75 else ("many" if seen.count > 3 else "")
    return " ".join(word for word in (number, colour, plural) if word)


def _person(thing: Thing, rng: np.random.Generator) -> str:
    must = thing.colour != "red" or thing.wears == "dress"
    who = f"a {thing.name}" if rng.random() < 0.8 or thing.name == "woman" else one_of(rng, ("a person", "someone"))
    dressed = (
        f"{'in' if rng.random() < 0.75 else 'wearing'} {with_article(f'{thing.colour} {thing.wears}')}"
        if thing.colour and (must or rng.random() < 0.8)
        else ""
    )
    return " ".join(part for part in (who, dressed, thing.doing if rng.random() < 0.9 else "") if part)


def _people(people: tuple[Thing, ...], rng: np.random.Generator) -> str:
    return " and ".join(_person(thing, rng) for thing in people)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence about the scene. Everything it names is visible; not everything visible is named."""
    if scene.said is not None:
        return scene.said
    known = facts(scene)
    subjects = [_people(known.people, rng)] if known.people else []
    objects = [o for o in known.objects if o.name in NOUNS and o.name not in ("man", "woman")]
    rng.shuffle(objects)  # type: ignore[arg-type]
    objects.sort(key=lambda o: o.name in ("fence", "streetlight", "rock", "bush", "window"))
    objects.sort(key=lambda o: not _unusual(o))
    subjects += [_noun(o, rng) for o in objects[: max(sum(map(_unusual, objects)), int(rng.integers(1, 4)))]]
    if len(subjects) > 1 and rng.random() < 0.6:
        subjects[-2:] = [f"{subjects[-2]} {'and' if rng.random() < 0.7 else 'with'} {subjects[-1]}"]
    words = ", ".join(subjects)
    if known.place != "country" or rng.random() < 0.75 or not subjects:
        words = f"{words} {one_of(rng, PLACES_SAID[known.place])}".strip()
    tail = [one_of(rng, BACKDROPS[o.name]) for o in known.objects if o.name in BACKDROPS and rng.random() < 0.45]
    if known.place not in ("room", "coast", "city") and (known.season != "summer" or rng.random() < 0.3):
        tail.append(one_of(rng, SEASONS[known.season]))
    if (known.place != "room" or known.time == "night") and (known.time != "day" or rng.random() < 0.4):
        tail.append(one_of(rng, TIMES_SAID[known.time]))
    if rng.random() < 0.1:
        words = f"{one_of(rng, FRAMES)} {words}"
    parts = [words, *tail]
    if rng.random() < 0.2:  # in any order
        parts = [parts[int(index)] for index in rng.permutation(len(parts))]
    return ", ".join(parts)
