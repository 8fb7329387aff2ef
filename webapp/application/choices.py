"""What a page has chosen beside its prompt and controls: settings as data, and what becomes of them in a recipe.

Draws nothing; `tuning` does. What a base model cannot use stays chosen but is left out of its recipes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from controlnet_core.domain.control import ControlType, Value
from controlnet_core.domain.errors import ModelMissing, RecipeError
from controlnet_core.domain.recipe import Fill, Lora, MicroConditioning, Mode, Reference, ReferenceKind, Source
from controlnet_core.domain.samplers import SPACINGS, Sampler, Spacing
from controlnet_core.families import Family
from controlnet_core.models import presets
from controlnet_core.models.catalog import Catalog, Defaults, Kind, ModelCard
from controlnet_core.models.quick import Quick, quick_ways

LORAS_MAX = 8
AUTO = "auto"
"""Whatever makes a base model quick, if anything here does."""
_PACE = ("sampler", "spacing", "steps", "guidance", "eta")
EMBEDDINGS_MAX = 16


@dataclass(frozen=True)
class AsMade:
    """The sides in pixels of a picture that was reopened, which `size` alone does not bring back: it is made so again as long as
    canvas and size are what they were then."""

    canvas: tuple[int, int]
    size: int
    sides: tuple[int, int]


@dataclass
class Choices:
    """The settings of a page.

    `size` in pixels is that of `Family.picture_size`, but for a picture `as_made`; `seed` -1 draws a new one each time. weight,
    start, end and mode are those of a page's only control, `params` how it is drawn and `network` the ControlNet that carries
    it, where those are not the usual ones. `micro` is what SDXL is told of sizes. `loras` are weights by key; `variation` is
    the share of the way from the noise of the seed to that of `variation_seed`. `quick` is the key of the preset of few steps
    that was chosen, "" for the model's own way.
    """

    size: int = 512
    images: int = 1
    steps: int = 20
    guidance: float = 9.0
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    seed: int = -1
    sampler: Sampler = "ddim"
    spacing: Spacing = "model"
    quick: str = ""
    eta: float = 0.0
    added_prompt: str = ""
    negative: str = ""
    loras: dict[str, float] = field(default_factory=dict[str, float])
    vae: str | None = None
    clip_skip: int = 1
    variation: float = 0.0
    variation_seed: int = 0
    network: str | None = None
    micro: MicroConditioning = field(default_factory=MicroConditioning)
    params: dict[str, Value] = field(default_factory=dict[str, Value])
    as_made: AsMade | None = None

    @classmethod
    def of(cls, start: Defaults) -> Choices:
        """What a model's card suggests."""
        shared = set(asdict(cls())) & set(type(start).model_fields)
        return cls(size=min(start.width, start.height), **{name: getattr(start, name) for name in shared})

    def picture_size(self, canvas: tuple[int, int], family: Family) -> tuple[int, int]:
        """Width and height in pixels of what is made of a canvas (width, height)."""
        made = self.as_made
        if made is not None and (made.canvas, made.size) == (canvas, self.size):
            return made.sides
        return family.picture_size(*canvas, self.size)

    def paced(self, wanted: Quick | None, start: Defaults) -> Choices:
        """The same with a preset of few steps; None: with what the model's card suggests instead."""
        fields = wanted.preset.fields if wanted else {name: getattr(start, name) for name in _PACE}
        loras = {key: weight for key, weight in self.loras.items() if key != self.quick}
        if wanted and wanted.lora:
            loras[wanted.lora.id] = 1.0
        return replace(self, **fields, loras=loras, quick=wanted.key if wanted else "")

    def fields(self, catalog: Catalog, base: ModelCard, prompt: str) -> dict[str, Any]:
        """The fields of a recipe for `base`: all but model, prompt, size and controls."""
        loras = {card.id for card in fitting(catalog, base, "lora")}
        vaes = {card.id for card in fitting(catalog, base, "vae")}
        found = called(f"{prompt} {self.added_prompt} {self.negative}", fitting(catalog, base, "embedding"))
        return {
            "added_prompt": self.added_prompt,
            "negative": self.negative,
            "images": self.images,
            "steps": self.steps,
            "guidance": self.guidance,
            "sampler": self.sampler,
            "spacing": self.spacing if self.spacing in SPACINGS[self.sampler] else "model",
            "seed": self.seed,
            "eta": self.eta,
            "loras": tuple(
                Lora(key=key, weight=weight) for key, weight in self.loras.items() if key in loras and weight
            ),
            "embeddings": tuple(found[:EMBEDDINGS_MAX]),
            "vae": self.vae if self.vae in vaes else None,
            "micro_conditioning": self._told(catalog.family(base)),
            "clip_skip": self.clip_skip if "clip_skip" in catalog.family(base).supports else 1,
            "variation_seed": self.variation_seed,
            "variation_strength": self.variation,
        }

    def _told(self, family: Family) -> MicroConditioning | None:
        """What the model is told of sizes; None for the usual, and for families that are told none."""
        unusual = self.micro != MicroConditioning()
        return self.micro if unusual and "micro_conditioning" in family.supports else None


