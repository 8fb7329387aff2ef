"""A composition: one to four controls over one photo in one frame, and what it is to be like. Its state; draws nothing.

Every layer's document lies open under the layer's slot, of the frame's size. A removed layer's drawing stays
there: adding the same control again brings it back. References are layers too, below all others: they lie nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from controlnet_core.domain import document as documents
from controlnet_core.domain import picture, resize
from controlnet_core.domain.control import Value
from controlnet_core.domain.document import Document, Raster, Skeleton
from controlnet_core.domain.recipe import Mode, Resize
from controlnet_core.families import Family
from controlnet_core.models.catalog import ModelCard
from controlnet_core.storage.foreign_settings import sides_within
from webapp.application.choices import Choices, Networks, ReferenceChoice, networks_for
from webapp.application.examples import scene
from webapp.application.layers import placed
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.generate import references
from webapp.ui.generate.references import REFERENCES_MAX
from webapp.ui.page_state_store import recall
from webapp.ui.session import GenerationState

KEY = "compose"
LAYERS_MAX = 4
FRAMES: dict[str, tuple[int, int]] = {
    "Square": (512, 512),
    "Landscape 4:3": (768, 576),
    "Landscape 3:2": (768, 512),
    "Landscape 16:9": (1024, 576),
    "Portrait 3:4": (576, 768),
    "Portrait 2:3": (512, 768),
    "Portrait 9:16": (576, 1024),
}
"""The frames of models that are at home at 512 px; of others see `frames`."""
SCENES = (163, 164, 123, 144, 131, 134)
"""Scenes of the rendered world with people in them: their layouts and poses belong together."""
SCENE_CONTROLS = ("seg", "pose")
View = Literal["draw", "mask", "sees"]


@dataclass
class Layer:
    """One control: its document's slot, whether it counts, how it acts and where."""

    control: str
    slot: str
    shown: bool = True
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    resize: Resize = "fit"
    network: str | None = None
    masked: bool = False
    params: dict[str, Value] = field(default_factory=dict[str, Value])


@dataclass
class Composition(GenerationState):
    """The state of the Compose page. `chosen` is the slot of the layer in the editor, or `reference_slot` of a reference.

    `frame` is width and height in pixels, `photo` the blob of a photo under all layers, `view` what the middle of the page shows.
    `removed` is the layer that was removed last, and its place.
    """

    layers: list[Layer] = field(default_factory=list[Layer])
    chosen: str = ""
    view: View = "draw"
    photo: str | None = None
    photo_resize: Resize = "crop"
    frame: tuple[int, int] = (512, 512)
    removed: tuple[int, Layer] | None = None

    @property
    def layer(self) -> Layer | None:
        """The layer in the editor."""
        return next((layer for layer in self.layers if layer.slot == self.chosen), None)

    @property
    def reference(self) -> int | None:
        """The number of the reference that is chosen in place of a layer."""
        return next((n for n in range(len(self.references)) if self.chosen == reference_slot(n)), None)

    @property
    def acting(self) -> list[Layer]:
        """The layers that count."""
        return [layer for layer in self.layers if layer.shown]


def reference_slot(number: int) -> str:
    """What `Composition.chosen` says for a reference."""
    return f"reference.{number}"


def frames(family: Family) -> dict[str, tuple[int, int]]:
    """The shapes that a picture may have, at sizes that suit a family: those it was trained at, else in proportion to its own."""
    if family.aspects:
        return {name: family.shape_like(*shape) for name, shape in FRAMES.items()}
    scale = max(1.0, family.native[0] / 512)
    return {name: sides_within(family.side_max, round(w * scale), round(h * scale)) for name, (w, h) in FRAMES.items()}


def load(studio: Studio) -> Composition:
    """The composition as this workspace left it; else a scene with a layout and people."""
    left = recall(studio, KEY, Composition)
    if left is not None:
        left.layers = [layer for layer in left.layers if layer.control in studio.controls][:LAYERS_MAX]
        return left
    at = Composition(KEY, "", Choices())
    begin_with(studio, at, SCENES[0])
    return at


def begin_with(studio: Studio, at: Composition, seed: int) -> None:
    """Replace all layers by those of a scene; drawings in their slots can be brought back by undo."""
    at.layers, at.view, at.removed = [], "draw", None
    for control in SCENE_CONTROLS:
        example = scene(seed, control)
        layer = add(studio, at, control)
        assert layer is not None
        at.prompt = example.prompt
        put(studio, layer, example.make(*at.frame))


def add(studio: Studio, at: Composition, control: str) -> Layer | None:
    """A new layer on top, now in the editor; None when there are enough."""
    if len(at.layers) >= LAYERS_MAX:
        return None
    taken = {layer.slot for layer in at.layers}
    slot = next(f"{KEY}.{control}.{n}" for n in range(1, LAYERS_MAX + 1) if f"{KEY}.{control}.{n}" not in taken)
    photo = studio.control(control).group != "draw"
    layer = Layer(control, slot, resize="crop" if photo else "fit")
    at.layers.insert(0, layer)
    at.removed = at.dropped = None
    at.chosen, at.view = slot, "draw"
    return layer


def remove(at: Composition, slot: str) -> None:
    """Take a layer out; the one beside it comes into the editor. `restore` undoes it."""
    index = next((i for i, layer in enumerate(at.layers) if layer.slot == slot), None)
    if index is None:
        return
    at.removed, at.dropped = (index, at.layers.pop(index)), None
    if at.chosen == slot:
        _choose_beside(at, index)


