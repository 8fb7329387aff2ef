"""The page of all maps: one photo, what every control finds in it, and the way from each to its editor or to a picture.

Arranges what the browser's part (`components/assets/panels/maps/maps.js`) needs to know and does what is wanted of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from components import mount
from controlnet_core.domain.errors import InputError
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.ui import page_state_store, visitor
from webapp.ui.drawing.photo import described, gallery, offered
from webapp.ui.drawing.sources import generate_next, open_editor
from webapp.ui.session import go_to, remember, remembered

TITLE = "All maps"


@dataclass
class Photo:
    """What is kept over a restart: the photo's digest, "" for none."""

    digest: str = ""


def show(studio: Studio) -> None:
    """Draw the page's part; go to a condition's page when one of its maps is wanted."""
    st.subheader(TITLE, anchor=False)
    stream = studio.events.stream(visitor.session(), visitor.workspace())
    photo = _photo(studio)
    width, height = studio.photos.canvas(photo) if photo else (1, 1)
    data = {
        "photo": photo,
        "size": [width, height],
        "controls": [
            {
                "key": one.key,
                "title": one.title,
                "help": one.help,
                "detectors": [described(studio, detector) for detector in one.detectors if detector.reads == "photo"],
            }
            for one in studio.controls.values()
            if one.group != "rework"  # what a picture is made of is no map of it
        ],
        "photo_url": f"./studio/maps/{stream}",
        "shown_url": f"./studio/photos/{stream}",
        "events_url": f"./studio/events/{stream}",
        "gallery": gallery(studio),
        "examples": offered(),
    }
    wanted = mount.maps(key="maps", data=data)
    if wanted is not None:
        _do(studio, wanted)


def _photo(studio: Studio) -> str:
    """The photo that was looked at last, while it is here and one's own."""
    digest = remembered("maps.photo", None)
    if digest is None:
        digest = (page_state_store.recall(studio, "maps", Photo) or Photo()).digest
        if not studio.belongings.has(visitor.workspace(), digest) or digest not in studio.blobs:
            digest = ""
        remember("maps.photo", digest)
    return digest


def _do(studio: Studio, wanted: Mapping[str, Any]) -> None:
    kind = validation.choice(wanted.get("kind"), ("edit", "generate", "photo"), "The wish")
    digest = validation.text(wanted.get("photo"), 64, "The photo")
    studio.photos.photo(studio.belongings.check(visitor.workspace(), digest, "photo"))
    remember("maps.photo", digest)
    page_state_store.keep(studio, "maps", Photo(digest))
    if kind == "photo":
        return
    control = studio.control(validation.text(wanted.get("control"), 64, "The control"))
    detection = studio.photos.detection(
        control.key, validation.text(wanted.get("detector"), 64, "The detector"), digest
    )
    found = studio.photos.find(detection)
    if found is None:
        raise InputError("This map is not at hand any more.", "Choose its detector again.")
    studio.photo_detections.adopt(visitor.workspace(), control.key, detection, found)
    if kind == "edit":
        open_editor(control.key)
    else:
        generate_next(control.key)
    go_to(control.key)
