"""The Jobs drawer, on every page: what runs, what waits and for how long, what came out. Cheap while it is closed.

The list is asked for when the drawer opens (`GET /studio/jobs/{token}`) and then follows the session's events; while it is
closed, nothing is asked and nothing listens. It also takes what is dropped on a page: a PNG that holds a recipe.
"""

from __future__ import annotations

import streamlit as st

import components
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.gallery import reopen
from webapp.ui.messages import told
from webapp.ui.session import remember, remembered


def show(studio: Studio, page: str) -> None:
    """Put the drawer on the page at the path `page`, before the page itself: what it wants may change the page or leave it."""
    workspace = visitor.workspace()
    if studio.queue.put_aside is not None and not remembered("queue.damage", []):
        remember("queue.damage", [True])
        st.warning(
            f"The list of jobs was damaged: it is kept as {studio.queue.put_aside.name}, and a new one begins. "
            "Finished pictures are in the gallery."
        )
    stream = studio.events.stream(visitor.session(), workspace)
    with st.container(key="drawer"), told():
        wanted = components.drawer(
            key="jobs",
            jobs_url=f"./studio/jobs/{stream}",
            events_url=f"./studio/events/{stream}",
            settings_url=f"./studio/gallery/{stream}/settings",
            open_jobs=[entry.id for entry in studio.queue.open() if entry.owner == workspace],
        )
        if wanted is not None:
            reopen.take(studio, wanted, page)
        reopen.tell_notice()
