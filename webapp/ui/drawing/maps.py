"""The page of all maps: one photo, what every control finds in it, and the way from each to its editor or to a picture.

Arranges what the browser's part (`components/assets/panels/maps/maps.js`) needs to know and does what is wanted of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components import mount
from controlnet_core.domain.errors import InputError
from webapp.application import services, validation
from webapp.ui.drawing.photo import described, gallery, offered
from webapp.ui.drawing.sources import generate_next, open_editor
from webapp.ui.session import go_to, remember, remembered


def show() -> None:
    """Draw the page's part; go to a condition's page when one of its maps is wanted."""
    studio = services.studio()
    stream = studio.hub.stream(services.session(), services.workspace())
    photo = remembered("maps.photo", "")
    width, height = studio.photos.canvas(photo) if photo else (1, 1)
    data = {
        "photo": photo,
        "size": [width, height],
        "controls": [
            {
                "key": one.key,
                "title": one.title,
                "help": one.help,
                "detectors": [described(detector) for detector in one.detectors if detector.reads == "photo"],
            }
            for one in studio.controls.values()
        ],
        "photo_url": f"./studio/maps/{stream}",
        "events_url": f"./studio/events/{stream}",
        "gallery": gallery(),
        "examples": offered(),
    }
    wanted = mount.maps(key="maps", data=data)
    if wanted is not None:
        _do(wanted)


def _do(wanted: Mapping[str, Any]) -> None:
    studio = services.studio()
    kind = validation.choice(wanted.get("kind"), ("edit", "generate", "photo"), "The wish")
    digest = validation.text(wanted.get("photo"), 64, "The photo")
    studio.photos.photo(digest)
    remember("maps.photo", digest)
    if kind == "photo":
        return
    control = studio.control(validation.text(wanted.get("control"), 64, "The control"))
    detection = studio.photos.detection(
        control.key, validation.text(wanted.get("detector"), 64, "The detector"), digest
    )
    found = studio.photos.find(detection)
    if found is None:
        raise InputError("This map is not at hand any more.", "Choose its detector again.")
    studio.looks.adopt(services.workspace(), control.key, detection, found)
    if kind == "edit":
        open_editor(control.key)
    else:
        generate_next(control.key)
    go_to(control.key)
