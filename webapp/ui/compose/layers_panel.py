"""The left column of the Compose page: the list of layers, and the chosen one's settings. The composition itself: `state`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args
from urllib.parse import urlencode

import streamlit as st

from controlnet_core.domain.recipe import Recipe, Resize
from controlnet_core.models.catalog import ModelCard
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.ui import buttons
from webapp.ui.compose import reference_panel, state
from webapp.ui.compose.state import KEY, LAYERS_MAX, Composition, Layer
from webapp.ui.fields import param_fields
from webapp.ui.generate import panels, settings_panel, sheet
from webapp.ui.generate.references import REFERENCES_MAX
from webapp.ui.messages import plain, told
from webapp.ui.session import page_state, widget, widget_value

TINTS = ("2f6fde", "0f9d6b", "c2388f", "b07400")
REFERENCE = "reference.new"
RESIZES: dict[Resize, str] = {"fit": "Fit inside", "crop": "Fill and crop", "stretch": "Stretch"}


def open_composition(studio: Studio) -> Composition:
    """The composition of this session, its documents in one frame."""
    at = page_state(KEY, partial(state.load, studio))
    panels.suit(studio, at)
    return at


def recipe(studio: Studio, at: Composition) -> Recipe:
    """What the page asks for. Raises StudioError."""
    return panels.recipe_of(studio, at, state.drafts(studio, at, panels.model_card(studio)), at.frame)


# ---- the list of layers


def layer_list(studio: Studio, at: Composition) -> None:
    """The layers, topmost first, each with its picture, its eye and what can be done with it; and adding one."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Layers**", width="stretch")
        _frame_choice(studio, at)
    for index, layer in enumerate(at.layers):
        _row(studio, at, index, layer)
    for number in range(len(at.references)):
        reference_panel.row(studio, at, number)
    if at.removed is not None or at.dropped is not None:
        what = studio.control(at.removed[1].control).title if at.removed else "the reference"
        buttons.undo(what, f"{KEY}.undo", state.restore, at)
    _adding(studio, at)


def _adding(studio: Studio, at: Composition) -> None:
    """The menu of what a composition can have one more of."""
    titles = {key: one.title for key, one in studio.controls.items()} if len(at.layers) < LAYERS_MAX else {}
    if len(at.references) < REFERENCES_MAX:
        titles[REFERENCE] = "Reference picture"
    if not titles:
        return
    chosen = st.menu_button(
        "Add a layer",
        list(titles),
        key=f"{KEY}.add",
        icon=":material/add:",
        format_func=titles.__getitem__,
        width="stretch",
    )
    if chosen is None:
        return
    with told():
        if validation.choice(chosen, tuple(titles), "The layer") == REFERENCE:
            reference_panel.add(studio, at)
        else:
            state.add(studio, at, chosen)
        st.rerun(scope="fragment")


def _row(studio: Studio, at: Composition, index: int, layer: Layer) -> None:
    control = studio.control(layer.control)
    mark = "on" if layer.slot == at.chosen else "off"
    with st.container(
        key=f"compose-layer-{index}-{mark}", horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False
    ):
        st.html(_thumb(studio, at, layer, TINTS[index]), width=40)
        st.button(
            control.title,
            key=f"compose-name-{index}",
            type="tertiary",
            width="stretch",
            on_click=_choose,
            args=(at, layer.slot),
        )
        name = f"Leave out {control.title}" if layer.shown else f"Use {control.title} again"
        symbol = "visibility" if layer.shown else "visibility_off"
        buttons.icon(name, symbol, f"compose-eye-{index}", _toggle, layer)


def _choose(at: Composition, slot: str) -> None:
    at.chosen = slot
    layer = at.layer
    if at.view == "sees" or (at.view == "mask" and layer is not None and not layer.masked):
        at.view = "draw"


def _toggle(layer: Layer) -> None:
    layer.shown = not layer.shown


def _thumb(studio: Studio, at: Composition, layer: Layer, tint: str) -> str:
    faint = "" if layer.shown else " faint"
    return f'<span class="layer{faint}" style="--tint:#{tint}"><img alt="" src="{address(studio, at, layer, "control")}"></span>'


