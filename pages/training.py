"""Train a ControlNet, and watch it learn."""

from __future__ import annotations

from webapp.training import panels
from webapp.words import told


def page() -> None:
    """Draw the training page."""
    with told():
        panels.show()
