"""The options that a caller of the A1111 shape chose with POST options: kept for its workspace, also over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError
from controlnet_core.models.catalog import ModelCard
from webapp.api.names import pick, shown
from webapp.application.choices import fitting
from webapp.application.studio import Studio

_NAME = "a1111.options"
AUTOMATIC = ("", "automatic", "none")
"""The names of a VAE that mean the model's own."""


class Options(BaseModel):
    """What was chosen; None is the usual."""

    model_config = ConfigDict(frozen=True)
    sd_model_checkpoint: str | None = None
    sd_vae: str | None = None
    CLIP_stop_at_last_layers: Annotated[int, Field(ge=1, le=12)] | None = None


def chosen(studio: Studio, owner: str) -> Options:
    """What a workspace chose; what cannot be read any more counts as never chosen."""
    found = studio.pages.get(owner, _NAME)
    try:
        return Options() if found is None else Options.model_validate_json(found[1])
    except ValidationError:
        return Options()


def choose(studio: Studio, owner: str, given: Mapping[str, Any]) -> None:
    """Keep what is known of `given`; the rest is passed over, as clients send the whole object back.

    Raises InputError, Unknown with the nearest names, NoSpace.
    """
    known = {name: given[name] for name in Options.model_fields if given.get(name) is not None}
    try:
        wanted = Options.model_validate(known)
    except ValidationError as error:
        raise InputError(json_input.first_fault(error, "request")) from error
    told = wanted.model_dump(include=set(known))
    if wanted.sd_model_checkpoint:
        told["sd_model_checkpoint"] = shown(pick(wanted.sd_model_checkpoint, studio.catalog.bases(), "checkpoint"))
    if wanted.sd_vae is not None:
        told["sd_vae"] = None if wanted.sd_vae.lower() in AUTOMATIC else vae_called(studio, wanted.sd_vae).id
    told = chosen(studio, owner).model_dump() | told
    studio.pages.put(owner, _NAME, 1, Options(**told).model_dump_json().encode())


def vae_called(studio: Studio, name: str) -> ModelCard:
    """The VAE on this machine that is meant. Raises Unknown with the nearest names."""
    cards = [card for card in studio.catalog.cards() if card.kind == "vae" and studio.catalog.installed(card)]
    return pick(name, cards, "VAE")


def vae_for(studio: Studio, base: ModelCard, options: Options) -> str | None:
    """The chosen VAE, where a base model can use it: what it cannot use stays chosen."""
    usable = {card.id for card in fitting(studio.catalog, base, "vae")}
    return options.sd_vae if options.sd_vae in usable else None
