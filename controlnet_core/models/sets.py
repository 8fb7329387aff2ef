"""Starter sets: the models that one draws with, by family, for one who has none yet. Cards under one name; fetches nothing."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from controlnet_core.domain.recipe import Key
from controlnet_core.models.catalog import CARDS, ModelCard, shipped


class StarterSet(BaseModel):
    """What one draws with: the ids of cards of the program, the base model first."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: Key
    title: str
    family: str
    note: str
    cards: Annotated[tuple[Key, ...], Field(min_length=2)]

    @property
    def parts(self) -> tuple[ModelCard, ...]:
        """The cards themselves."""
        return tuple(shipped()[id] for id in self.cards)


@cache
def starter_sets() -> dict[str, StarterSet]:
    """The sets that come with the program, by id."""
    entries = tomllib.loads((CARDS / "sets.toml").read_text(encoding="utf-8"))["set"]
    found = [StarterSet.model_validate(entry) for entry in entries]
    return {one.id: one for one in found}