@dataclass
class InitImageChoice:
    """The picture that a page's results start from: the blob of a PNG, and how much of it is made anew.

    With `masked`, only what is painted over it changes; `painting` shows the mask in place of the drawing.
    """

    picture: str
    title: str = ""
    strength: float = 0.75
    masked: bool = False
    painting: bool = False
    fill: Fill = "original"
    blur_px: int = 4

    def source(self, mask: str | None) -> Source:
        """The part of a recipe; `mask` is the blob of what was painted."""
        return Source(
            picture=self.picture, strength=self.strength, mask=mask, blur_px=self.blur_px, fill=self.fill, resize="crop"
        )


@dataclass(frozen=True)
class ReferenceChoice:
    """A picture (a blob) that a page's results are to be like; without an `adapter`, the first one for the model looks at it.

    Of a `kind` that the model cannot use here, it is used as the first that it can. One without a `picture` waits for it; one
    that is not `shown` stays and is left out.
    """

    picture: str = ""
    weight: float = 0.6
    start: float = 0.0
    end: float = 1.0
    adapter: str = ""
    kind: ReferenceKind = "ip_adapter"
    style_fidelity: float = 0.5
    shown: bool = True

    @property
    def acts(self) -> bool:
        """Whether it is meant to change anything."""
        return bool(self.picture) and self.shown

    def reference(self, kinds: Sequence[ReferenceKind], adapters: Sequence[str]) -> Reference:
        """The part of a recipe; `kinds` are those that the model can use here, at least one, and `adapters` its IP-Adapters."""
        kind = self.kind if self.kind in kinds else kinds[0]
        shared = {"picture": self.picture, "weight": self.weight, "start": self.start, "end": self.end}
        if kind == "reference_only":
            return Reference(kind=kind, style_fidelity=self.style_fidelity, **shared)
        return Reference(adapter=self.adapter if self.adapter in adapters else adapters[0], **shared)


def fitting(catalog: Catalog, base: ModelCard, kind: Kind) -> list[ModelCard]:
    """The installed models of a kind that a base model can use; a file whose family cannot be told may fit.

    What cannot be used at all is left out: the Models page says why.
    """
    if kind not in catalog.family(base).supports:
        return []
    cards = (card for card in catalog.cards() if card.kind == kind and card.family in ("", base.family))
    return [card for card in cards if not card.trouble and catalog.installed(card)]


def reference_kinds(catalog: Catalog, base: ModelCard) -> list[ReferenceKind]:
    """How a base model can be shown a picture on this machine, the best way first."""
    found: list[ReferenceKind] = ["ip_adapter"] if fitting(catalog, base, "ip_adapter") else []
    return [*found, "reference_only"] if "reference_only" in catalog.family(base).supports else found


def adapter_for(catalog: Catalog, base: ModelCard) -> ModelCard:
    """The first IP-Adapter here for a base model. Raises RecipeError for a model that takes none, ModelMissing without one."""
    if why := catalog.family(base).refuses("ip_adapter"):
        raise RecipeError(why, "Leave the reference away, or choose another model.")
    found = next(iter(fitting(catalog, base, "ip_adapter")), None)
    if found is None:
        raise ModelMissing(adapter_missing(catalog, base))
    return found


def adapter_missing(catalog: Catalog, base: ModelCard) -> str:
    """What to do where no IP-Adapter is here for a base model."""
    known = catalog.family(base)
    if why := known.refuses("ip_adapter"):
        return why
    cards = [card for card in catalog.cards() if card.kind == "ip_adapter" and card.family == base.family]
    way = f"download {cards[0].title} on the Models page" if cards else "put one into models/ip_adapters"
    return f"There is no IP-Adapter for {known.title or base.title} on this machine: {way}."


