"""The units of A1111's ControlNet extension: modules (preprocessors) and models by the names that people know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotator.detection import CANVAS_MAX_PX, CANVAS_MIN_PX, detector
from controlnet_core.domain import control as controls_of
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import ControlType, Detector, Param, Rgb, Value
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import Mode, Resize, Source
from controlnet_core.execution import decoder
from controlnet_core.models.catalog import ModelCard, said_by
from webapp.api import pictures
from webapp.api.names import Notes, nearest, pick, shown
from webapp.application import given_maps
from webapp.application.choices import networks_for
from webapp.application.recipe_builder import Draft, Finished, Photo
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown

UNITS_MAX = 4
MAP_PX = 512
MODULES: dict[str, tuple[str, str]] = {
    "none": ("", ""),
    "invert (from white bg & black line)": ("", ""),
    "canny": ("canny", "canny"),
    "depth_midas": ("depth", "dpt"),
    "depth_anything_v2": ("depth", "anything"),
    "normal_midas": ("normal", "dpt"),
    "mlsd": ("lines", "mlsd"),
    "lineart_realistic": ("lineart", "fine"),
    "lineart_coarse": ("lineart", "coarse"),
    "lineart_standard (from white bg & black line)": ("lineart", "classical"),
    "lineart_anime": ("lineart_anime", "anime"),
    "openpose": ("pose", "openpose"),
    "openpose_full": ("pose", "openpose_full"),
    "scribble_hed": ("scribble", "hed"),
    "scribble_xdog": ("scribble", "xdog"),
    "softedge_hed": ("softedge", "hed"),
    "seg_ufade20k": ("seg", "upernet"),
    "seg_ofade20k": ("seg", "oneformer"),
}
"""The condition and the detector behind each module; two look at nothing."""
_ALIASES = {
    "invert": "invert (from white bg & black line)",
    "depth": "depth_midas",
    "depth_anything": "depth_anything_v2",
    "normal_map": "normal_midas",
    "lineart": "lineart_realistic",
    "lineart_standard": "lineart_standard (from white bg & black line)",
    "hed": "softedge_hed",
    "segmentation": "seg_ufade20k",
    "oneformer_ade20k": "seg_ofade20k",
}
_TYPES = {
    "Canny": "canny", "Depth": "depth", "NormalMap": "normal", "OpenPose": "pose", "MLSD": "lines", "Lineart": "lineart",
    "SoftEdge": "softedge", "Scribble": "scribble", "Segmentation": "seg",
}  # fmt: skip
_MODES: dict[object, Mode] = {
    0: "balanced", 1: "prompt", 2: "control", "balanced": "balanced", "my prompt is more important": "prompt",
    "controlnet is more important": "control",
}  # fmt: skip
_RESIZES: dict[object, Resize] = {
    0: "stretch", 1: "crop", 2: "fit", "just resize": "stretch", "crop and resize": "crop", "resize and fill": "fit",
    "inner fit (scale to fit)": "crop", "scale to fit (inner fit)": "crop", "outer fit (shrink to fit)": "fit",
    "envelope (outer fit)": "fit",
}  # fmt: skip
_READ = {
    "enabled", "module", "model", "weight", "image", "input_image", "mask", "mask_image", "resize_mode", "processor_res",
    "threshold_a", "threshold_b", "guidance_start", "guidance_end", "guidance", "pixel_perfect", "control_mode",
    "save_detected_map", "effective_region_mask",
}  # fmt: skip
_SILENT = {
    "low_vram", "lowvram", "hr_option", "inpaint_crop_input_image", "advanced_weighting", "is_ui", "input_mode",
    "batch_images", "output_dir", "loopback", "use_preview_as_input", "generated_image", "batch_modifiers",
    "batch_image_files", "batch_images_dir", "batch_mask_dir", "batch_input_gallery", "batch_mask_gallery",
    "animatediff_batch", "union_control_type",
}  # fmt: skip
_REFUSED = ("ipadapter_input", "pulid_mode", "pulid_ortho_weights")


@dataclass(frozen=True)
class Unit:
    """A unit that acts; `shows_map` says whether its map comes back beside the pictures."""

    draft: Draft
    shows_map: bool


@dataclass(frozen=True)
class Plain:
    """A picture that no detector looks at, `inverted` where that was asked for."""

    picture: Rgb
    inverted: bool


def read(
    studio: Studio, base: ModelCard, scripts: Mapping[str, Any], source: Source | None, shorter: int, notes: Notes
) -> list[Unit]:
    """The units of a request that act. `shorter` is the picture's shorter side. Raises StudioError, Unknown."""
    given: list[Any] = []
    for name, script in scripts.items():
        args = script.get("args", []) if isinstance(script, dict) else script
        if name.lower() != "controlnet":
            if args:
                notes.ignored(f"alwayson_scripts.{name[:40]}")
        elif isinstance(args, list):
            given += args
    if len(given) > UNITS_MAX * 4:
        raise InputError(f"A request has at most {UNITS_MAX} ControlNet units.")
    found = [_unit(studio, base, one, source, shorter, notes) for one in given]
    acting = [one for one in found if one is not None]
    if len(acting) > UNITS_MAX:
        raise InputError(f"A request has at most {UNITS_MAX} ControlNet units.", "Switch some off.")
    return acting


