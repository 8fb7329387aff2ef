"""References as layers of the Compose page: their rows, how the chosen one acts, and its picture in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from controlnet_core.domain.errors import RecipeError
from controlnet_core.models.catalog import ModelCard
from webapp.application.studio import Studio
from webapp.ui import buttons, visitor
from webapp.ui.compose import state
from webapp.ui.compose.state import KEY, Composition
from webapp.ui.generate import panels, picture_source, references
from webapp.ui.generate.picture_source import Drawn
from webapp.ui.messages import plain, told

GALLERY_MAX = 8
SIDE_MAX_PX = 640


def add(studio: Studio, at: Composition) -> None:
    """One more reference. Raises RecipeError where the base model takes none."""
    if why := references.refusal(studio, panels.model_card(studio)):
        raise RecipeError(why, "Choose another model under Models.")
    state.add_reference(at)


def row(studio: Studio, at: Composition, number: int) -> None:
    """A reference in the list of layers."""
    one = at.references[number]
    mark = "on" if number == at.reference else "off"
    with st.container(
        key=f"compose-layer-reference-{number}-{mark}",
        horizontal=True,
        vertical_alignment="center",
        gap="xsmall",
        wrap=False,
    ):
        inside = f'<img alt="" src="{references.address(studio, at, number)}">' if one.picture else ""
        st.html(f'<span class="layer reference{"" if one.acts else " faint"}">{inside}</span>', width=40)
        st.button(
            f"Reference {number + 1}",
            key=f"compose-name-reference-{number}",
            type="tertiary",
            width="stretch",
            on_click=_choose,
            args=(at, number),
        )
        references.eye(at, number, f"{KEY}-reference-{number}")


def _choose(at: Composition, number: int) -> None:
    at.chosen = state.reference_slot(number)
    at.view = "draw"


def properties(studio: Studio, at: Composition, number: int, base: ModelCard) -> None:
    """How the chosen reference acts."""
    last = len(at.references) - 1
    with st.container(key="compose-header", horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        st.markdown(f"**Reference {number + 1}**", width="stretch")
        move, up, down = state.move_reference, "arrow_upward", "arrow_downward"
        buttons.icon("Move up", up, "compose-up", move, at, number, -1, disabled=number == 0)
        buttons.icon("Move down", down, "compose-down", move, at, number, 1, disabled=number == last)
        buttons.icon("Remove", "delete", "compose-remove", state.remove_reference, at, number)
    with told():
        if why := references.unusable(studio, base):
            st.caption(f":material/info: {plain(why)}")
        references.properties(studio, at, number, base)


def picture(studio: Studio, at: Composition, number: int, drawn: Sequence[Drawn]) -> None:
    """The chosen reference as it is looked at, and where to get another picture."""
    one = at.references[number]
    take = partial(references.show, studio, at, number)
    if not one.picture:
        st.caption(references.ABOUT)
        picture_source.choose(studio, f"{KEY}.reference.{number}", at.round, GALLERY_MAX, take, drawn)
        return
    high, wide = studio.photos.photo(one.picture).shape[:2]
    scale = SIDE_MAX_PX / max(high, wide)
    size = round(wide * scale), round(high * scale)
    shown = visitor.photo_url(studio, one.picture, size, "stretch")
    alone = references.kind_of(studio, at, number, panels.model_card(studio)) == "reference_only"
    seen = at.frame if alone else (1, 1)
    shape = "tall" if high * seen[0] > wide * seen[1] else "wide"
    st.html(
        f'<div class="looked {shape}{"" if one.shown else " faint"}" style="max-width:{size[0]}px">'
        f'<img alt="Reference {number + 1}" src="{shown}"><i style="aspect-ratio:{seen[0]}/{seen[1]}"></i></div>'
    )
    st.caption("The model looks at the bright part." if alone else "An IP-Adapter looks at the bright square.")
    box = st.expander("Another picture", key=f"{KEY}.reference.other", on_change="rerun", type="compact")
    if box.open:
        with box:
            picture_source.choose(studio, f"{KEY}.reference.{number}", at.round, GALLERY_MAX, take, drawn)
