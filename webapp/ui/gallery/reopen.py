"""Brings a picture's recipe back: prompt, settings and every document into the page that made it.

One control opens in its own editor, several open in Compose. What is not here any more (a model, a drawing) is left as it
is and said in one sentence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from components import Wanted
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import Value, values
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import ControlUnit, MicroConditioning, Recipe, Source, parse
from controlnet_core.families import UNKNOWN, Family
from controlnet_core.storage import foreign_settings
from webapp.application import validation
from webapp.application.choices import AsMade, Choices, InitImageChoice, ReferenceChoice, quick
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.compose import layers_panel, state
from webapp.ui.compose.state import Composition, Layer
from webapp.ui.drawing.sources import open_editor
from webapp.ui.generate import panels, settings_panel
from webapp.ui.messages import plain
from webapp.ui.session import ConditionPage, GenerationState, first_page, go_to, remember, remembered, set_widget

_SHARED = ("steps", "guidance", "sampler", "spacing", "eta", "added_prompt", "negative", "clip_skip", "vae")


def take(studio: Studio, wanted: Wanted, page: str) -> None:
    """Do what the wall or the drawer wants while the page at the path `page` is shown. Raises StudioError."""
    if wanted.kind == "reopen":
        result = studio.gallery.get(wanted.id)
        if result.owner == visitor.workspace():
            _note_as_own(studio, result.recipe)
        recipe(studio, result.recipe, page, _job_with_pictures(studio, result.job, (result.id,)))
    elif wanted.kind == "job":
        recipe(studio, asked(studio, wanted.id), page, _job_with_pictures(studio, wanted.id))
    elif wanted.kind == "studio":
        recipe(studio, parse(wanted.text), page)
    else:
        parameters(studio, wanted.text, page)


def asked(studio: Studio, job: str) -> Recipe:
    """The recipe of a job of this workspace, whatever became of it. Raises InputError for any other."""
    entry = studio.queue.get(validation.job_id(job))
    if entry.owner != visitor.workspace() or entry.kind != "recipe":
        raise InputError("There is no such job here.")
    made = parse(entry.work)
    _note_as_own(studio, made)
    return made


def _job_with_pictures(studio: Studio, id: str, alone: tuple[str, ...] = ()) -> str | None:
    """A job of this workspace that has made pictures; None for one that made others than those `alone`, or is known no more."""
    try:
        entry = studio.queue.get(id)
    except InputError:
        return None
    return id if entry.owner == visitor.workspace() and entry.kept and entry.kept == (alone or entry.kept) else None


def recipe(studio: Studio, made: Recipe, page: str, job: str | None = None) -> None:
    """Bring a recipe back and go to its page, with what of its pictures belongs to this workspace. Raises StudioError.

    A recipe is a text that anybody may write: that it names something does not open it. `job` is what made it here: its
    pictures are shown again.
    """
    missing: list[str] = []
    _use_model(studio, made, missing)
    if len(made.controls) > 1:
        at, path = _composition(studio, made, missing), state.KEY
        canvas = at.frame
    else:
        at, path = _desk(studio, made, missing), made.controls[0].control if made.controls else first_page()
        canvas = panels.canvas_of(studio, at.token)
    at.job = job
    _words(at, made.prompt)
    settings_panel.adopt(at, _choices(studio, made, canvas, missing))
    at.begin = _start(studio, made.source, at, missing) if made.source else None
    at.references = _references(studio, made, missing)
    lost = f" Not here, or not yours: {', '.join(missing)}." if missing else ""
    _go(path, page, f"Everything is back as it was made.{lost}" if not lost else f"Brought back.{lost}")


def parameters(studio: Studio, text: str, page: str) -> None:
    """Fill what the settings of another program say into the page that is shown, else into the first. Raises InputError."""
    settings = foreign_settings.read(text)
    if settings is None or not settings.fields:
        held = f" It holds {', '.join(settings.left_out)}." if settings else ""
        raise InputError(f"There are no settings in this picture that can be read.{held}")
    found = settings.fields
    path = page if page in studio.controls or page == state.KEY else first_page()
    at = layers_panel.open_composition(studio) if path == state.KEY else panels.open_desk(studio, path)
    _words(at, found.get("prompt", at.prompt))
    shared = {name: value for name, value in found.items() if name in (*_SHARED, "seed")}
    size: dict[str, int] = {}
    if "width" in found:
        family = studio.catalog.family(panels.model_card(studio))
        size["size"] = _size(family, found["width"], found["height"])
    if "sampler" in shared:
        shared.setdefault("spacing", "model")
    settings_panel.adopt(at, replace(at.choices, **shared, **size))
    names = [name for name in ("prompt", "negative", "steps", "sampler", "guidance", "seed") if name in found]
    lost = f" Left out: {'; '.join(settings.left_out)}." if settings.left_out else ""
    _go(path, page, f"Taken over from {settings.program}: {', '.join([*names, *size])}.{lost}")


def tell_notice() -> None:
    """Say, once, what the last reopening brought."""
    notice = remembered("notice", None)
    if notice:
        remember("notice", None)
        st.toast(plain(notice), icon=":material/restore_page:")


def _go(path: str, page: str, notice: str) -> None:
    remember("notice", notice)
    if path != (page or first_page()):
        go_to(path)


def _use_model(studio: Studio, made: Recipe, missing: list[str]) -> None:
    catalog = studio.catalog
    if catalog.has(made.model):
        remember("model", made.model)
    else:
        missing.append(f"the model {made.model}")
    added = [
        *(lora.key for lora in made.loras),
        *made.embeddings,
        *(one.adapter for one in made.references),
        *(unit.network for unit in made.controls),
        made.vae,
    ]
    missing += [str(key) for key in added if key and not catalog.has(key)]


def _desk(studio: Studio, made: Recipe, missing: list[str]) -> ConditionPage:
    unit = made.controls[0] if made.controls else None
    if unit is not None and unit.control not in studio.controls:
        raise InputError(f"This picture was made with a control that is not known here: {unit.control}.")
    at = panels.open_desk(studio, unit.control if unit else first_page())
    if unit is not None and _land(studio, unit.control, unit, missing):
        open_editor(at.key)
        at.shapes = at.shapes_now = at.shapes_first = None  # they are part of the drawing now
        at.shapes_round += 1
    return at


def _composition(studio: Studio, made: Recipe, missing: list[str]) -> Composition:
    at = layers_panel.open_composition(studio)
    layers: list[Layer] = []
    size = made.width, made.height
    photo: str | None = None
    for unit in made.controls:
        number = 1 + sum(layer.control == unit.control for layer in layers)
        slot = f"{state.KEY}.{unit.control}.{number}"
        size = _land(studio, slot, unit, missing) or size
        photo = photo or (unit.found.picture if unit.found and _is_here(studio, unit.found.picture) else None)
        if unit.mask is not None:
            _land_mask(studio, f"{slot}.mask", unit.mask, missing)
        layers.append(
            Layer(
                unit.control,
                slot,
                weight=unit.weight,
                start=unit.start,
                end=unit.end,
                mode=unit.mode,
                resize=unit.resize,
                network=unit.network,
                masked=unit.mask is not None,
                params=_drawn(studio, unit, missing),
            )
        )
    at.layers, at.chosen, at.frame, at.view, at.photo = layers, layers[0].slot, size, "draw", photo
    return at


def _land(studio: Studio, slot: str, unit: ControlUnit, missing: list[str]) -> tuple[int, int] | None:
    """Put a control's document into its slot, and behind it the photo that it was found in.

    Returns the document's width and height, None when it is not here any more.
    """
    try:
        data = studio.blobs.get(_own(studio, unit.document or ""))
        document = documents.decode(data)
    except InputError:
        missing.append("its drawing")
        return None
    studio.documents.land(visitor.workspace(), slot, data)
    _note(studio, slot, unit, (document.width, document.height), missing)
    return document.width, document.height


def _note(studio: Studio, slot: str, unit: ControlUnit, size: tuple[int, int], missing: list[str]) -> None:
    found = unit.found
    try:
        if found is None:
            studio.photo_detections.leave(visitor.workspace(), slot)
            return
        made = studio.photos.detection(unit.control, found.detector, found.picture, found.values, size=size)
        studio.photos.photo(_own(studio, found.picture))
        studio.photo_detections.note(visitor.workspace(), slot, made)
    except InputError:
        missing.append("the photo that it was found in")


def _drawn(studio: Studio, unit: ControlUnit, missing: list[str]) -> dict[str, Value]:
    """How a control was drawn; what this studio does not know, or not any more, is left out."""
    control = studio.controls.get(unit.control)
    params = control.params if control else ()
    try:
        return values(params, {param.key: unit.values[param.key] for param in params if param.key in unit.values})
    except InputError:
        missing.append("how its drawing was drawn")
        return {}


def _land_mask(studio: Studio, slot: str, digest: str, missing: list[str]) -> None:
    try:
        grey = picture.open_picture(studio.blobs.get(_own(studio, digest)))[:, :, 0]
    except InputError:
        missing.append("a mask")
        return
    studio.documents.land(visitor.workspace(), slot, documents.encode(Raster("mask", grey)))


def _choices(studio: Studio, made: Recipe, canvas: tuple[int, int], missing: list[str]) -> Choices:
    """The settings of a recipe, on a canvas (width, height)."""
    unit = made.controls[0] if len(made.controls) == 1 else None
    acting: dict[str, Any] = {}
    if unit is not None:
        acting = {
            "weight": unit.weight,
            "start": unit.start,
            "end": unit.end,
            "mode": unit.mode,
            "network": unit.network,
            "params": _drawn(studio, unit, missing),
        }
    if not made.controls:
        acting = {"weight": 0.0}
    card = studio.catalog.card(made.model) if studio.catalog.has(made.model) else None
    family = studio.catalog.family(card) if card else UNKNOWN
    size, sides = _size(family, made.width, made.height), (made.width, made.height)
    paced = quick(studio.catalog, card) if card else []
    return Choices(
        quick=next((one.key for one in paced if one.key in {lora.key for lora in made.loras}), ""),
        size=size,
        as_made=AsMade(canvas, size, sides) if family.picture_size(*canvas, size) != sides else None,
        images=made.images,
        seed=made.seed,
        loras={lora.key: lora.weight for lora in made.loras},
        variation=made.variation_strength,
        variation_seed=made.variation_seed,
        micro=made.micro_conditioning or MicroConditioning(),
        **{name: getattr(made, name) for name in _SHARED},
        **acting,
    )


def _size(family: Family, width: int, height: int) -> int:
    """The size, of those in the settings, that comes nearest to a picture's sides."""
    return min(family.side_max, max(settings_panel.SIZE_MIN_PX, family.size_of(width, height)))


