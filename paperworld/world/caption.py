"""Words for a scene: what is truly visible, said in varied, short and regular sentences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from paperworld.world.palette import NAMED
from paperworld.world.rendering import shape_map
from paperworld.world.scene import Scene
from paperworld.world.shapes import Thing

_SIDE_PX = 128
_LEAST_PX = 24
_LEAST_SHARE = 0.55
_FADES = {"sunset": ("white", "pink"), "night": ("white", "pink", "brown", "black")}


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


_NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "house": (("house", "houses"), ("cottage", "cottages")),
    "tree": (("tree", "trees"),),
    "pine": (("pine", "pines"), ("pine tree", "pine trees")),
    "palm": (("palm", "palms"), ("palm tree", "palm trees")),
    "bush": (("bush", "bushes"),),
    "flower": (("flower", "flowers"),),
    "rock": (("rock", "rocks"),),
    "car": (("car", "cars"),),
    "boat": (("boat", "boats"), ("sailboat", "sailboats")),
    "lighthouse": (("lighthouse", "lighthouses"),),
    "skyscraper": (("skyscraper", "skyscrapers"), ("tower", "towers")),
    "streetlight": (("street lamp", "street lamps"),),
    "bench": (("bench", "benches"),),
    "dog": (("dog", "dogs"),),
    "cat": (("cat", "cats"),),
    "sheep": (("sheep", "sheep"),),
    "cow": (("cow", "cows"),),
    "horse": (("horse", "horses"),),
    "fence": (("fence", "fences"),),
    "bridge": (("bridge", "bridges"),),
    "bed": (("bed", "beds"),),
    "sofa": (("sofa", "sofas"), ("couch", "couches")),
    "table": (("table", "tables"),),
    "plant": (("plant", "plants"),),
    "lamp": (("lamp", "lamps"),),
    "painting": (("painting", "paintings"), ("picture", "pictures")),
    "rug": (("rug", "rugs"), ("carpet", "carpets")),
    "window": (("window", "windows"),),
    "man": (("man", "men"),),
    "woman": (("woman", "women"),),
    "person": (("person", "people"),),
}
_BACKDROP: dict[str, tuple[str, ...]] = {
    "mountain": ("mountains",),
    "hill": ("hills",),
    "road": ("a road", "a path"),
    "river": ("a river",),
    "sea": ("the sea", "the ocean"),
    "sand": ("the beach", "sand"),
    "sun": ("the sun", "sun"),
    "moon": ("the moon", "moon"),
    "cloud": ("clouds",),
    "street": ("a street", "a road"),
}
PLACES_SAID: dict[str, tuple[str, ...]] = {
    "country": ("in the country", "on a meadow", "on grass"),
    "coast": ("by the sea", "at the beach", "on the beach", "near the sea"),
    "city": ("in the city", "in a town", "on a street"),
    "river": ("by a river", "at the river", "near a river"),
    "room": ("in a room", "at home"),
}
TIMES_SAID: dict[str, tuple[str, ...]] = {
    "day": ("sunny day", "day", "bright day"),
    "grey": ("cloudy day", "grey day"),
    "sunset": ("sunset", "dusk", "evening"),
    "night": ("night", "at night"),
    "dawn": ("dawn", "sunrise", "morning"),
}
_SEASON: dict[str, tuple[str, ...]] = {
    "spring": ("spring",),
    "summer": ("summer",),
    "autumn": ("autumn", "fall"),
    "winter": ("winter", "snow", "snowy"),
}
_NUMBER = {2: "two", 3: "three", 4: "four", 5: "five"}
_FRAME = ("a picture of", "an illustration of", "paper cut")
_GLUE = ("a", "an", "the", "and", "with", "by", "near", "in", "of", "at", "on", "many", "someone", "wearing")
_DOING = ("standing", "walking", "running", "waving", "jumping", "dancing", "sitting")


def _vocabulary() -> tuple[str, ...]:
    phrases = [form for forms in _NOUNS.values() for pair in forms for form in pair]
    for table in (_BACKDROP, PLACES_SAID, TIMES_SAID, _SEASON):
        phrases += [phrase for phrases_ in table.values() for phrase in phrases_]
    phrases += [*_NUMBER.values(), *_GLUE, *_DOING, *_FRAME, *NAMED, "dress", "shirt"]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


WORDS: tuple[str, ...] = _vocabulary()
"""Every word that a caption can use."""


@lru_cache(maxsize=32)
def facts(scene: Scene) -> Facts:
    """What is visible in the scene's square frame: an object counts when at least half of it shows."""
    visible = _visible(scene)
    kinds: dict[str, list[tuple[Thing, int]]] = {}
    for thing, label in visible:
        kinds.setdefault(thing.name, []).append((_in_light(thing, scene.time), label))
    seen = []
    for name, members in kinds.items():
        colours = Counter(thing.colour for thing, _ in members)
        seen.append(Seen(name, len(members), next(iter(colours)) if len(colours) == 1 else "", members[0][1]))
    people = tuple(_in_light(thing, scene.time) for thing, _ in visible if thing.doing)
    return Facts(scene.time, scene.season, scene.place, tuple(seen), people)


