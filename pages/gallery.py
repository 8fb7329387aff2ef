"""Every picture that was made here, newest first."""

from __future__ import annotations

from webapp.application.studio import Studio
from webapp.ui.gallery import wall
from webapp.ui.messages import told


def page(studio: Studio) -> None:
    """Draw the gallery page."""
    with told():
        wall.show(studio)
