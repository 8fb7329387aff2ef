"""What a data set is to everybody else: pairs by their number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError
from controlnet_core.execution import decoder

PROMPT_MAX = 4000
ENDLESS = 2**31
"""The length of a data set that makes its pairs when asked."""


class Example(NamedTuple):
    """A pair as arrays: `source` is the control picture, `target` what it belongs to; uint8 H,W,3 RGB of one size."""

    source: Rgb
    target: Rgb
    prompt: str


@dataclass(frozen=True)
class PairFiles:
    """A pair as bytes not yet looked at: PNG, JPEG or WebP files, or their content; its prompt may still be empty.

    `name` is what the pair is called in its data set, whatever becomes of the others.
    """

    name: str
    source: Path | bytes
    target: Path | bytes
    prompt: str


class Pairs(Protocol):
    """A data set. Safe to read from several threads."""

    @property
    def title(self) -> str:
        """What it is called."""
        ...

    def __len__(self) -> int:
        """How many pairs there are; `ENDLESS` for a data set that makes them."""
        ...

    def name(self, index: int) -> str:
        """What pair `index` is called: a file name or a line number."""
        ...

    def read(self, index: int) -> Example:
        """Pair `index`. Raises InputError, in a sentence, when it cannot be used."""
        ...


class Listed:
    """A data set of entries; its subclasses say where entry `index` lies."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.empty_prompts = False
        """Whether pairs without words may be learnt from: somebody has chosen so."""

    def __len__(self) -> int:
        raise NotImplementedError

    def entry(self, index: int) -> PairFiles:
        """Pair `index` as files. Raises InputError when its description is damaged."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """See `Pairs.name`."""
        return self.entry(index).name

    def read(self, index: int) -> Example:
        """See `Pairs.read`. Sizes that differ raise; `size_of` tells them without decoding."""
        entry = self.entry(index)
        prompt = "" if self.empty_prompts and not entry.prompt.strip() else checked_prompt(entry.prompt)
        source, target = decoded(entry.source, "control picture"), decoded(entry.target, "picture")
        if source.shape != target.shape:
            raise InputError(
                f"The control picture has {source.shape[1]} x {source.shape[0]} px, its picture "
                f"{target.shape[1]} x {target.shape[0]} px: they need the same size."
            )
        return Example(source, target, prompt)


def checked_prompt(prompt: str) -> str:
    """A prompt that can be learnt from; else InputError."""
    if not prompt.strip():
        raise InputError("The prompt is empty.")
    if len(prompt) > PROMPT_MAX:
        raise InputError(f"The prompt has more than {PROMPT_MAX} characters.")
    return prompt.strip()


def decoded(file: Path | bytes, what: str) -> Rgb:
    """The picture in a file. Raises InputError that says `what` is missing or damaged."""
    try:
        data = file if isinstance(file, bytes) else file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"The {what} {_shown(file)} is missing.") from error
    except OSError as error:
        raise InputError(f"The {what} {_shown(file)} cannot be read: {error.strerror}.") from error
    try:
        return decoder.decode(data)
    except InputError as error:
        raise InputError(f"The {what} {_shown(file)} cannot be used. {error.message}") from error


def _shown(file: Path | bytes) -> str:
    return "" if isinstance(file, bytes) else f"{file.parent.name}/{file.name}"
