"""Builds recipes: the one way from what somebody wants to what an engine runs, for pages, wizard, command line and API.

A control comes as a document, as a finished control picture, or as a photo with a detector:

    builder.recipe([Draft("scribble", drawing)], model="paperworld", width=256, height=256)
    builder.for_base(card, [Draft("canny", Finished(edges)), Draft("depth", Photo(digest))], prompt="a house")

Pictures and documents become blobs; a recipe names them by their digests. Queues nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

import annotator
from annotator import detection as detecting
from annotator import finished
from annotator.finished import Numbers, Polarity
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import ControlType, Detector, Rgb, Value
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Document, Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import (
    SEED_MAX,
    ControlUnit,
    Fill,
    Found,
    Lora,
    Mode,
    Recipe,
    Reference,
    ReferenceKind,
    Resize,
    Source,
    refusal,
)
from controlnet_core.domain.samplers import SPACINGS
from controlnet_core.models.catalog import Catalog, Defaults, ModelCard
from controlnet_core.storage.store import Blobs
from webapp.application.choices import adapter_for, networks_for, quick_called
from webapp.application.photos import SHORTER_PX, Photos


@dataclass(frozen=True)
class Finished:
    """A control picture as the network is to see it, uint8 RGB: nothing is detected and nothing drawn anew.

    `document` is what was read in it, where an editor is to open it.
    """

    picture: Rgb
    document: Document | None = None


@dataclass(frozen=True)
class Photo:
    """A photo (its blob's digest), and what looks at it; without a `detector`, the first that this machine can run.

    `shorter` is the shorter side of the map in pixels; `size` (width, height) wins over it.
    """

    photo: str
    detector: str = ""
    values: Mapping[str, object] = field(default_factory=dict[str, object])
    shorter: int = SHORTER_PX
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Draft:
    """One control of a recipe to be: what it is given, and how that is rendered and used.

    `values` are those of the renderer; `mask` is the blob of the mask that says where it acts; `found` says how a document
    began, where that is known.
    """

    control: str
    given: Document | Finished | Photo
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    network: str | None = None
    resize: Resize = "stretch"
    mask: str | None = None
    found: Found | None = None


Detect = Callable[[Detection], Document]
"""Finds a document in a photo, however long it takes. Raises StudioError."""


def unable(detection: Detection) -> Document:
    """A `Detect` for where nobody can wait for a network."""
    raise InputError(f"The detector {detection.detector} runs as a job of its own.", "Ask for its map first.")


class RecipeBuilder:
    """Builds recipes over the models, blobs and photos of one studio. Safe across threads."""

    def __init__(self, catalog: Catalog, blobs: Blobs, photos: Photos, detect: Detect = unable) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._photos = photos
        self._detect = detect

    def recipe(self, drafts: Sequence[Draft], *, seed: int = -1, **fields: Any) -> Recipe:
        """A recipe of controls and the fields of `Recipe`; seed -1 draws one.

        Raises RecipeError naming the first wrong field, InputError, NoSpace.
        """
        units = tuple(self.unit(draft) for draft in drafts)
        try:
            return Recipe(controls=units, seed=secrets.randbelow(SEED_MAX + 1) if seed == -1 else seed, **fields)
        except ValidationError as error:
            raise refusal(error) from error

    def for_base(self, base: ModelCard, drafts: Sequence[Draft], *, preset: str | None = None, **given: Any) -> Recipe:
        """As `recipe`, for a base model: what is not given, or None, is what its card suggests.

        With a `preset` of few steps (its key, that of its LoRA, or "auto" for the best one here) it is what that suggests, its
        LoRA included. A control that acts and names no ControlNet gets the best one that is here. Raises ModelMissing where
        there is none, and for a preset that nothing here is made for.
        """
        carried = [replace(draft, network=self._network(base, draft)) for draft in drafts]
        told = {name: value for name, value in given.items() if value is not None}
        wanted = quick_called(self._catalog, base, preset) if preset else None
        fields = {"model": base.id, **suggested(base.defaults), **(wanted.preset.fields if wanted else {}), **told}
        if wanted and wanted.lora:
            loras: tuple[Lora, ...] = fields.get("loras", ())
            named = wanted.lora.id in {lora.key for lora in loras}
            fields["loras"] = loras if named else (*loras, Lora(key=wanted.lora.id))
        if "spacing" not in told and fields["spacing"] not in SPACINGS.get(fields["sampler"], ()):
            fields["spacing"] = "model"  # another sampler than the model's own was asked for
        return self.recipe(carried, **fields)

    def unit(self, draft: Draft) -> ControlUnit:
        """A control of a recipe: its picture rendered and kept. Raises RecipeError, InputError, NoSpace."""
        control = annotator.control(draft.control)
        values = controls_of.values(control.params, draft.values)
        document, found = None, draft.found
        if isinstance(draft.given, Finished):
            shown, document = draft.given.picture, draft.given.document
        else:
            document = draft.given
            if isinstance(document, Photo):
                document, found = self._looked_at(control, document)
            shown = control.render(document, values)
        try:
            return ControlUnit(
                control=control.key,
                picture=self.kept(shown),
                document=None if document is None else self._blobs.put(documents.encode(document)),
                values=values,
                found=found,
                network=draft.network,
                weight=draft.weight,
                start=draft.start,
                end=draft.end,
                mode=draft.mode,
                resize=draft.resize,
                mask=draft.mask,
            )
        except ValidationError as error:
            raise refusal(error) from error

    def source(
        self,
        image: str,
        *,
        strength: float = 0.75,
        mask: str | None = None,
        blur_px: int = 4,
        fill: Fill = "original",
        resize: Resize = "crop",
    ) -> Source:
        """The picture to start from (a blob), and what of it changes. Raises RecipeError naming the first wrong field."""
        try:
            return Source(picture=image, strength=strength, mask=mask, blur_px=blur_px, fill=fill, resize=resize)
        except ValidationError as error:
            raise refusal(error) from error

    def reference(
        self,
        base: ModelCard,
        image: str,
        *,
        kind: ReferenceKind = "ip_adapter",
        adapter: str | None = None,
        weight: float = 0.6,
        style_fidelity: float = 0.5,
        start: float = 0.0,
        end: float = 1.0,
    ) -> Reference:
        """A picture (a blob) that the result is to be like; without an `adapter`, the first one here for the base model.

        Of the kind "reference_only" it needs none. Raises ModelMissing where there is none that it needs, RecipeError naming
        the first wrong field.
        """
        if adapter is None and kind == "ip_adapter":
            adapter = adapter_for(self._catalog, base).id
        try:
            return Reference(
                kind=kind,
                picture=image,
                adapter=adapter,
                weight=weight,
                style_fidelity=style_fidelity,
                start=start,
                end=end,
            )
        except ValidationError as error:
            raise refusal(error) from error

    def kept(self, rgb: Rgb) -> str:
        """The blob of a picture as a PNG. Raises NoSpace."""
        return self._blobs.put(picture.to_png(rgb))

    def _network(self, base: ModelCard, draft: Draft) -> str | None:
        if not draft.weight or draft.network is not None:
            return draft.network
        return networks_for(self._catalog, base, annotator.control(draft.control)).chosen(None)

    def _looked_at(self, control: ControlType, given: Photo) -> tuple[Document, Found]:
        detector = given.detector or runnable(self._catalog, control).key
        asked = self._photos.detection(
            control.key, detector, given.photo, given.values, shorter=given.shorter, size=given.size
        )
        document = self._photos.find(asked)
        if document is None:
            document = self._detect(asked)
        return document, Found(detector=asked.detector, picture=asked.picture, values=asked.values)


def finished_map(
    control: ControlType, data: bytes, *, sure: bool = False, polarity: Polarity = "auto", numbers: Numbers = "auto"
) -> tuple[Document | Finished, str] | None:
    """A picture file as the finished map that it is, and what it was taken for; None where a detector has to look at it.

    `sure` says that it is a map, whatever it looks like; see `annotator.finished`. Raises InputError for what cannot be read.
    """
    if control.group == "rework":  # a picture to rework is no map of anything
        return None
    # Where a drawing is what is meant, a photo would be one too.
    drawn = control.document == "mask" and any(one.reads == "map" for one in control.detectors)
    reading = finished.read(control, data, polarity=polarity, numbers=numbers, sure=drawn or sure)
    if reading is None:
        return None
    document = reading.document
    if reading.picture is not None:
        return Finished(reading.picture, document), reading.sentence
    assert document is not None
    if isinstance(document, Raster):
        width, height = detecting.photo_size(document.height, document.width)
        document = detecting.resized(document, width, height, control.nearest)
    return document, reading.sentence


def runnable(catalog: Catalog, control: ControlType) -> Detector:
    """The first detector of photos whose networks are on this machine; else the first, whose networks have to come.

    Raises InputError for a condition that nothing detects.
    """
    photos = [one for one in control.detectors if one.reads == "photo"]
    if not photos:
        raise InputError(f"{control.title} has no detector.", "Draw the map by hand.")
    ready = (one for one in photos if all(catalog.installed(catalog.card(card)) for card in one.weights))
    return next(ready, photos[0])


def map_reader(catalog: Catalog, control: ControlType) -> Detector:
    """What reads a map that is drawn already; a detector of photos where the condition has nothing of the kind."""
    return next((one for one in control.detectors if one.reads == "map"), None) or runnable(catalog, control)


def suggested(start: Defaults) -> dict[str, Any]:
    """The fields of a recipe that a model's card suggests."""
    shared = set(Recipe.model_fields) & set(type(start).model_fields)
    return {name: getattr(start, name) for name in shared}
