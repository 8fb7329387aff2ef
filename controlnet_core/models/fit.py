"""Whether what a recipe names goes together: sizes, what a family does, and additions made for another one. Loads nothing.

Asked before a recipe is queued and again before it runs. A model that is not here is no matter of this module: looking for it
says what to do.
"""

from __future__ import annotations

from typing import get_args

from controlnet_core.domain.errors import ModelError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import ControlUnit, Recipe, ReferenceKind
from controlnet_core.families import Capability, family
from controlnet_core.models.catalog import Catalog, Kind, ModelCard

TITLES: dict[Kind, str] = {
    "ip_adapter": "IP-Adapter", "lora": "LoRA", "embedding": "textual inversion", "vae": "VAE", "controlnet": "ControlNet",
}  # fmt: skip


def check(recipe: Recipe, catalog: Catalog) -> None:
    """Raise RecipeError for what the base model of a recipe cannot do, and for what was made for another family; ModelError for
    a file that cannot be used at all.
    """
    base = _card(catalog, recipe.model)
    if base is None:
        return
    _refuse_unusable(base)
    known = catalog.family(base)
    known.check_size(recipe.width, recipe.height)
    asked: dict[Capability, object] = {
        "lora": recipe.loras, "embedding": recipe.embeddings, "vae": recipe.vae, "clip_skip": recipe.clip_skip > 1,
        "micro_conditioning": recipe.micro_conditioning,
        **{kind: [one for one in recipe.references if one.kind == kind] for kind in get_args(ReferenceKind)},
    }  # fmt: skip
    for feature, wanted in asked.items():
        if wanted and (why := known.refuses(feature)):
            raise RecipeError(why, "Leave it out, or choose another model.")
    added = [lora.key for lora in recipe.loras if lora.weight] + list(recipe.embeddings)
    adapters = [one.adapter for one in recipe.references if one.adapter is not None and one.weight]
    added += adapters
    added += [unit.network for unit in recipe.controls if unit.network and unit.weight > 0]
    for key in added:
        card = _card(catalog, key)
        _refuse_unusable(card)
        if card is not None and card.family and base.family and card.family != base.family:
            raise _foreign(card, base)
    for key in adapters:
        adapter = _card(catalog, key)
        if adapter is not None and adapter.kind != "ip_adapter":
            raise RecipeError(f"{adapter.title} is not an IP-Adapter.", "Choose one of the installed IP-Adapters.")
        if adapter is not None and (lacking := catalog.lacks(adapter)):
            catalog.locate(lacking)  # says what to do
    units = [unit for unit in recipe.controls if unit.weight > 0]
    for unit in units:
        _check_union(unit, catalog, base)
        _check_xs(unit, len(units), catalog, base)
    decoder = _card(catalog, recipe.vae) if recipe.vae else None
    _refuse_unusable(decoder)
    if decoder is not None and decoder.family and base.family and family(decoder.family).latent != known.latent:
        raise _foreign(decoder, base)


def _refuse_unusable(card: ModelCard | None) -> None:
    # Of an inversion only the published widths are known, and others may fit a model of that size: loading it tells.
    if card is not None and card.trouble and card.kind != "embedding":
        raise ModelError(card.trouble)


def _check_union(unit: ControlUnit, catalog: Catalog, base: ModelCard) -> None:
    """Raise RecipeError for a union ControlNet that does not know the condition: it would have to be told something else."""
    if not unit.network:
        return
    card = _card(catalog, unit.network)
    if card is not None and card.network == "union" and card.types and unit.control not in card.types:
        usual = catalog.network(unit.control, base.family)
        raise RecipeError(
            f"{card.title} does not read {unit.control}: it knows {', '.join(card.types)}.",
            f"Choose another ControlNet for it{f', as {usual.title}' if usual else ''}.",
        )


def _check_xs(unit: ControlUnit, units: int, catalog: Catalog, base: ModelCard) -> None:
    """Raise RecipeError for what a ControlNet-XS cannot do: it runs in one with the U-Net, alone and as a whole."""
    card = _card(catalog, unit.network) if unit.network else catalog.network(unit.control, base.family)
    if card is None or card.network != "xs":
        return
    if units > 1:
        raise RecipeError(
            f"{card.title} is a ControlNet-XS, beside which no other control can act.",
            "Leave the other controls out, or choose a ControlNet of another kind.",
        )
    if unit.mode != "balanced" or unit.mask is not None:
        what = "no mask" if unit.mask is not None else "no other balance than between prompt and control"
        raise RecipeError(
            f"{card.title} is a ControlNet-XS, which takes {what}.",
            "Change that, or choose a ControlNet of another kind.",
        )


def _card(catalog: Catalog, key: str) -> ModelCard | None:
    try:
        return catalog.card(key)
    except ModelMissing:
        return None


def _foreign(card: ModelCard, base: ModelCard) -> RecipeError:
    made = family(card.family).title or card.family
    wanted = family(base.family).title or base.family
    what = TITLES.get(card.kind, "model")
    article = "an" if what[0] in "AEIOU" else "a"
    return RecipeError(
        f"{card.title} is {article} {what} for {made}, and {base.title} is a model of {wanted}.",
        f"Choose {article} {what} for {wanted}, or a model of {made}.",
    )
