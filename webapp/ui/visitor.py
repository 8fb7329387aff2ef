"""Who looks at the page that runs: the tab (a session of Streamlit's) and the browser (a workspace, named by a cookie)."""

from __future__ import annotations

import hashlib
import sys

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.recipe import Resize
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.ui.messages import plain


def session() -> str:
    """The id of the browser tab that the running page belongs to. Raises StudioError outside of a page."""
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    if context is None:
        raise StudioError("This can only be asked while a page runs.")
    return context.session_id


def workspace() -> str:
    """The id of the browser that the running page belongs to: what is drawn there is kept under it.

    A browser that keeps no cookies gets a workspace that lasts as long as its session.
    """
    import streamlit as st

    found = validation.workspace(st.context.cookies.get(validation.COOKIE))
    return found or hashlib.sha256(session().encode()).hexdigest()[:32]


def photo_url(studio: Studio, digest: str, canvas: tuple[int, int], resize: Resize) -> str:
    """Where this browser gets a photo of its own in a frame of `canvas` (width, height) pixels, relative to a page.

    What a page of a workspace shows is the workspace's: nothing comes into a page that was not.
    """
    studio.belongings.give(workspace(), digest)
    stream = studio.events.stream(session(), workspace())
    return f"./studio/photos/{stream}/{digest}/{resize}-{canvas[0]}x{canvas[1]}.jpg"


def connected(session: str) -> bool:
    """Whether Streamlit holds a live connection to a session's tab; where no page was ever drawn, it holds none."""
    runtime = sys.modules.get("streamlit.runtime")
    return bool(runtime and runtime.exists() and runtime.get_instance().is_active_session(session))


def open_document(studio: Studio, slot: str, document: bytes) -> str:
    """The token of this browser's drawing in a slot; `document` (a container) is its first. A damaged one is said."""
    import streamlit as st

    token = studio.documents.open(workspace(), session(), slot, document)
    if (aside := studio.documents.damage(token)) is not None:
        st.warning(
            f"The drawing that was kept here is damaged. Its file is kept as {plain(aside.name)} in {plain(str(aside.parent))}; "
            "what this browser still has of it comes back, else a new one begins."
        )
    return token
