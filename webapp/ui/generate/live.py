"""Live on a page: the switch beside Generate, and what the page makes of its drawing while it is on.

The pictures themselves take another way than the page: see `webapp.application.live`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from controlnet_core.domain import amounts
from controlnet_core.domain.control import Value
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.queue import pictures_of
from controlnet_core.models.catalog import ModelCard
from webapp.application.choices import quick_missing
from webapp.application.live import Scene, quickened
from webapp.application.studio import Studio
from webapp.ui.messages import plain, told
from webapp.ui.session import GenerationState, remember, remembered, set_widget, widget

STEPS_MANY = 10
"""More than that are no live drawing."""


def switch(at: GenerationState) -> None:
    """The switch that has the picture follow the pen."""
    at.live = st.toggle(
        "Live", key=widget(_key(at), at.live), help="The picture follows the pen. Shift+L in the editor does the same."
    )


def toggle(at: GenerationState) -> None:
    """The key for Live was pressed in the editor; for its callback, before the page runs."""
    at.live = not at.live
    set_widget(_key(at), at.live)


def address(at: GenerationState, token: str | None) -> str | None:
    """Where the drawing under `token` and its pictures travel, relative to the page; None while Live is off."""
    return f"./studio/live/{token}" if token and _draws(at) else None


def rests(at: GenerationState, why: str) -> None:
    """Say why no picture follows while the page is live."""
    if at.live:
        st.caption(f":material/info: Live rests: {why}")


def option(at: GenerationState, token: str) -> dict[str, Any]:
    """What the editor of the drawing under `token` is told."""
    return {"on": _draws(at), "url": f"./studio/live/{token}"}


def prepare(
    studio: Studio,
    at: GenerationState,
    token: str,
    make: Callable[[], Recipe],
    values: Mapping[str, Value],
    place: int = 0,
    *,
    possible: bool = True,
) -> None:
    """Say what is made of the drawing under `token`, or that it is live no more.

    `make` builds the recipe of Generate, in which the drawing is the control at `place`; `values` are those of its renderer. Before
    the editor is put on the page: it draws as soon as it is there. `possible` is False where the page says already what is missing.
    """
    remember(f"{at.key}.live.possible", possible)
    if not _draws(at):
        studio.live.forget(token)
        return
    with told():
        recipe, how = quickened(studio.catalog, make().model_copy(update={"images": 1}))
        base = studio.catalog.card(recipe.model)
        family = studio.catalog.family(base)
        if how:
            st.caption(f"Live: {plain(how)}. Keep and Generate use your own settings.")
        scene = Scene(recipe, place, dict(values), pictures_of(recipe, studio.blobs), at.choices.seed, family)
        studio.live.prepare(token, scene)
        if recipe.steps > STEPS_MANY:
            _offer(studio, at, quick_missing(studio.catalog, base))


def _offer(studio: Studio, at: GenerationState, cards: Sequence[ModelCard]) -> None:
    """What would make Live quick, one click away."""
    for card in cards[:1]:
        words = f"For a quick Live: download {plain(card.title)} ({amounts.size(card.size_mib << 20)})"
        if st.button(words, key=f"{at.key}.live.offer", icon=":material/download:", width="stretch"):
            with told() as telling:
                studio.library.download(card.id)
            if not telling.refused:
                st.caption("It is on its way: the Models page shows how far. Live takes it by itself once it is here.")


def keep(at: GenerationState, seed: int | None) -> None:
    """The next recipe of the page is that of the live picture with this seed; None: an ordinary one."""
    remember(f"{at.key}.keeping", seed)


def keep_now(at: GenerationState, seed: int) -> None:
    """The live picture with this seed is made for the gallery, in the run that follows."""
    keep(at, seed)
    remember(f"{at.key}.generate.next", True)


def kept(at: GenerationState, recipe: Recipe) -> Recipe:
    """A recipe of the page; with the seed of the live picture that is to be kept, once."""
    seed = remembered(f"{at.key}.keeping", None)
    keep(at, None)
    if seed is None:
        return recipe
    return recipe.model_copy(update={"seed": seed, "images": 1, "variation_strength": 0.0})


def _draws(at: GenerationState) -> bool:
    return at.live and bool(remembered(f"{at.key}.live.possible", True))


def _key(at: GenerationState) -> str:
    return f"{at.key}.live"
