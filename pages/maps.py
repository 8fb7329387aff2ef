"""One photo, all its maps side by side, each one click from its editor or from a picture."""

from __future__ import annotations

from webapp.application.studio import Studio
from webapp.ui.drawing import maps
from webapp.ui.messages import told


def page(studio: Studio) -> None:
    """Draw the page of all maps."""
    with told():
        maps.show(studio)
