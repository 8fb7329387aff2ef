"""Every picture that was made here, newest first."""

from __future__ import annotations

from webapp.ui.gallery import wall
from webapp.ui.messages import told


def page() -> None:
    """Draw the gallery page."""
    with told():
        wall.show()
