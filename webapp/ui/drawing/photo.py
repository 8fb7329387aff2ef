"""The photo view of a condition's page: from a photo to its map, which is the drawing from then on.

Arranges what the browser's part (`components/assets/panels/photo/photo.js`) needs to know. Detects nothing: `looks` does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from annotator.detection import CANVAS_MAX_PX, CANVAS_MIN_PX, CANVAS_STEP_PX
from components import mount
from controlnet_core.domain.control import ControlType, Detector, Param
from webapp.application import examples, views
from webapp.application.photo_detection import shown
from webapp.application.studio import Studio
from webapp.ui import theme, visitor
from webapp.ui.generate import live
from webapp.ui.session import ConditionPage, set_widget

GALLERY_MAX = 24
MAP = {
    "invite": "or paste it. Its map is found at once, and you can edit it.",
    "edit": "Edit the map",
    "size": "Map size",
    "found": "Map",
}
PICTURE = {
    "invite": "or paste it: it is what the picture is made of.",
    "edit": "Edit it",
    "size": "Size",
    "found": "For the model",
}
"""What the browser's part calls what comes of a photo."""


def view(studio: Studio, at: ConditionPage) -> bool:
    """Draw the view; True in the run in which somebody wants to edit the map."""
    control = studio.controls[at.control]
    rev, document = studio.documents.latest(at.token)
    studio.documents.view(at.token, control.key, at.choices.params)
    stream = studio.events.stream(visitor.session(), visitor.workspace())
    look = studio.photo_detections.of(at.token)
    size = (document.width, document.height)
    if look.photo and not look.rev:
        size = studio.photos.canvas(look.photo, look.shorter)
    data = {
        "control": control.key,
        "help": control.help,
        "words": _words(control),
        "detectors": [described(studio, one) for one in control.detectors],
        "opens_editor": control.wants_hand,
        "accepts_json": control.document == "skeleton",
        "look": shown(look),
        "size": size,
        "sizes": {"min": CANVAS_MIN_PX, "max": CANVAS_MAX_PX, "step": CANVAS_STEP_PX},
        "rev": rev,
        "photo_url": f"./studio/photos/{at.token}",
        "detect_url": f"./studio/detections/{at.token}",
        "control_url": f"./studio/control/{at.token}.png",
        "document_url": f"./studio/documents/{at.token}",
        "live": live.option(at, at.token),
        "events_url": f"./studio/events/{stream}",
        "cancel_url": f"./studio/jobs/{stream}/cancel",
        "gallery": gallery(studio),
        "examples": offered(),
        "height": theme.EDITOR_HEIGHT,
    }
    told = mount.photo(
        key=f"{at.control}.photo-view", data=data, on_example=partial(_say, at), on_keep=partial(live.keep_now, at)
    )
    return told == "edit"


def _words(control: ControlType) -> dict[str, str]:
    if control.group != "rework":
        return MAP
    return PICTURE | ({"edit": "Paint the holes"} if control.document == "rgba" else {})


def _say(at: ConditionPage, example: str) -> None:
    """An example brings its prompt."""
    if example in examples.photos().values():
        at.prompt = example
        set_widget(f"{at.key}.prompt", example)


def gallery(studio: Studio) -> list[dict[str, str]]:
    """The newest pictures that were made here, to take one of them as the photo."""
    recent = studio.gallery.recent(GALLERY_MAX, visitor.workspace())
    return [{"url": views.picture_url(one.id), "name": one.recipe.prompt[:80] or "no prompt"} for one in recent]


def offered() -> list[dict[str, str]]:
    """Rendered scenes, for whoever has no photo at hand."""
    return [{"url": f"./studio/examples/{seed}.jpg", "name": name} for seed, name in examples.photos().items()]


def described(studio: Studio, one: Detector) -> dict[str, Any]:
    """A detector as JSON: its parameters, and the networks that it needs with their size and licence."""
    catalog = studio.catalog
    cards = [catalog.card(id) for id in one.weights]
    return {
        "key": one.key,
        "title": one.title,
        "help": one.help,
        "reads": one.reads,
        "params": [_param(param) for param in one.params],
        "needs": [
            {
                "title": card.title,
                "size_mib": card.size_mib,
                "licence": card.licence,
                "here": catalog.installed(card),
            }
            for card in cards
        ],
    }


def _param(param: Param) -> dict[str, Any]:
    return {
        "key": param.key,
        "title": param.title,
        "default": param.default,
        "low": param.low,
        "high": param.high,
        "step": param.step,
        "whole": isinstance(param.default, int),
        "choices": list(param.choices),
        "unit": param.unit,
        "help": param.help,
    }