def _in_light(thing: Thing, time: str) -> Thing:
    """The thing without its colour where the light hides it: white is rosy at sunset and lilac at night."""
    return replace(thing, colour="") if thing.colour in _FADES.get(time, ()) else thing


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
        if thing.name in _NOUNS and pixels[number] < least * _whole(scene, number):
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


def _one_of(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _noun(seen: Seen, rng: np.random.Generator) -> str:
    forms = _NOUNS[seen.name]
    single, plural = forms[int(rng.integers(len(forms)))]
    colour = seen.colour if rng.random() < 0.85 else ""
    if seen.count == 1:
        words = f"{colour} {single}".strip()
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    number = _NUMBER.get(seen.count, "many") if rng.random() < 0.75 else ("many" if seen.count > 3 else "")
    return " ".join(word for word in (number, colour, plural) if word)


def _person(thing: Thing, rng: np.random.Generator) -> str:
    article = "an" if thing.colour[:1] in ("o", "a", "e", "i", "u") else "a"
    who = f"a {thing.name}" if rng.random() < 0.8 else _one_of(rng, ("a person", "someone"))
    dressed = (
        f"{'in' if rng.random() < 0.75 else 'wearing'} {article} {thing.colour} {thing.wears}"
        if thing.colour and rng.random() < 0.8
        else ""
    )
    return " ".join(part for part in (who, dressed, thing.doing if rng.random() < 0.9 else "") if part)


def _people(people: tuple[Thing, ...], rng: np.random.Generator) -> str:
    if len(people) == 1 or (len(people) == 2 and rng.random() < 0.5):
        return " and ".join(_person(thing, rng) for thing in people)
    doing = {thing.doing for thing in people}
    action = f" {next(iter(doing))}" if len(doing) == 1 else ""
    names = {thing.name for thing in people}
    noun = _NOUNS[next(iter(names))][0][1] if len(names) == 1 else "people"
    return f"{_NUMBER.get(len(people), 'many')} {noun}{action}"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence about the scene. Everything it names is visible; not everything visible is named."""
    known = facts(scene)
    subjects = [_people(known.people, rng)] if known.people else []
    objects = [o for o in known.objects if o.name in _NOUNS and o.name not in ("man", "woman")]
    rng.shuffle(objects)  # type: ignore[arg-type]
    objects.sort(key=lambda o: o.name in ("fence", "streetlight", "rock", "bush", "window"))
    subjects += [_noun(o, rng) for o in objects[: int(rng.integers(1, 4))]]
    if len(subjects) > 1 and rng.random() < 0.6:
        subjects[-2:] = [f"{subjects[-2]} {'and' if rng.random() < 0.7 else 'with'} {subjects[-1]}"]
    words = ", ".join(subjects)
    if rng.random() < 0.75 or not subjects:
        words = f"{words} {_one_of(rng, PLACES_SAID[known.place])}".strip()
    tail = [_one_of(rng, _BACKDROP[o.name]) for o in known.objects if o.name in _BACKDROP and rng.random() < 0.45]
    if (
        known.place not in ("room", "coast", "city")
        and (known.season != "summer" or rng.random() < 0.3)
        and rng.random() < 0.85
    ):
        tail.append(_one_of(rng, _SEASON[known.season]))
    if (known.place != "room" or known.time == "night") and rng.random() < 0.9:
        tail.append(_one_of(rng, TIMES_SAID[known.time]))
    if rng.random() < 0.1:
        words = f"{_one_of(rng, _FRAME)} {words}"
    return ", ".join([words, *tail])
