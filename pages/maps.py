"""One photo, all its maps side by side, each one click from its editor or from a picture."""

from __future__ import annotations

from webapp.ui.drawing import maps
from webapp.ui.messages import told


def page() -> None:
    """Draw the page of all maps."""
    with told():
        maps.show()