def restore(at: Composition) -> None:
    """Bring back the layer or the reference that was removed last, and choose it."""
    if at.removed is not None:
        index, layer = at.removed
        at.layers.insert(index, layer)
        at.chosen, at.view, at.removed = layer.slot, "draw", None
    elif at.dropped is not None:
        at.chosen, at.view = reference_slot(at.dropped[0]), "draw"
        references.back(at)


def add_reference(at: Composition) -> None:
    """One more reference, which waits for its picture, now in the middle; nothing when there are enough."""
    if len(at.references) < REFERENCES_MAX:
        at.references = [*at.references, ReferenceChoice()]
        at.removed = at.dropped = None
        at.chosen, at.view = reference_slot(len(at.references) - 1), "draw"


def remove_reference(at: Composition, number: int) -> None:
    """Take a reference out; the one beside it is chosen. `restore` undoes it."""
    references.drop(at, number)
    at.removed = None
    if at.references:
        at.chosen, at.view = reference_slot(min(number, len(at.references) - 1)), "draw"
    else:
        _choose_beside(at, 0)


def move_reference(at: Composition, number: int, by: int) -> None:
    """Move a reference up (-1) or down (1); it stays chosen."""
    if 0 <= number + by < len(at.references):
        references.move(at, number, by)
        at.chosen = reference_slot(number + by)


def _choose_beside(at: Composition, index: int) -> None:
    at.chosen = at.layers[min(index, len(at.layers) - 1)].slot if at.layers else ""
    at.view = "draw"


def move(at: Composition, slot: str, by: int) -> None:
    """Move a layer up (-1) or down (1)."""
    index = next((i for i, layer in enumerate(at.layers) if layer.slot == slot), None)
    if index is not None and 0 <= index + by < len(at.layers):
        at.layers.insert(index + by, at.layers.pop(index))


def token(studio: Studio, layer: Layer, frame: tuple[int, int], *, mask: bool = False) -> str:
    """The token of a layer's drawing, or of its mask; made empty when there is none."""
    slot = f"{layer.slot}.mask" if mask else layer.slot
    control = studio.control(layer.control)
    empty = _empty("mask", 0, *frame) if mask else _empty(control.document, control.paper, *frame)
    return visitor.open_document(studio, slot, empty)


def put(studio: Studio, layer: Layer, document: Document) -> None:
    """Put a document into a layer."""
    at = token(studio, layer, (document.width, document.height))
    studio.documents.replace(at, documents.encode(document))
    studio.photo_detections.leave(visitor.workspace(), layer.slot)


def is_empty(studio: Studio, layer: Layer, frame: tuple[int, int]) -> bool:
    """Whether nothing is drawn in a layer yet."""
    control = studio.control(layer.control)
    return studio.documents.read(token(studio, layer, frame))[1] == _empty(control.document, control.paper, *frame)


def align(studio: Studio, at: Composition) -> None:
    """Bring every document to the frame, each in its layer's way: one may have been opened or found at another size."""
    for layer in at.layers:
        for mask in (False, True) if layer.masked else (False,):
            held = token(studio, layer, at.frame, mask=mask)
            document = studio.documents.latest(held)[1]
            if (document.width, document.height) != at.frame:
                studio.documents.replace(held, documents.encode(placed(document, *at.frame, layer.resize)))


def networks(studio: Studio, layer: Layer, base: ModelCard) -> Networks:
    """The ControlNets that can carry a layer for a base model."""
    return networks_for(studio.catalog, base, studio.control(layer.control))


def photo_in_frame(studio: Studio, at: Composition) -> str | None:
    """The blob of the photo as it lies in the frame: what detectors look at, so that all layers fit one another."""
    return _framed(studio, at.photo, *at.frame, at.photo_resize) if at.photo else None


def drafts(studio: Studio, at: Composition, base: ModelCard) -> list[Draft]:
    """The controls of the recipe. Raises StudioError."""
    made: list[Draft] = []
    for layer in at.acting:
        held = token(studio, layer, at.frame)
        document = studio.documents.latest(held)[1]
        made.append(
            Draft(
                layer.control,
                document,
                layer.params,
                weight=layer.weight,
                start=layer.start,
                end=layer.end,
                mode=layer.mode,
                network=networks(studio, layer, base).chosen(layer.network) if layer.weight else None,
                resize=layer.resize,
                mask=mask_of(studio, layer, at.frame),
                found=studio.photo_detections.found(held),
            )
        )
    return made


def mask_of(studio: Studio, layer: Layer, frame: tuple[int, int]) -> str | None:
    """The blob of a layer's mask; None when it acts everywhere, as it does while nothing is painted."""
    if not layer.masked:
        return None
    document = studio.documents.latest(token(studio, layer, frame, mask=True))[1]
    if not isinstance(document, Raster) or not document.pixels.any():
        return None
    return studio.blobs.put(picture.to_png(picture.hwc3(document.pixels)))


@lru_cache(maxsize=16)
def _empty(kind: documents.DocumentKind, paper: int, width: int, height: int) -> bytes:
    if kind == "skeleton":
        return documents.encode(Skeleton(width=width, height=height))
    shape = {"rgb": (height, width, 3), "rgba": (height, width, 4)}.get(kind, (height, width))
    return documents.encode(Raster(kind, np.full(shape, paper, np.uint8)))


@lru_cache(maxsize=8)
def _framed(studio: Studio, digest: str, width: int, height: int, how: Resize) -> str:
    return studio.blobs.put(picture.to_png(resize.fit(studio.photos.photo(digest), width, height, how)))