def _unit(
    studio: Studio, base: ModelCard, given: Any, source: Source | None, shorter: int, notes: Notes
) -> Unit | None:
    if not isinstance(given, dict):
        raise InputError("A ControlNet unit is a JSON object.")
    unit: dict[str, Any] = given
    image, mask = _image(unit)
    if not unit.get("enabled", image is not None):
        return None
    if image is None and source is None:
        raise InputError("A ControlNet unit has no image.", "Send image, or switch the unit off.")
    for name, value in unit.items():
        if name in _REFUSED and value:
            raise InputError(f"{name} is not taken here.")
        if name not in _READ and name not in _SILENT and name not in _REFUSED:
            notes.ignored(f"controlnet.{name[:40]}")
    if mask or unit.get("mask") or unit.get("mask_image"):
        notes.ignored("the mask of a ControlNet unit (effective_region_mask says where it acts)")
    data = pictures.data_of(image, "The image of a ControlNet unit") if image else studio.blobs.get(_start(source))
    network = _network(studio, base, unit, notes)
    module = str(unit.get("module") or "none")
    sliders = tuple(_number(unit, name, -1) for name in ("processor_res", "threshold_a", "threshold_b"))
    if unit.get("pixel_perfect"):
        sliders = (float(shorter), *sliders[1:])
    looked = looked_at(studio, module, data, sliders)
    if isinstance(looked, Plain):
        alone = network.controls if network and len(network.controls) == 1 else ()
        control = next(iter(alone[:1] or said_by(str(unit.get("model") or ""))), "")
        control = control or _TYPES.get(str(unit.get("union_control_type") or ""), "")
        if not control:
            raise InputError(
                f"It does not show which condition {shown(network) if network else 'this unit'} reads.",
                "Say the module, or union_control_type: Canny, Depth, OpenPose, Scribble, Segmentation, ...",
            )
        looked = Draft(control, _finished(studio.control(control), looked, data, notes))
    region = unit.get("effective_region_mask")
    start, end = _window(unit)
    draft = Draft(
        looked.control,
        looked.given,
        weight=_number(unit, "weight", 1.0),
        start=start,
        end=end,
        mode=_word(unit, "control_mode", _MODES, "balanced"),
        resize=_word(unit, "resize_mode", _RESIZES, "crop"),
        network=network.id if network and not _is_usual(studio, network, looked.control, base) else None,
        mask=studio.photos.keep_mask(pictures.data_of(region, "effective_region_mask")) if region else None,
    )
    return Unit(draft, bool(unit.get("save_detected_map", True)))


def looked_at(studio: Studio, module: str, data: bytes, sliders: tuple[float, ...]) -> Draft | Plain:
    """What a module makes of a picture file: a draft with its detector, or the picture itself. Raises Unknown, InputError.

    `sliders` are resolution, first and second threshold; what lies outside a slider's range is its default.
    """
    key = _ALIASES.get(module.lower(), module.lower())
    if key not in MODULES:
        raise Unknown("Module not available.", f"Nearest: {nearest(module, list(MODULES))}.")
    control, way = MODULES[key]
    if not control:
        rgb, inverted = decoder.decode(data), key.startswith("invert")
        return Plain(255 - rgb if inverted else rgb, inverted)
    one = detector(studio.control(control), way)
    resolution, thresholds = _sliders(one)
    values: dict[str, Value] = {}
    for param, given in zip((resolution, *thresholds), sliders, strict=False):
        if param is not None and param.low <= given <= param.high:
            values[param.key] = int(given) if isinstance(param.default, int) else float(given)
    shorter = int(sliders[0]) if CANVAS_MIN_PX <= sliders[0] <= CANVAS_MAX_PX else MAP_PX
    return Draft(control, Photo(studio.photos.keep(data), way, values, shorter=shorter))


def _finished(control: ControlType, plain: Plain, data: bytes, notes: Notes) -> documents.Document | Finished:
    """A finished map as the network is to see it; what it was taken for is named where it is not what was sent."""
    if plain.inverted:
        return Finished(plain.picture)
    given, said = given_maps.taken(control, data)
    if said and not isinstance(given, Finished):
        drawn = control.render(given, controls_of.values(control.params, {}))
        if not np.array_equal(drawn, plain.picture):
            notes.corrected(f"the image of a ControlNet unit: {said[0].lower()}{said[1:].removesuffix('.')}")
    return given


