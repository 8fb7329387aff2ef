"""The Models page's parts: everything about model files in the browser's own hands, and the base model that draws."""

from __future__ import annotations

import streamlit as st

from components import mount
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.messages import told
from webapp.ui.models import choice
from webapp.ui.session import widget

VIEWS = {"models": "Models", "making": "New ControlNets"}


def view() -> str:
    """The switch between what is here and what can be made of it; returns "models" or "making"."""
    chosen = st.segmented_control(
        "View",
        list(VIEWS),
        format_func=VIEWS.__getitem__,
        key=widget("models.view", "models"),
        label_visibility="collapsed",
        required=True,
    )
    return "making" if chosen == "making" else "models"


def shelf(studio: Studio) -> None:
    """All models: find, fetch, check, delete, add, and choose which one draws."""
    stream = studio.events.stream(visitor.session(), visitor.workspace())
    wanted = mount.models(key="models", models_url=f"./studio/models/{stream}", chosen=choice.base_model(studio).id)
    if wanted is None or wanted == choice.base_model(studio).id:
        return
    with told():
        choice.use(studio, wanted)
        st.rerun()
