"""The script that Streamlit runs for every page: frame, menu (from the registry of conditions), chosen page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

import components
from controlnet_core.domain.control import ControlType
from pages import compose, datasets, gallery, maps, models, studio, training
from webapp.application import services
from webapp.ui import theme
from webapp.ui.gallery import jobs_drawer
from webapp.ui.session import know_pages


def navigation() -> Any:
    """Set up the page frame and return the chosen page, ready to run."""
    st.set_page_config(page_title="ControlNet Studio", page_icon=theme.ICON, layout="wide")
    st.logo(theme.ICON, size="medium")
    st.html(theme.CSS)
    controls = services.studio().controls.values()
    drawn = [_studio(control) for control in controls if control.group == "draw"]
    found = [_studio(control) for control in controls if control.group == "photo"]
    shelves = [
        _page(compose.page, "Compose", ":material/layers:", "compose"),
        _page(gallery.page, "Gallery", ":material/photo_library:", "gallery"),
        _page(datasets.page, "Data", ":material/dataset:", "datasets"),
        _page(training.page, "Train", ":material/model_training:", "train"),
        _page(models.page, "Models", ":material/deployed_code:", "models"),
    ]
    found.append(_page(maps.page, "All maps", ":material/grid_view:", "maps"))
    # Pages under "" stand in the bar by themselves: drawing is one click away, the rest folds.
    know_pages([*drawn, *found, *shelves])
    return st.navigation({"": [*drawn, *shelves], "Photo": found}, position="top")


def _studio(control: ControlType) -> Any:
    page = partial(studio.page, control.key)
    return _page(page, control.title, control.icon, control.key, default=control.key == "scribble")


def _page(page: Callable[[], None], title: str, icon: str, path: str, *, default: bool = False) -> Any:
    def run() -> None:
        page()

    run.__name__ = path  # Streamlit tells pages apart by their functions' names
    return st.Page(run, title=title, icon=icon, url_path=path, default=default)


chosen = navigation()
components.run_on_return()
jobs_drawer.show(chosen.url_path)
chosen.run()
