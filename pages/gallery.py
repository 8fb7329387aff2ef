"""Every picture that was made here, newest first."""

from __future__ import annotations

from webapp.gallery import wall
from webapp.words import told


def page() -> None:
    """Draw the gallery page."""
    with told():
        wall.show()
