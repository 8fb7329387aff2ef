"""The pictures that a page's results are to be like, each with its weight and window: IP-Adapters look at them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from controlnet_core.domain.recipe import Reference
from controlnet_core.models.catalog import ModelCard
from webapp.application import validation
from webapp.application.choices import ReferenceChoice, adapter_missing, fitting
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.generate import picture_source
from webapp.ui.generate.settings_panel import Section
from webapp.ui.messages import plain
from webapp.ui.session import GenerationState, widget

REFERENCES_MAX = 4
SIDE_PX = 224
GALLERY_MAX = 4


def sections(studio: Studio, at: GenerationState, base: ModelCard) -> tuple[Section, ...]:
    """The part of the settings about reference pictures, for models that take any."""
    if "ip_adapter" not in studio.catalog.family(base).supports:
        return ()
    return (Section("References", partial(section, studio, at, base)),)


def section(studio: Studio, at: GenerationState, base: ModelCard) -> None:
    """The part of the settings about reference pictures."""
    adapters = {card.id: card.title for card in fitting(studio.catalog, base, "ip_adapter")}
    if not adapters:
        st.caption(plain(adapter_missing(studio.catalog, base)))
        return
    for number, one in enumerate(at.references):
        at.references[number] = _row(studio, at, number, one, adapters)
    if len(at.references) < REFERENCES_MAX:
        _add(studio, at)


def _row(
    studio: Studio, at: GenerationState, number: int, one: ReferenceChoice, adapters: dict[str, str]
) -> ReferenceChoice:
    key = f"{at.key}.reference.{at.round}.{number}"
    left, right = st.columns([1, 2], gap="medium")
    with left:
        shown = visitor.photo_url(studio, one.picture, (SIDE_PX, SIDE_PX), "crop")
        st.html(f'<img class="begin" alt="Reference {number + 1}" src="{shown}">')
        st.button(
            "Remove", key=f"{key}.remove", icon=":material/close:", type="tertiary", on_click=_drop, args=(at, number)
        )
    with right:
        weight = st.slider(
            "How much it counts",
            0.0,
            2.0,
            step=0.05,
            key=widget(f"{key}.weight", one.weight),
            help="How strongly the result becomes like this picture, in what it shows and how. 0 switches it off.",
        )
        window = st.slider(
            "Acts from, to",
            0.0,
            1.0,
            step=0.05,
            key=widget(f"{key}.window", (one.start, one.end)),
            help="Share of the steps between which it is looked at. Ending early leaves the details to the prompt.",
        )
        adapter = next(iter(adapters))
        if len(adapters) > 1:
            adapter = st.selectbox(
                "IP-Adapter",
                list(adapters),
                format_func=lambda id: adapters.get(id, ""),
                key=widget(f"{key}.adapter", one.adapter if one.adapter in adapters else adapter),
                help="What looks at the picture. Those called plus follow it more closely.",
            )
    start, end = validation.span(window, 0, 1, "The window")
    return replace(
        one,
        weight=validation.number(weight, 0, 2, "The weight of a reference"),
        start=start,
        end=end,
        adapter=validation.choice(adapter, tuple(adapters), "The IP-Adapter"),
    )


def _add(studio: Studio, at: GenerationState) -> None:
    """Where to get one more."""
    st.caption(
        "Pictures that the result is to be like, in what they show and how: they are shown to the model beside the words."
    )
    picture_source.choose(studio, f"{at.key}.reference", at.round, GALLERY_MAX, partial(like, studio, at))


def like(studio: Studio, at: GenerationState, data: bytes, _name: str = "") -> None:
    """Have one more reference (the bytes of its file). Raises InputError, NoSpace."""
    at.references = [*at.references, ReferenceChoice(studio.photos.keep(data, visitor.workspace()))]
    at.round += 1


def _drop(at: GenerationState, number: int) -> None:
    at.references = [one for at_number, one in enumerate(at.references) if at_number != number]
    at.round += 1


def of_recipe(studio: Studio, at: GenerationState, base: ModelCard) -> tuple[Reference, ...]:
    """The part of a recipe; a model without IP-Adapters here leaves them out."""
    adapters = [card.id for card in fitting(studio.catalog, base, "ip_adapter")]
    if not adapters:
        return ()
    return tuple(one.reference(one.adapter if one.adapter in adapters else adapters[0]) for one in at.references)
