"""Free forms as scenes: any closed outline as flat paper, so that drawings of what the world does not know come out, too.

Conventions, each visible in the outlines, said in the caption or fixed: a thing has one colour (said; else that of its word;
else terracotta), its smaller parts a paler one or the second colour that is said, parts inside others a pale one, specks are
dark. Behind it lies plain paper or a stage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from paperworld.world.caption import one_of, standing_before, with_article
from paperworld.world.drawings import NAMED_MAKERS
from paperworld.world.forms import ANONYMOUS, Form, Piece, trailing, wave
from paperworld.world.labels import FORM
from paperworld.world.palette import INK, NAMED, TERRACOTTA, Colour, lighter, mix
from paperworld.world.scene import Scene
from paperworld.world.shapes import Points, Sheet, Thing
from paperworld.world.stages import paper, stage
from paperworld.world.warp import dense
from paperworld.world.words import DRAWN_SAID, PLAIN, THINGS

_SIDE = 96
_SPECK = 0.0045
"""Share of the frame below which a part is a speck."""
_BANDS = {1: (0.5,), 2: (0.27, 0.73), 3: (0.19, 0.5, 0.81)}


@dataclass(frozen=True)
class _Look:
    """What a caption says of one thing: its word, its colour and a second one ("" where it says none)."""

    noun: str
    colour: str = ""
    second: str = ""

    @property
    def base(self) -> Colour:
        """The colour that follows."""
        name = self.colour or THINGS.get(self.noun, "")
        return NAMED[name] if name else TERRACOTTA

    def said(self, rng: np.random.Generator) -> str:
        """The words for it; "" for a thing without word and colour."""
        noun = self.noun or (one_of(rng, PLAIN) if self.colour else "")
        colours = f"{self.colour} and {self.second}" if self.second else self.colour
        words = f"{colours} {noun}".strip()
        return with_article(words) if words and rng.random() < 0.85 else words


def compose_free(seed: int) -> Scene:
    """The free form of `seed`: one large thing more often than not, else up to five small ones."""
    rng = np.random.default_rng((3, seed))
    silent = rng.random() < 0.1  # the default world, of which nothing is said
    sheet, behind, time = _behind(rng, silent)
    many = 1 if silent else int(rng.choice((1, 2, 3, 5), p=(0.74, 0.14, 0.06, 0.06)))
    forms = _placed(rng, many)
    if many in (2, 3) and rng.random() < 0.7:  # a word for each, from left to right
        looks = [_look(rng, form.name) for form in forms]
        said = one_of(rng, (" and ", " with ", ", ")).join(look.said(rng) or "a shape" for look in looks)
    else:
        looks = [_Look("") if silent else _look(rng, forms[0].name)] * len(forms)
        said = looks[0].said(rng)
    for form, look in zip(forms, looks, strict=True):
        _lay(sheet, form, look)
    strokes = [stroke for form in forms for stroke in form.strokes]
    if time == "paper" and rng.random() < 0.1:
        for _ in range(int(rng.integers(1, 4))):
            a = rng.uniform(0.08, 0.92, 2)
            strokes.append(wave(rng, a, np.clip(a + rng.normal(0, 0.25, 2), 0.04, 0.96), 0.3, 5))
    scene = Scene(
        seed, "free", "day" if time == "paper" else time, "summer", sheet.horizon, sheet.palette,
        tuple(sheet.shapes), tuple(sheet.things), (), tuple(strokes), _sentence(rng, said, behind),
    )  # fmt: skip
    return _unsteady(scene, rng)


def _behind(rng: np.random.Generator, silent: bool) -> tuple[Sheet, str, str]:
    """What the forms lie on, the words for it, and its time of day ("paper" for plain paper)."""
    if silent or rng.random() < 0.55:
        return *paper(rng, silent), "paper"
    time = "day" if rng.random() < 0.6 else str(rng.choice(("sunset", "night", "grey", "dawn")))
    return *stage(rng, time), time


def _sentence(rng: np.random.Generator, said: str, behind: str) -> str:
    if said and rng.random() < 0.08:
        said = f"{one_of(rng, DRAWN_SAID)} {said}"
    if said and behind and rng.random() < 0.15:  # in any order
        return f"{behind}, {said}"
    return standing_before(said, behind)


def _placed(rng: np.random.Generator, many: int) -> list[Form]:
    """Forms in places that do not touch and keep off the frame, from left to right where they are few."""
    forms: list[Form] = []
    taken: list[tuple[float, float, float]] = []
    for number in range(many):
        large = many == 1 and rng.random() < 0.75
        size = (
            rng.uniform(0.36, 0.47)
            if large
            else rng.uniform(0.2, 0.36)
            if many == 1
            else rng.uniform(0.55, 1) * 0.46 / (many if many in _BANDS else 2)
        )
        for _ in range(20):
            reach = max(0.0, 0.5 - size * 1.15)
            x, y = 0.5 + rng.uniform(-reach, reach), 0.5 + rng.uniform(-reach, reach)
            if many in _BANDS and many > 1:
                x = _BANDS[many][number] + rng.uniform(-0.03, 0.03)
            if all(np.hypot(x - a, y - b) > 0.95 * (size + r) for a, b, r in taken):
                break
        else:
            continue
        taken.append((x, y, size))
        forms.append(_fitted(_made(rng), np.array([x, y]), size, rng.uniform(0.85, 1.15, 2)))
    return forms


def _made(rng: np.random.Generator) -> Form:
    if rng.random() < 0.58:
        name = one_of(rng, tuple(NAMED_MAKERS))
        made = NAMED_MAKERS[name](rng)
        form = Form(made.pieces, made.strokes, name)
    else:
        makers = list(ANONYMOUS)
        form = makers[int(rng.choice(len(makers), p=list(ANONYMOUS.values())))](rng)
    if rng.random() < 0.22:
        trailing(rng, form, int(rng.integers(1, 4)))
    return form


def _fitted(form: Form, at: Points, size: float, squeeze: Points) -> Form:
    """The form about `at`, not larger than `size` either way."""
    everything = np.concatenate([*(piece.points for piece in form.pieces), *form.strokes])
    low, high = everything.min(0), everything.max(0)
    by = squeeze * size / max((high - low) / 2 * squeeze)

    def go(points: Points) -> Points:
        return (points - (low + high) / 2) * by + at

    return Form([Piece(go(p.points), p.inside) for p in form.pieces], [go(s) for s in form.strokes], form.name)


def _look(rng: np.random.Generator, name: str) -> _Look:
    """What is said of a form: mostly its own word, and a colour four times of five, now and then two."""
    kind = rng.random()
    if name and kind < 0.7:
        noun = name
    elif kind < 0.15:
        noun = ""
    elif kind < 0.72:
        noun = one_of(rng, tuple(THINGS))
    elif kind < 0.88:
        noun = one_of(rng, PLAIN)
    else:  # a word that the world does not know means no colour
        noun = "".join(rng.choice(list("etaoinshrdlucmfwypvbgk"), int(rng.integers(3, 9))))
        noun = "" if noun in THINGS else noun
    if rng.random() > 0.8:
        return _Look(noun)
    colour = one_of(rng, tuple(NAMED))
    if rng.random() < 0.2:
        return _Look(noun, colour, one_of(rng, tuple(each for each in NAMED if each != colour)))
    return _Look(noun, colour)


def _lay(sheet: Sheet, form: Form, look: _Look) -> None:
    """Lay a form on the sheet; colours follow from what is visible of each part."""
    ids = np.full((_SIDE, _SIDE), -1, np.int32)
    low = min(piece.points.min() for piece in form.pieces)
    high = max(piece.points.max() for piece in form.pieces)
    for number, piece in enumerate(form.pieces):
        fixed = np.round((piece.points - low) / max(high - low, 1e-6) * (_SIDE - 1) * 16).astype(np.int32)
        cv2.fillPoly(ids, [fixed], number, cv2.LINE_8, 4)  # type: ignore[call-overload]
    seen = np.bincount(ids[ids >= 0], minlength=len(form.pieces)) * ((high - low) / _SIDE) ** 2
    largest = max((n for n, piece in zip(seen, form.pieces, strict=True) if not piece.inside), default=0)
    base, second, pale = (sheet.palette.tint(colour) for colour in _shades(look))
    sheet.begin(Thing("form", look.colour), 0, near=(0.2, 0.0))
    for number, piece in enumerate(form.pieces):
        if not piece.inside and seen[number] >= 0.4 * largest:
            colour = base
        elif seen[number] < _SPECK:
            colour = INK if piece.inside else second
        else:
            colour = pale if piece.inside else second
        sheet.add(piece.points, colour, FORM, lift=0.0 if piece.inside else 0.2)


def _shades(look: _Look) -> tuple[Colour, Colour, Colour]:
    """The colours of large parts, of small ones, and of parts inside others."""
    base = look.base
    if look.second:
        return base, NAMED[look.second], lighter(NAMED[look.second], 0.4)
    if sum(base) > 660:  # what is white has grey shades
        return base, mix(base, (170, 180, 196), 0.35), mix(base, (170, 180, 196), 0.6)
    return base, lighter(base, 0.45), lighter(base, 0.75)


def _unsteady(scene: Scene, rng: np.random.Generator) -> Scene:
    """Every outline a little unsure of itself."""
    shake = rng.uniform(0, 0.007)
    shapes = []
    for shape in scene.shapes:
        if shape.label != FORM:
            shapes.append(shape)
            continue
        points = dense(shape.points, 0.015)
        count = max(4, len(points) // 5)
        knots = rng.normal(0, shake, (count, 2))
        knots = np.concatenate([knots, knots[:1]])
        at = np.linspace(0, count, len(points), endpoint=False)
        drift = np.stack([np.interp(at, np.arange(count + 1), knots[:, k]) for k in (0, 1)], 1)
        shapes.append(replace(shape, points=points + drift))
    return replace(scene, shapes=tuple(shapes))
