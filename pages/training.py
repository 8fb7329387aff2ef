"""Train a ControlNet, and watch it learn."""

from __future__ import annotations

from webapp.ui.messages import told
from webapp.ui.training import panels


def page() -> None:
    """Draw the training page."""
    with told():
        panels.show()
