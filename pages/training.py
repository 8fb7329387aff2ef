"""Train a ControlNet, and watch it learn."""

from __future__ import annotations

from webapp.application.studio import Studio
from webapp.ui.messages import told
from webapp.ui.training import panels


def page(studio: Studio) -> None:
    """Draw the training page."""
    with told():
        panels.show(studio)
