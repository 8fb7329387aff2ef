"""The recipe inside a PNG: written in our form and in that of the A1111 web UI, read from files of either program.

A PNG carries two text chunks: `studio`, our recipe as JSON, and `parameters`, the text that A1111 writes and other programs
read. Reading never decodes pixels, never inflates anything and never trusts a length.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import RECIPE_MAX_BYTES, SAMPLER_TITLES, SEED_MAX, Recipe, Sampler, parse

CHUNK = "studio"
PARAMETERS = "parameters"
PARAMETERS_MAX = 16 * 1024
"""Characters of a `parameters` text that are read."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS_MAX = 10_000
_A1111_MODES = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}
_FIELDS = re.compile(r"Steps: \d")
# Every repetition is bounded: a text from outside must not cost more than its length.
_FIELD = re.compile(r'([\w /-]{1,40}): {0,4}("(?:\\.|[^"\\]){0,2000}"|[^,]{0,2000})(?:,|$)')
_LORA = re.compile(r"<lora:[^<>]*>")
_SPACES = re.compile(r"[ \t]{1,100}\n")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_NUMBERS: dict[str, tuple[str, type[int] | type[float]]] = {
    "steps": ("steps", int),
    "cfg scale": ("guidance", float),
    "seed": ("seed", int),
    "clip skip": ("clip_skip", int),
    "eta": ("eta", float),
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
    for kind, data in _chunks(png):
        text = _text(kind, data, CHUNK)
        if text is None:
            continue
        if len(text) > RECIPE_MAX_BYTES:
            raise RecipeError("The recipe in this picture is larger than 64 KiB.", "It cannot come from this program.")
        return parse(text)
    return None


def parameters_of(png: bytes) -> str | None:
    """The `parameters` text inside a PNG that may come from anywhere; None when it carries none that can be read."""
    for kind, data in _chunks(png):
        text = _text(kind, data, PARAMETERS)
        if text is not None and len(text) <= RECIPE_MAX_BYTES:
            return text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")
    return None


def read_parameters(text: str) -> dict[str, Any]:
    """What a `parameters` text says, as fields of `Recipe`; what is missing, unknown or out of range is left out.

    Sizes are brought to multiples of 64 from 64 to 1024 px, in proportion. Models, networks and LoRAs are not looked up:
    their names mean other files elsewhere.
    """
    text = text[:PARAMETERS_MAX].strip()
    lines = text.splitlines()
    last = lines.pop() if lines and _FIELDS.match(lines[-1]) else ""
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    named = {name.strip().casefold(): value.strip().strip('"') for name, value in _FIELD.findall(last)}
    found: dict[str, Any] = {"prompt": _SPACES.sub("\n", _LORA.sub("", prompt)).strip(), "negative": negative.strip()}
    found |= {field: _number(named.get(name, ""), kind) for name, (field, kind) in _NUMBERS.items()}
    found["sampler"] = _sampler(named.get("sampler", ""), named.get("schedule type", ""))
    size = _SIZE.fullmatch(named.get("size", ""))
    if size is not None:
        found["width"], found["height"] = _sides(int(size[1]), int(size[2]))
    return {field: value for field, value in found.items() if value not in (None, "") and _fits(field, value)}


def _number(text: str, kind: type[int] | type[float]) -> int | float | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _sampler(name: str, schedule: str) -> Sampler | None:
    """Newer versions of A1111 write the schedule apart from the sampler's name; of others the plain sampler is taken."""
    titles: dict[str, Sampler] = {title.casefold(): key for key, title in SAMPLER_TITLES.items()}
    return titles.get(f"{name} {schedule}".casefold()) or titles.get(name.casefold())


def _sides(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, 1024 / max(width, height, 1))
    return (
        min(1024, max(64, round(width * scale / 64) * 64)),
        min(1024, max(64, round(height * scale / 64) * 64)),
    )


def _fits(field: str, value: object) -> bool:
    try:
        Recipe.model_validate({"model": "any", "width": 64, "height": 64, field: value})
    except ValidationError:
        return False
    return True


def _chunks(png: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks of a PNG with a correct checksum, up to the first damage."""
    if not png.startswith(_SIGNATURE):
        return
    view, at = memoryview(png), len(_SIGNATURE)
    for _ in range(_CHUNKS_MAX):
        if at + 12 > len(png):
            return
        length, kind = struct.unpack_from(">I4s", png, at)
        if at + 12 + length > len(png):
            return
        data = view[at + 8 : at + 8 + length]
        # Long chunks hold pixels: what is no text is not ours to check.
        if kind in (b"tEXt", b"iTXt") and struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(
            data, zlib.crc32(kind)
        ):
            yield kind, data
        at += 12 + length


def _text(kind: bytes, data: memoryview, name: str) -> bytes | None:
    """The content of the text chunk called `name`; None for others. What is compressed is left alone: it never inflates."""
    begin = len(name) + 1
    head = bytes(data[: begin + 2])
    if not head.startswith(name.encode() + b"\0"):
        return None
    if kind == b"tEXt":
        return bytes(data[begin : begin + 1 + RECIPE_MAX_BYTES])
    if head[begin : begin + 2] != b"\0\0":
        return None
    rest = bytes(data[begin + 2 : begin + 2 + RECIPE_MAX_BYTES + 256])
    parts = rest.split(b"\0", 2)
    return parts[2] if len(parts) == 3 else None
