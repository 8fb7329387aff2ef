"""The studio for scripts and notebooks, without a server: a worker process of its own makes pictures and finds maps.

    from controlnet_studio import Studio

    with Studio() as studio:
        pictures = studio.generate("a red house", control={"seg": classes}, seed=7)
        pictures[0].save("made.png")

Queues, recipes and models are those of the pages: the same recipe makes the same pixels. Torch stays in the worker, so the
memory of a device is free again as soon as the studio is closed.
"""

from __future__ import annotations

import io
import secrets
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotator import detection as detecting
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import ControlType, Rgb, Value
from controlnet_core.domain.document import Document, Raster, Skeleton
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.recipe import Fill, Found, Lora, Mode, Recipe, Resize, refusal
from controlnet_core.storage.metadata import recipe_of
from controlnet_core.storage.store import write
from webapp.application import studio as application
from webapp.application import views
from webapp.application.recipe_builder import Draft, Finished, Photo, finished_map, map_reader, runnable
from webapp.application.settings import Settings

_SESSION, _OWNER = "notebook", "0" * 32


@dataclass(frozen=True)
class Picture:
    """A picture as a PNG; shown by notebooks, read by numpy, and saved with its recipe inside."""

    png: bytes = field(repr=False)

    @property
    def rgb(self) -> Rgb:
        """Its pixels: uint8, height x width x 3, RGB."""
        return picture.open_picture(self.png)

    @property
    def recipe(self) -> Recipe | None:
        """What makes it again, where it was made."""
        return recipe_of(self.png)

    def save(self, path: str | Path) -> None:
        """Write it as a PNG. Raises NoSpace."""
        write(Path(path), self.png, free_min_bytes=0, private=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.rgb, dtype)

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Map(Picture):
    """What a detector found: its picture as a ControlNet sees it, the `document` that an editor opens, and how it was `found`."""

    control: str
    document: Document = field(repr=False)
    found: Found | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Control:
    """A control with more to say than its picture; see `webapp.application.recipe_builder.Draft`.

    `detector` says what looks at a photo ("": a finished map is taken as it is); "map" that it is a map whatever it looks like.
    """

    picture: Any
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    resize: Resize = "stretch"
    mask: Any = None
    network: str | None = None
    detector: str = ""
    detector_values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])


