"""Several controls in one picture: left the layers, in the middle the editor of one of them, right the result."""

from __future__ import annotations

from functools import partial

import streamlit as st

from webapp.application.studio import Studio
from webapp.ui.compose import canvas_panel, layers_panel, state
from webapp.ui.compose.state import Composition
from webapp.ui.generate import init_image, live, panels, settings_panel
from webapp.ui.messages import told


def page(studio: Studio) -> None:
    """Draw the Compose page."""
    with told():
        _body(studio, layers_panel.open_composition(studio))


@st.fragment
def _body(studio: Studio, at: Composition) -> None:
    state.align(studio, at)
    make, base = partial(layers_panel.recipe, studio, at), panels.model_card(studio)
    drawn = canvas_panel.on_canvas(studio, at)
    with st.container(key="compose"):
        layers, editor, result = st.columns([3, 8, 5], gap="medium")
    with layers:
        with st.container(key="compose-list"):
            layers_panel.layer_list(studio, at)
        with st.container(key="compose-properties"):
            layers_panel.properties(studio, at, base, make)
    with result:
        pressed, worded = panels.prompt(studio, at, beside=partial(live.switch, at))
        place = st.container()
        picture = settings_panel.Section("Picture", partial(init_image.section, studio, at, at.frame, drawn))
        settings_panel.settings(studio, at, base, (picture,))
        panels.model_line(studio)
    acting = [(state.networks(studio, layer, base), layer.network) for layer in at.acting if layer.weight]
    with place:
        token = canvas_panel.prepare_live(studio, at, make, possible=panels.lacking(acting) is None)
    with editor:
        if init_image.painting(at):
            pressed = init_image.editor(studio, at, at.frame) or pressed
        else:
            pressed = canvas_panel.show(studio, at) or pressed
    with place:
        panels.answer(studio, at, make, at.frame, acting, pressed=pressed, worded=worded)
        panels.results(studio, at, make, at.frame, canvas_panel.overlaid(studio, at), token)
    panels.keep(studio, at)
