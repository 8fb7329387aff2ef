"""Live on a studio page: the switch beside Generate, and what the page makes of its drawing while it is on.

The pictures themselves take another way than the page: see `webapp.application.live`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.queue import pictures_of
from webapp.application.live import Scene
from webapp.application.studio import Studio
from webapp.ui.messages import told
from webapp.ui.session import ConditionPage, set_widget, widget, widget_value


def switch(at: ConditionPage) -> None:
    """The switch that has the picture follow the pen."""
    st.toggle(
        "Live", key=widget(_key(at), False), help="The picture follows the pen. Shift+L in the editor does the same."
    )


def toggle(at: ConditionPage) -> None:
    """The key for Live was pressed in the editor; for its callback, before the page runs."""
    set_widget(_key(at), not is_on(at))


def is_on(at: ConditionPage) -> bool:
    """Whether the page is live."""
    return widget_value(_key(at)) is True


def address(at: ConditionPage) -> str | None:
    """Where drawing and pictures travel, relative to the page; None while Live is off."""
    return f"./studio/live/{at.token}" if is_on(at) else None


def option(at: ConditionPage) -> dict[str, Any]:
    """What the editor is told."""
    return {"on": is_on(at), "url": f"./studio/live/{at.token}"}


def prepare(studio: Studio, at: ConditionPage, make: Callable[[], Recipe]) -> None:
    """Say what is made of the page's drawing, or that it is live no more. `make` builds the recipe of Generate."""
    if not is_on(at):
        studio.live.forget(at.token)
        return
    with told():
        recipe = make().model_copy(update={"images": 1})
        family = studio.catalog.family(studio.catalog.card(recipe.model))
        scene = Scene(
            recipe,
            values=dict(at.choices.params),
            pictures=pictures_of(recipe, studio.blobs),
            seed=at.choices.seed,
            side_max=family.side_max,
        )
        studio.live.prepare(at.token, scene)


def _key(at: ConditionPage) -> str:
    return f"{at.key}.live"
