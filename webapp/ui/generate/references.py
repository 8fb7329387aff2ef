"""The pictures that a page's results are to be like: adding them, how each acts, taking one away and back.

The settings of a page show them in a tab; Compose shows the same as layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

import streamlit as st

from controlnet_core.domain.recipe import Reference, ReferenceKind
from controlnet_core.models.catalog import ModelCard
from webapp.application import validation
from webapp.application.choices import ReferenceChoice, adapter_missing, fitting, reference_kinds
from webapp.application.studio import Studio
from webapp.ui import buttons, visitor
from webapp.ui.generate import picture_source
from webapp.ui.generate.picture_source import Drawn
from webapp.ui.generate.settings_panel import Section
from webapp.ui.messages import plain
from webapp.ui.session import GenerationState, widget

REFERENCES_MAX = 4
SIDE_PX = 224
GALLERY_MAX = 4
KINDS: dict[ReferenceKind, str] = {"ip_adapter": "IP-Adapter", "reference_only": "Reference-only"}
WEIGHTS: dict[ReferenceKind, str] = {
    "ip_adapter": "How strongly the result becomes like this picture, in what it shows and how. 0 switches it off.",
    "reference_only": "How much of the model looks at this picture: 1 and more is all of it. 0 switches it off.",
}
ABOUT = "A picture that the result is to be like, in what it shows and how: it is shown to the model beside the words."


def sections(studio: Studio, at: GenerationState, base: ModelCard, drawn: Sequence[Drawn] = ()) -> tuple[Section, ...]:
    """The part of the settings about reference pictures, for models that take any."""
    if refusal(studio, base):
        return ()
    return (Section("References", partial(section, studio, at, base, drawn)),)


def section(studio: Studio, at: GenerationState, base: ModelCard, drawn: Sequence[Drawn] = ()) -> None:
    """The part of the settings about reference pictures."""
    if why := unusable(studio, base):
        st.caption(plain(why))
        if not at.references:
            return
    for number in range(len(at.references)):
        _row(studio, at, number, base)
    if at.dropped is not None:
        buttons.undo("the reference", f"{at.key}.reference.back", back, at)
    if len(at.references) < REFERENCES_MAX:
        st.caption(ABOUT)
        take = partial(like, studio, at)
        picture_source.choose(studio, f"{at.key}.reference", at.round, GALLERY_MAX, take, drawn)


def _row(studio: Studio, at: GenerationState, number: int, base: ModelCard) -> None:
    left, right = st.columns([1, 2], gap="medium")
    with left:
        faint = "" if at.references[number].shown else " faint"
        st.html(f'<img class="begin square{faint}" alt="Reference {number + 1}" src="{address(studio, at, number)}">')
        with st.container(horizontal=True, gap="xsmall"):
            deeds(at, number, at.key)
    with right:
        properties(studio, at, number, base)


def address(studio: Studio, at: GenerationState, number: int) -> str:
    """The URL of a reference as its adapter sees it: a square."""
    return visitor.photo_url(studio, at.references[number].picture, (SIDE_PX, SIDE_PX), "crop")


def deeds(at: GenerationState, number: int, key: str) -> None:
    """The buttons that leave a reference out, move it and remove it; `key` begins their keys."""
    last = len(at.references) - 1
    key = f"{key}-reference-{number}"
    eye(at, number, key)
    if last:
        buttons.icon("Move up", "arrow_upward", f"{key}-up", move, at, number, -1, disabled=number == 0)
        buttons.icon("Move down", "arrow_downward", f"{key}-down", move, at, number, 1, disabled=number == last)
    buttons.icon("Remove", "delete", f"{key}-remove", drop, at, number)


def eye(at: GenerationState, number: int, key: str) -> None:
    """The button that leaves a reference out, or uses it again."""
    shown = at.references[number].shown
    name = f"Leave out Reference {number + 1}" if shown else f"Use Reference {number + 1} again"
    buttons.icon(name, "visibility" if shown else "visibility_off", f"{key}-eye", toggle, at, number)


def properties(studio: Studio, at: GenerationState, number: int, base: ModelCard) -> None:
    """How a reference acts: what looks at it, its weight and its window. Raises InputError."""
    at.references[number] = _looked_at(studio, at, number, base)
    kind = kind_of(studio, at, number, base)
    adapters = {card.id: card.title for card in fitting(studio.catalog, base, "ip_adapter")}
    one, key = at.references[number], f"{at.key}.reference.{at.round}.{number}"
    weight = st.slider(
        "How much it counts",
        0.0,
        2.0,
        step=0.05,
        key=widget(f"{key}.weight", one.weight),
        help=WEIGHTS[kind],
    )
    window = st.slider(
        "Acts from, to",
        0.0,
        1.0,
        step=0.05,
        key=widget(f"{key}.window", (one.start, one.end)),
        help="Share of the steps between which it is looked at. Ending early leaves the details to the prompt.",
    )
    adapter, fidelity = one.adapter, one.style_fidelity
    if kind == "reference_only":
        if at.choices.steps == 1:
            st.caption(":material/info: In a single step it sees nothing but noise: take more steps, or an IP-Adapter.")
        given = st.slider(
            "Style fidelity",
            0.0,
            1.0,
            step=0.05,
            key=widget(f"{key}.fidelity", one.style_fidelity),
            help="The more, the closer to the picture's style; the less, the closer to the prompt. Needs guidance above 1.",
        )
        fidelity = validation.number(given, 0, 1, "The style fidelity")
    elif len(adapters) > 1:
        chosen = st.selectbox(
            "IP-Adapter",
            list(adapters),
            format_func=lambda id: adapters.get(id, ""),
            key=widget(f"{key}.adapter", one.adapter if one.adapter in adapters else next(iter(adapters))),
            help="What looks at the picture. Those called plus follow it more closely.",
        )
        adapter = validation.choice(chosen, tuple(adapters), "The IP-Adapter")
    start, end = validation.span(window, 0, 1, "The window")
    at.references[number] = replace(
        one,
        weight=validation.number(weight, 0, 2, "The weight of a reference"),
        start=start,
        end=end,
        adapter=adapter,
        style_fidelity=fidelity,
    )


def kind_of(studio: Studio, at: GenerationState, number: int, base: ModelCard) -> ReferenceKind:
    """As what a reference is used with a base model here: as it was chosen, else as it can be."""
    kinds, chosen = reference_kinds(studio.catalog, base), at.references[number].kind
    return chosen if chosen in kinds or not kinds else kinds[0]


def _looked_at(studio: Studio, at: GenerationState, number: int, base: ModelCard) -> ReferenceChoice:
    """The choice of what looks at a reference, where there is one."""
    kinds, one = reference_kinds(studio.catalog, base), at.references[number]
    if len(kinds) < 2:
        return one
    kind = st.segmented_control(
        "Seen by",
        kinds,
        format_func=KINDS.__getitem__,
        key=widget(f"{at.key}.reference.{at.round}.{number}.kind", kind_of(studio, at, number, base)),
        required=True,
        help="An IP-Adapter takes what the picture shows and how. Reference-only needs no further model: the base model "
        "itself looks at the picture, which takes its style and more of its details, and about twice the time.",
    )
    return replace(one, kind=validation.choice(kind, get_args(ReferenceKind), "What looks at it"))


# ---- what happens to them


def like(studio: Studio, at: GenerationState, data: bytes, _name: str = "") -> None:
    """Have one more reference (the bytes of its file). Raises InputError, NoSpace."""
    _set(at, [*at.references, ReferenceChoice(studio.photos.keep(data, visitor.workspace()))])
    at.dropped = None


def show(studio: Studio, at: GenerationState, number: int, data: bytes, _name: str = "") -> None:
    """Give a reference its picture, or another one (the bytes of its file). Raises InputError, NoSpace."""
    picture = studio.photos.keep(data, visitor.workspace())
    _set(at, [replace(one, picture=picture) if n == number else one for n, one in enumerate(at.references)])


def drop(at: GenerationState, number: int) -> None:
    """Take a reference away; `back` undoes it."""
    at.dropped = number, at.references[number]
    _set(at, [one for n, one in enumerate(at.references) if n != number])


def back(at: GenerationState) -> None:
    """Bring back the reference that was taken away last."""
    if at.dropped is not None:
        number, one = at.dropped
        _set(at, [*at.references[:number], one, *at.references[number:]])
        at.dropped = None


def move(at: GenerationState, number: int, by: int) -> None:
    """Move a reference up (-1) or down (1)."""
    if 0 <= number + by < len(at.references):
        moved = list(at.references)
        moved.insert(number + by, moved.pop(number))
        _set(at, moved)


def toggle(at: GenerationState, number: int) -> None:
    """Leave a reference out, or use it again."""
    at.references[number] = replace(at.references[number], shown=not at.references[number].shown)


def _set(at: GenerationState, references: list[ReferenceChoice]) -> None:
    at.references = references
    at.round += 1


# ---- what becomes of them


def refusal(studio: Studio, base: ModelCard) -> str:
    """Why a base model takes no reference at all, whatever is here; "" when it takes some."""
    known = studio.catalog.family(base)
    return "" if "reference_only" in known.supports else known.refuses("ip_adapter")


def unusable(studio: Studio, base: ModelCard) -> str:
    """Why no reference can be looked at for a base model, and what to do; "" where one can."""
    return "" if reference_kinds(studio.catalog, base) else adapter_missing(studio.catalog, base)


def left_out(studio: Studio, at: GenerationState, base: ModelCard) -> str:
    """That references of the page are left out of what is made, and why; "" where none is."""
    why = unusable(studio, base) if any(one.acts and one.weight for one in at.references) else ""
    return f"{why} The reference is left out." if why else ""


def of_recipe(studio: Studio, at: GenerationState, base: ModelCard) -> tuple[Reference, ...]:
    """The part of a recipe; a model that cannot look at any leaves them out."""
    kinds = reference_kinds(studio.catalog, base)
    if not kinds:
        return ()
    adapters = [card.id for card in fitting(studio.catalog, base, "ip_adapter")]
    return tuple(one.reference(kinds, adapters) for one in at.references if one.acts)