def address(studio: Studio, at: Composition, layer: Layer, what: str, tint: str = "", *, mask: bool = False) -> str:
    """The URL of a layer's picture; it changes with the drawing and how it is drawn, so that the browser looks again."""
    token = state.token(studio, layer, at.frame, mask=mask)
    params = {} if mask else layer.params
    studio.documents.view(token, "scribble" if mask else layer.control, params)
    name = f"{token}/{tint}" if tint else token
    return f"./studio/{what}/{name}.png?{urlencode({'rev': studio.documents.read(token)[0], **params})}"


def _frame_choice(studio: Studio, at: Composition) -> None:
    frames = state.frames(studio.catalog.family(panels.model_card(studio)))
    # A frame of another model's size keeps its drawings as they are: only the picture is made larger or smaller.
    alike = (name for name, (wide, high) in frames.items() if wide * at.frame[1] == high * at.frame[0])
    frames |= {next(alike, f"{at.frame[0]} × {at.frame[1]}"): at.frame}
    key = f"{KEY}.frame.{at.round}"

    def take() -> None:
        at.frame = frames.get(str(widget_value(key)), at.frame)

    st.selectbox(
        "Frame",
        list(frames),
        key=widget(key, next(name for name, size in frames.items() if size == at.frame)),
        on_change=take,
        label_visibility="collapsed",
        width=136,
        help="The shape of the picture: every layer is brought to it.",
    )


# ---- the chosen layer


def properties(studio: Studio, at: Composition, base: ModelCard, make: Callable[[], Recipe]) -> None:
    """How the chosen layer acts, and where."""
    layer = at.layer
    if layer is None:
        if at.reference is not None:
            reference_panel.properties(studio, at, at.reference, base)
        else:
            st.caption("Add a layer to begin.")
        return
    control = studio.control(layer.control)
    _header(at, layer, control.title)
    with told():
        settings_panel.acting(f"{layer.slot}.{at.round}", layer)
        masked = st.toggle(
            "Only in a part",
            key=widget(f"{layer.slot}.{at.round}.masked", layer.masked),
            help="Paint where this control acts.",
        )
        if validation.flag(masked) != layer.masked:
            layer.masked = masked
            at.view = "mask" if masked else "draw"
            st.rerun(scope="fragment")
        if layer.shown:
            sheet.button(studio, at, make, at.acting.index(layer), layer, control.title)
        _further(studio, at, layer, base)


def _header(at: Composition, layer: Layer, title: str) -> None:
    """The layer's name, and moving and removing it."""
    index = at.layers.index(layer)
    last = len(at.layers) - 1
    with st.container(key="compose-header", horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        st.markdown(f"**{plain(title)}**", width="stretch")
        buttons.icon("Move up", "arrow_upward", "compose-up", state.move, at, layer.slot, -1, disabled=index == 0)
        buttons.icon(
            "Move down", "arrow_downward", "compose-down", state.move, at, layer.slot, 1, disabled=index == last
        )
        buttons.icon("Remove", "delete", "compose-remove", state.remove, at, layer.slot)


def _further(studio: Studio, at: Composition, layer: Layer, base: ModelCard) -> None:
    box = st.expander("More", key=f"{layer.slot}.more", on_change="rerun", type="compact")
    if not box.open:
        return
    with box:
        how = st.selectbox(
            "When its shape differs",
            list(RESIZES),
            format_func=RESIZES.__getitem__,
            key=widget(f"{layer.slot}.{at.round}.resize", layer.resize),
            help="How a map or photo of another shape comes into the frame.",
        )
        layer.resize = validation.choice(how, get_args(Resize), "The way to resize")
        control = studio.control(layer.control)
        layer.params = param_fields(f"{layer.slot}.{at.round}.drawn", control.params, layer.params)
        layer.network = settings_panel.network(
            f"{layer.slot}.{at.round}", state.networks(studio, layer, base), layer.network
        )
