"""The page of every condition: left its editor, right what to make of it. The same places on each."""

from __future__ import annotations

from functools import partial

import streamlit as st

from webapp.ui.drawing import shapes, sources
from webapp.ui.generate import init_image, panels, settings_panel
from webapp.ui.messages import told
from webapp.ui.session import Desk


def page(control_key: str) -> None:
    """Draw the studio page of one condition."""
    with told():
        _body(panels.open_desk(control_key))


@st.fragment
def _body(at: Desk) -> None:
    # One fragment: Generate reruns editor and result, not the frame around them.
    canvas = panels.canvas_of(at.token)
    make = partial(panels.recipe, at)
    editor, result = st.columns([8, 5], gap="medium")
    with result:
        pressed, worded = panels.prompt(at, panels.placeholder(at))
        pressed = sources.generates(at) or pressed
        place = st.container()
        control = settings_panel.Section("Control", partial(panels.control_settings, at, make))
        picture = settings_panel.Section("Picture", partial(init_image.section, at, canvas))
        settings_panel.settings(at, panels.model_card(), (control, picture))
        panels.model_line()
    with editor:
        if init_image.painting(at):
            pressed = init_image.editor(at, canvas, panels.EDITOR_HEIGHT_PX) or pressed
        elif (way := sources.source_bar(at)) == "Shapes":
            shapes.canvas(at)
        elif way == "Photo":
            sources.from_photo(at, panels.EDITOR_HEIGHT_PX)
        else:
            pressed = panels.editor(at) or pressed
    with place:
        if worded and (not pressed or panels.generate(at, make)):  # a refusal says what is missing: not twice
            acting = [(panels.networks(at), at.choices.network)] if at.choices.weight else []
            panels.prospect(at, canvas, acting)
        panels.results(at, make, canvas, at.token)
    panels.keep(at)