class Studio:
    """Makes pictures and finds maps in this process's name, until it is closed. Safe across threads.

    `models` is the folder of the models (default: the studio's own), `device` where pictures are made ("cuda:0", "cpu"; default
    every GPU, else the processor). With `data` what is made is kept in that folder as pages keep it; without, it is kept
    nowhere. Raises StudioError when a studio is running on that folder, or the device is not here.

    A picture is given as the path or the bytes of a file, an array (H,W, H,W,3 or H,W,4), a Pillow image, or one of ours.
    """

    def __init__(self, *, models: str | Path | None = None, data: str | Path | None = None, device: str = "") -> None:
        own = Settings.from_environment()
        folder = None if data is not None else tempfile.TemporaryDirectory(prefix="studio-", ignore_cleanup_errors=True)
        settings = replace(
            own,
            data=Path(folder.name if folder is not None else data or "").resolve(),
            models=own.models if models is None else Path(models).resolve(),
            devices=device or own.devices,
        )
        self._studio = application.Studio(settings)
        try:
            self._studio.claim()
        except StudioError:
            if folder is not None:
                folder.cleanup()
            raise
        self._end = weakref.finalize(self, _close, self._studio, folder)
        self._studio.dispatcher.start()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, within ten seconds: its memory is free again. What runs is stopped."""
        self._end()

    def models(self) -> dict[str, str]:
        """The titles of the base models that are here, by the names that `generate` takes."""
        return {card.id: card.title for card in self._studio.catalog.bases()}

    def controls(self) -> dict[str, str]:
        """The titles of all conditions, by the names that `generate` and `detect` take."""
        return {key: control.title for key, control in self.conditions().items()}

    def conditions(self) -> Mapping[str, ControlType]:
        """Everything about the conditions, by the same names."""
        return self._studio.controls

    def interrupt(self) -> None:
        """Stop what runs and waits; whoever waits for it is told."""
        for entry in self._studio.queue.open(_SESSION):
            self._studio.cancel(entry.id)

    def generate(
        self,
        prompt: str = "",
        *,
        control: Mapping[str, Any] | None = None,
        model: str = "",
        start_from: Any = None,
        mask: Any = None,
        strength: float = 0.75,
        fill: Fill = "original",
        loras: Mapping[str, float] | None = None,
        on_step: Callable[[int, int], None] | None = None,
        **fields: Any,
    ) -> list[Picture]:
        """Pictures of a prompt that follow controls.

        `control` gives each condition its picture, or a `Control`: a finished map (uint8; `seg` takes class numbers from 0 as
        well, whole numbers H,W), a photo to look at, or what `detect` found. `start_from` is a picture to start from, `strength`
        how far to go from it, `mask` white where it is made anew. `fields` are those of a recipe: negative, added_prompt, width,
        height, images, steps, guidance, sampler, spacing, preset, seed (-1 draws one), eta, embeddings, vae, clip_skip,
        micro_conditioning, variation_seed, variation_strength; what is left out is what the model's card suggests,
        and the size is that of the first picture that is given. `on_step(step, steps)` is told of every step. An interrupt
        stops the job.

        Raises StudioError in one sentence.
        """
        base = self._studio.catalog.base(model)
        drafts = [self._draft(key, given) for key, given in (control or {}).items()]
        source = None
        if start_from is not None:
            image = self._studio.photos.keep(_bytes(start_from))
            white = None if mask is None else self._white(mask)
            source = self._studio.builder.source(image, strength=strength, mask=white, fill=fill)
        elif mask is not None:
            raise InputError("A mask says what of a picture is made anew.", "Give start_from as well.")
        if loras:
            fields["loras"] = tuple(_lora(key, weight) for key, weight in loras.items())
        if fields.get("width") is None and fields.get("height") is None:
            sides = self._sides(drafts, None if source is None else source.picture)
            if sides is not None:
                size = min(base.defaults.width, base.defaults.height)
                fields["width"], fields["height"] = self._studio.catalog.family(base).picture_size(*sides, size)
        recipe = self._builder.for_base(base, drafts, prompt=prompt, source=source, **fields)
        return [Picture(self._studio.gallery.get(id).png.read_bytes()) for id in self._made(recipe, on_step)]

    def detect(self, control: str, photo: Any, *, detector: str = "", shorter: int = 512, **values: Value) -> Map:
        """The map of a photo.

        `detector` is one of the condition's, by default the first whose networks are here; `values` are its parameters and
        those of how the map is drawn. `shorter` is the map's shorter side in pixels. Raises StudioError in one sentence.
        """
        kind = self._studio.control(control)
        found = detecting.detector(kind, detector) if detector else runnable(self._studio.catalog, kind)
        own = {param.key for param in found.params}
        unit = self._builder.unit(
            Draft(
                control,
                Photo(
                    self._photo(_bytes(photo), found.alpha),
                    found.key,
                    {key: value for key, value in values.items() if key in own},
                    shorter=shorter,
                ),
                controls_of.values(kind.params, {key: value for key, value in values.items() if key not in own}),
            )
        )
        blobs = self._studio.blobs
        return Map(blobs.get(unit.picture), control, documents.decode(blobs.get(unit.document or "")), unit.found)

    @property
    def _builder(self) -> application.RecipeBuilder:
        if not self._end.alive:
            raise StudioError("This studio is closed.", "Make another one: Studio().")
        return self._studio.builder_for(_SESSION, _OWNER)

    def _made(self, recipe: Recipe, on_step: Callable[[int, int], None] | None) -> list[str]:
        job = secrets.token_hex(16)

        def hear(_session: str, event: views.Event) -> None:
            if event.job == job and event.kind == "step" and on_step is not None:
                on_step(event.step, event.steps)

        end = self._studio.events.subscribe(hear)
        try:
            self._studio.submit(_SESSION, recipe, owner=_OWNER, id=job, lifetime="detached")
            entry = self._studio.wait(job)
        except BaseException:  # an interrupt, too: nobody waits for the picture any more
            with suppress(StudioError):
                self._studio.cancel(job)
            raise
        finally:
            end()
        if entry.state != "done":
            raise StudioError(entry.text or "The job was stopped.", entry.hint)
        return list(entry.kept)

    def _draft(self, key: str, given: Any) -> Draft:
        asked = given if isinstance(given, Control) else Control(given)
        kind = self._studio.control(key)
        return Draft(
            key,
            self._content(kind, asked),
            controls_of.values(kind.params, asked.values),
            weight=asked.weight,
            start=asked.start,
            end=asked.end,
            mode=asked.mode,
            network=asked.network,
            resize=asked.resize,
            mask=None if asked.mask is None else self._white(asked.mask),
            found=asked.picture.found if isinstance(asked.picture, Map) else None,
        )

    def _content(self, kind: ControlType, asked: Control) -> Document | Finished | Photo:
        given = asked.picture
        if isinstance(given, Map):
            if given.control == kind.key:
                return given.document
            raise InputError(f"This is a map of {given.control}.", f"Give it as control={{{given.control!r}: ...}}.")
        if isinstance(given, (Raster, Skeleton)):
            return given
        data = _bytes(given)
        if asked.detector in ("", "map"):
            plain = isinstance(given, np.ndarray) and given.ndim == 2
            found = finished_map(kind, data, sure=asked.detector == "map", numbers="0" if plain else "auto")
            if found is not None:
                return found[0]
        looks = detecting.detector(kind, asked.detector) if asked.detector else map_reader(self._studio.catalog, kind)
        rgb = picture.open_picture(data)
        size = detecting.photo_size(*rgb.shape[:2])
        return Photo(self._photo(data, looks.alpha), looks.key, asked.detector_values, size=size)

    def _photo(self, data: bytes, alpha: bool) -> str:
        """The blob of a photo; with its holes, for a detector that wants them."""
        if alpha:
            return self._studio.blobs.put(picture.to_png(picture.open_picture(data, alpha=True)))
        return self._studio.photos.keep(data)

    def _white(self, given: Any) -> str:
        """The blob of a mask."""
        return self._studio.blobs.put(picture.to_png(picture.open_mask(_bytes(given))))

    def _sides(self, drafts: list[Draft], start: str | None) -> tuple[int, int] | None:
        """Width and height of the picture to start from, else of the first control."""
        if start is not None:
            return self._studio.photos.photo(start).shape[1::-1]  # type: ignore[return-value]
        for draft in drafts:
            if isinstance(draft.given, Finished):
                return draft.given.picture.shape[1::-1]  # type: ignore[return-value]
            if isinstance(draft.given, Photo):
                return self._studio.photos.photo(draft.given.photo).shape[1::-1]  # type: ignore[return-value]
            return draft.given.width, draft.given.height
        return None


def _close(studio: application.Studio, folder: tempfile.TemporaryDirectory[str] | None) -> None:
    for entry in studio.queue.open(_SESSION):
        studio.cancel(entry.id)  # whoever waits in another thread is told
    studio.stop()
    if folder is not None:
        folder.cleanup()


def _bytes(given: Any) -> bytes:
    """The file of a picture, however it is given. Raises InputError."""
    if isinstance(given, Picture):
        return given.png
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(given)
    if isinstance(given, (str, Path)):
        try:
            return Path(given).read_bytes()
        except OSError as error:
            raise InputError(f"{given} cannot be read: {error.strerror}.") from error
    if isinstance(given, Image.Image):
        file = io.BytesIO()
        given.save(file, "PNG")
        return file.getvalue()
    return picture.to_png(_pixels(np.asarray(given)))


def _pixels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array as uint8: truth as ink, shares of 1 as 255, whole numbers as they are (-1, for nothing, as 255)."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise InputError("A picture is an array of H,W, H,W,3 or H,W,4.", f"This one has the shape {array.shape}.")
    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.dtype.kind in "iuf" else (np.nan, np.nan)
    if pixels.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.round(pixels * 255).astype(np.uint8)
    if pixels.dtype.kind in "iu" and low >= -1 and high <= 255:
        return np.where(pixels < 0, 255, pixels).astype(np.uint8)
    raise InputError(
        "The numbers of this array are no picture.", "Give whole numbers from 0 to 255, shares from 0 to 1, or truth."
    )


def _lora(key: str, weight: float) -> Lora:
    from pydantic import ValidationError

    try:
        return Lora(key=key, weight=weight)
    except ValidationError as error:
        raise refusal(error) from error
