"""Before a run: how much memory it would take, by which plan it fits, and a sentence about that. Imports no torch.

What is known of a model comes from the headers of its files; nothing is loaded. `Plan` says how to spend memory, `ladder`
orders the plans from quick to frugal, `estimate` picks one. The engine walks further down when the estimate was wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

from controlnet_core.checkpoints import lora_keys
from controlnet_core.checkpoints.safetensors_header import read_shapes
from controlnet_core.domain import amounts
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.options import EngineOptions
from controlnet_core.domain.recipe import Recipe
from controlnet_core.execution.devices import free_gpu_bytes
from controlnet_core.families import families, recognised, traits_of, traits_of_config
from controlnet_core.memory import precision
from controlnet_core.memory.precision import BYTES, Precision
from controlnet_core.models.catalog import Catalog, stamp_of

TILE_PX = 512
_COPIES = 3
"""How often the widest layer of a decoder is held at once: as it came, normalised, and after its activation."""
_LIBRARIES_BYTES = 190 << 20
"""What kernels, their reordered weights and the allocator take on a CPU; fitted to tests/bench/bench_memory.py."""


@dataclass(frozen=True)
class MemoryPlan:
    """How to spend memory: pictures at a time, autoencoder in slices and tiles, networks parked when idle.

    offload "model" parks each network while another works, "control" each layer of a ControlNet beside that, "layer" each
    layer of all. `fp8` stores the weights of U-Net and ControlNets in eight bits, which changes pictures a little.
    `precision` is what a plan needs everything to be in; otherwise `computes_in` says it.
    """

    batch: int
    tiled: bool = False
    offload: Literal["", "model", "control", "layer"] = ""
    fp8: bool = False
    precision: Precision | None = None
    name: str = "resident"
    words: str = "with everything in memory"

    @property
    def still(self) -> bool:
        """Whether no weight moves during a run."""
        return not self.offload and not self.fp8


_RESIDENT = MemoryPlan(batch=4)
_TILED = MemoryPlan(1, tiled=True, name="tiled", words="decoding in tiles")
_OFFLOAD = MemoryPlan(1, True, "model", name="offload", words="moving one network at a time to the GPU")
_CONTROLS = MemoryPlan(
    1, True, "control", name="controls", words="moving one network at a time to the GPU, ControlNets layer by layer"
)
_LAYERS = MemoryPlan(1, True, "layer", name="layers", words="moving one layer at a time to the GPU, which is slow")
_FP8 = MemoryPlan(
    1,
    True,
    "layer",
    True,
    name="fp8",
    words="with weights in eight bits, moved layer by layer, which is slow and less exact",
)
_BFLOAT16 = MemoryPlan(
    1, True, precision="bfloat16", name="bfloat16", words="computing in bfloat16, which changes the picture a little,"
)


def computes_in(plan: MemoryPlan, device: str, file_bytes: int) -> Precision:
    """The precision of a model, whose files have some size, under a plan. Raises RecipeError as `precision.asked` does."""
    return plan.precision or precision.asked() or precision.usual(device, file_bytes)


def records(device: str) -> bool:
    """Whether steps are recorded and replayed on a kind of device, unless weights move: on CUDA, unless STUDIO_GRAPHS=0."""
    return device == "cuda" and EngineOptions.from_environment().graphs


def forks(device: str) -> bool:
    """Whether ControlNets run beside the U-Net's encoder on a kind of device: on CUDA, where STUDIO_STREAMS=1 asks for it.

    Not with compiled blocks: they would be compiled anew in every step.
    """
    options = EngineOptions.from_environment()
    return device == "cuda" and options.streams and not options.compiles


def previews(device: str) -> bool:
    """Whether a kind of device looks at latents by a tiny decoder: on CUDA. A decoder costs a processor more than a step does."""
    return device == "cuda"


def shares(device: str) -> bool:
    """Whether a kind of device has no memory but the processor's: a processor itself, and Apple's GPUs ("mps")."""
    return device in ("cpu", "mps")


def ladder(device: str, first: str = "") -> tuple[MemoryPlan, ...]:
    """The plans for a kind of device ("cpu", "cuda", "mps"), quickest first; those before the one called `first` are left out.

    Where all memory is in one place nothing is won by moving weights, and little by batches; what is left is half the bits, on a
    processor that computes in them, unless a precision is asked for.
    """
    plans = (_RESIDENT, _TILED, _OFFLOAD, _CONTROLS, _LAYERS, _FP8)
    if shares(device):
        plans = (replace(_RESIDENT, batch=1), _TILED)
        if device == "cpu" and precision.asked() is None and precision.native(device, "bfloat16"):
            plans += (_BFLOAT16,)
    names = [plan.name for plan in plans]
    return plans[names.index(first) :] if first in names else plans


@dataclass(frozen=True)
class ModelFacts:
    """What memory depends on: parameters of each network, and the widths of U-Net and autoencoder, level by level.

    `attentions` counts the self attentions of each level, the middle among those of the last. `changed` counts the parameters
    that LoRAs change: what they were before is kept, beside the processor. `upcast` says
    that the autoencoder stays in float32 where the rest is in float16.
    """

    unet: int = 859_520_964
    vae: int = 83_653_863
    text: int = 123_060_480
    controls: tuple[int, ...] = ()
    changed: int = 0
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    attentions: tuple[int, ...] = (5, 5, 5, 1)
    vae_widths: tuple[int, ...] = (128, 256, 512, 512)
    cell_px: int = 8
    file_bytes: int = 4 << 30
    upcast: bool = False

    @property
    def weights(self) -> int:
        """Parameters of everything but the autoencoder."""
        return self.unet + self.text + sum(self.controls)


@dataclass(frozen=True)
class Estimate:
    """What a run would take: bytes by the name of each plan, the first that fits (None: none does), and a sentence.

    `notable` says whether there is more to tell than a number: another plan than the quickest, or an unsuited processor.
    """

    bytes: Mapping[str, int]
    plan: MemoryPlan | None
    text: str
    notable: bool = True


def estimate(recipe: Recipe, facts: ModelFacts, device: str, room_bytes: int, first: str = "") -> Estimate:
    """What `recipe` would take on a kind of device with `room_bytes` free for models and work. Raises RecipeError."""
    plans = ladder(device, first)
    need = {plan.name: needed(recipe, facts, device, plan) for plan in plans}
    fits = next((plan for plan in plans if need[plan.name] <= room_bytes), None)
    room = f"{amounts.size(room_bytes)} are free"
    if fits is None:
        least = min(need.values())
        text = f"This needs about {amounts.size(least)}, but {room}: make the picture smaller or use fewer controls."
    elif fits is plans[0]:
        text = f"This takes about {amounts.size(need[fits.name])} of memory; {room}."
    else:
        text = f"This would take {amounts.size(need[plans[0].name])} and {room}; {fits.words} "
        text += f"it takes {amounts.size(need[fits.name])}."
    few = precision.asked()
    unsuited = few is not None and not precision.native(device, few)
    if unsuited:
        text += f" This processor has no instructions for {few}: it saves memory, but takes far longer."
    return Estimate(need, fits, text, notable=unsuited or fits is not plans[0])


def needed(recipe: Recipe, facts: ModelFacts, device: str, plan: MemoryPlan) -> int:
    """Bytes at the peak of a run under a plan, on the device: weights and work; where memory is shared what libraries take, too."""
    bits = computes_in(plan, device, facts.file_bytes)
    size = BYTES[bits]
    vae_size = BYTES["float32"] if facts.upcast and bits == "float16" else size
    pictures = min(plan.batch, recipe.images)
    step = int(size * _step_values(recipe, facts, pictures))
    decode = int(vae_size * _decode_values(recipe, facts, pictures, plan))
    two_layers = 2 * size * _largest_layer(facts)
    if plan.offload == "layer":
        return max(max(step, decode) + two_layers, size * facts.text)
    if plan.offload:
        controls = size * sum(facts.controls)
        if plan.offload == "control":
            controls = min(controls, two_layers)
        return max(size * facts.unet + controls + step, vae_size * facts.vae + decode, size * facts.text)
    weights = size * facts.weights + vae_size * facts.vae
    if shares(device):
        return weights + max(step, decode) + size * facts.changed + _LIBRARIES_BYTES
    # A recorded step keeps its memory, for it is replayed there; decoding takes its own beside it.
    work = step + decode if plan.still and records(device) else max(step, decode)
    return weights + work


def _step_values(recipe: Recipe, facts: ModelFacts, pictures: int) -> float:
    """Numbers held at the peak of a step: what skips to the decoder, the controls' share of it, and the widest layer."""
    samples = pictures * (1 if recipe.guidance == 1 else 2)
    cells = (recipe.width // facts.cell_px) * (recipe.height // facts.cell_px)
    per_level = facts.layers + 1
    skips = sum(width * cells / 4**level * per_level for level, width in enumerate(facts.widths))
    controlled = 3 * skips if facts.controls else 0
    # The widest moment is a transformer's feed-forward part (8 + 4 widths) or the decoder's first join.
    work = max(14 * width * cells / 4**level for level, width in enumerate(facts.widths))
    read = _reference_values(recipe, facts, samples, cells)
    return samples * (skips + controlled + work) + read


def _reference_values(recipe: Recipe, facts: ModelFacts, samples: int, cells: int) -> float:
    """Keys and values of what self attention reads beside the picture: all layers' own, and the widest one's joined."""
    read = sum(1 for one in recipe.references if one.kind == "reference_only" and one.weight)
    if not read:
        return 0
    each = [2 * width * cells / 4**level for level, width in enumerate(facts.widths)]
    halves = 1 if recipe.guidance == 1 else 2
    kept = sum(size * count for size, count in zip(each, facts.attentions, strict=True))
    joined = max((size for size, count in zip(each, facts.attentions, strict=True) if count), default=0)
    return read * halves * kept + samples * (1 + read) * joined


def _decode_values(recipe: Recipe, facts: ModelFacts, pictures: int, plan: MemoryPlan) -> float:
    """Numbers held at the peak of decoding: the last level at full size, before its width is halved."""
    width = facts.vae_widths[min(1, len(facts.vae_widths) - 1)]
    area = recipe.width * recipe.height
    if plan.tiled:
        pictures, area = 1, min(area, TILE_PX**2)
    return pictures * area * (_COPIES * width + 9)


def _largest_layer(facts: ModelFacts) -> int:
    widest = max(facts.widths)
    return 9 * widest * 2 * widest


def room(device: str) -> int:
    """Bytes that are free on a device of this machine ("cpu", "cuda:1"; "cuda" is the first that CUDA shows); 0: unknown."""
    return int(psutil.virtual_memory().available) if shares(device) else free_gpu_bytes(device)


def facts_of(recipe: Recipe, catalog: Catalog) -> ModelFacts:
    """What the files of a recipe's models say. Raises ModelMissing and ModelError."""
    card = catalog.card(recipe.model)
    place = catalog.locate(card)
    facts = _base_facts(place, stamp_of(place))
    networks: dict[str, int] = {}
    for unit in recipe.controls:
        network = catalog.network(unit.control, card.family, unit.network) if unit.weight > 0 else None
        if network is not None:
            place = catalog.locate(network)
            networks[network.id] = _control_parameters(place, stamp_of(place))
    if recipe.vae:
        facts = _with_vae(facts, catalog.locate(catalog.card(recipe.vae)))
    changed: dict[str, int] = {}
    for lora in recipe.loras:
        if lora.weight:
            changed |= _changed_parameters(catalog.locate(catalog.card(lora.key)))
    seen = {one.adapter: catalog.card(one.adapter) for one in recipe.references if one.adapter and one.weight}
    networks |= {key: _count(_shapes(catalog.locate(card))) for key, card in seen.items()}
    encoders = {card.encoder for card in seen.values() if card.encoder}
    text = facts.text + sum(_count(_shapes(catalog.locate(catalog.card(key)))) for key in encoders)
    return replace(facts, text=text, controls=tuple(networks.values()), changed=sum(changed.values()))


Shapes = Mapping[str, Sequence[int]]


@lru_cache(maxsize=32)
def _base_facts(path: Path, _stamp: tuple[int, int]) -> ModelFacts:
    texts = [encoder for known in families().values() for encoder in known.text]
    if path.is_dir():
        unet, vae = _shapes(path / "unet"), _shapes(path / "vae")
        text = sum(_count(_shapes(path / part)) for part in {encoder.part for encoder in texts})
        total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        known = recognised(traits_of_config(_configuration(path / "unet")))
    else:
        whole, total = _shapes(path), path.stat().st_size
        unet, vae = _part(whole, "model.diffusion_model."), _part(whole, "first_stage_model.")
        text = sum(_count(_part(whole, prefix)) for prefix in {encoder.ldm for encoder in texts})
        known = recognised(traits_of({name: tuple(shape) for name, shape in whole.items()}))
    if not unet:  # a pickle tells nothing before it is loaded: nearly all of them are SD 1.5
        return replace(ModelFacts(), file_bytes=total)
    said = _configuration(path / "vae")
    vae_widths = _configured(said, "decoder_block_out_channels") or _vae_widths(vae)
    return ModelFacts(
        unet=_count(unet),
        vae=_count(vae),
        text=text,
        upcast=bool(said.get("force_upcast", known.latent.force_upcast)),
        widths=_widths(unet),
        layers=_layers(unet),
        attentions=_attentions(unet),
        vae_widths=vae_widths,
        cell_px=2 ** (len(vae_widths) - 1),
        file_bytes=total,
    )


def _configuration(folder: Path) -> dict[str, Any]:
    """A folder's configuration; empty where there is none that can be read."""
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _configured(said: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """A list of widths in a configuration; empty when it says nothing."""
    try:
        return tuple(int(width) for width in said[key])
    except (ValueError, KeyError, TypeError):
        return ()


def _with_vae(facts: ModelFacts, path: Path) -> ModelFacts:
    shapes = _shapes(path)
    shapes = _part(shapes, "first_stage_model.") or shapes
    upcast = bool(_configuration(path).get("force_upcast", facts.upcast))
    return replace(facts, vae=_count(shapes), vae_widths=_vae_widths(shapes), upcast=upcast) if shapes else facts


@lru_cache(maxsize=32)
def _control_parameters(path: Path, _stamp: tuple[int, int]) -> int:
    shapes = _shapes(path)
    return _count(_part(shapes, "control_model.") or shapes) or 361_279_120


def _changed_parameters(path: Path) -> dict[str, int]:
    """How many parameters of each layer a LoRA changes: the matrices of a layer say its size."""
    return {name: lora_keys.numel(shapes) for name, shapes in lora_keys.layers(_shapes(path)).items()}


def _shapes(path: Path) -> dict[str, Sequence[int]]:
    """The shapes of all tensors in a file, or in the weights of a folder; nothing for pickles."""
    files = [path]
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        files = [file for file in found if ".fp16." not in file.name] or found
    shapes: dict[str, Sequence[int]] = {}
    for file in files:
        if file.suffix.lower() == ".safetensors":
            shapes |= read_shapes(file)
    return shapes


def _part(shapes: Shapes, prefix: str) -> dict[str, Sequence[int]]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _count(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _widths(unet: Shapes) -> tuple[int, ...]:
    """The widths of a U-Net's levels, in diffusers' or in the original's names."""
    named = _by_level(unet, r"down_blocks\.(\d+)\.resnets\.0\.conv1\.weight$")
    if named:
        return named
    ends = _by_level(unet, r"input_blocks\.(\d+)\.0\.op\.weight$")
    last = unet.get("middle_block.0.in_layers.2.weight")
    return (*ends, last[0]) if last else ModelFacts().widths


def _layers(unet: Shapes) -> int:
    numbers = [int(found[1]) for name in unet if (found := re.match(r"down_blocks\.0\.resnets\.(\d+)\.", name))]
    return 1 + max(numbers) if numbers else ModelFacts().layers


def _attentions(unet: Shapes) -> tuple[int, ...]:
    """The self attentions of each level. Of levels of one width, which names of the original do not tell apart, the first."""
    widths = _widths(unet)
    counts = [0] * len(widths)
    for name, shape in unet.items():
        if name.endswith("attn1.to_k.weight") and shape[0] in widths:
            counts[-1 if name.startswith("mid") else widths.index(shape[0])] += 1
    return tuple(counts)


def _vae_widths(vae: Shapes) -> tuple[int, ...]:
    for pattern in (
        r"encoder\.down_blocks\.(\d+)\.resnets\.0\.conv1\.weight$",
        r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight$",
        r"decoder\.up_blocks\.(\d+)\.0\.conv1\.(?:conv\.)?weight$",
    ):
        if found := _by_level(vae, pattern):
            return found
    return ModelFacts().vae_widths


def _by_level(shapes: Shapes, pattern: str) -> tuple[int, ...]:
    found: dict[int, int] = {}
    for name, shape in shapes.items():
        if match := re.match(pattern, name):
            found[int(match[1])] = int(shape[0])
    return tuple(found[level] for level in sorted(found))


def chosen(recipe: Recipe, catalog: Catalog, device: str, room_bytes: int) -> str:
    """The name of the plan that the engine should begin with: STUDIO_PLAN where it is set, else by the estimate."""
    asked = EngineOptions.from_environment().plan
    try:
        found = estimate(recipe, facts_of(recipe, catalog), device, room_bytes, asked)
    except (StudioError, OSError, KeyError, IndexError, ValueError, TypeError):
        return asked  # loading says it better
    return found.plan.name if found.plan else ladder(device, asked)[-1].name


def describe(found: Estimate) -> dict[str, Any]:
    """An estimate as JSON."""
    return {"bytes": dict(found.bytes), "plan": found.plan.name if found.plan else None, "text": found.text}
