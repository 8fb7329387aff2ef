"""The photo behind each drawing: which one, how it is looked at, and the way of what is found into the drawing.

    look = studio.photo_detections.of(token)
    studio.photo_detections.take(token, digest)
    outcome = studio.photo_detections.detect(token, session, "canny", {"low": 50}, shorter=512)

What was on the canvas before a detection replaced it is set aside, once, and `undo` brings it back. Speaks no HTTP and draws no
page; the photos themselves stand in `photos`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlnet_core.domain.control import Value
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document, encode
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import Found
from webapp.application.open_documents import OpenDocuments
from webapp.application.photos import SHORTER_PX, Photos

DETECTIONS_MAX = 1024
_ASIDE = ".before"


@dataclass
class PhotoDetection:
    """How a photo is looked at for one drawing: the photo's digest, the detector, every detector's values, the shorter side
    of the map in pixels, and the job that looks.

    `rev` is the drawing's revision right after the last find and `made` how it was found, while the drawing comes from it;
    `aside` says whether an earlier drawing waits to be brought back.
    """

    photo: str = ""
    detector: str = ""
    values: dict[str, dict[str, Value]] = field(default_factory=dict[str, dict[str, Value]])
    shorter: int = SHORTER_PX
    job: str = ""
    rev: int = 0
    aside: bool = False
    made: Detection | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a look: the drawing's revision and size (width, height), or the job that has to be waited for."""

    size: tuple[int, int]
    rev: int = 0
    job: str = ""


Submit = Callable[[str, Detection, str, str], str]
"""(session, detection, workspace, slot) -> the job's id."""


class PhotoDetections:
    """The photos behind all drawings, the last ones. Safe across threads."""

    def __init__(self, documents: OpenDocuments, photos: Photos, submit: Submit) -> None:
        self._documents = documents
        self._photos = photos
        self._submit = submit
        self._lock = threading.RLock()
        self._of_place: OrderedDict[tuple[str, str], PhotoDetection] = OrderedDict()

    def of(self, token: str) -> PhotoDetection:
        """The look of the drawing under `token`; an empty one when there was none."""
        return self._of(self._documents.place_of(token))

    def take(self, token: str, photo: str) -> None:
        """Look at the photo called `photo` from now on. Raises InputError when it is not here."""
        self._photos.photo(photo)
        look = self.of(token)
        look.photo, look.rev, look.job = photo, 0, ""

    def found(self, token: str) -> Found | None:
        """The look that the drawing began as, however a hand has changed it since; None for one of another origin."""
        made = self.of(token).made
        return made and Found(detector=made.detector, picture=made.picture, values=made.values)

    def leave(self, workspace: str, slot: str) -> None:
        """The drawing of a slot comes from elsewhere now."""
        self._of((workspace, slot)).made = None

    def note(self, workspace: str, slot: str, made: Detection) -> None:
        """A drawing that was just put into its slot began as `made`: its photo and values are behind it again."""
        look = self._of((workspace, slot))
        look.photo, look.detector, look.job, look.made = made.picture, made.detector, "", made
        look.values[made.detector] = dict(made.values)
        look.shorter, look.rev = min(made.width, made.height), self._documents.rev_of(workspace, slot)

    def adopt(self, workspace: str, slot: str, made: Detection, found: Document) -> int:
        """Put what was found elsewhere into a drawing, and its photo behind it. Returns the drawing's revision."""
        look = self._of((workspace, slot))
        look.photo, look.job = made.picture, ""
        return self.put(workspace, slot, made, found)

    def detect(
        self, token: str, session: str, control: str, detector: str, given: Mapping[str, object], shorter: int
    ) -> Outcome:
        """Find a document in the photo and put it into the drawing: at once, or by a job.

        Raises InputError when there is nothing to find, QueueFull, NoSpace.
        """
        place = self._documents.place_of(token)
        look = self._of(place)
        if not look.photo:
            raise InputError("There is no photo yet.", "Choose one, paste it or drop it here.")
        asked = self._photos.detection(control, detector, look.photo, given, shorter=shorter)
        look.detector, look.shorter, look.job = asked.detector, shorter, ""
        look.values[asked.detector] = dict(asked.values)
        size = (asked.width, asked.height)
        found = self._photos.find(asked)
        if found is not None:
            return Outcome(size, rev=self.put(*place, asked, found))
        look.job = self._submit(session, asked, *place)
        return Outcome(size, job=look.job)

    def put(self, workspace: str, slot: str, made: Detection, found: Document) -> int:
        """Replace a drawing by what was found; what a hand had made of it is set aside. Returns its revision."""
        with self._lock:
            look = self._of((workspace, slot))
            self._set_aside(workspace, slot, look)
            look.rev = self._documents.land(workspace, slot, encode(found))
            look.made, look.detector = made, made.detector
            look.values[made.detector] = dict(made.values)
            return look.rev

    def bring(self, token: str, given: Document) -> int:
        """Replace a drawing by a map that was finished elsewhere; what a hand had made is set aside. Returns its revision."""
        workspace, slot = self._documents.place_of(token)
        with self._lock:
            look = self._of((workspace, slot))
            self._set_aside(workspace, slot, look)
            look.rev, look.made, look.job = self._documents.land(workspace, slot, encode(given)), None, ""
            return look.rev

    def undo(self, token: str) -> int:
        """Bring back what a detection replaced; returns the drawing's revision. Raises InputError when there is nothing."""
        workspace, slot = self._documents.place_of(token)
        with self._lock:
            look = self._of((workspace, slot))
            before = self._documents.stored(workspace, slot + _ASIDE) if look.aside else None
            if before is None:
                raise InputError("There is no earlier drawing.")
            look.aside, look.rev, look.made = False, 0, None
            return self._documents.land(workspace, slot, before)

    def _set_aside(self, workspace: str, slot: str, look: PhotoDetection) -> None:
        before = self._documents.stored(workspace, slot)
        if before is not None and (look.rev == 0 or self._documents.rev_of(workspace, slot) != look.rev):
            self._documents.land(workspace, slot + _ASIDE, before)
            look.aside = True

    def _of(self, place: tuple[str, str]) -> PhotoDetection:
        with self._lock:
            look = self._of_place.setdefault(place, PhotoDetection())
            self._of_place.move_to_end(place)
            while len(self._of_place) > DETECTIONS_MAX:
                self._of_place.popitem(last=False)
            return look


def shown(look: PhotoDetection) -> dict[str, Any]:
    """A look as JSON for the photo view."""
    return {
        "photo": look.photo,
        "detector": look.detector,
        "values": look.values,
        "shorter": look.shorter,
        "job": look.job,
        "found": look.rev > 0,
        "aside": look.aside,
    }
