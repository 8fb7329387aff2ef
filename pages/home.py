"""The script that Streamlit runs for every page: frame, menu (from the registry of conditions), chosen page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import streamlit as st

import components
from controlnet_core.domain.control import ControlType, Group
from pages import compose, datasets, gallery, maps, models, training
from pages import studio as condition
from webapp.application.studio import Studio
from webapp.root import studio as studio_of_process
from webapp.ui import theme
from webapp.ui.drawing.maps import TITLE as ALL_MAPS
from webapp.ui.gallery import jobs_drawer
from webapp.ui.session import first_page, know_pages

TITLES: dict[Group, str] = {"draw": "Draw", "photo": "Photo", "rework": "Rework"}


def navigation(studio: Studio) -> Any:
    """Set up the page frame and return the chosen page, ready to run."""
    st.set_page_config(page_title=theme.TITLE, page_icon=theme.ICON, layout="wide")
    st.logo(theme.ICON, size="medium")
    controls = studio.controls.values()
    groups = {
        group: [_condition(studio, control) for control in controls if control.group == group]
        for group in get_args(Group)
    }
    shelves = [
        _page(partial(compose.page, studio), "Compose", ":material/layers:", "compose"),
        _page(partial(gallery.page, studio), "Gallery", ":material/photo_library:", "gallery"),
        _page(partial(datasets.page, studio), "Data", ":material/dataset:", "datasets"),
        _page(partial(training.page, studio), "Train", ":material/model_training:", "train"),
        _page(partial(models.page, studio), "Models", ":material/deployed_code:", "models"),
    ]
    groups["photo"].append(_page(partial(maps.page, studio), ALL_MAPS, ":material/grid_view:", "maps"))
    know_pages([*(page for pages in groups.values() for page in pages), *shelves])
    # Pages under "" stand in the bar by themselves: drawing is one click away, the rest folds.
    folded = {TITLES[group]: pages for group, pages in groups.items() if group != "draw"}
    chosen = st.navigation({"": [*groups["draw"], *shelves], **folded}, position="top")
    st.set_page_config(page_title=f"{chosen.title} · {theme.TITLE}")  # of several tabs each says where it is
    st.html(theme.here(_place(chosen, [*groups["draw"], *shelves], list(folded.values()))))
    return chosen


def _place(chosen: Any, flat: list[Any], folded: list[list[Any]]) -> int:
    """Where in the bar the chosen page stands, or the fold that holds it; the first place is 1."""
    places = [*([page] for page in flat), *folded]
    return next((place for place, pages in enumerate(places, 1) if chosen in pages), 1)


def _condition(studio: Studio, control: ControlType) -> Any:
    page = partial(condition.page, studio, control.key)
    return _page(page, control.title, control.icon, control.key, default=control.key == first_page())


def _page(page: Callable[[], None], title: str, icon: str, path: str, *, default: bool = False) -> Any:
    def run() -> None:
        page()

    run.__name__ = path  # Streamlit tells pages apart by their functions' names
    return st.Page(run, title=title, icon=icon, url_path=path, default=default)


here = studio_of_process()
chosen = navigation(here)
components.run_on_return()
jobs_drawer.show(here, chosen.url_path)
chosen.run()
