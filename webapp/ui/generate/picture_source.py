"""Where a picture in the settings comes from: a file, what lies on the canvas, or one of this workspace's latest pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

import streamlit as st

from webapp.application import views
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.messages import plain, told

KINDS = ["png", "jpg", "jpeg", "webp"]
THUMB_PX = 120
Take = Callable[[bytes, str], None]
"""Is given the bytes of a picture's file, and the file's name where it has one."""


@dataclass(frozen=True)
class Drawn:
    """A picture that lies on the canvas: its name, its URL relative to the page, and the bytes of its file."""

    title: str
    url: str
    read: Callable[[], bytes]


def choose(studio: Studio, key: str, count: int, latest_max: int, take: Take, drawn: Sequence[Drawn] = ()) -> None:
    """Upload, one of `drawn`, or one of at most `latest_max` latest pictures, for `take`.

    `count` grows with every picture that was taken.
    """
    file = st.file_uploader("A picture", type=KINDS, key=f"{key}.{count}.file", label_visibility="collapsed")
    if file is not None:
        take(file.getvalue(), file.name)
        st.rerun(scope="fragment")
    if drawn:
        st.caption("Or from the canvas:")
        _offer(f"{key}.drawn", [(one.title, one.title, one.url, one.read) for one in drawn], take)
    found = studio.gallery.recent(latest_max, visitor.workspace())
    if found:
        st.caption("Or one of your latest pictures:")
        offered = [
            ("Use", f"Picture {index + 1}", f"{views.picture_url(one.id)}?thumb", partial(_result, studio, one.id))
            for index, one in enumerate(found)
        ]
        _offer(f"{key}.latest", offered, take)


def _offer(key: str, pictures: Sequence[tuple[str, str, str, Callable[[], bytes]]], take: Take) -> None:
    """Pictures to take by a click: each the button's words, the picture's, its URL and its reader."""
    with st.container(horizontal=True, gap="small"):
        for index, (words, alt, url, read) in enumerate(pictures):
            with st.container(width=THUMB_PX, gap="xsmall"):
                st.html(f'<img class="begin square" alt="{escape(alt)}" src="{escape(url)}">')
                st.button(plain(words), key=f"{key}.{index}", width="stretch", on_click=_take, args=(read, take))


def _result(studio: Studio, id: str) -> bytes:
    return studio.gallery.get(id).png.read_bytes()


def _take(read: Callable[[], bytes], take: Take) -> None:
    with told():
        take(read(), "")
