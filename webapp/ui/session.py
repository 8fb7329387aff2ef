"""What one browser session remembers: the only place that knows the keys of Streamlit's session state.

Streamlit forgets a widget's value as soon as its page is left. A `GenerationState` keeps everything of a page (prompt, choices, the
job) as long as the session lives; `webapp.ui.page_state_store` keeps its words over a reload, the studio the drawings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import streamlit as st
from numpy.typing import NDArray

import annotator
from controlnet_core.domain.errors import InputError
from webapp.application import validation
from webapp.application.choices import Choices, InitImageChoice, ReferenceChoice

W = TypeVar("W")
REFUSED_MAX = 1 << 20
"""Characters of a refused text that are held."""


@dataclass
class GenerationState:
    """What a page wants made: its words, its settings, the picture it starts from, those it is to be like, and the last job.

    `key` names the page, `model` is the base model that the settings are for. `dropped` is the reference that was removed last,
    and its place. `live` says whether the picture follows the pen. `round` counts how often Python has changed the settings:
    their widgets are then made anew.
    """

    key: str
    prompt: str
    choices: Choices
    model: str = ""
    begin: InitImageChoice | None = None
    references: list[ReferenceChoice] = field(default_factory=list[ReferenceChoice])
    dropped: tuple[int, ReferenceChoice] | None = None
    job: str | None = None
    live: bool = False
    round: int = 0


@dataclass
class ConditionPage(GenerationState):
    """The state of one condition's page.

    `shapes` is the ink (uint8 H,W) of the movable shapes, `shapes_now` and `shapes_first` are those shapes as they are and
    as the canvas was opened with, `shapes_round` counts its openings.
    """

    token: str = ""
    shapes: NDArray[np.uint8] | None = field(default=None, repr=False)
    shapes_now: dict[str, Any] | None = field(default=None, repr=False)
    shapes_first: dict[str, Any] | None = field(default=None, repr=False)
    shapes_round: int = 0

    @property
    def control(self) -> str:
        """The key of the condition, which is the page's too."""
        return self.key


def page_state(key: str, make: Callable[[], W]) -> W:
    """The state of a page in this session, made on first use."""
    states: dict[str, W] = st.session_state.setdefault("pages", {})
    if key not in states:
        states[key] = make()
    return states[key]


def remembered(name: str, default: Any) -> Any:
    """A value that lives as long as the session; the first `default` that is given stays."""
    return st.session_state.setdefault(f"remembered.{name}", default)


def remember(name: str, value: Any) -> None:
    """Set a value that lives as long as the session."""
    st.session_state[f"remembered.{name}"] = value


def first_page() -> str:
    """The path of the page that stands at the root: that of the first condition."""
    return next(iter(annotator.controls()))


def know_pages(pages: Sequence[Any]) -> None:
    """The pages of this run (`st.Page`), so that one can be gone to by its path."""
    remember("page_paths", {page.url_path or first_page(): page for page in pages})


def go_to(path: str) -> None:
    """Leave for the page at a path; where there is none, stay."""
    pages = remembered("page_paths", {})
    if path in pages:
        st.switch_page(pages[path])


def widget(key: str, value: Any) -> str:
    """Give a widget its value, unless it is on the page already; returns its key."""
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def text_widget(key: str, value: str) -> str:
    """As `widget`, for a text: one that was refused when its page was left comes back, unless there is a new value since."""
    held: tuple[str, str] | None = remembered(f"refused.{key}", None)
    return widget(key, held[1] if held and held[0] == value else value)


def typed(key: str, written: object, kept: str, max_length: int, name: str) -> str:
    """What was typed into a `text_widget` that had the value `kept`, or InputError: then it is held, and nothing typed is lost."""
    try:
        text = validation.text(written, max_length, name)
    except InputError:
        if isinstance(written, str) and len(written) <= REFUSED_MAX:
            remember(f"refused.{key}", (kept, written))
        raise
    remember(f"refused.{key}", None)
    return text


def widget_value(key: str) -> Any:
    """What a widget holds now, for its callback; anything may have come from the browser."""
    return st.session_state.get(key)


def set_widget(key: str, value: Any) -> None:
    """Change a widget: in a callback, or before it is drawn in this run."""
    st.session_state[key] = value
