"""Which models there are, which of them lie on this machine, which one draws, and new ControlNets made from others."""

from __future__ import annotations

from webapp import making_page, models


def page() -> None:
    """Draw the models page."""
    if models.view() == "making":
        making_page.wizard()
    else:
        models.shelf()
