"""Photos, and what detectors find in them: remembered, at once beside the pages, or by a job in the worker.

    digest = studio.photos.keep(upload, workspace)
    detection = studio.photos.detection("canny", "canny", digest, {"low": 50})
    document = studio.photos.find(detection)      # None: it needs a network, submit it

Equal detections find the same, so a repeated one is only looked up. Queues nothing and draws no page.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

import annotator
from annotator import detection as detecting
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection, refused
from controlnet_core.domain.document import Document
from controlnet_core.execution import decoder
from controlnet_core.storage.store import Blobs
from webapp.application.belongings import Belongings

T = TypeVar("T")
DOCUMENTS_MAX = 64
PHOTOS_MAX = 4
LONGEST_PX = 3072
LOSSLESS_MAX_PX = 4_000_000
"""Larger ones are kept as JPEG whatever they came as: a PNG of theirs would take seconds and tens of megabytes."""
QUALITY = 95
SHORTER_PX = 512
"""The shorter side of a map, unless somebody says otherwise: the original's."""


class Photos:
    """The photos of one data folder, and the last documents that were found in them. Safe across threads."""

    def __init__(self, blobs: Blobs, belongings: Belongings) -> None:
        self._blobs = blobs
        self._belongings = belongings
        self._lock = threading.Lock()
        self._photos: OrderedDict[str, Rgb] = OrderedDict()
        self._found: OrderedDict[str, Document] = OrderedDict()

    def keep(self, data: bytes, owner: str = "") -> str:
        """Keep a photo, encoded anew, for the workspace `owner` ("": for nobody to look at); returns its digest.

        Raises InputError for what is no picture, NoSpace.

        What a camera wrote beside the picture (where it was taken, a smaller one, anything behind its end) is not kept. A
        photo comes out with at most 3072 pixels a side, more than any page or model takes. A JPEG stays one, of high quality.
        What is transparent stays so: it may be a mask, or have holes.
        """
        rgb = decoder.decode(data, longest=LONGEST_PX, alpha=True)
        small = rgb.shape[0] * rgb.shape[1] <= LOSSLESS_MAX_PX
        lossless = rgb.shape[2] == 4 or (data[:2] != b"\xff\xd8" and small)
        kept = picture.to_png(rgb) if lossless else picture.to_jpeg(rgb, QUALITY)
        digest = self._blobs.put(kept)
        self._belongings.give(owner, digest)
        self._remember(self._photos, digest, picture.hwc3(rgb) if lossless else picture.open_picture(kept), PHOTOS_MAX)
        return digest

    def keep_mask(self, data: bytes, owner: str = "") -> str:
        """Keep a mask, white where something is to happen, for the workspace `owner`; returns its digest.

        What was painted on a transparent layer counts, with any ink. Raises InputError for what is no picture, NoSpace.
        """
        digest = self._blobs.put(picture.to_png(decoder.decode_mask(data, longest=LONGEST_PX)))
        self._belongings.give(owner, digest)
        return digest

    def photo(self, digest: str) -> Rgb:
        """The photo called `digest`, uint8 RGB. Raises InputError when it is not here any more."""
        with self._lock:
            if digest in self._photos:
                self._photos.move_to_end(digest)
                return self._photos[digest]
        rgb = decoder.decode(self._blobs.get(digest), longest=LONGEST_PX)
        self._remember(self._photos, digest, rgb, PHOTOS_MAX)
        return rgb

    def canvas(self, digest: str, shorter: int = SHORTER_PX) -> tuple[int, int]:
        """Width and height of the canvas for a photo."""
        photo = self.photo(digest)
        return detecting.canvas_size(photo.shape[0], photo.shape[1], shorter)

    def detection(
        self,
        control: str,
        detector: str,
        photo: str,
        given: Mapping[str, object] | None = None,
        *,
        shorter: int = SHORTER_PX,
        size: tuple[int, int] | None = None,
    ) -> Detection:
        """What is to be found in the photo called `photo`, on a canvas of its shape whose shorter side is near `shorter`.

        `given` are values for the detector's parameters; `size` (width, height) wins over `shorter`. Raises InputError.
        """
        one = detecting.detector(annotator.control(control), detector)
        wide, tall = size or self.canvas(photo, shorter)
        try:
            return Detection(
                control=control,
                detector=one.key,
                picture=photo,
                width=wide,
                height=tall,
                values=controls_of.values(one.params, given or {}),
            )
        except ValidationError as error:
            raise refused(error) from error

    def find(self, detection: Detection) -> Document | None:
        """The document, where it is remembered or found at once; None when a network has to look.

        Raises InputError when there is nothing to find.
        """
        key = detection.to_json()
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        if detecting.detector(annotator.control(detection.control), detection.detector).weights:
            return None
        document = detecting.run(detection, self._seen(detection))
        self.remember(detection, document)
        return document

    def _seen(self, detection: Detection) -> Rgb:
        """The photo as its detector wants it."""
        if detecting.detector(annotator.control(detection.control), detection.detector).alpha:
            return picture.open_picture(self._blobs.get(detection.picture), alpha=True)
        return self.photo(detection.picture)

    def remember(self, detection: Detection, document: Document) -> None:
        """Keep in mind what was found elsewhere."""
        self._remember(self._found, detection.to_json(), document, DOCUMENTS_MAX)

    def _remember(self, among: OrderedDict[str, T], key: str, value: T, most: int) -> None:
        with self._lock:
            among[key] = value
            among.move_to_end(key)
            while len(among) > most:
                among.popitem(last=False)
