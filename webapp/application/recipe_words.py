"""A recipe in words, for people who read it: pairs of a name and a value, in the order in which people ask."""

from __future__ import annotations

from collections.abc import Mapping

from controlnet_core.domain.control import ControlType, Param
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.recipe import ControlUnit, Found, Recipe, Reference
from controlnet_core.domain.samplers import SAMPLER_TITLES, SPACING_TITLES
from webapp.application.studio import Studio

MODES = {"balanced": "", "prompt": "prompt first", "control": "control first (guess mode)"}
Pair = tuple[str, str]


def described(studio: Studio, recipe: Recipe) -> list[Pair]:
    """Everything that a recipe says, defaults that change nothing left out."""
    pairs = [
        ("Prompt", recipe.prompt),
        ("Added to it", recipe.added_prompt),
        ("Negative prompt", recipe.negative),
        ("Model", _title(studio, recipe.model)),
        ("Size", f"{recipe.width} × {recipe.height} px"),
        ("Seed", str(recipe.seed)),
        ("Steps", str(recipe.steps)),
        ("Guidance scale", f"{recipe.guidance:g}"),
        ("Sampler", SAMPLER_TITLES[recipe.sampler]),
        ("Spacing", SPACING_TITLES[recipe.spacing] if recipe.spacing != "model" else ""),
        ("Eta", f"{recipe.eta:g}" if recipe.eta else ""),
        (
            "Variation",
            f"{recipe.variation_strength:g} of seed {recipe.variation_seed}" if recipe.variation_strength else "",
        ),
        ("LoRAs", ", ".join(f"{_title(studio, lora.key)} × {lora.weight:g}" for lora in recipe.loras)),
        ("Embeddings", ", ".join(recipe.embeddings)),
        ("Clip skip", str(recipe.clip_skip) if recipe.clip_skip > 1 else ""),
        ("VAE", _title(studio, recipe.vae) if recipe.vae else ""),
        ("Micro-conditioning", _told(recipe)),
        ("Starts from", _source(recipe)),
    ]
    pairs += [("Is like a picture", _reference(studio, one)) for one in recipe.references]
    pairs += [(_control(studio, unit), _acts(studio, unit)) for unit in recipe.controls]
    return [pair for pair in pairs if pair[1]]


def _reference(studio: Studio, one: Reference) -> str:
    window = f", from {one.start:.0%} to {one.end:.0%} of the steps" if (one.start, one.end) != (0, 1) else ""
    if one.adapter is None:
        return f"weight {one.weight:g}{window}, reference-only with a style fidelity of {one.style_fidelity:g}"
    return f"weight {one.weight:g}{window}, {_title(studio, one.adapter)}"


def _told(recipe: Recipe) -> str:
    micro = recipe.micro_conditioning
    if micro is None:
        return ""
    sizes = (("original", micro.original), ("target", micro.target))
    parts = [f"{name} size {size[0]} × {size[1]} px" for name, size in sizes if size]
    parts += [f"cropped by {micro.crop[0]} px on the left and {micro.crop[1]} px at the top"] if any(micro.crop) else []
    return ", ".join(parts)


def _source(recipe: Recipe) -> str:
    if recipe.source is None:
        return ""
    return f"a picture, {recipe.source.strength:.0%} made anew" + (" where it is masked" if recipe.source.mask else "")


def _control(studio: Studio, unit: ControlUnit) -> str:
    known = studio.controls.get(unit.control)
    return known.title if known else unit.control


def _acts(studio: Studio, unit: ControlUnit) -> str:
    parts = [f"strength {unit.weight:g}"]
    if (unit.start, unit.end) != (0, 1):
        parts.append(f"from {unit.start:.0%} to {unit.end:.0%} of the steps")
    parts.append(MODES[unit.mode])
    parts.append("where its mask is white" if unit.mask else "")
    parts.append(_title(studio, unit.network) if unit.network else "")
    known = studio.controls.get(unit.control)
    if known is not None:
        parts += _chosen(known.params, unit.values)
        parts.append(_found(known, unit.found) if unit.found else "")
    return ", ".join(part for part in parts if part)


def _found(control: ControlType, found: Found) -> str:
    one = next((one for one in control.detectors if one.key == found.detector), None)
    chosen = ", ".join(_chosen(one.params, found.values)) if one else ""
    return f"from a photo by {one.title if one else found.detector}" + (f" ({chosen})" if chosen else "")


def _chosen(params: tuple[Param, ...], values: Mapping[str, object]) -> list[str]:
    """The values that are not the defaults."""
    chosen: list[str] = []
    for param in params:
        value = values.get(param.key, param.default)
        if value == param.default:
            continue
        if isinstance(value, bool):
            chosen.append(f"{param.title.lower()} {'on' if value else 'off'}")
        else:
            said = f"{value:g}" if isinstance(value, float) else str(value)
            chosen.append(f"{param.title.lower()} {said} {param.unit}".rstrip())
    return chosen


def _title(studio: Studio, key: str) -> str:
    try:
        return studio.catalog.card(key).title
    except StudioError:
        return key  # a model that is not known here
