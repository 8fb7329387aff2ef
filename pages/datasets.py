"""Make data sets of photos, pairs to train on; and look through those that are there."""

from __future__ import annotations

import streamlit as st

from webapp.application.studio import Studio
from webapp.ui.datasets import making, pairs
from webapp.ui.messages import told


def page(studio: Studio) -> None:
    """Draw the page of data sets."""
    make, look = st.tabs(["Make", "Look through"], key="data.tabs", on_change="rerun")
    if make.open:
        with make, told():
            making.show(studio)
    if look.open:
        with look, told():
            pairs.show(studio)
