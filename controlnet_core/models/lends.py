"""Which models a recipe needs, for a worker that may not have them. Opens no model."""

from __future__ import annotations

from collections.abc import Iterator

from controlnet_core.domain.errors import ModelMissing, StudioError
from controlnet_core.domain.lending import Lent
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.models.catalog import Catalog, ModelCard, shipped


def lent(recipe: Recipe, catalog: Catalog) -> tuple[Recipe, tuple[Lent, ...]]:
    """A recipe whose controls name their networks, and those of its models that are here.

    The usual network of a condition is said by name, since another catalog may know another one as usual.
    """
    try:
        base = catalog.card(recipe.model)
    except ModelMissing:
        return recipe, ()  # whoever does it says so
    units = tuple(
        unit.model_copy(update={"network": network.id})
        if unit.weight > 0 and (network := _network(unit, catalog, base))
        else unit
        for unit in recipe.controls
    )
    named = recipe.model_copy(update={"controls": units})
    cards = {card.id: card for card in _needed(named, catalog, base)}
    here = [(card, catalog.locate(card)) for card in cards.values() if catalog.installed(card)]
    known = shipped()
    return named, tuple(
        Lent(card.id, card.title, card.model_dump_json(exclude_defaults=True), place, card.id not in known)
        for card, place in here
    )


def _network(unit: ControlUnit, catalog: Catalog, base: ModelCard) -> ModelCard | None:
    try:
        return catalog.network(unit.control, base.family, unit.network)
    except StudioError:
        return None


def _needed(recipe: Recipe, catalog: Catalog, base: ModelCard) -> Iterator[ModelCard]:
    yield base
    keys = [str(unit.network) for unit in recipe.controls if unit.network and unit.weight > 0]
    keys += [lora.key for lora in recipe.loras if lora.weight] + list(recipe.embeddings)
    keys += [one.adapter for one in recipe.references if one.adapter and one.weight]
    keys += [recipe.vae] if recipe.vae else []
    facts = catalog.family(base)
    if catalog.installed(base) and not catalog.locate(base).is_dir():
        keys += [encoder.vocabulary for encoder in facts.text]
    keys += [facts.preview] if facts.preview else []
    for key in keys:
        try:
            card = catalog.card(key)
            yield card
            if card.encoder:
                yield catalog.card(card.encoder)
        except ModelMissing:
            continue
