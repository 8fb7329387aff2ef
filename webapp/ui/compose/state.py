"""A composition: one to four controls over one photo in one frame. Its state, and what happens to it; draws nothing.

Every layer's document lives in the hub under the layer's slot, of the frame's size. A removed layer's drawing stays
there: adding the same control again brings it back.
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
from controlnet_core.models.catalog import ModelCard
from webapp.application import services
from webapp.application.choices import Choices, Networks, networks_for
from webapp.ui.drawing.examples import scene
from webapp.ui.drawing.layers import placed
from webapp.ui.page_state_store import recall
from webapp.ui.session import Wish

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
class Composition(Wish):
    """The state of the Compose page. `chosen` is the slot of the layer in the editor, `frame` width and height in pixels.

    `photo` is the blob of a photo under all layers, `view` what the middle of the page shows.
    """

    layers: list[Layer] = field(default_factory=list[Layer])
    chosen: str = ""
    view: View = "draw"
    photo: str | None = None
    photo_resize: Resize = "crop"
    frame: tuple[int, int] = (512, 512)

    @property
    def layer(self) -> Layer | None:
        """The layer in the editor."""
        return next((layer for layer in self.layers if layer.slot == self.chosen), None)

    @property
    def acting(self) -> list[Layer]:
        """The layers that count."""
        return [layer for layer in self.layers if layer.shown]


def load() -> Composition:
    """The composition as this workspace left it; else a scene with a layout and people."""
    left = recall(KEY, Composition)
    if left is not None:
        left.layers = [layer for layer in left.layers if layer.control in services.studio().controls][:LAYERS_MAX]
        return left
    at = Composition(KEY, "", Choices())
    begin_with(at, SCENES[0])
    return at


def begin_with(at: Composition, seed: int) -> None:
    """Replace all layers by those of a scene; drawings in their slots can be brought back by undo."""
    at.layers, at.view = [], "draw"
    for control in SCENE_CONTROLS:
        example = scene(seed, control)
        layer = add(at, control)
        assert layer is not None
        at.prompt = example.prompt
        put(layer, example.make(*at.frame))


def add(at: Composition, control: str) -> Layer | None:
    """A new layer on top, now in the editor; None when there are enough."""
    if len(at.layers) >= LAYERS_MAX:
        return None
    taken = {layer.slot for layer in at.layers}
    slot = next(f"{KEY}.{control}.{n}" for n in range(1, LAYERS_MAX + 1) if f"{KEY}.{control}.{n}" not in taken)
    photo = services.studio().control(control).group == "photo"
    layer = Layer(control, slot, resize="crop" if photo else "fit")
    at.layers.insert(0, layer)
    at.chosen, at.view = slot, "draw"
    return layer


def remove(at: Composition, slot: str) -> None:
    """Take a layer out; the one beside it comes into the editor."""
    index = next((i for i, layer in enumerate(at.layers) if layer.slot == slot), None)
    if index is None:
        return
    del at.layers[index]
    if at.chosen == slot:
        at.chosen = at.layers[min(index, len(at.layers) - 1)].slot if at.layers else ""
        at.view = "draw"


def move(at: Composition, slot: str, by: int) -> None:
    """Move a layer up (-1) or down (1)."""
    index = next((i for i, layer in enumerate(at.layers) if layer.slot == slot), None)
    if index is not None and 0 <= index + by < len(at.layers):
        at.layers.insert(index + by, at.layers.pop(index))


def token(layer: Layer, frame: tuple[int, int], *, mask: bool = False) -> str:
    """The hub's token of a layer's drawing, or of its mask; made empty when there is none."""
    slot = f"{layer.slot}.mask" if mask else layer.slot
    kind = "mask" if mask else services.studio().control(layer.control).document
    return services.studio().hub.open(services.workspace(), services.session(), slot, _empty(kind, *frame))


def put(layer: Layer, document: Document) -> None:
    """Put a document into a layer."""
    at = token(layer, (document.width, document.height))
    services.studio().hub.replace(at, documents.encode(document))
    services.studio().looks.leave(services.workspace(), layer.slot)


def is_empty(layer: Layer, frame: tuple[int, int]) -> bool:
    """Whether nothing is drawn in a layer yet."""
    return services.studio().hub.read(token(layer, frame))[1] == _empty(
        services.studio().control(layer.control).document, *frame
    )


def align(at: Composition) -> None:
    """Bring every document to the frame, each in its layer's way: one may have been opened or found at another size."""
    hub = services.studio().hub
    for layer in at.layers:
        for mask in (False, True) if layer.masked else (False,):
            held = token(layer, at.frame, mask=mask)
            document = hub.latest(held)[1]
            if (document.width, document.height) != at.frame:
                hub.replace(held, documents.encode(placed(document, *at.frame, layer.resize)))


def networks(layer: Layer, base: ModelCard) -> Networks:
    """The ControlNets that can carry a layer for a base model."""
    studio = services.studio()
    return networks_for(studio.catalog, base, studio.control(layer.control))


def photo_in_frame(at: Composition) -> str | None:
    """The blob of the photo as it lies in the frame: what detectors look at, so that all layers fit one another."""
    return _framed(at.photo, *at.frame, at.photo_resize) if at.photo else None


def drafts(at: Composition, base: ModelCard) -> list[services.Draft]:
    """The controls of the recipe. Raises StudioError."""
    hub = services.studio().hub
    made: list[services.Draft] = []
    for layer in at.acting:
        held = token(layer, at.frame)
        document = hub.latest(held)[1]
        made.append(
            services.Draft(
                layer.control,
                document,
                layer.params,
                weight=layer.weight,
                start=layer.start,
                end=layer.end,
                mode=layer.mode,
                network=networks(layer, base).chosen(layer.network) if layer.weight else None,
                resize=layer.resize,
                mask=mask_of(layer, at.frame),
                found=services.studio().looks.found(held),
            )
        )
    return made


def mask_of(layer: Layer, frame: tuple[int, int]) -> str | None:
    """The blob of a layer's mask; None when it acts everywhere, as it does while nothing is painted."""
    if not layer.masked:
        return None
    document = services.studio().hub.latest(token(layer, frame, mask=True))[1]
    if not isinstance(document, Raster) or not document.pixels.any():
        return None
    return services.studio().blobs.put(picture.to_png(picture.hwc3(document.pixels)))


@lru_cache(maxsize=16)
def _empty(kind: documents.DocumentKind, width: int, height: int) -> bytes:
    if kind == "skeleton":
        return documents.encode(Skeleton(width=width, height=height))
    shape = (height, width, 3) if kind == "rgb" else (height, width)
    return documents.encode(Raster(kind, np.zeros(shape, np.uint8)))


@lru_cache(maxsize=8)
def _framed(digest: str, width: int, height: int, how: Resize) -> str:
    studio = services.studio()
    return studio.blobs.put(picture.to_png(resize.fit(studio.photos.photo(digest), width, height, how)))
