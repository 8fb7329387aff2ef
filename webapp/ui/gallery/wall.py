"""The gallery page's part: the picture wall of this workspace. What it shows comes from `webapp.routes.gallery`."""

from __future__ import annotations

import components
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.gallery import reopen


def show(studio: Studio) -> None:
    """Put the wall on the page, and do what it wants."""
    stream = studio.events.stream(visitor.session(), visitor.workspace())
    wanted = components.wall(
        key="wall",
        gallery_url=f"./studio/gallery/{stream}",
        events_url=f"./studio/events/{stream}",
        controls={key: control.title for key, control in studio.controls.items()},
    )
    if wanted is not None:
        reopen.take(studio, wanted, "gallery")
