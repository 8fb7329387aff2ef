"""Where a page's document comes from: the hand, a photo, movable shapes, or an example; the row above the editor."""

from __future__ import annotations

from functools import cache

import numpy as np
import streamlit as st

from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType, Group
from controlnet_core.domain.document import Document, Raster
from webapp.application.examples import Example, examples
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.drawing import photo
from webapp.ui.session import ConditionPage, remember, remembered, set_widget, widget

THUMB_PX = 160
TITLES: dict[Group, dict[str, str]] = {
    "draw": {"Draw": "Draw", "Shapes": "Shapes", "Photo": "From a photo"},
    "photo": {"Photo": "Photo", "Draw": "Edit"},
    "rework": {"Photo": "Picture", "Draw": "Edit"},
}
"""The ways to a document by a condition's group, the usual one first."""


def titles(control: ControlType) -> dict[str, str]:
    """The ways to a condition's document, in words; over a picture one paints."""
    return TITLES[control.group] | ({"Draw": "Paint"} if control.document == "rgba" else {})


def first_document(control: ControlType, width: int, height: int) -> tuple[Document, str]:
    """What a newcomer finds on the canvas, and its prompt: the first example."""
    first = examples(control.key)[0]
    return first.make(width, height), first.prompt


def source_bar(studio: Studio, at: ConditionPage) -> str:
    """The row above the editor: the way to a document, and examples; returns "Draw", "Shapes" or "Photo"."""
    control = studio.controls[at.control]
    ways = [way for way in TITLES[control.group] if way != "Shapes" or control.takes_shapes]
    key = widget(f"{at.key}.way", ways[0])
    if opened := remembered(f"{key}.next", ""):
        set_widget(key, opened)
        remember(f"{key}.next", "")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if control.group != "draw":  # its name lies folded in the bar
            st.subheader(control.title, anchor=False, width="content")
        chosen = st.segmented_control(
            "Way",
            ways,
            format_func=titles(control).__getitem__,
            key=key,
            label_visibility="collapsed",
            required=True,
            on_change=_reopen_shapes,
            args=(at,),
        )
        offered = st.popover("Examples", icon=":material/auto_awesome:", key=f"{at.key}.examples", on_change="rerun")
        if offered.open:  # closed, it draws no thumbnails
            with offered:
                _example_grid(studio, at, examples(at.control))
    return chosen if chosen in ways else ways[0]


def from_photo(studio: Studio, at: ConditionPage) -> None:
    """The photo view; a map that is to be edited opens in its editor."""
    if photo.view(studio, at):
        open_editor(at.key)
        st.rerun(scope="fragment")


def open_editor(key: str) -> None:
    """Let the page of a condition open with its editor in its next run."""
    remember(f"{key}.way.next", "Draw")


def generate_next(key: str) -> None:
    """Let the page of a condition press Generate by itself in its next run."""
    remember(f"{key}.generate.next", True)


def generates(at: ConditionPage) -> bool:
    """Whether this is the run in which the page presses Generate by itself."""
    asked = bool(remembered(f"{at.key}.generate.next", False))
    remember(f"{at.key}.generate.next", False)
    return asked


def _reopen_shapes(at: ConditionPage) -> None:
    # The canvas forgets its shapes when it leaves the page: the next one is opened with them.
    at.shapes_first, at.shapes_round = at.shapes_now, at.shapes_round + 1


def _put(studio: Studio, at: ConditionPage, document: Document) -> None:
    studio.documents.replace(at.token, documents.encode(document))
    studio.photo_detections.leave(visitor.workspace(), at.key)


def _example_grid(studio: Studio, at: ConditionPage, offered: tuple[Example, ...]) -> None:
    st.caption("Start from one of these. Undo in the editor brings your drawing back.")
    columns = st.columns(3)
    for index, example in enumerate(offered):
        with columns[index % 3]:
            st.image(_thumbnail(studio, at.control, index), width=THUMB_PX)
            st.button(
                example.title,
                key=f"{at.control}.example.{index}",
                width="stretch",
                on_click=_take,
                args=(studio, at, example),
            )


@cache
def _thumbnail(studio: Studio, control: str, index: int) -> np.ndarray:
    document = examples(control)[index].make(THUMB_PX * 2, THUMB_PX * 2)
    picture = studio.render(control, document, {})
    return 255 - picture if isinstance(document, Raster) and document.kind == "mask" else picture


def _take(studio: Studio, at: ConditionPage, example: Example) -> None:
    present = studio.documents.latest(at.token)[1]
    _put(studio, at, example.make(present.width, present.height))
    at.prompt = example.prompt
    set_widget(f"{at.control}.prompt", example.prompt)