def _references(studio: Studio, made: Recipe, missing: list[str]) -> list[ReferenceChoice]:
    here = [one for one in made.references if _is_here(studio, one.picture)]
    if len(here) < len(made.references):
        missing.append("a picture that it was to be like")
    return [
        ReferenceChoice(one.picture, one.weight, one.start, one.end, one.adapter or "", one.kind, one.style_fidelity)
        for one in here
    ]


def _start(studio: Studio, source: Source, at: GenerationState, missing: list[str]) -> InitImageChoice | None:
    if not _is_here(studio, source.picture):
        missing.append("the picture that it started from")
        return None
    if source.mask is not None:
        _land_mask(studio, f"{at.key}.change", source.mask, missing)
    return InitImageChoice(
        source.picture,
        "from the gallery",
        strength=source.strength,
        masked=source.mask is not None,
        fill=source.fill,
        blur_px=source.blur_px,
    )


def _note_as_own(studio: Studio, made: Recipe) -> None:
    """What one's own recipe names is one's own, also where it was made before such things were noted."""
    studio.belongings.give(visitor.workspace(), *made.digests)


def _own(studio: Studio, digest: str) -> str:
    return studio.belongings.check(visitor.workspace(), digest)


def _is_here(studio: Studio, digest: str) -> bool:
    return digest in studio.blobs and studio.belongings.has(visitor.workspace(), digest)


def _words(at: GenerationState, prompt: str) -> None:
    at.prompt = prompt
    set_widget(f"{at.key}.prompt", prompt)
