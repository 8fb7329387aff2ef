"""The sheet of a control sweep: what to vary, the pictures as they come, and a click that takes one's values over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from components.mount import sheet
from controlnet_core.domain.recipe import Recipe
from webapp.application import validation, views
from webapp.application.studio import Studio
from webapp.application.sweep import CELLS_MAX, Cell, Sweep, spread
from webapp.ui import visitor
from webapp.ui.generate import estimate
from webapp.ui.generate.settings_panel import WEIGHT_MAX, Acting
from webapp.ui.messages import plain, told
from webapp.ui.session import GenerationState, remember, remembered, widget

COUNT_MAX = 6


def button(
    studio: Studio, at: GenerationState, make: Callable[[], Recipe], unit: int, acting: Acting, title: str
) -> None:
    """Opens the sheet for control `unit` of the page's recipe, called `title`, whose values `acting` holds.

    It is open until somebody closes it: a whole run of the page, as when the worker is warm, leaves it so.
    """
    opened = _opened(at)
    if st.button(
        "Compare strengths",
        key=f"{at.key}.sweep",
        icon=":material/grid_view:",
        width="stretch",
        help="One seed at several strengths and end steps, side by side.",
    ):
        remember(opened, True)
    if remembered(opened, False):
        dialog = st.dialog(
            "Compare strengths", width="large", icon=":material/grid_view:", on_dismiss=partial(remember, opened, False)
        )
        dialog(_sweep)(studio, at, make, unit, acting, title)


def _opened(at: GenerationState) -> str:
    return f"{at.key}.sweep.open"


def _sweep(
    studio: Studio, at: GenerationState, make: Callable[[], Recipe], unit: int, acting: Acting, title: str
) -> None:
    name = f"{at.key}.sweep.{unit}"
    present: Sweep | None = remembered(name, None)
    st.caption(
        plain(f"How strongly {title} acts, and until which share of the steps: one picture for each, all at one seed.")
    )
    with told():
        if present is None or present.over:
            weights, ends = _ranges(name)
            count = len(weights) * len(ends)
            if st.button(
                f"Make {count} pictures{_time(studio, at, count)}",
                key=f"{name}.start",
                type="primary",
                icon=":material/play_arrow:",
                disabled=count > CELLS_MAX,
            ):
                present = _begin(studio, make(), unit, weights, ends)
                remember(name, present)
                st.rerun(scope="fragment")
    if present is not None:
        _show(studio, at, present, acting, name)


def _begin(studio: Studio, recipe: Recipe, unit: int, weights: tuple[float, ...], ends: tuple[float, ...]) -> Sweep:
    made = Sweep(studio, visitor.session(), visitor.workspace(), recipe, unit, weights, ends)
    made.start()
    return made


def _ranges(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The strengths and end steps to compare."""
    left, right = st.columns(2, gap="large")
    with left:
        strength = st.slider(
            "Strengths from, to", 0.0, WEIGHT_MAX, step=0.05, key=widget(f"{name}.weights", (0.5, 1.5))
        )
        rows = st.slider("How many", 1, COUNT_MAX, key=widget(f"{name}.rows", 3))
    with right:
        end = st.slider("Ends from, to", 0.05, 1.0, step=0.05, key=widget(f"{name}.ends", (0.4, 1.0)))
        columns = st.slider("How many", 1, COUNT_MAX, key=widget(f"{name}.columns", 4))
    return (
        spread(
            *validation.span(strength, 0, WEIGHT_MAX, "The strengths"),
            validation.whole(rows, 1, COUNT_MAX, "The number"),
        ),
        spread(*validation.span(end, 0.05, 1, "The ends"), validation.whole(columns, 1, COUNT_MAX, "The number")),
    )


def _time(studio: Studio, at: GenerationState, count: int) -> str:
    seconds = estimate.latest_picture_s(studio, at.model)
    return f", {estimate.duration(seconds * count)}" if seconds else ""


def _show(studio: Studio, at: GenerationState, made: Sweep, acting: Acting, name: str) -> None:
    stream = studio.events.stream(visitor.session())
    action = sheet(
        key=f"{name}.sheet",
        sheet={
            "id": made.cells[0].job,
            "events_url": f"./studio/events/{stream}",
            "columns": [f"to {end:.0%}" for end in made.ends],
            "rows": [f"{weight:g} ×" for weight in made.weights],
            "corner": "",
            "ratio": made.recipe.width / made.recipe.height,
            "over": made.over,
            "cells": [_cell(cell) for cell in made.cells],
        },
    )
    st.caption(plain(f"Seed {made.recipe.seed}. The pictures are in the gallery too."))
    if action is None:
        return
    if action.kind == "adopt":
        chosen = made.cells[action.cell]
        acting.weight, acting.end, acting.start = chosen.weight, chosen.end, min(acting.start, chosen.end)
        at.round += 1
        remember(_opened(at), False)
        st.rerun()
    if action.kind == "stop":
        made.stop()
    st.rerun(scope="fragment")


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "job": cell.job,
        "state": cell.state,
        "url": f"{views.picture_url(cell.picture)}?thumb" if cell.picture else None,
        "text": cell.text,
        "label": f"Use strength {cell.weight:g}, end {cell.end:.0%}",
    }
