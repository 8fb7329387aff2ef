"""The page of every condition: left its editor, right what to make of it. The same places on each."""

from __future__ import annotations

from functools import partial

import streamlit as st

from webapp.application.studio import Studio
from webapp.ui.drawing import shapes, sources
from webapp.ui.generate import init_image, live, panels, references, settings_panel
from webapp.ui.messages import told
from webapp.ui.session import ConditionPage


def page(studio: Studio, control_key: str) -> None:
    """Draw the studio page of one condition."""
    with told():
        _body(studio, panels.open_desk(studio, control_key))


@st.fragment
def _body(studio: Studio, at: ConditionPage) -> None:
    # One fragment: Generate reruns editor and result, not the frame around them.
    canvas = panels.canvas_of(studio, at.token)
    make = partial(panels.recipe, studio, at)
    drawn = panels.on_canvas(studio, at)
    editor, result = st.columns([8, 5], gap="medium")
    with result:
        pressed, worded = panels.prompt(studio, at, panels.placeholder(studio, at), partial(live.switch, at))
        pressed = sources.generates(at) or pressed
        place = st.container()
        control = settings_panel.Section("Control", partial(panels.control_settings, studio, at, make))
        picture = settings_panel.Section("Picture", partial(init_image.section, studio, at, canvas, drawn))
        base = panels.model_card(studio)
        further = references.sections(studio, at, base, drawn)
        settings_panel.settings(studio, at, base, (control, picture, *further))
        panels.model_line(studio)
    acting = [(panels.networks(studio, at), at.choices.network)] if at.choices.weight else []
    with place:
        live.prepare(studio, at, at.token, make, at.choices.params, possible=panels.lacking(acting) is None)
    with editor:
        if init_image.painting(at):
            pressed = init_image.editor(studio, at, canvas) or pressed
        elif (way := sources.source_bar(studio, at)) == "Shapes":
            shapes.canvas(studio, at)
        elif way == "Photo":
            sources.from_photo(studio, at)
        else:
            pressed = panels.editor(studio, at) or pressed
    with place:
        panels.answer(studio, at, make, canvas, acting, pressed=pressed, worded=worded)
        panels.results(studio, at, make, canvas, at.token, drawn=at.token)
    panels.keep(studio, at)
