"""The recipe inside a PNG: written in our form and in that of the A1111 web UI, read from files of either program.

A PNG carries two text chunks: `studio`, our recipe as JSON, and `parameters`, the text that A1111 writes and other programs
read. Reading never decodes pixels and never trusts a length (`embedded_text`); what others write is `foreign_settings`.
"""

from __future__ import annotations

from typing import Any

from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import RECIPE_MAX_BYTES, SEED_MAX, Recipe, parse
from controlnet_core.domain.samplers import SAMPLER_TITLES, SPACING_TITLES
from controlnet_core.storage import foreign_settings
from controlnet_core.storage.embedded_text import png_text, texts

CHUNK = "studio"
PARAMETERS = "parameters"
_A1111_MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}


def to_png(rgb: Rgb, recipe: Recipe) -> bytes:
    """PNG bytes of a result (uint8 H,W,3 RGB) with its recipe inside, in our form and in the A1111 form."""
    return picture.to_png(rgb, {CHUNK: recipe.to_json(), PARAMETERS: parameters(recipe)})


def alone(recipe: Recipe, index: int) -> Recipe:
    """The recipe that makes picture `index` of a recipe's pictures by itself."""
    counted = "variation_seed" if recipe.variation_strength else "seed"
    return recipe.model_copy(update={counted: (getattr(recipe, counted) + index) % (SEED_MAX + 1), "images": 1})


def parameters(recipe: Recipe) -> str:
    """A recipe as the text that the A1111 web UI writes into its PNGs."""
    lines = [recipe.text + "".join(f" <lora:{lora.key}:{lora.weight:g}>" for lora in recipe.loras)]
    if recipe.negative:
        lines.append(f"Negative prompt: {recipe.negative}")
    fields = [
        f"Steps: {recipe.steps}",
        f"Sampler: {SAMPLER_TITLES[recipe.sampler]}",
        f"CFG scale: {recipe.guidance:g}",
        f"Seed: {recipe.seed}",
        f"Size: {recipe.width}x{recipe.height}",
        f"Model: {recipe.model}",
    ]
    if recipe.spacing != "model":
        fields.insert(2, f"Schedule type: {SPACING_TITLES[recipe.spacing]}")
    if recipe.source:
        fields.append(f"Denoising strength: {recipe.source.strength:g}")
    if recipe.clip_skip > 1:
        fields.append(f"Clip skip: {recipe.clip_skip}")
    if recipe.vae:
        fields.append(f"VAE: {recipe.vae}")
    if recipe.variation_strength:
        fields.append(f"Variation seed: {recipe.variation_seed}")
        fields.append(f"Variation seed strength: {recipe.variation_strength:g}")
    for index, unit in enumerate(recipe.controls):
        fields.append(
            f'ControlNet {index}: "Module: {unit.control}, Model: {unit.network or unit.control}, '
            f"Weight: {unit.weight:g}, Guidance Start: {unit.start:g}, Guidance End: {unit.end:g}, "
            f'Control Mode: {_A1111_MODES[unit.mode]}"'
        )
    lines.append(", ".join(fields))
    return "\n".join(lines)


def recipe_of(png: bytes) -> Recipe | None:
    """The recipe inside a PNG that may come from anywhere; None when it carries none of ours.

    Pixels are never decoded. Raises RecipeError when there is a recipe of ours that cannot be used.
    """
    text = png_text(png, CHUNK)
    if text is None:
        return None
    if len(text) > RECIPE_MAX_BYTES:
        raise RecipeError("The recipe in this picture is larger than 64 KiB.", "It cannot come from this program.")
    return parse(text)


def parameters_of(data: bytes) -> str | None:
    """What another program wrote of its settings into a PNG, JPEG or WebP that may come from anywhere; None without any."""
    return foreign_settings.text_in(texts(data))


def read_parameters(text: str) -> dict[str, Any]:
    """What such a text says, as fields of `Recipe`; what is missing, unknown or out of range is left out."""
    settings = foreign_settings.read(text)
    return settings.fields if settings else {}
