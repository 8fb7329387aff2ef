"""Several controls in one picture: left the layers, in the middle the editor of one of them, right the result."""

from __future__ import annotations

from functools import partial

import streamlit as st

from webapp.compose import middle, stack, state
from webapp.compose.state import Composition
from webapp.generate import beginning, panels, tuning
from webapp.words import told

RESULT_HEIGHT_PX = 460


def page() -> None:
    """Draw the Compose page."""
    with told():
        _body(stack.open_composition())


@st.fragment
def _body(at: Composition) -> None:
    state.align(at)
    make, base = partial(stack.recipe, at), panels.model_card()
    with st.container(key="compose"):
        layers, editor, result = st.columns([3, 8, 5], gap="medium")
    with layers:
        with st.container(key="compose-list"):
            stack.layer_list(at)
        with st.container(key="compose-properties"):
            stack.properties(at, base, make)
    with result:
        pressed, worded = panels.prompt(at)
        place = st.container()
        picture = tuning.Section("Picture", partial(beginning.section, at, at.frame))
        tuning.settings(at, base, (picture,))
        panels.model_line()
    with editor:
        if beginning.painting(at):
            pressed = beginning.editor(at, at.frame, middle.EDITOR_HEIGHT_PX) or pressed
        else:
            pressed = middle.show(at) or pressed
    with place:
        if worded and (not pressed or panels.generate(at, make)):  # a refusal says what is missing: not twice
            acting = [(state.networks(layer, base), layer.network) for layer in at.acting if layer.weight]
            panels.prospect(at, at.frame, acting)
        panels.results(at, make, at.frame, middle.overlaid(at), RESULT_HEIGHT_PX)
    panels.keep(at)