def quick(catalog: Catalog, base: ModelCard) -> list[Quick]:
    """The presets of few steps that a base model can be run with here, the best first."""
    return quick_ways(base, fitting(catalog, base, "lora"))


def quick_called(catalog: Catalog, base: ModelCard, wanted: str) -> Quick | None:
    """The preset of few steps of this key, or of this LoRA; of "auto" the best one, None where there is none.

    Raises RecipeError for a name that is not known, ModelMissing where nothing here is made for it.
    """
    offered = quick(catalog, base)
    if wanted == AUTO:
        return next(iter(offered), None)
    found = next((one for one in offered if wanted in (one.key, one.preset.key)), None)
    if found is not None:
        return found
    title = presets.preset(wanted).title
    cards = [card for card in quick_missing(catalog, base) if card.preset == wanted]
    way = f"Download {cards[0].title} on the Models page" if cards else "Put a LoRA that is into models/loras"
    raise ModelMissing(f"Nothing here is made for {title} with {base.title}.", f"{way}, or leave the preset away.")


def quick_missing(catalog: Catalog, base: ModelCard) -> list[ModelCard]:
    """The LoRAs of few steps that could be downloaded for a base model."""
    if "lora" not in catalog.family(base).supports:
        return []
    cards = (card for card in catalog.cards() if card.kind == "lora" and card.preset and card.family == base.family)
    return [card for card in cards if not catalog.installed(card)]


@dataclass(frozen=True)
class Networks:
    """The ControlNets on this machine that can carry a control of a base model.

    `titles` names them by id, the best one first; the usual one stands under "". `usual` is the card of the usual one, here
    or not; None where the base model's family has none.
    """

    control: ControlType
    base: ModelCard
    usual: ModelCard | None
    titles: dict[str, str]
    other: ModelCard | None = None
    """Where no ControlNet of the base model's family reads the control: a base model of another one that has one."""
    missing: tuple[ModelCard, ...] = ()
    """What there is to download before anything can carry the control."""

    def chosen(self, wanted: str | None) -> str | None:
        """What a recipe names for the control: what is wanted where it is here, else the best one; None is the usual one.

        Raises ModelMissing where there is none at all.
        """
        if not self.titles:
            raise ModelMissing(self.lack)
        return (wanted if wanted in self.titles else next(iter(self.titles))) or None

    @property
    def lack(self) -> str:
        """What there is to do before anything can carry the control; "" where something can."""
        if self.titles:
            return ""
        if self.usual is not None:
            way = f"download {self.usual.title} on the Models page"
            return f"{self.control.title} needs a ControlNet for {self.base.title}: {way}."
        ways = [f"use {self.other.title}"] if self.other else []
        ways += ["put one into models/controlnet"]
        ways += ["train one on the Train page"] if self.control.teaches else []
        *first, last = ways
        way = f"{', '.join(first)} or {last}" if first else last
        return f"{self.base.title} has no ControlNet for {self.control.title}: {way}."

    @property
    def note(self) -> str:
        """That the usual one is not here, where another one takes its place."""
        if self.usual is None or not self.titles or "" in self.titles:
            return ""
        return f"The usual one, {self.usual.title}, is not on this machine: download it on the Models page."


def networks_for(catalog: Catalog, base: ModelCard, control: ControlType) -> Networks:
    """The installed ControlNets of a base model's family, or of none that can be told, that may carry a control.

    First the usual one, then those that are known to read this condition, then those of which nobody knows what they read.
    """
    usual = catalog.network(control.key, base.family)
    usual = None if usual and usual.own else usual  # named in recipes, so that another file of the user's changes none
    here = [card for card in catalog.networks(control.key, base.family) if catalog.installed(card)]
    titles = {"": f"{usual.title} (the usual one)"} if usual in here else {}
    titles |= {card.id: card.title for card in here if card != usual}
    if titles or usual:
        return Networks(control, base, usual, titles, missing=(usual,) if usual and not titles else ())
    other, network = next(iter(catalog.carriers(control.key)), (None, None))
    missing = tuple(card for card in (other, network) if card is not None and not catalog.installed(card))
    return Networks(control, base, None, titles, other, missing)


def called(text: str, embeddings: Sequence[ModelCard]) -> list[str]:
    """The keys of the embeddings that a prompt calls by name."""
    words = set(re.findall(r"[a-z0-9_.-]+", text.lower()))
    words |= {word.strip(".-") for word in words}
    return [card.id for card in embeddings if card.id in words]
