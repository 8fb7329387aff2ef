"""Detections: everything that decides what a detector finds in a photo, and only that.

The counterpart of a recipe for the other kind of work that a worker does. As strict, as small; the photo stands in it by
the SHA-256 of its file. What runs one is `annotator.detection`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from controlnet_core.domain import json_input
from controlnet_core.domain.document import SIDE_MAX_PX
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import RECIPE_MAX_BYTES, Digest, Key, Strict, Value, Values

Side = Annotated[int, Field(ge=1, le=SIDE_MAX_PX)]


class Detection(Strict):
    """A detector of a control, a photo, the values of the detector's parameters, and the size of the document in pixels.

    `values` are complete (defaults written out), so that two equal detections find the same.
    """

    control: Key
    detector: Key
    picture: Digest
    width: Side
    height: Side
    values: Values = Field(default_factory=dict[str, Value])

    @property
    def pictures(self) -> tuple[str, ...]:
        """The digests of the pictures that are needed to run this."""
        return (self.picture,)

    def keeps_alpha(self, digest: str) -> bool:
        """Networks look at pictures without transparency."""
        return False

    def role(self, digest: str) -> str:
        """What a picture of `pictures` is to the detection, in words."""
        return "photo"

    def to_json(self) -> str:
        """The detection as one line of JSON; equal detections give equal lines."""
        ordered = self.model_copy(update={"values": dict(sorted(self.values.items()))})
        return ordered.model_dump_json()


def parse(text: str | bytes) -> Detection:
    """Read a detection that may come from anywhere. Raises InputError with the name of the first wrong field."""
    if len(text) > RECIPE_MAX_BYTES:
        raise InputError("The detection is larger than 64 KiB.", "It cannot come from this program.")
    try:
        return Detection.model_validate_json(text)
    except RecursionError as error:
        raise InputError("The detection is nested too deeply.") from error
    except ValidationError as error:
        raise refused(error) from error


def refused(error: ValidationError) -> InputError:
    """The first problem of a validation, in a sentence that names the field."""
    return InputError(json_input.first_fault(error, "detection"))
