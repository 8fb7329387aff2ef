"""What a page has chosen beside its prompt and controls: settings as data, and what becomes of them in a recipe.

Draws nothing; `tuning` does. What a base model cannot use stays chosen but is left out of its recipes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from controlnet_core.catalog import Catalog, Defaults, Kind, ModelCard
from controlnet_core.control import ControlType, Value
from controlnet_core.recipe import Fill, Lora, Mode, Sampler, Source

LORAS_MAX = 8
EMBEDDINGS_MAX = 16


@dataclass
class Choices:
    """The settings of a page.

    `size` is the shorter side of the picture in pixels; `seed` -1 draws a new one each time. weight, start, end and mode
    are those of a page's only control, `params` how it is drawn and `network` the ControlNet that carries it, where those are
    not the usual ones. `loras`
    are weights by key; `variation` is the share of the way from the noise of the seed to that of `variation_seed`.
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
    eta: float = 0.0
    added_prompt: str = ""
    negative: str = ""
    loras: dict[str, float] = field(default_factory=dict[str, float])
    vae: str | None = None
    clip_skip: int = 1
    variation: float = 0.0
    variation_seed: int = 0
    network: str | None = None
    params: dict[str, Value] = field(default_factory=dict[str, Value])

    @classmethod
    def of(cls, start: Defaults) -> Choices:
        """What a model's card suggests."""
        shared = set(asdict(cls())) & set(type(start).model_fields)
        return cls(size=min(start.width, start.height), **{name: getattr(start, name) for name in shared})

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
            "seed": self.seed,
            "eta": self.eta,
            "loras": tuple(
                Lora(key=key, weight=weight) for key, weight in self.loras.items() if key in loras and weight
            ),
            "embeddings": tuple(found[:EMBEDDINGS_MAX]),
            "vae": self.vae if self.vae in vaes else None,
            "clip_skip": 1 if base.words else self.clip_skip,
            "variation_seed": self.variation_seed,
            "variation_strength": self.variation,
        }


@dataclass
class Start:
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


def fitting(catalog: Catalog, base: ModelCard, kind: Kind) -> list[ModelCard]:
    """The installed models of a kind that a base model can use; a file whose family cannot be told may fit.

    What cannot be used at all is left out: the Models page says why.
    """
    if base.words:  # its text encoder and autoencoder are its own
        return []
    cards = (card for card in catalog.cards() if card.kind == kind and card.family in ("", base.family))
    return [card for card in cards if not card.trouble and catalog.installed(card)]


def fitting_networks(catalog: Catalog, base: ModelCard, control: ControlType) -> dict[str, str]:
    """The ControlNets that can carry a control of a base model, titles by id; the usual one first, as "".

    Those are the installed ones of its family, or of none that can be told, but for those trained for other conditions.
    """
    usual = control.networks.get(base.family)
    cards = (card for card in catalog.cards() if card.kind == "controlnet" and card.family in ("", base.family))
    fitting = (card for card in cards if card.control in ("", control.key) and card.id != usual)
    fitting = (card for card in fitting if not card.trouble and catalog.installed(card))
    return {"": "The usual one"} | {card.id: card.title for card in fitting}


def called(text: str, embeddings: Sequence[ModelCard]) -> list[str]:
    """The keys of the embeddings that a prompt calls by name."""
    words = set(re.findall(r"[a-z0-9_.-]+", text.lower()))
    words |= {word.strip(".-") for word in words}
    return [card.id for card in embeddings if card.id in words]