def networks(studio: Studio) -> list[ModelCard]:
    """The ControlNets on this machine."""
    cards = (card for card in studio.catalog.cards() if card.kind == "controlnet" and not card.trouble)
    return [card for card in cards if studio.catalog.installed(card)]


def details(studio: Studio) -> dict[str, Any]:
    """The sliders of every module: resolution, then the thresholds."""
    told: dict[str, Any] = {}
    for name, (control, way) in MODULES.items():
        sliders: list[Any] = []
        if control:
            resolution, thresholds = _sliders(detector(studio.control(control), way))
            first = _slider(resolution) if resolution else {"value": MAP_PX, "min": 64, "max": 2048, "step": 8}
            # Clients know it by this name.
            sliders = [first | {"name": "Resolution"}, *(_slider(one) for one in thresholds)]
        told[name] = {"model_free": False, "sliders": sliders}
    return told


def types(studio: Studio) -> dict[str, Any]:
    """Modules and models by the names of the extension's tabs."""
    cards = networks(studio)
    names = ["None", *map(shown, cards)]
    told = {"All": _type(list(MODULES), names, "none", "None")}
    for title, control in _TYPES.items():
        modules = [name for name, (one, _) in MODULES.items() if one in ("", control)]
        models = ["None", *(shown(card) for card in cards if not card.controls or control in card.controls)]
        first = next((name for name in modules if MODULES[name][0]), "none")
        told[title] = _type(modules, models, first, models[1] if len(models) > 1 else "None")
    return told


def _type(modules: list[str], models: list[str], option: str, model: str) -> dict[str, Any]:
    return {"module_list": modules, "model_list": models, "default_option": option, "default_model": model}


def _sliders(one: Detector) -> tuple[Param | None, list[Param]]:
    numbers = [param for param in one.params if not param.choices and not isinstance(param.default, bool)]
    resolution = next((param for param in numbers if param.key == "resolution"), None)
    return resolution, [param for param in numbers if param is not resolution][:2]


def _slider(param: Param) -> dict[str, Any]:
    return {"name": param.title, "value": param.default, "min": param.low, "max": param.high, "step": param.step}


def _network(studio: Studio, base: ModelCard, unit: Mapping[str, Any], notes: Notes) -> ModelCard | None:
    name = str(unit.get("model") or "None")
    if name.lower() == "none":
        notes.corrected("a ControlNet unit without a model to the best one that is here")
        return None
    found = pick(name, networks(studio), "ControlNet model")
    if found.family not in ("", base.family):
        raise InputError(f"{shown(found)} is not made for {shown(base)}.", "Choose a model of the same family.")
    return found


def _is_usual(studio: Studio, network: ModelCard, control: str, base: ModelCard) -> bool:
    """Whether a recipe needs no name for it, being the usual one of the condition and family."""
    usual = networks_for(studio.catalog, base, studio.control(control)).usual
    return usual is not None and usual.id == network.id


def _image(unit: Mapping[str, Any]) -> tuple[str | None, Any]:
    given = unit.get("image")
    given = unit.get("input_image") if given is None else given
    mask: Any = None
    if isinstance(given, list):
        pair: list[Any] = given
        given, mask = (pair[0] if pair else None), (pair[1] if len(pair) > 1 else None)
    if isinstance(given, dict):
        both: dict[str, Any] = given
        given, mask = both.get("image"), both.get("mask")
    if given is not None and not isinstance(given, str):
        raise InputError("The image of a ControlNet unit is a text in base64.")
    return given or None, mask


def _start(source: Source | None) -> str:
    assert source is not None
    return source.picture


def _window(unit: Mapping[str, Any]) -> tuple[float, float]:
    start = _number(unit, "guidance_start", 0.0)
    end = _number(unit, "guidance_end", _number(unit, "guidance", 1.0))
    if start > end:
        raise InputError("guidance_start must not lie after guidance_end.")
    return start, end


def _number(unit: Mapping[str, Any], name: str, default: float) -> float:
    value = unit.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9:
        raise InputError(f"{name} of a ControlNet unit must be a number.")
    return float(value)


def _word(unit: Mapping[str, Any], name: str, known: Mapping[object, Any], default: str) -> Any:
    value = unit.get(name)
    if value is None:
        return default
    key: object = value.strip().lower() if isinstance(value, str) else value
    if isinstance(key, (str, int)) and not isinstance(key, bool) and key in known:
        return known[key]
    raise InputError(f"{name} of a ControlNet unit is not known: {str(value)[:60]}.")
