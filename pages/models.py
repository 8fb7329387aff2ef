"""Which models there are, which of them lie on this machine, which one draws, and new ControlNets made from others."""

from __future__ import annotations

from webapp.application.studio import Studio
from webapp.ui.models import panels, wizard


def page(studio: Studio) -> None:
    """Draw the models page."""
    if panels.view() == "making":
        wizard.wizard(studio)
    else:
        panels.shelf(studio)
