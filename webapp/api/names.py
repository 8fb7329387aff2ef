"""Names as the clients of other programs write them, and the notes of what a request asked for and did not get."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import SIDE_MAX, SIDE_MIN, SIDE_STEP
from controlnet_core.models.catalog import ModelCard
from webapp.application.tokens import Unknown

NAME_MAX = 300
_HASH = re.compile(r"\s*\[[0-9a-fA-F]{4,64}\]\s*$")


class Notes:
    """What was ignored and what was corrected."""

    def __init__(self) -> None:
        self._ignored: list[str] = []
        self._corrected: list[str] = []

    def ignored(self, what: str) -> None:
        """It changed nothing."""
        self._ignored.append(what)

    def corrected(self, what: str) -> None:
        """It was brought to something near."""
        self._corrected.append(what)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Sides that a recipe can have: multiples of 64. Raises InputError for those that are far off."""
        for side in (width, height):
            if not SIDE_MIN - SIDE_STEP // 2 <= side <= SIDE_MAX:
                raise InputError(f"A side of {side} px is not made here.", f"{SIDE_MIN} to {SIDE_MAX} px are.")
        wide, tall = (min(SIDE_MAX, max(SIDE_MIN, round(side / SIDE_STEP) * SIDE_STEP)) for side in (width, height))
        if (wide, tall) != (width, height):
            self.corrected(f"size {width}x{height} to {wide}x{tall}")
        return wide, tall

    def lists(self) -> dict[str, list[str]]:
        """The notes one by one, as `ignored` and `corrected`; what is empty is left out."""
        told = {"ignored": self._ignored[:40], "corrected": self._corrected[:40]}
        return {name: notes for name, notes in told.items() if notes}

    def told(self) -> dict[str, str]:
        """The notes as texts, for `extra_generation_params`."""
        return {name.capitalize(): "; ".join(notes) for name, notes in self.lists().items()}


def shown(card: ModelCard) -> str:
    """A model's name: that of its file, as the published ones are known, without its ending."""
    return PurePosixPath(card.path).name.removesuffix(".safetensors").removesuffix(".pth").removesuffix(".ckpt")


def pick(name: str, among: Sequence[ModelCard], what: str) -> ModelCard:
    """The model that is meant: by file name, id or title, with or without a hash. Raises Unknown with the nearest names."""
    if len(name) > NAME_MAX:
        raise Unknown(f"There is no {what} with a name of {len(name)} characters.", "Names are shorter.")
    wanted = _HASH.sub("", name).strip().lower()
    wanted = wanted.removesuffix(".safetensors").removesuffix(".ckpt").removesuffix(".pth")
    for card in among:
        if wanted in (shown(card).lower(), card.id.lower(), card.title.lower()):
            return card
    offered = nearest(wanted, [shown(card) for card in among])
    raise Unknown(f"There is no {what} called {name[:120]!r} here.", f"Nearest: {offered}.")


def nearest(name: str, among: Sequence[str]) -> str:
    """The names that are most like one."""
    close = difflib.get_close_matches(name[:200], among, 3, 0.3)
    return ", ".join(close or among[:3]) or "none is here"
