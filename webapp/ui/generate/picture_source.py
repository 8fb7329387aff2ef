"""Where a picture in the settings comes from: a file, or one of the latest pictures of this workspace."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from webapp.application import views
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.messages import told

KINDS = ["png", "jpg", "jpeg", "webp"]
COLUMNS = 4
Take = Callable[[bytes, str], None]
"""Is given the bytes of a picture's file, and the file's name where it has one."""


def choose(studio: Studio, key: str, count: int, latest_max: int, take: Take) -> None:
    """Upload, or one of at most `latest_max` latest pictures, for `take`. `count` grows with every picture that was taken."""
    file = st.file_uploader("A picture", type=KINDS, key=f"{key}.{count}.file", label_visibility="collapsed")
    if file is not None:
        take(file.getvalue(), file.name)
        st.rerun(scope="fragment")
    found = studio.gallery.recent(latest_max, visitor.workspace())
    if not found:
        return
    st.caption("Or one of your latest pictures:")
    columns = st.columns(COLUMNS, gap="small")
    for index, result in enumerate(found):
        with columns[index % COLUMNS]:
            st.html(f'<img class="begin" alt="Picture {index + 1}" src="{views.picture_url(result.id)}?thumb">')
            st.button(
                "Use", key=f"{key}.{result.id}", width="stretch", on_click=_take_result, args=(studio, result.id, take)
            )


def _take_result(studio: Studio, id: str, take: Take) -> None:
    with told():
        take(studio.gallery.get(id).png.read_bytes(), "")
