"""The base model that a workspace draws with: kept over a restart, and always one that is here."""

from __future__ import annotations

from dataclasses import dataclass

from controlnet_core.domain.errors import ModelMissing
from controlnet_core.models.catalog import ModelCard
from webapp.application.studio import Studio
from webapp.ui import page_state_store
from webapp.ui.session import remember, remembered

FIRST = "paperworld"


@dataclass
class Chosen:
    """What is kept."""

    model: str = FIRST


def base_model(studio: Studio) -> ModelCard:
    """The base model in use. One that is gone is replaced by the program's own."""
    catalog = studio.catalog
    id = remembered("model", "")
    if not id:
        id = (page_state_store.recall(studio, "model", Chosen) or Chosen()).model
        remember("model", id)
    try:
        card = catalog.card(id)
        if card.kind == "base" and not card.trouble and catalog.installed(card):
            return card
    except ModelMissing:
        pass
    return catalog.card(FIRST)


def use(studio: Studio, id: str) -> None:
    """Draw with another base model from now on. Raises ModelMissing for one that is not here."""
    catalog = studio.catalog
    card = catalog.card(id)
    catalog.locate(card)
    if card.kind != "base" or card.trouble:
        raise ModelMissing(f"{card.title} cannot make pictures by itself.", "Choose a base model.")
    remember("model", id)
    page_state_store.keep(studio, "model", Chosen(id))
